//! Contract §11, §12: targets and fields of what passes through: changed only where they must be.

use crate::contract::edge::support::{Extra, http, start, start_with};
use crate::support::client::{Http, Message, Ws};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Folder;
use crate::support::tls::Authority;
use crate::support::wire::within;

/// A route with `authenticate`.
const GUARD: &str = ", authenticate: {keys: {header: x-key, clients: {ann: hunter2hunter2hunter2}}}";

#[tokio::test]
async fn an_absolute_target_is_its_path_and_its_authority_is_the_host() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("through"));
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    http.send_raw(b"GET http://right.example/x?a=1 HTTP/1.1\r\nHost: right.example\r\n\r\n").await;
    assert_eq!(http.read_response().await.expect(200).text(), "through");
    let seen = legacy.seen("/x").pop().expect("it was asked");
    assert_eq!(seen.target, "/x?a=1");
    assert_eq!(seen.headers("host"), ["right.example"]);
    http.send_raw(b"GET http://right.example/r/a HTTP/1.1\r\nHost: right.example\r\n\r\n").await;
    assert_eq!(http.read_response().await.expect(200).text(), "1");
    assert_eq!(legacy.seen("/r/a")[0].header("host"), Some("right.example"));
    // A request that says two things gets nothing.
    http.send_raw(b"GET http://right.example/x HTTP/1.1\r\nHost: wrong.example\r\n\r\n").await;
    http.read_response().await.expect(400);
    http.expect_closed().await;
    assert_eq!(legacy.count("/x"), 1);
}

#[tokio::test]
async fn targets_are_never_rewritten() {
    let legacy = Legacy::start();
    let app = start(&legacy, ", share: public");
    let mut http = http(&app).await;
    for target in [
        "/%41%7e%c3%a9?x=%41&&y=1;z=[2]&=",
        "/a//b",
        "/a/../b",
        "/a/./b",
        "/a%2fb",
        "/a%5cb",
        "/a%00b",
        "/a;p=1/b",
        "/?",
        "/a?",
        "//",
        "/r/a%2f..%2fb",
        "/r/a;p=1",
        "/r/a/../b?_wait=5",
    ] {
        legacy.forget();
        http.get(target, &[]).await.expect(404);
        let seen: Vec<String> = legacy.all_seen().into_iter().map(|s| s.target).collect();
        assert_eq!(seen, [target]);
    }
}

#[tokio::test]
async fn a_path_that_some_server_reads_as_a_guarded_route_goes_nowhere() {
    let legacy = Legacy::start();
    let app = start(&legacy, GUARD);
    let mut http = http(&app).await;
    for target in [
        "//r/a",
        "/r//a",
        "/x/../r/a",
        "/x/%2e%2e/r/a",
        "/./r/a",
        "/r%2fa",
        "/r%5ca",
        "/r\\a",
        "/r/a%00",
        "/r;x=1/a",
        "/r/a;x=1",
        "/%2572/a%zz",
        "/R/a",
        "/r/a/",
    ] {
        // Where every reading is the route itself, the route authenticates.
        let wanted = if matches!(target, "/r/a%00" | "/r/a;x=1") { 401 } else { 400 };
        assert_eq!(http.get(target, &[]).await.status, wanted, "{target}");
        assert_eq!(http.request("POST", target, &[], b"x").await.status, wanted, "{target}");
    }
    assert_eq!(legacy.all_seen().len(), 0);
    // It is the covered path that may be spelled with escapes.
    legacy.set("/%72/%61", Reply::json("1"));
    let key = [("x-key", "hunter2hunter2hunter2")];
    assert_eq!(http.get("/%72/%61", &key).await.expect(200).text(), "1");
    http.get("/%72/%61", &[]).await.expect(401);
}

