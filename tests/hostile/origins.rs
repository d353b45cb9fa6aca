//! Contract §12: other origins get what the route gives them, on every own answer, and nothing by tricks.

use std::time::Duration;

use super::Tally;
use crate::support::app;
use crate::support::client::{Http, Response, Sse, Ws, long_poll};
use crate::support::legacy::{Legacy, Reply};
use pollcast::app::App;

const SHOP: &str = "https://shop.example";
const EXPOSED: &str = "ETag, Age, Link, Cache-Status, Preference-Applied, Retry-After, Delta-Base";

fn start(legacy: &Legacy) -> App {
    app::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{legacy: {{servers: ['{}']}}, gone: {{servers: ['127.0.0.1:1'], connect_timeout: 100ms}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         defaults: {{poll: {{interval: 1h}}, cors: {{origins: ['{SHOP}', 'http://localhost:3000'], max_age: 10m}}}}\n\
         routes:\n  \
         - {{path: '/c/{{name}}', upstream: legacy}}\n  \
         - {{path: '/cred/{{name}}', upstream: legacy, share: {{by: ['cookie:s']}}, cors: {{credentials: true}}}}\n  \
         - {{path: '/any/{{name}}', upstream: legacy, share: public, cors: {{origins: ['*']}}}}\n  \
         - {{path: '/gone/{{name}}', upstream: gone}}\n  \
         - {{path: '/no/{{name}}', upstream: legacy, share: public, cors: off}}\n",
        legacy.address()
    ))
}

/// Exactly what an own answer tells an origin that is let in.
fn is_granted(answer: &Response, what: &str) {
    assert_eq!(answer.headers("access-control-allow-origin"), [SHOP], "{what}: {answer:?}");
    assert_eq!(answer.headers("access-control-expose-headers"), [EXPOSED], "{what}: {answer:?}");
    varies(answer, what);
}

fn varies(answer: &Response, what: &str) {
    assert!(answer.names("vary", "origin"), "{what}: no Vary: Origin: {answer:?}");
}

