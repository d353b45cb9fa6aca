//! Routes: headers, feeds, batches, paths and hosts that do not fit together.

use super::super::{ROUTE, load_text, loaded, refused};
use super::told;

#[test]
fn a_header_means_one_thing() {
    for (said, other, wanted) in [
        ("vary", "ignore_headers: [x-a]", "names x-a, which ignore_headers says means nothing"),
        ("vary", "ignore_vary: [x-a]", "names x-a, which ignore_vary says means nothing"),
        ("vary", "poll: { headers: { x-a: b } }", "names x-a, which poll.headers sets on every poll"),
        (
            "vary",
            "share: { by: [x-a] }",
            "names x-a, which says who asks; name it in share: { by: [...] } alone",
        ),
        ("ignore_headers", "credentials: [x-a]", "names x-a, which is one of the credentials of this route"),
    ] {
        let told = told(&format!("    {said}: [x-a]\n    {other}\n"));
        assert_eq!(told, format!("pollcast.yaml:6: routes[0].{said}: {wanted}"), "{other}");
    }
}

#[test]
fn a_header_cannot_be_the_operators_and_the_clients() {
    assert_eq!(
        told("    share: { by: [x-a] }\n    poll: { headers: { X-A: b } }\n"),
        "pollcast.yaml:7: routes[0].poll.headers.x-a: comes from the clients by share.by; one of the two has to go"
    );
}

#[test]
fn problems_of_the_defaults_are_told_once_and_there() {
    let text =
        format!("{ROUTE}  - {{ path: /b, upstream: api }}\ndefaults: {{ heartbeat: 0s, retry: [a, 1s] }}\n");
    assert_eq!(
        refused(&text),
        r#"pollcast.yaml:7: defaults.heartbeat: "0s" is too short; at least 1s
pollcast.yaml:7: defaults.retry[0]: "a" is not a length of time; write it like 500ms, 2s or 1m 30s"#
    );
}

#[test]
fn rules_of_the_defaults_are_no_rules_of_a_feed() {
    let text = format!(
        "{ROUTE}    feed: {{ items: /m, id: /id }}\ndefaults: {{ change: {{ ignore: [/a] }}, delta: true }}\n"
    );
    assert_eq!(
        refused(&text),
        "pollcast.yaml:4: routes[0].change: cannot stand beside feed: there every item counts by its id; \
         write change: off here, as defaults has rules"
    );
    super::super::loaded(&text.replace("    feed:", "    change: off\n    feed:"));
}

#[test]
fn a_batch_needs_a_name_for_each_item() {
    for (path, settings, wanted) in [
        (
            "/items/{id}",
            "poll: { batch: { param: ids, items: /i, key: /id } }\n    share: { by: [x-a] }",
            "poll.batch: cannot stand beside share.by: one request would carry the values of several users",
        ),
        (
            "/items/{id}",
            "poll: { batch: { param: ids, items: /i, key: /id } }\n    feed: { items: /m, id: /id }",
            "poll.batch: cannot stand beside feed: an item of a batch is a resource of its own",
        ),
        (
            "/files/{*rest}",
            "poll: { batch: { param: ids, items: /i, key: /id } }",
            "poll.batch: the route's last segment is no {parameter}; say path and parameter",
        ),
        (
            "/items/{id}",
            "poll: { batch: { param: ids, items: /i, key: /id, path: \"/all/{id}\" } }",
            "poll.batch.path: \"/all/{id}\" has {id}, which is not among the other parameters of the route's path",
        ),
        (
            "/items/{id}",
            "poll: { batch: { param: ids, items: /i, key: /id, separator: \"\" } }",
            "poll.batch.separator: \"\" cannot stand between two names: 1 to 8 visible ASCII characters",
        ),
        ("/items/{id}", "poll: { batch: { param: ids, items: /i } }", "poll.batch: key \"key\" is missing"),
    ] {
        let text = ROUTE.replace("/prices", &format!("{path:?}"));
        assert_eq!(
            refused(&format!("{text}    {settings}\n")),
            format!("pollcast.yaml:6: routes[0].{wanted}")
        );
    }
}