#[tokio::test]
async fn what_no_route_guards_passes_through_in_every_spelling() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    for target in
        ["//r/a", "/r//a", "/x/../r/a", "/r%2fa", "/r;x=1/a", "/R/a", "/r/a/", "/r/a%zz", "/r/a;x=1"]
    {
        legacy.forget();
        http(&app).await.get(target, &[]).await.expect(404);
        http(&app).await.request("POST", target, &[], b"x").await.expect(404);
        let seen: Vec<String> = legacy.all_seen().into_iter().map(|seen| seen.target).collect();
        assert_eq!(seen, [target, target]);
    }
}

#[tokio::test]
async fn switches_never_reach_the_upstream() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    http.request("POST", "/r/a?b=1&_push=sse&_wait=5&_delta=json-patch&c=%41", &[], b"x").await.expect(200);
    http.get("/r/a?_wait=1&_push=poll", &[("cookie", "user=1")]).await.expect(200);
    // On an ordinary poll a parameter of this name is the API's.
    http.get("/r/a?last_event_id=x&_push=poll", &[("cookie", "user=1")]).await.expect(200);
    let seen: Vec<String> = legacy.all_seen().into_iter().map(|s| s.target).collect();
    assert_eq!(seen, ["/r/a?b=1&c=%41", "/r/a", "/r/a?last_event_id=x"]);
}

#[tokio::test]
async fn forwarded_headers_of_an_untrusted_peer_are_replaced() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("ok"));
    let app = start(&legacy, "");
    let lies = [
        ("host", "public.example"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=1.1.1.1;proto=https"),
    ];
    http(&app).await.get("/x", &lies).await.expect(200);
    let seen = legacy.seen("/x").pop().expect("it was asked");
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.headers("x-forwarded-host"), ["public.example"]);
    assert_eq!(seen.headers("forwarded"), [""; 0]);
    assert_eq!(seen.headers("host"), ["public.example"]);
}

#[tokio::test]
async fn forwarded_headers_of_a_trusted_proxy_are_continued() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("ok"));
    let extra = Extra {
        listener: ", trusted_proxies: [127.0.0.0/8]",
        upstream: ", host: api.internal",
        ..Extra::default()
    };
    let app = start_with(&legacy, extra);
    let words = [
        ("host", "proxy.example"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public.example"),
        ("forwarded", "for=1.1.1.1;proto=https"),
    ];
    http(&app).await.get("/x", &words).await.expect(200);
    let seen = legacy.seen("/x").pop().expect("it was asked");
    assert_eq!(seen.headers("x-forwarded-for"), ["1.1.1.1, 2.2.2.2, 127.0.0.1"]);
    assert_eq!(seen.headers("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.headers("x-forwarded-host"), ["public.example"]);
    assert_eq!(seen.headers("forwarded"), ["for=1.1.1.1;proto=https"]);
    assert_eq!(seen.headers("host"), ["api.internal"]);
}

#[tokio::test]
async fn hop_by_hop_fields_end_at_each_hop() {
    let legacy = Legacy::start();
    legacy.set(
        "/x",
        Reply::text("ok")
            .header("Connection", "keep-alive, X-Secret-Hop")
            .header("X-Secret-Hop", "1")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Connection", "keep-alive")
            .header("X-Kept", "1"),
    );
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let fields = [
        ("connection", "keep-alive, x-nominated"),
        ("x-nominated", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("x-kept", "1"),
    ];
    let answer = http.get("/x", &fields).await.expect(200);
    for gone in ["x-secret-hop", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.header(gone), None, "{answer:?}");
    }
    assert!(!answer.names("connection", "x-secret-hop"), "{answer:?}");
    assert_eq!(answer.header("x-kept"), Some("1"));
    let seen = legacy.seen("/x").pop().expect("it was asked");
    for gone in ["x-nominated", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(seen.header(gone), None, "{seen:?}");
    }
    assert_eq!(seen.header("x-kept"), Some("1"));
    // The connection lives on.
    http.get("/x", &[]).await.expect(200);
}

#[tokio::test]
async fn a_client_cannot_strip_what_the_proxy_says() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("ok"));
    let app = start(&legacy, "");
    let fields =
        [("connection", "close, x-forwarded-for, host, authorization"), ("authorization", "Bearer 1")];
    let answer = http(&app).await.get("/x", &fields).await;
    let seen = legacy.seen("/x");
    match seen.last() {
        Some(seen) => {
            assert_eq!((seen.headers("x-forwarded-for"), seen.headers("host").len()), (vec!["127.0.0.1"], 1))
        }
        None => assert_eq!(answer.status, 400, "{answer:?}"),
    }
}