#[tokio::test]
async fn every_own_answer_tells_the_origin_that_it_is_let_in() {
    let legacy = Legacy::start();
    legacy.set("/c/a", Reply::json("1").header("access-control-allow-origin", "*"));
    legacy.set("/c/refused", Reply::text("no").status(404).header("access-control-allow-origin", "*"));
    legacy.set("/cred/a", Reply::empty(401));
    let app = start(&legacy);
    let address = app.addresses()[0];
    let mut http = Http::connect(address).await;
    let origin = ("origin", SHOP);
    let first = http.get("/c/a", &[origin]).await.expect(200);
    is_granted(&first, "200");
    let tag = ("if-none-match", first.etag());
    is_granted(&http.get("/c/a", &[origin, tag]).await.expect(304), "304");
    is_granted(&http.request("HEAD", "/c/a", &[origin], b"").await.expect(200), "HEAD");
    is_granted(&http.get("/c/refused", &[origin]).await.expect(404), "a cold 404");
    is_granted(&http.get("/cred/a", &[origin, ("cookie", "s=1")]).await.expect(401), "a cold 401");
    is_granted(&http.get("/gone/a", &[origin]).await.expect(502), "502");
    is_granted(&http.get("/c/a?_push=sse", &[origin, ("cookie", "u=1")]).await.expect(403), "403");
    is_granted(&http.get("/c/b", &[origin, ("cache-control", "only-if-cached")]).await.expect(504), "504");
    let held = [origin, tag, ("prefer", "wait=1")];
    is_granted(&http.get("/c/a", &held).await.expect(304), "a held poll without a change");
    // Repeats are answered elsewhere in the code; the fields are this request's all the same.
    // Three, as the next one of a connection in such a hurry would try the API's own pace.
    let mut http = Http::connect(address).await;
    for _ in 0..3 {
        is_granted(&http.get("/c/a", &[origin, tag]).await.expect(304), "a repeat");
    }
    let mut http = Http::connect(address).await;
    let evil = http.get("/c/a", &[("origin", "https://evil.example"), tag]).await.expect(304);
    assert_eq!(evil.header("access-control-allow-origin"), None, "{evil:?}");
    varies(&evil, "for another origin");
    varies(&http.get("/c/a", &[]).await.expect(200), "without an origin");
    let sse = Sse::open(address, "/c/a", &[origin]).await;
    is_granted(&sse.head, "a stream");
    let many = Sse::open(address, "/-/pollcast/events?resource=/c/a", &[origin]).await;
    is_granted(&many.head, "a stream of many");
    let mut other = Http::connect(address).await;
    let unasked = long_poll(&mut other, "/c/a", None, Duration::from_secs(1)).await.expect(200);
    assert_eq!(unasked.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn origins_that_only_look_alike_get_nothing() {
    let legacy = Legacy::start();
    legacy.set("/c/a", Reply::json("1"));
    let app = start(&legacy);
    let mut tally = Tally::default();
    for origin in [
        "null",
        "",
        "*",
        "https://",
        "shop.example",
        "//shop.example",
        "http://shop.example",
        "HTTPS://shop.example",
        "https://SHOP.example",
        "https://shop.example:443",
        "https://shop.example:8443",
        "https://shop.example.",
        "https://shop.example/",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "https://evil.shop.example",
        "https://shop.example@evil.example",
        "https://shop_example",
        "https://shop.example evil",
        "https://shop.example, https://evil.example",
        "https://evil.example, https://shop.example",
        "https://shop.example%00",
        "https://shop.example#",
        "http://localhost",
        "http://localhost:30000",
        "http://localhost:3000.evil.example",
        "file://",
        "chrome-extension://shop.example",
    ] {
        for (method, fields) in [
            ("GET", &[("origin", origin)][..]),
            ("OPTIONS", &[("origin", origin), ("access-control-request-method", "PUT")]),
        ] {
            let mut http = Http::connect(app.addresses()[0]).await;
            let answer = http.request(method, "/c/a", fields, b"").await;
            tally.count(super::Fate::Answered(answer.status));
            let told = answer
                .headers
                .iter()
                .any(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"));
            if told || !answer.names("vary", "origin") {
                tally.fault(format!("{method} with Origin {origin:?}: {answer:?}"));
            }
        }
    }
    tally.close("origins that look alike");
    // A request with two origins, or with one that is no text, must not count as one without an origin.
    for fields in [
        "Origin: https://shop.example\r\nOrigin: https://evil.example\r\n",
        "Origin: https://shop.example\u{ff}\r\n",
    ] {
        let mut http = Http::connect(app.addresses()[0]).await;
        http.send_raw(&super::latin1(&format!("GET /c/a HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))).await;
        http.read_response().await.expect(400);
        http.expect_closed().await;
    }
}

#[tokio::test]
async fn preflights_are_answered_here_for_origins_that_are_let_in() {
    let legacy = Legacy::start();
    let app = start(&legacy);
    let mut http = Http::connect(app.addresses()[0]).await;
    let asking = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "x-a, content-type"),
        ]
    };
    for target in ["/c/a", "/c/a?_push=sse", "/-/pollcast/events", "/-/pollcast/events?resource=/c/a"] {
        let answer = http.request("OPTIONS", target, &asking(SHOP), b"").await.expect(204);
        is_granted(&answer, target);
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST"), "{target}");
        assert_eq!(answer.header("access-control-allow-headers"), Some("x-a, content-type"), "{target}");
        assert!(answer.header("access-control-max-age").is_some(), "{target}");
        let evil = http.request("OPTIONS", target, &asking("https://evil.example"), b"").await.expect(204);
        if target.starts_with("/-/") {
            // Some route is for all origins, but cookies open none.
            assert_eq!(evil.headers("access-control-allow-origin"), ["*"], "{target}");
            assert_eq!(evil.header("access-control-allow-credentials"), None, "{target}");
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{target}");
            continue;
        }
        assert!(
            !format!("{evil:?}").to_ascii_lowercase().contains("access-control-allow"),
            "{target}: {evil:?}"
        );
    }
    assert_eq!(legacy.all_seen().len(), 0);
    // Without cors it is the upstream's business.
    legacy.set("/no/a", Reply::empty(204).header("access-control-allow-origin", "https://theirs.example"));
    let answer = http.request("OPTIONS", "/no/a", &asking(SHOP), b"").await.expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://theirs.example"));
    assert_eq!(legacy.count("/no/a"), 1);
}

#[tokio::test]
async fn what_the_upstream_says_of_origins_gives_way_to_the_routes_own() {
    let legacy = Legacy::start();
    let theirs = |reply: Reply| {
        reply
            .header("access-control-allow-origin", "https://theirs.example")
            .header("access-control-allow-credentials", "true")
            .header("access-control-expose-headers", "x-secret")
    };
    legacy.set("/c/a", theirs(Reply::json("1")));
    legacy.set("/no/a", theirs(Reply::json("1")));
    let app = start(&legacy);
    let mut http = Http::connect(app.addresses()[0]).await;
    for origin in ["https://theirs.example", "https://evil.example"] {
        let answer = http.get("/c/a", &[("origin", origin)]).await.expect(200);
        assert!(!format!("{answer:?}").to_ascii_lowercase().contains("access-control"), "{answer:?}");
        // Without cors it is the upstream's word, and no origin gets another's.
        let answer = http.get("/no/a", &[("origin", origin)]).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://theirs.example"));
        let polls = legacy.seen("/no/a");
        assert_eq!(polls.last().and_then(|poll| poll.header("origin")), Some(origin), "asked for itself");
    }
    // What passes through a route with cors has the upstream's own word, or ours where it has none.
    let write = http.request("POST", "/c/a", &[("origin", SHOP)], b"x").await.expect(200);
    assert_eq!(write.headers("access-control-allow-origin"), ["https://theirs.example"]);
    legacy.set("/c/a", Reply::json("2"));
    let write = http.request("POST", "/c/a", &[("origin", SHOP)], b"x").await.expect(200);
    is_granted(&write, "a write");
    let evil = http.request("POST", "/c/a", &[("origin", "https://evil.example")], b"x").await.expect(200);
    assert_eq!(evil.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn credentials_are_granted_only_where_every_resource_grants_them() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let app = start(&legacy);
    let address = app.addresses()[0];
    let fields = [("origin", SHOP), ("cookie", "s=1")];
    let credentials = "access-control-allow-credentials";
    let mut http = Http::connect(address).await;
    assert_eq!(http.get("/cred/a", &fields).await.expect(200).header(credentials), Some("true"));
    assert_eq!(http.get("/any/a", &fields).await.expect(200).header(credentials), None);
    assert_eq!(
        http.get("/any/a", &fields).await.expect(200).header("access-control-allow-origin"),
        Some("*")
    );
    for (resources, granted, origin) in [
        ("resource=/cred/a", Some("true"), Some(SHOP)),
        ("resource=/cred/a&resource=/any/a", None, Some(SHOP)),
        ("resource=/any/a&resource=/cred/a", None, Some(SHOP)),
        ("resource=/any/a", None, Some("*")),
    ] {
        let sse = Sse::open(address, &format!("/-/pollcast/events?{resources}"), &fields).await;
        assert_eq!(sse.head.header(credentials), granted, "{resources}");
        assert_eq!(sse.head.header("access-control-allow-origin"), origin, "{resources}");
    }
    // A resource whose route lets no other origin in cannot be read beside others.
    let mut sse = Sse::open(address, "/-/pollcast/events?resource=/no/a&resource=/any/a", &fields).await;
    let first = sse.next_event().await;
    assert!(first.event == "error" || first.data == "1", "{first:?}");
    let mut http = Http::connect(address).await;
    http.get("/-/pollcast/events?resource=/no/a", &fields).await.expect(403);
}

#[tokio::test]
async fn no_other_site_opens_a_websocket_with_its_visitors_cookies() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let app = start(&legacy);
    let address = app.addresses()[0];
    let own = format!("http://{address}");
    for origin in [
        "null",
        "https://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        &format!("http://{address}.evil.example"),
        &format!("http://evil.example/{address}"),
        &format!("http://a@{address}"),
        &format!("{address}"),
        "",
        "file://",
    ] {
        for target in ["/c/a", "/any/a", "/no/a"] {
            let fields = [("origin", origin), ("cookie", "")];
            let refused = Ws::try_open(address, target, &fields).await.err();
            let status = refused.map(|answer| answer.status);
            assert_eq!(status, Some(403), "{origin:?} {target}");
        }
        // On a connection of many each resource is refused.
        let mut ws = Ws::open(
            address,
            "/-/pollcast/ws",
            &[("origin", origin), ("sec-websocket-protocol", "pollcast.v1")],
        )
        .await;
        ws.send_text("{\"op\":\"subscribe\",\"resource\":\"/c/a\"}").await;
        let answer = ws.next_text().await;
        assert!(answer.contains("\"type\":\"error\"") && answer.contains("403"), "{origin:?}: {answer}");
    }
    let mut ws = Ws::open(address, "/c/a", &[("origin", &own)]).await;
    assert_eq!(ws.next_text().await, "1");
}