#[test]
fn paths_that_are_none_are_told() {
    for (path, wanted) in [
        ("/a?b", "has a query or fragment; only the path belongs here"),
        ("/a//b", "has an empty, \".\" or \"..\" segment"),
        ("/a/../b", "has an empty, \".\" or \"..\" segment"),
        (
            "/a%2Fb",
            "has an escaped slash, which servers read differently; say spelling: exact if this API takes it for a part of a name",
        ),
        ("/a%zz", "has a percent escape that is invalid, or stands for NUL"),
        ("/a%00b", "has a percent escape that is invalid, or stands for NUL"),
        (
            "/caf%c3%a9",
            "has a percent escape that no canonical path has; escapes are like %C3%A9, and none of a-z, A-Z, 0-9 and -._~ has one",
        ),
        (
            "/%7euser",
            "has a percent escape that no canonical path has; escapes are like %C3%A9, and none of a-z, A-Z, 0-9 and -._~ has one",
        ),
        ("/ä", "has a character that a canonical path has not; write it percent-encoded"),
        ("/{a", "has a \"{\" without \"}\"; a parameter is a part of one segment, as /prices/{symbol}"),
        ("/a}", "has a \"}\" without \"{\""),
        ("/{}", "has a parameter without a plain name; a name is letters, digits and \"_\""),
        ("/{a}{b}", "has two parameters in one segment; write at most one between two \"/\""),
        ("/{*a}/b", "has a {*rest} that is not the whole end of the path"),
        ("/{a}/{a}", "has the same parameter twice"),
        ("/-/pollcast/x", "is under public_prefix (/-/pollcast/), which is pollcast's own"),
    ] {
        let text = ROUTE.replace("/prices", &format!("{path:?}"));
        assert_eq!(refused(&text), format!("pollcast.yaml:4: routes[0].path: {path:?} {wanted}"));
    }
}

#[test]
fn an_upstream_path_has_the_parameters_of_the_path_each_in_a_place_for_it() {
    for (path, to, wanted) in [
        ("/a/{x}", "b", "\"b\" is not a path; it starts with \"/\""),
        ("/a/{x}", "/b/{y}", "\"/b/{y}\" has {y}, which the route's path has not"),
        ("/a/{x}", "/b?c={y}", "\"/b?c={y}\" has {y}, which the route's path has not"),
        ("/a/{x}", "/b", "has no {x}: what the route's path tells apart would be one on the upstream"),
        ("/a/{x}/{*rest}", "/b/{*rest}", "has no {x}: what"),
        ("/a/{*rest}", "/b/{rest}", "has {rest} in its path as another kind than the route's path"),
        ("/a/{x}", "/b/{*x}", "has {x} in its path as another kind than the route's path"),
        ("/a/{x}", "/b?x={x}&X=1", "sets the query parameter \"X\" twice"),
        ("/a/{x}", "/b?x={x}{x}", "has a value in its query with braces that are no parameter"),
        ("/a/{x}", "/b?{x}=1", "has a query that is none"),
        ("/a/{x}", "/b?x={x}#c", "has a query that is none"),
        ("/a/{x}", "/b/../{x}", "has an empty, \".\" or \"..\" segment"),
        ("/a/{x}", "/b%2F/{x}", "has an escaped slash, which servers read differently; say spelling: exact"),
    ] {
        let text = format!(
            "listeners: [{{ address: 0.0.0.0:8080 }}]\nupstreams: {{ api: {{ servers: [127.0.0.1:3000] }} }}\n\
             routes: [{{ path: '{path}', upstream: api, upstream_path: '{to}' }}]\n"
        );
        let problems = super::super::load_text(&text, &[]).expect_err(to).to_string();
        assert!(problems.contains("routes[0].upstream_path") && problems.contains(wanted), "{problems}");
    }
    let sets = "feed: { items: '', id: /id, cursor: { query: X, from: /x } }, query: [x]";
    let text = format!(
        "listeners: [{{ address: 0.0.0.0:8080 }}]\nupstreams: {{ api: {{ servers: [127.0.0.1:3000] }} }}\n\
         routes: [{{ path: '/a/{{x}}', upstream: api, upstream_path: '/b?x={{x}}', {sets} }}]\n"
    );
    let problems = super::super::load_text(&text, &[]).expect_err("two problems").to_string();
    for (place, name) in [("feed", "X"), ("query", "x")] {
        let wanted =
            format!("routes[0].{place}: names the query parameter {name:?}, which upstream_path sets");
        assert!(problems.contains(&wanted), "{problems}");
    }
}

