//! Settings of a route, and what is told about each bad one.

use super::client_settings::OF_CLIENTS;
use super::told;

/// Settings of a route about what is polled and sent, and what is told about them.
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
        "hold_not_modified: needs plain: share; this route leaves plain requests to the API, which pollcast does not hold",
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
    ("presence: all", r#"presence: "all" is neither off nor { names, notify }"#),
    ("presence: { interval: 1ms }", r#"presence.interval: "1ms" is too short; at least 100ms"#),
    ("presence: { subjects: 0 }", r#"presence.subjects: "0" is too small; at least 1"#),
    (
        "presence: { names: true }",
        "presence.names: needs authenticate: without it no client has a subject to be named by",
    ),
    (
        "presence: { notify: { path: /who } }",
        "presence.notify: needs authenticate: without it no client has a subject that the upstream could be told of",
    ),
    (
        "event_name: presence",
        "event_name: \"presence\" is an event of pollcast's own; clients could not tell them apart",
    ),
    (
        "share: { by: [x-pollcast-subject] }",
        "share.by[0]: \"x-pollcast-subject\" is a name of pollcast's own; identity:subject is who a client is",
    ),
];

#[test]
fn bad_settings_are_told_with_what_was_wanted() {
    for (settings, wanted) in ROUTES.iter().chain(OF_CLIENTS) {
        assert_eq!(
            told(&format!("    {settings}\n")),
            format!("pollcast.yaml:6: routes[0].{wanted}"),
            "{settings}"
        );
    }
}
