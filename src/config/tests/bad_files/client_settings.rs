//! Settings of a route about its clients, and what is told about each bad one.

/// Settings of a route about its clients, and what is told about them.
pub(super) const OF_CLIENTS: &[(&str, &str)] = &[
    ("authorize: { recheck: 0s }", "authorize.recheck: \"0s\" is too short; at least 1s"),
    ("authenticate: yes", "authenticate: is neither off nor some of jwt, keys, forward, client_certificate"),
    (
        "authenticate: { token: { query: t } }",
        "authenticate: lets no client in; name some of jwt, keys, forward, client_certificate",
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
    ("transports: []", "transports: is empty; leave the route out if no client may read it"),
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
        r#"ignore_vary[0]: "*" means that no clients may share; share: public is the word for sharing all the same"#,
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