#[test]
fn secrets_want_a_host_that_no_client_chooses() {
    let text = ROUTE.replace(", host: api.example.com", "");
    let cure = "say upstreams.api.host, or hosts on every listener (or on this route), so that polls go to a host of \
                yours only";
    for (settings, wanted) in [
        ("poll: { auth: { bearer: t } }", "poll.auth: would be sent to whatever host a client names"),
        (
            "poll: { headers: { x-api-key: k } }",
            "poll.headers: \"x-api-key\" would be sent to whatever host a client names",
        ),
    ] {
        let (bare, safe) = (format!("{text}    {settings}\n"), format!("{ROUTE}    {settings}\n"));
        assert_eq!(refused(&bare), format!("pollcast.yaml:6: routes[0].{wanted}: {cure}"), "{settings}");
        loaded(&safe);
        loaded(&bare.replace("address: 0.0.0.0:8080", "address: 0.0.0.0:8080, hosts: [api.example.com]"));
        loaded(&format!("{bare}    hosts: [api.example.com]\n"));
    }
    let warned = loaded(&format!("{text}    poll: {{ headers: {{ x-service: s }} }}\n"));
    assert_eq!(warned.warnings.len(), 1, "{:?}", warned.warnings);
}

#[test]
fn hosts_are_names_without_scheme_and_port() {
    for (host, is_good) in [
        ("api.example.com", true),
        ("\"[::1]\"", true),
        ("https://a", false),
        ("a:80", false),
        ("\"*.a\"", false),
        ("\"\"", false),
    ] {
        let text = format!("{ROUTE}    hosts: [{host}]\n");
        assert_eq!(load_text(&text, &[]).is_ok(), is_good, "{host}");
        let text = ROUTE.replace("address: 0.0.0.0:8080", &format!("address: 0.0.0.0:8080, hosts: [{host}]"));
        assert_eq!(load_text(&text, &[]).is_ok(), is_good, "{host}");
    }
    assert!(load_text(&format!("{ROUTE}    hosts: []\n"), &[]).is_err());
    // The same path for other hosts is another route.
    let two = format!("{ROUTE}    hosts: [a]\n  - {{ path: /prices, upstream: api, hosts: [b] }}\n");
    loaded(&two);
    assert!(load_text(&two.replace("[b]", "[b, a]"), &[]).is_err());
}

#[test]
fn routes_that_conflict_name_each_other() {
    let text = ROUTE.replace("/prices", "/prices/{symbol}");
    let text = format!(
        "{text}  - {{ path: \"/prices/{{name}}\", upstream: api }}\n  - {{ path: \"/prices/{{symbol}}\", upstream: apj }}\n"
    );
    assert_eq!(
        refused(&text),
        r#"pollcast.yaml:6: routes[1].path: "/prices/{name}" conflicts with routes[0] (/prices/{symbol}): one request could match both, and neither is more specific
pollcast.yaml:7: routes[2].path: "/prices/{symbol}" is also the path of routes[0] (/prices/{symbol})
pollcast.yaml:7: routes[2].upstream: "apj" is not one of the upstreams; did you mean "api"?"#
    );
}
