//! Bad files and the whole of what is told about them.

use super::{ROUTE, SMALLEST, load_text, loaded, refused};

/// What is told about [`ROUTE`] with these settings.
fn told(settings: &str) -> String {
    refused(&format!("{ROUTE}{settings}"))
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let text = "\
listeners:
  - address: :8080
    http2: yes
  - addres: 0.0.0.0:8081
upstreams:
  legacy:
    servers: [127.0.0.1]
    conect_timeout: 3s
passthrough: legcay
routes:
  - path: prices
    upstream: legacy
    poll:
      intervall: 2s
  - path: /rooms/{room}
    upstream: legacy
    poll:
      interval: 0s
      always: true
    history: 64
limits:
  clients: many
limits:
  clients: 7
";
    assert_eq!(
        refused(text),
        r#"pollcast.yaml:2: listeners[0].address: ":8080" is not ip:port; did you mean "0.0.0.0:8080"?
pollcast.yaml:3: listeners[0].http2: "yes" is neither true nor false
pollcast.yaml:4: listeners[1].addres: unknown key "addres"; did you mean "address"?
pollcast.yaml:4: listeners[1]: key "address" is missing
pollcast.yaml:7: upstreams.legacy.servers[0]: "127.0.0.1" has no port; write host:port, as api.internal:3000
pollcast.yaml:8: upstreams.legacy.conect_timeout: unknown key "conect_timeout"; did you mean "connect_timeout"?
pollcast.yaml:9: passthrough: "legcay" is not one of the upstreams; did you mean "legacy"?
pollcast.yaml:11: routes[0].path: "prices" is not a path; it starts with "/"
pollcast.yaml:14: routes[0].poll.intervall: unknown key "intervall"; did you mean "interval"?
pollcast.yaml:18: routes[1].poll.interval: "0s" is too short; at least 100ms
pollcast.yaml:19: routes[1].poll.always: needs a path without parameters: nobody says which resources to poll
pollcast.yaml:20: routes[1].history: expected a mapping, found a plain value
pollcast.yaml:22: limits.clients: "many" is not a whole number from 1 to 10000000
pollcast.yaml:23: limits: key "limits" is already on line 21"#
    );
}

#[test]
fn what_is_missing_is_told() {
    let empty = "pollcast.yaml:1: key \"listeners\" is missing
pollcast.yaml:1: key \"upstreams\" is missing
pollcast.yaml:1: neither \"routes\" nor \"passthrough\" is there; at least one of them is needed";
    assert_eq!(refused(""), empty);
    assert_eq!(refused("# nothing\nlisteners:\nupstreams: ~\nroutes: []\n"), empty);
    assert_eq!(
        refused("listeners: []\nupstreams: {}\npassthrough: a\n"),
        "pollcast.yaml:1: listeners: is empty; at least one listener is needed
pollcast.yaml:2: upstreams: is empty; at least one upstream is needed
pollcast.yaml:3: passthrough: \"a\" is not one of the upstreams"
    );
}