#[tokio::test]
async fn over_tls_everything_goes_through_and_says_https() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("through"));
    legacy.set("/ws", Reply::websocket_echo());
    let (authority, folder) = (Authority::new(), Folder::new());
    let identity = authority.certify(&["localhost"]);
    let cert = folder.write("cert.pem", &identity.cert_pem);
    let key = folder.write("key.pem", &identity.key_pem);
    let tls = format!(", tls: {{certificates: [{{cert: '{}', key: '{}'}}]}}", cert.display(), key.display());
    let app = start_with(&legacy, Extra { listener: &tls, ..Extra::default() });
    let address = app.addresses()[0];
    let mut http = Http::over(authority.connect(address, "localhost", &[]).await, "localhost");
    for _ in 0..2 {
        assert_eq!(http.request("POST", "/x", &[], b"body").await.expect(200).text(), "through");
    }
    let seen = legacy.seen("/x").pop().expect("it came");
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    let stream = authority.connect(address, "localhost", &["http/1.1"]).await;
    let mut ws = Ws::over(stream, "localhost", "/ws", &[]).await.expect("a WebSocket");
    ws.send_text("hello").await;
    assert_eq!(ws.next_message().await, Message::Text("hello".into()));
}

#[tokio::test]
async fn http2_goes_through_to_an_upstream_of_http1() {
    let legacy = Legacy::start();
    legacy.answer_with("/x", |seen| Reply::new("text/plain", seen.body.clone()).header("x-own", "1"));
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(&legacy, Extra { listener: ", http2: true", ..Extra::default() });
    let stream = crate::support::client::connect(app.addresses()[0]).await;
    let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let ask = |method: &str, path: &str| {
        http::Request::builder()
            .method(method)
            .uri(format!("http://api.example{path}"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .expect("a request")
    };
    let (answer, mut body) = client.send_request(ask("POST", "/x?q=1"), false).expect("a stream");
    body.send_data(bytes::Bytes::from_static(b"sent"), true).expect("room");
    let answer = within("an answer", answer).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers().get("x-own").is_some()), (200, true));
    let mut body = answer.into_body();
    let data = within("a body", body.data()).await.expect("a body").expect("a body");
    assert_eq!(data, b"sent"[..]);
    let seen = legacy.seen("/x").pop().expect("it came");
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/x?q=1", Some("api.example")));
    assert_eq!(seen.headers("cookie"), ["a=1; b=2"], "one line, as HTTP/1 has it");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    let (answer, _) = client.send_request(ask("GET", "/r/a"), true).expect("a stream");
    assert_eq!(within("an answer", answer).await.expect("an answer").status().as_u16(), 200);
    let (answer, _) = client.send_request(ask("GET", "/r//a"), true).expect("a stream");
    assert_eq!(within("an answer", answer).await.expect("an answer").status().as_u16(), 404);
    assert_eq!(legacy.seen("/r//a").len(), 1);
    driver.abort();
}

#[tokio::test]
async fn options_of_the_whole_server_pass_through() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::empty(204).header("allow", "GET"));
    let app = start(&legacy, "");
    let answer = http(&app).await.request("OPTIONS", "*", &[], b"").await.expect(204);
    assert_eq!(answer.header("allow"), Some("GET"));
    assert_eq!(legacy.all_seen()[0].target, "*");
}