#[test]
fn what_is_not_yaml_is_told_with_its_line() {
    for (text, wanted) in [
        ("listeners:\n  - [a\nb: c\n", "pollcast.yaml:3: not YAML: "),
        ("a: *b\n", "pollcast.yaml:1: not YAML: "),
        ("a: b\n---\nc: d\n", "pollcast.yaml:2: a second document starts here"),
        ("a: b\n{ c: d }: e\n", "pollcast.yaml:2: "),
        ("a: !include b\n", "pollcast.yaml:1: tags (a word behind \"!\") have no meaning here"),
        ("- a\n", "pollcast.yaml:1: expected a mapping, found a list"),
    ] {
        let told = refused(text);
        assert!(told.starts_with(wanted), "{text:?}\nwanted {wanted}\ntold {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn wrong_shapes_are_told_and_the_rest_is_checked() {
    assert_eq!(
        told(
            "    transports: sse
    poll: { headers: [a], interval: [1s], expect: {content_type: [a, [b]]} }
    share: [public]
    retry: 2s
    link: maybe
"
        ),
        r#"pollcast.yaml:6: routes[0].transports: expected a list, found a plain value
pollcast.yaml:7: routes[0].poll.headers: expected a mapping, found a list
pollcast.yaml:7: routes[0].poll.interval: expected a plain value or a mapping, found a list
pollcast.yaml:7: routes[0].poll.expect.content_type[1]: expected a plain value, found a list
pollcast.yaml:7: routes[0].poll.expect.content_type[0]: "a" is not a media type; write it like application/json, without parameters
pollcast.yaml:8: routes[0].share: expected a plain value or a mapping, found a list
pollcast.yaml:9: routes[0].retry: expected a list, found a plain value
pollcast.yaml:10: routes[0].link: "maybe" is neither true nor false"#
    );
}

/// Settings of a route and what is told about them.
const ROUTES: &[(&str, &str)] = &[
    (
        "poll: { interval: 5 }",
        r#"poll.interval: "5" is not a length of time; write it like 500ms, 2s or 1m 30s"#,
    ),
    ("poll: { interval: 25h }", r#"poll.interval: "25h" is too long; at most 1day"#),
    ("poll: { interval: { min: 2m, max: 1m } }", "poll.interval: min (2m) is longer than max (1m)"),
    ("poll: { interval: { min: 0s, max: 1s } }", r#"poll.interval.min: "0s" is too short; at least 100ms"#),
    ("poll: { interval: { min: 1s } }", r#"poll.interval: key "max" is missing"#),
    ("poll: { follow_redirects: 11 }", r#"poll.follow_redirects: "11" is too large; at most 10"#),
    (
        "poll: { auth: secret }",
        "poll.auth: is neither off nor one of basic, bearer, header_file, digest and oauth2",
    ),
    ("poll: { auth: {} }", "poll.auth: wants exactly one of basic, bearer, header_file, digest and oauth2"),
    (
        "poll: { auth: { basic: { user: 'a:b', password: p } } }",
        r#"poll.auth.basic.user: has a ":", which no name can have (RFC 7617)"#,
    ),
    (
        "poll: { auth: { bearer: t }, headers: { authorization: x } }",
        "poll.auth: says Authorization, and so does poll.headers",
    ),
    (
        "poll: { auth: { bearer: t } }\n    share: { by: [authorization] }",
        "poll.auth: says Authorization, which share.by takes from the clients",
    ),
    (
        "poll: { auth: { oauth2: { token_url: /token, client_id: c, client_secret: s } } }",
        r#"poll.auth.oauth2.token_url: "/token" is not a URL; write it like https://auth.example.com/token"#,
    ),
    (
        "poll: { auth: { oauth2: { token_url: \"https://a:99999/t\", client_id: c, client_secret: s } } }",
        r#"poll.auth.oauth2.token_url: "https://a:99999/t" is not a URL; write it like https://auth.example.com/token"#,
    ),
    (
        "poll: { auth: { oauth2: { token_url: \"https://:443/t\", client_id: c, client_secret: s } } }",
        r#"poll.auth.oauth2.token_url: "https://:443/t" is not a URL; write it like https://auth.example.com/token"#,
    ),
    (
        "poll: { auth: { oauth2: { token_url: \"https://a/t#b\", client_id: c, client_secret: s } } }",
        r#"poll.auth.oauth2.token_url: "https://a/t#b" is not a URL; write it like https://auth.example.com/token"#,
    ),
    (
        "poll: { auth: { oauth2: { token_url: \"https://u:p@a/t\", client_id: c, client_secret: s } } }",
        "poll.auth.oauth2.token_url: is not a URL without a user; client_id and client_secret say who asks",
    ),
    (
        "poll: { auth: { oauth2: { token_url: \"https://a/t\", client_id: c, client_secret: \"\" } } }",
        "poll.auth.oauth2.client_secret: is empty",
    ),
    (
        "poll: { auth: { bearer: \"Bearer abc\" } }",
        "poll.auth.bearer: has a space, which no token has; write only the token, without \"Bearer\"",
    ),
    (
        "poll: { batch: { param: ids, items: /items, key: /id } }",
        "poll.batch: the route's last segment is no {parameter}; say path and parameter",
    ),
    (
        "poll: { batch: { param: ids, items: /items, key: /id, path: /a, parameter: x } }",
        r#"poll.batch.parameter: "x" is not a parameter of the route's path"#,
    ),
    ("change: fast", r#"change: "fast" is neither off nor rules, as { ignore: ["/time"] }"#),
    (
        "change: { ignore: [time] }",
        r#"change.ignore[0]: "time" is not a JSON Pointer; write it like /data/items"#,
    ),
    (
        "change: { ignore: [/a~2] }",
        r#"change.ignore[0]: "/a~2" is not a JSON Pointer; write it like /data/items"#,
    ),
    ("change: { tolerance: { /a: -1 } }", r#"change.tolerance./a: "-1" is too small; at least 0"#),
    ("change: { select: '$.a' }", r#"change.select: "$.a" is not a JSON Pointer; write it like /data/items"#),
    ("change: { ignore: [$] }", r#"change.ignore[0]: "$" is the whole body: nothing would ever be a change"#),
    (
        "change: { ignore: [\"$.a[\"] }",
        r#"change.ignore[0]: "$.a[" is not JSONPath (RFC 9535): at position 3, parser error"#,
    ),
    (
        "change: { array_key: id }",
        r#"change.array_key: "id" is not a JSON Pointer; write it like /data/items"#,
    ),
    ("delta: maybe", r#"delta: "maybe" is neither true nor false nor { patch_max_ratio }"#),
    ("delta: { patch_max_ratio: 2 }", r#"delta.patch_max_ratio: "2" is too large; at most 1"#),
    (
        "change: { ignore: [/a] }\n    feed: { items: /m, id: /id }",
        "change: cannot stand beside feed: there every item counts by its id",
    ),
    (
        "delta: true\n    feed: { items: /m, id: /id }",
        "delta: cannot stand beside feed: items are sent one by one, never as patches",
    ),
    ("feed: { items: /m }", r#"feed: key "id" is missing"#),
    (
        "feed: { items: /m, id: /id, order: newest }",
        r#"feed.order: "newest" is not one of auto, newest_first, oldest_first, none"#,
    ),
    ("feed: { items: /m, id: [] }", "feed.id: is empty: nothing names an item"),
    (
        "feed: { items: /m, id: [/a, b] }",
        r#"feed.id[1]: "b" is not a JSON Pointer; write it like /data/items"#,
    ),
    ("feed: { items: /m, id: [/a, /a] }", r#"feed.id[1]: "/a" is there twice"#),
    (
        "feed: { items: /m, id: /id, on_return: again }",
        r#"feed.on_return: "again" is not one of ignore, event"#,
    ),
    (
        "feed: { items: /m, id: /id, pages: { next: link, query: page } }",
        "feed.pages.next: the Link header needs no parameter; for query say number, or a pointer to its value",
    ),
    (
        "feed: { items: /m, id: /id, pages: { next: number } }",
        "feed.pages.next: numbered pages need the name of their parameter in query",
    ),
    (
        "feed: { items: /m, id: /id, pages: { query: page } }",
        "feed.pages.next: the Link header needs no parameter; for query say number, or a pointer to its value",
    ),
    (
        "feed: { items: /m, id: /id, cursor: { query: 'a&b', from: /x } }",
        r#"feed.cursor.query: "a&b" is not the name of a query parameter"#,
    ),
    (
        "event_name: '${file:/etc/hostname}'",
        "event_name: takes no ${file:…}; passwords, tokens, keys and poll.headers do",
    ),
    (
        "poll: { headers: { a: 'b ${file:/etc/hostname}' } }",
        "poll.headers.a: ${file:…} is a whole value, with nothing beside it",
    ),
    (
        "poll: { headers: { a: '$${file:/etc/hostname}' } }",
        "poll.headers.a: names a file only after it was put together; write ${file:/path} itself",
    ),
    (
        "poll: { headers: { a: '${file:/none/such}' } }",
        r#"poll.headers.a: "/none/such" cannot be read: No such file or directory (os error 2)"#,
    ),
    ("poll: { auth: { header_file: / } }", r#"poll.auth.header_file: "/" is no file"#),
    (
        "poll: { auth: { basic: { user: a } } }",
        "poll.auth.basic: wants exactly one of password and password_file",
    ),
    (
        "poll: { auth: { digest: { username: a, password: b, password_file: /c } } }",
        "poll.auth.digest: wants exactly one of password and password_file",
    ),
    (
        "poll: { auth: { basic: { user: a, password: '${file:/none/such}' } } }",
        r#"poll.auth.basic.password: "/none/such" cannot be read: No such file or directory (os error 2)"#,
    ),
    (
        "poll: { auth: { digest: { username: a, password_file: / } } }",
        r#"poll.auth.digest.password_file: "/" is no file"#,
    ),
    (
        "poll: { auth: { oauth2: { token_url: \"https://a/t\", client_id: c, client_secret: s, upstream: api } } }",
        "poll.auth.oauth2.token_url: is https, and upstreams.api has no tls",
    ),
    (
        "authenticate: { forward: { url: \"http://a/check\", upstream: apis } }",
        "authenticate.forward.upstream: \"apis\" is not one of the upstreams; did you mean \"api\"?",
    ),
    (
        "authenticate: { keys: { clients: { a: '${file:/none/such}', b: a-key-of-sixteen } } }",
        r#"authenticate.keys.clients.a: "/none/such" cannot be read: No such file or directory (os error 2)"#,
    ),
    (
        "poll: { auth: { digest: { username: 'a:b', password: c } } }",
        "poll.auth.digest.username: is empty or has a \":\", which no name can have (RFC 7616)",
    ),
    ("refreshes: [prices]", r#"refreshes[0]: "prices" is not a path; it starts with "/""#),
    ("poll: never", r#"poll: "never" is neither off nor a mapping, as { interval: 2s }"#),
    ("plain: shared", r#"plain: "shared" is not one of share, pass; did you mean "share"?"#),
    (
        "plain: share\n    poll: off",
        "plain: has nothing to share: nothing of this route is polled (poll: off)",
    ),
    (
        "hold_not_modified: 5s\n    plain: pass",
        "hold_not_modified: needs plain: share; this route leaves plain requests to the API, which nobody holds",
    ),
    ("hold_not_modified: 9s", r#"hold_not_modified: "9s" is too long; at most 8s"#),
    (
        "event_name: sync",
        r#"event_name: "sync" is an event of pollcast's own; clients could not tell them apart"#,
    ),
    (
        "event_name: snapshot",
        r#"event_name: "snapshot" is an event of pollcast's own; clients could not tell them apart"#,
    ),
    ("poll: { max_body: 65MiB }", r#"poll.max_body: "65MiB" is too large; at most 64MiB"#),
    ("poll: { max_body: 1 }", r#"poll.max_body: "1" is too small; at least 1KiB"#),
    ("poll: { max_body: big }", r#"poll.max_body: "big" is not a size; write it like 512B, 64KiB or 1MiB"#),
    ("poll: { backoff: { min: 2m } }", "poll.backoff: min (2m) is longer than max (1m)"),
    (
        "poll: { headers: { Host: a } }",
        "poll.headers.Host: not allowed here: this header is said with the upstream's host",
    ),
    (
        "poll: { headers: { te: a } }",
        "poll.headers.te: not allowed here: this header is about one connection",
    ),
    (
        "poll: { headers: { proxy-connection: a } }",
        "poll.headers.proxy-connection: not allowed here: this header is about one connection",
    ),
    (
        "poll: { headers: { if-none-match: a } }",
        "poll.headers.if-none-match: not allowed here: this header is made by pollcast from the last answer",
    ),
    ("poll: { headers: { \"a b\": c } }", r#"poll.headers.a b: "a b" is not the name of a header"#),
    (
        "poll: { headers: { a: \"b\\nc\" } }",
        "poll.headers.a: is not the value of a header: it must be visible ASCII text on one line",
    ),
    ("poll: { headers: { a: ~ } }", "poll.headers.a: expected a plain value, found nothing"),
    ("compress: gzip", r#"compress: "gzip" is not one of auto, on, off"#),
    ("compress_min: 0B", r#"compress_min: "0B" is too small; at least 1B"#),
    (
        "share: authorize\n    feed: { items: /m, id: /id, cursor: { query: since, from: /last } }",
        "share: cannot be authorize beside feed.cursor: no two answers are the same",
    ),
    (
        "share: { by: [\"identity:subject\"] }",
        "share: is by identity, and nothing says who that is; add authenticate",
    ),
    (
        "share: { by: [x-pollcast-subject] }",
        "share.by[0]: \"x-pollcast-subject\" is a name of pollcast's own; identity:subject is who a client is",
    ),
    ("authorize: { recheck: 0s }", "authorize.recheck: \"0s\" is too short; at least 1s"),
    ("authenticate: yes", "authenticate: is neither off nor some of jwt, keys, forward, client_certificate"),
    (
        "authenticate: { token: { query: t } }",
        "authenticate: lets nobody in; name some of jwt, keys, forward, client_certificate",
    ),
    (
        "authenticate: { jwt: { issuer: [a] } }",
        "authenticate.jwt: has neither keys nor jwks to check a token with",
    ),
    (
        "share: { by: [\"identity:way\"] }\n    authenticate: { keys: { clients: { a: 0123456789abcdef } } }",
        "share.by[0]: \"identity:way\" is a claim whose header pollcast says itself: X-Pollcast-Subject, -Way, -Issuer and -Subscribers, and -Type behind a value that is no text",
    ),
    (
        "share: { by: [\"identity:Subject\", \"identity:org_type\"] }\n    authenticate: { keys: { clients: { a: 0123456789abcdef } } }",
        "share.by[0]: \"identity:Subject\" is a claim whose header pollcast says itself: X-Pollcast-Subject, -Way, -Issuer and -Subscribers, and -Type behind a value that is no text\npollcast.yaml:6: routes[0].share.by[1]: \"identity:org_type\" is a claim whose header pollcast says itself: X-Pollcast-Subject, -Way, -Issuer and -Subscribers, and -Type behind a value that is no text",
    ),
    (
        "share: { by: [\"identity:org_id\", \"identity:Org-Id\"] }\n    authenticate: { keys: { clients: { a: 0123456789abcdef } } }",
        "share.by: \"Org-Id\" has the header of another claim (x-pollcast-org-id)",
    ),
    (
        "authenticate: { jwt: { issuer: [a, b], jwks: \"https://a.test/keys\" } }",
        "authenticate.jwt.issuer: names 2 issuers that share one set of keys, so that each could sign tokens in the name of the others; write issuers: [{ issuer: \"a\", jwks or keys: … }, { issuer: \"b\", jwks or keys: … }], each with its own keys",
    ),
    (
        "authenticate: { jwt: { issuers: [] } }",
        "authenticate.jwt.issuers: is empty: no token would be accepted",
    ),
    (
        "authenticate: { jwt: { issuers: [{ issuer: a, jwks: \"https://a.test/keys\" }], algorithms: [ES256] } }",
        "authenticate.jwt.algorithms: is beside issuers: say it for each issuer it is of",
    ),
    (
        "authenticate: { jwt: { issuers: [{ issuer: a, jwks: \"https://a.test/keys\" }, { issuer: a, jwks: \"https://b.test/keys\" }] } }",
        "authenticate.jwt.issuers[1].issuer: \"a\" is there twice",
    ),
    (
        "authenticate: { jwt: { issuers: [{ jwks: \"https://a.test/keys\" }] } }",
        "authenticate.jwt.issuers[0]: key \"issuer\" is missing",
    ),
    (
        "authenticate: { jwt: { issuers: [{ issuer: \"\", jwks: \"https://a.test/keys\" }] } }",
        "authenticate.jwt.issuers[0]: names no issuer: say what iss is in its tokens",
    ),
    (
        "authenticate: { jwt: { issuers: [{ issuer: a }] } }",
        "authenticate.jwt.issuers[0]: has neither keys nor jwks to check a token with",
    ),
    (
        "authenticate: { jwt: { algorithms: [HS256], jwks: \"https://a.test/keys\" } }",
        "authenticate.jwt.algorithms: has an HS algorithm beside jwks: what is published is no secret; use keys with a secret",
    ),
    (
        "authenticate: { jwt: { algorithms: [none], keys: [{ secret: \"0123456789 0123456789 0123456789\" }] } }",
        "authenticate.jwt.algorithms[0]: \"none\" is not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
    ),
    (
        "authenticate: { jwt: { algorithms: [HS256], keys: [{ secret: short }] } }",
        "authenticate.jwt.keys[0].secret: is too short for a secret key; at least 32 characters",
    ),
    (
        "authenticate: { jwt: { keys: [{ secret: \"0123456789 0123456789 0123456789\" }] } }",
        "authenticate.jwt.keys: has a secret, and algorithms names none that uses it; say algorithms: [HS256]",
    ),
    (
        "authenticate: { jwt: { keys: [{ pem: tls/none.pem, secret: \"0123456789 0123456789 0123456789\" }], algorithms: [HS256] } }",
        "authenticate.jwt.keys[0]: wants exactly one of secret and pem",
    ),
    (
        "authenticate: { jwt: { jwks: \"https://a.test/keys\", issuer: [a], claims: { other: org } } }",
        "authenticate.jwt.claims: \"other\" is not a parameter of the route's path",
    ),
    (
        "authenticate: { keys: { clients: { ann: short } } }",
        "authenticate.keys.clients.ann: is too short for a key; at least 16 characters",
    ),
    (
        "authenticate: { forward: { url: /check } }",
        "authenticate.forward.url: \"/check\" is not a URL; write it like https://auth.example.com/token",
    ),
    (
        "authenticate: { client_certificate: true, token: { query: \"a&b\" } }",
        "authenticate.token.query: \"a&b\" is not a name: 1 to 64 of letters, digits, \"-\", \"_\" and \".\"",
    ),
    (
        "share: private",
        r#"share: "private" is not public, authorize, unset or { by: [authorization, "cookie:session"] }"#,
    ),
    ("share: { by: [] }", "share.by: is empty; name a header or cookie, or write share: public"),
    (
        "share: { by: [cookie] }",
        r#"share.by[0]: "cookie" is all cookies at once; name the one that matters, as "cookie:session""#,
    ),
    ("share: { by: [\"cookie:\"] }", r#"share.by[0]: "cookie:" is not cookie:<name>"#),
    ("share: { by: [x-a, X-A] }", r#"share.by[1]: "X-A" is there twice"#),
    (
        "share: { by: [host] }",
        r#"share.by[0]: "host" cannot tell clients apart: pollcast writes this header itself"#,
    ),
    (
        "transports: [sse, websockets]",
        r#"transports[1]: "websockets" is not one of sse, websocket, long_poll, poll; did you mean "websocket"?"#,
    ),
    ("transports: []", "transports: is empty; leave the route out if nobody may read it"),
    ("query: some", r#"query: "some" is neither all nor a list of parameters, as [currency]"#),
    ("query: [\"a=b\"]", r#"query[0]: "a=b" is not the name of a query parameter, as it stands in a URL"#),
    ("unknown_query: rejct", r#"unknown_query: "rejct" is not one of drop, reject; did you mean "reject"?"#),
    (
        "ignore_query: [\"*\"]",
        r#"ignore_query[0]: "*" is not a name, or the beginning of one and a last "*"; "query: []" ignores all"#,
    ),
    (
        "ignore_cookies: [\"*\"]",
        r#"ignore_cookies[0]: "*" is not the name of a cookie, or the beginning of one (two letters or more) and a last "*""#,
    ),
    ("keep_fields: [\"next token\"]", r#"keep_fields[0]: "next token" is not the name of a header"#),
    (
        "keep_fields: [set-cookie]",
        r#"keep_fields[0]: "set-cookie" is never content: it says who somebody is"#,
    ),
    (
        "vary: [accept-encoding]",
        r#"vary[0]: "accept-encoding" cannot choose the content of a poll: pollcast writes this header itself"#,
    ),
    ("vary: [Cookie]", r#"vary[0]: "Cookie" says who asks; name it in share: { by: [...] }"#),
    (
        "ignore_vary: [\"*\"]",
        r#"ignore_vary[0]: "*" means that nobody may share; share: public is the word for sharing all the same"#,
    ),
    (
        "ignore_headers: [authorization]",
        r#"ignore_headers[0]: "authorization" says who asks; share says what that means (share: public: nothing)"#,
    ),
    ("switches: { push: _wait }", "switches: two switches have the same name"),
    (
        "event_name: stale",
        r#"event_name: "stale" is an event of pollcast's own; clients could not tell them apart"#,
    ),
    ("retry: [8s, 2s]", "retry: the first time is longer than the second; write [shortest, longest]"),
    ("retry: [8s]", "retry: expected two times, the shortest and the longest, as [2s, 8s]"),
    ("history: { versions: 0 }", r#"history.versions: "0" is too small; at least 1"#),
    ("gone_after: 0s", r#"gone_after: "0s" is too short; at least 1s"#),
    ("max_age: 10ms", r#"max_age: "10ms" is too short; at least 1s"#),
    ("cors: {}", "cors: names no origins; write origins: [\"https://shop.example.com\"], or cors: off"),
    (
        "cors: { origins: [\"*\"], credentials: true }",
        "cors.credentials: any site could read what a client's cookies open; name the origins instead of \"*\"",
    ),
    (
        "cors: { origins: [\"https://a.example/\"] }",
        r#"cors.origins[0]: "https://a.example/" is not an origin; write it like https://shop.example.com, in lower case, without a path"#,
    ),
    ("websocket: { origins: some }", r#"websocket.origins: "some" is neither same nor a list of origins"#),
    ("websocket: { send: { rate: 10 } }", r#"websocket.send.rate: "10" is not a rate; write it like 10/s"#),
    (
        "websocket: { send: { path: \"/rooms/{room}\" } }",
        r#"websocket.send.path: "/rooms/{room}" has {room}, which the route's path has not"#,
    ),
    (
        "websocket: { send: { method: GET } }",
        r#"websocket.send.method: "GET" is not one of POST, PUT, PATCH, DELETE"#,
    ),
];

#[test]
fn bad_settings_are_told_with_what_was_wanted() {
    for (settings, wanted) in ROUTES {
        assert_eq!(
            told(&format!("    {settings}\n")),
            format!("pollcast.yaml:6: routes[0].{wanted}"),
            "{settings}"
        );
    }
}

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
    super::loaded(&text.replace("    feed:", "    change: off\n    feed:"));
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
        let problems = super::load_text(&text, &[]).expect_err(to).to_string();
        assert!(problems.contains("routes[0].upstream_path") && problems.contains(wanted), "{problems}");
    }
    let sets = "feed: { items: '', id: /id, cursor: { query: X, from: /x } }, query: [x]";
    let text = format!(
        "listeners: [{{ address: 0.0.0.0:8080 }}]\nupstreams: {{ api: {{ servers: [127.0.0.1:3000] }} }}\n\
         routes: [{{ path: '/a/{{x}}', upstream: api, upstream_path: '/b?x={{x}}', {sets} }}]\n"
    );
    let problems = super::load_text(&text, &[]).expect_err("two problems").to_string();
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

#[test]
fn bad_upstreams_are_told() {
    for (upstream, wanted) in [
        ("servers: []", ".servers: is empty; at least one server is needed"),
        (
            "servers: [\"https://a.example\"]",
            ".servers[0]: \"https://a.example\" is a URL; write only host:port, and \"tls: {}\" beside it for https",
        ),
        (
            "servers: [\"a b:1\"]",
            ".servers[0]: \"a b:1\" is not host:port; write it like api.internal:3000 or [::1]:3000",
        ),
        (
            "servers: [\"a:99999\"]",
            ".servers[0]: \"a:99999\" is not host:port; write it like api.internal:3000 or [::1]:3000",
        ),
        ("servers: [\"unix:\"]", ".servers[0]: names no socket; write it like unix:/run/app.sock"),
        ("servers: [\"unix:/a/\"]", ".servers[0]: names no socket; write it like unix:/run/app.sock"),
        (
            "servers: [\"unix:/a.sock\", \"unix:/a.sock\"]",
            ".servers[1]: \"unix:/a.sock\" is there twice; give one of them a weight",
        ),
        (
            "servers: [\"unix:/a.sock\"], proxy: \"http://proxy:3128\"",
            ".proxy: goes with no server that is a Unix socket: those are on this machine",
        ),
        (
            "servers: [a:1], proxy: \"https://ann:hidden@proxy:3128\"",
            ".proxy: is a proxy that is spoken to in TLS, which pollcast does not; http:// it is, if any",
        ),
        (
            "servers: [a:1], proxy: \"http://ann:hidden@proxy\"",
            ".proxy: has no port; write it like http://proxy:3128",
        ),
        ("servers: [a:1, a:1]", ".servers[1]: \"a:1\" is there twice; give one of them a weight"),
        (
            "servers: [{ address: a:1, weight: 1001 }]",
            ".servers[0].weight: \"1001\" is too large; at most 1000",
        ),
        ("servers: [{ weight: 1 }]", ".servers[0]: key \"address\" is missing"),
        (
            "servers: [a:1], budget: { rate: fast }",
            ".budget.rate: \"fast\" is not a rate from 0.001/s to 100000/s; write it like 50/s or 30/m",
        ),
        ("servers: [a:1], host: \"a/b\"", ".host: \"a/b\" is not a host, with or without a port"),
        ("servers: [a:1], tls: { sni: 127.0.0.1 }", ".tls.sni: \"127.0.0.1\" is not a DNS name"),
        ("servers: [a:1], tls: { reload: 10ms }", ".tls.reload: \"10ms\" is too short; at least 1s"),
        ("servers: [a:1], health_check: { interval: 1s }", ".health_check: key \"path\" is missing"),
        ("servers: [a:1], forwarded: { proto: ws }", ".forwarded.proto: \"ws\" is not one of http, https"),
    ] {
        let text = SMALLEST.replace("servers: [127.0.0.1:3000]", upstream);
        assert_eq!(refused(&text), format!("pollcast.yaml:2: upstreams.api{wanted}"));
    }
}

#[test]
fn bad_listeners_are_told() {
    for (listener, wanted) in [
        (
            "address: localhost:80",
            ".address: \"localhost:80\" is not ip:port; did you mean \"127.0.0.1:80\"?",
        ),
        ("address: \"8080\"", ".address: \"8080\" is not ip:port; did you mean \"0.0.0.0:8080\"?"),
        ("address: nowhere", ".address: \"nowhere\" is not ip:port; write it like 0.0.0.0:8080 or [::]:8080"),
        (
            "address: 0.0.0.0:8080, proxy_protocol: true, client_address: peer",
            ".client_address: \"peer\" would be the load balancer's with proxy_protocol: true; write proxy_protocol or forwarded",
        ),
        (
            "address: 0.0.0.0:8080, client_address: proxy_protocol",
            ".client_address: \"proxy_protocol\" needs proxy_protocol: true on this listener",
        ),
        (
            "address: 0.0.0.0:8080, trusted_proxies: [10.0.0.0/33]",
            ".trusted_proxies[0]: \"10.0.0.0/33\" is neither an address nor a network; write it like 10.0.0.0/8 or fd00::/8",
        ),
        (
            "address: 0.0.0.0:8080, tls: { client_certificates: required, certificates: [] }",
            ".tls.client_certificates: has no effect without client_ca\npollcast.yaml:1: listeners[0].tls.certificates: is empty; at least one certificate is needed",
        ),
        (
            "address: 0.0.0.0:8080, tls: { reload: 10ms, certificates: [] }",
            ".tls.reload: \"10ms\" is too short; at least 1s\npollcast.yaml:1: listeners[0].tls.certificates: is empty; at least one certificate is needed",
        ),
    ] {
        let text = SMALLEST.replace("address: 0.0.0.0:8080", listener);
        assert_eq!(refused(&text), format!("pollcast.yaml:1: listeners[0]{wanted}"));
    }
}

#[test]
fn an_admin_socket_has_a_path_that_fits() {
    let admin = |address: &str| refused(&format!("{SMALLEST}admin: {{ address: \"{address}\" }}\n"));
    let nameless = "names no socket; write it like unix:/run/pollcast/admin.sock";
    assert!(admin("unix:").ends_with(nameless), "{}", admin("unix:"));
    assert!(admin("unix:/run/").ends_with(nameless), "{}", admin("unix:/run/"));
    let long = admin(&format!("unix:/{}", "a".repeat(107)));
    assert!(long.ends_with("is too long for a Unix socket: at most 107 bytes"), "{long}");
}

#[test]
fn addresses_cannot_be_taken_twice() {
    let text = SMALLEST
        .replace("0.0.0.0:8080 }", "0.0.0.0:8080 }, { address: 127.0.0.1:8080 }, { address: \"[::]:8080\" }");
    assert_eq!(
        refused(&format!("{text}admin: {{ address: 127.0.0.1:8080 }}\n")),
        "pollcast.yaml:1: listeners[1].address: another listener has this address
pollcast.yaml:4: admin.address: is also a listener's; the admin surface needs an address of its own"
    );
}

#[test]
fn a_limit_by_address_needs_to_know_what_an_address_is() {
    let limit = "limits: { clients_per_address: 10 }\n";
    assert_eq!(
        refused(&format!("{SMALLEST}{limit}")),
        "pollcast.yaml:4: limits.clients_per_address: needs client_address on every listener; listeners[0] does not say it"
    );
    let said = SMALLEST.replace("8080 }", "8080, client_address: peer }");
    assert_eq!(super::loaded(&format!("{said}{limit}")).limits.clients_per_address, Some(10));
}

#[test]
fn every_limit_is_held_to_its_bounds() {
    let limits = "limits: { header_fields: 257, url_bytes: 1MiB, query_parameters: 0, request_body: 1B,\n\
                  \x20 header_timeout: 1ms, body_timeout: 2h, idle_timeout: 2h, http2_control_rate: 1/s, resources_per_address: 5,
                  \x20 new_resources_per_address: 5/s, snapshot_bytes_per_address: 1B, requests: 0, requests_per_address: 0 }\n";
    assert_eq!(
        refused(&format!("{SMALLEST}{limits}")),
        "pollcast.yaml:4: limits.header_fields: \"257\" is too large; at most 256
pollcast.yaml:4: limits.url_bytes: \"1MiB\" is too large; at most 32KiB
pollcast.yaml:4: limits.query_parameters: \"0\" is too small; at least 1
pollcast.yaml:4: limits.request_body: \"1B\" is too small; at least 1KiB
pollcast.yaml:5: limits.resources_per_address: needs client_address on every listener; listeners[0] does not say it
pollcast.yaml:5: limits.header_timeout: \"1ms\" is too short; at least 100ms
pollcast.yaml:5: limits.body_timeout: \"2h\" is too long; at most 1h
pollcast.yaml:5: limits.idle_timeout: \"2h\" is too long; at most 1h
pollcast.yaml:5: limits.http2_control_rate: \"1/s\" is too small; at least 10/s
pollcast.yaml:6: limits.new_resources_per_address: needs client_address on every listener; listeners[0] does not say it
pollcast.yaml:6: limits.snapshot_bytes_per_address: needs client_address on every listener; listeners[0] does not say it
pollcast.yaml:6: limits.snapshot_bytes_per_address: \"1B\" is too small; at least 1KiB
pollcast.yaml:6: limits.requests: \"0\" is too small; at least 1
pollcast.yaml:6: limits.requests_per_address: needs client_address on every listener; listeners[0] does not say it
pollcast.yaml:6: limits.requests_per_address: \"0\" is too small; at least 1"
    );
}

#[test]
fn messages_to_the_upstream_need_frames_to_come_in() {
    let websocket = "websocket: { frame_rate: 5/s, send: { method: POST, rate: 6/s } }";
    assert_eq!(
        refused(&format!("{ROUTE}    {websocket}\n")),
        "pollcast.yaml:6: routes[0].websocket.send.rate: is never reached: websocket.frame_rate is 5/s"
    );
}

#[test]
fn other_sections_are_held_to_their_bounds() {
    assert_eq!(
        refused(&format!(
            "{SMALLEST}public_prefix: /-/pollcast
version_key: short
threads: {{ front: 0 }}
log: {{ format: xml, buffer: 1 }}
drain: {{ window: 2h }}
limits: {{ send_buffer: 1KiB, accept_rate: fast, http2_streams: 0, first_byte_timeout: 1ms }}
admin: {{ address: 127.0.0.1:9, token: \"a b\" }}
"
        )),
        r#"pollcast.yaml:4: public_prefix: "/-/pollcast" is no prefix; it starts and ends with "/", as /-/pollcast/
pollcast.yaml:5: version_key: is too short for a secret key; at least 16 characters
pollcast.yaml:6: threads.front: "0" is too small; at least 1
pollcast.yaml:7: log.format: "xml" is not one of text, json
pollcast.yaml:7: log.buffer: "1" is too small; at least 16
pollcast.yaml:8: drain.window: "2h" is too long; at most 1h
pollcast.yaml:9: limits.accept_rate: "fast" is not a rate; write it like 10/s
pollcast.yaml:9: limits.send_buffer: "1KiB" is too small; at least 4KiB
pollcast.yaml:9: limits.first_byte_timeout: "1ms" is too short; at least 100ms
pollcast.yaml:9: limits.http2_streams: "0" is too small; at least 1
pollcast.yaml:10: admin.token: must be visible ASCII without spaces"#
    );
}

#[test]
fn the_place_of_an_upgrade_is_a_path_that_a_socket_can_have() {
    let long = "x".repeat(90);
    let told = |upgrade: &str| refused(&format!("{SMALLEST}upgrade: {upgrade}\n"));
    assert_eq!(told("{ timeout: 1s }"), "pollcast.yaml:4: upgrade: key \"socket\" is missing");
    assert_eq!(
        told("{ socket: run/, timeout: 1ms }"),
        r#"pollcast.yaml:4: upgrade.timeout: "1ms" is too short; at least 1s
pollcast.yaml:4: upgrade.socket: "run/" is not the path of a socket; write it like /run/pollcast/upgrade.sock"#
    );
    let told_long = told(&format!("{{ socket: {long} }}"));
    let words = "is 103 bytes long with /nonexistent before it; a socket's path has at most 100";
    assert!(told_long.ends_with(words), "{told_long}");
    assert!(told(&format!("{{ socket: /{long}{long} }}")).contains("is 181 bytes long; a socket's path"));
    let upgrade = |socket| super::loaded(&format!("{SMALLEST}upgrade: {{ socket: {socket} }}\n")).upgrade;
    assert_eq!(upgrade("a.sock").expect("said").socket, std::path::Path::new("/nonexistent/a.sock"));
    assert_eq!(upgrade("/run/a").expect("said").socket, std::path::Path::new("/run/a"));
}

#[test]
fn no_more_sockets_than_can_be_handed_over() {
    let listeners: String = (1..32).map(|port| format!("  - address: 127.0.0.1:{port}\n")).collect();
    let rest =
        "upstreams: { api: { servers: [127.0.0.1:3000] } }\npassthrough: api\nupgrade: { socket: /run/a }\n";
    let fits = format!("listeners:\n{listeners}{rest}");
    assert_eq!(super::loaded(&fits).listeners.len(), 31);
    assert_eq!(
        refused(&format!("{fits}admin: {{ address: 127.0.0.1:9090 }}\n")),
        "pollcast.yaml:35: upgrade: hands over at most 31 sockets; 32 are here, the admin listener included"
    );
}

#[test]
fn suggestions_are_only_made_when_near() {
    assert_eq!(told("    bananas: 1\n"), "pollcast.yaml:6: routes[0].bananas: unknown key \"bananas\"");
    assert_eq!(
        told("    stale-after: 1s\n"),
        "pollcast.yaml:6: routes[0].stale-after: unknown key \"stale-after\"; did you mean \"stale_after\"?"
    );
}
