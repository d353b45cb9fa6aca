//! The tests' own tools against each other: each misbehaviour of the legacy API shows at the client
//! as what it is. A tool that hid one would make other tests green for nothing.

mod streams;

use std::time::{Duration, Instant};

use super::support::client::{Http, Response, long_poll};
use super::support::legacy::{Expectation, Gate, Legacy, Reply};

const SHORT: Duration = Duration::from_millis(50);

async fn get(legacy: &Legacy, path: &str) -> Response {
    Http::connect(legacy.address()).await.get(path, &[]).await
}

/// The head of a reply, and how reading its body went wrong.
async fn broken_body(legacy: &Legacy, path: &str) -> (Response, std::io::Error) {
    let mut http = Http::connect(legacy.address()).await;
    http.send("GET", path, &[], b"").await;
    let head = http.read_head().await;
    let error = http.read_body(&head).await.expect_err("the body is broken");
    (head, error)
}

#[tokio::test]
async fn a_reply_is_what_was_set_and_changes_when_set_again() {
    let legacy = Legacy::start();
    assert_eq!(get(&legacy, "/a").await.status, 404);
    legacy.set("/a", Reply::json(r#"{"n":1}"#).header("X-Case", "Kept"));
    let mut http = Http::connect(legacy.address()).await;
    let first = http.get("/a?x=1", &[]).await.expect(200);
    assert_eq!((first.json()["n"].as_i64(), first.header("x-case")), (Some(1), Some("Kept")));
    assert!(first.headers.iter().any(|(name, _)| name == "X-Case"), "names keep their case");
    legacy.set("/a", Reply::json(r#"{"n":2}"#));
    assert_eq!(http.get("/a", &[]).await.json()["n"], 2);
    assert_eq!(legacy.connections(), 2, "the second request reused the connection");
}

#[tokio::test]
async fn one_shot_replies_come_first_and_a_query_is_more_specific() {
    let legacy = Legacy::start();
    legacy.set("/a", Reply::text("current"));
    legacy.set("/a?b=1", Reply::text("specific"));
    legacy.once("/a", Reply::text("once").status(503));
    let mut http = Http::connect(legacy.address()).await;
    assert_eq!(http.get("/a?b=1", &[]).await.text(), "specific");
    assert_eq!(http.get("/a", &[]).await.status, 503);
    assert_eq!(http.get("/a", &[]).await.text(), "current");
    assert_eq!((legacy.count("/a"), legacy.count("/a?b=1")), (3, 1));
}

#[tokio::test]
async fn requests_are_recorded_as_they_came() {
    let legacy = Legacy::start();
    legacy.answer_with("/echo", |seen| Reply::new("x/y", seen.body.clone()));
    let mut http = Http::connect(legacy.address()).await;
    let head = "POST /echo?q HTTP/1.1\r\nHost: h\r\nX-b: 2\r\nx-A: \u{e9}\r\nX-B: 1\r\n";
    http.send_raw(
        format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(http.read_response().await.text(), "abcde");
    let seen = legacy.seen("/echo").remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.version), ("POST", "/echo?q", 1));
    assert_eq!(&seen.body[..], b"abcde");
    assert_eq!(seen.headers("x-b"), ["2", "1"]);
    assert_eq!(seen.header("x-a"), Some("\u{c3}\u{a9}"), "one char a byte");
    assert_eq!(seen.headers[1].0, "X-b");
    assert!(seen.head.starts_with(head.as_bytes()));
}

#[tokio::test]
async fn a_matching_validator_is_answered_304_unless_told_not_to() {
    let legacy = Legacy::start();
    let reply = Reply::json("{}").with_etag().last_modified("Tue, 01 Jul 2025 00:00:00 GMT");
    legacy.set("/a", reply.clone());
    let mut http = Http::connect(legacy.address()).await;
    let etag = http.get("/a", &[]).await.etag().to_owned();
    let weak = format!("\"x\", W/{etag}");
    assert_eq!(http.get("/a", &[("if-none-match", &weak)]).await.status, 304);
    assert_eq!(http.get("/a", &[("if-none-match", "\"x\"")]).await.status, 200);
    let since = ("if-modified-since", "Tue, 01 Jul 2025 00:00:00 GMT");
    assert_eq!(http.get("/a", &[since]).await.status, 304);
    legacy.set("/a", reply.ignores_validators());
    assert_eq!(long_poll(&mut http, "/a", Some(&etag), Duration::from_secs(3)).await.status, 200);
    assert_eq!(legacy.seen("/a").last().and_then(|s| s.header("prefer")), Some("wait=3"));
}

#[tokio::test]
async fn head_and_bodiless_statuses_leave_the_connection_in_step() {
    let legacy = Legacy::start();
    legacy.set("/a", Reply::text("hello"));
    legacy.set("/none", Reply::empty(204));
    let mut http = Http::connect(legacy.address()).await;
    let head = http.request("HEAD", "/a", &[], b"").await;
    assert_eq!((head.header("content-length"), head.body.len()), (Some("5"), 0));
    assert_eq!(http.get("/none", &[]).await.status, 204);
    assert_eq!(http.get("/a", &[]).await.text(), "hello");
    http.expect_silence(SHORT).await;
}

#[tokio::test]
async fn every_framing_arrives_whole() {
    let legacy = Legacy::start();
    legacy.set("/length", Reply::text("hello"));
    legacy.set("/chunked", Reply::text("hello").chunked().drip(2, Duration::from_millis(1)));
    legacy.set("/close", Reply::text("hello").until_close());
    for path in ["/length", "/chunked", "/close"] {
        assert_eq!(get(&legacy, path).await.text(), "hello", "{path}");
    }
    let mut old = Http::connect(legacy.address()).await;
    old.send_raw(b"GET /chunked HTTP/1.0\r\n\r\n").await;
    let answer = old.read_response().await;
    assert_eq!((answer.text(), answer.header("transfer-encoding")), ("hello".to_owned(), None));
    old.expect_eof().await;
}

#[tokio::test]
async fn truncated_bodies_are_noticed() {
    let legacy = Legacy::start();
    legacy.set("/length", Reply::text("hello").cut_after(2));
    legacy.set("/chunked", Reply::text("hello").chunked().cut_after(2));
    for path in ["/length", "/chunked"] {
        let (head, error) = broken_body(&legacy, path).await;
        assert_eq!((head.status, error.kind()), (200, std::io::ErrorKind::UnexpectedEof), "{path}");
    }
    legacy.set("/reset", Reply::text("hello").reset_after(2));
    let (_, error) = broken_body(&legacy, "/reset").await;
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn no_answer_shows_as_silence_end_or_reset() {
    let legacy = Legacy::start();
    legacy.set("/silence", Reply::silence());
    legacy.set("/mid", Reply::text("hello").hang_after(2));
    legacy.set("/close", Reply::close());
    legacy.set("/reset", Reply::reset());
    let mut http = Http::connect(legacy.address()).await;
    http.send("GET", "/silence", &[], b"").await;
    legacy.wait_count("/silence", 1).await;
    http.expect_silence(SHORT).await;
    drop(http);
    legacy.wait_in_flight("/silence", 0).await;
    let mut http = Http::connect(legacy.address()).await;
    http.send("GET", "/mid", &[], b"").await;
    http.read_head().await;
    assert_eq!(&http.wire.exactly(2).await.expect("two bytes")[..], b"he");
    http.expect_silence(SHORT).await;
    let mut http = Http::connect(legacy.address()).await;
    http.send("GET", "/close", &[], b"").await;
    http.expect_eof().await;
    let mut http = Http::connect(legacy.address()).await;
    http.send("GET", "/reset", &[], b"").await;
    http.expect_reset().await;
}

#[tokio::test]
async fn raw_bytes_and_garbage_go_out_as_they_are() {
    let legacy = Legacy::start();
    legacy.set("/two", Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"));
    let two = get(&legacy, "/two").await;
    assert_eq!((two.headers("content-length"), two.text()), (vec!["1", "2"], "a".to_owned()));
    legacy.set("/garbage", Reply::garbage());
    let mut http = Http::connect(legacy.address()).await;
    http.send("GET", "/garbage", &[], b"").await;
    let bytes = http.wire.rest().await.expect("garbage ends with FIN");
    assert!(bytes.starts_with(b"\x15\x03\x01"));
    let mut http = Http::connect(legacy.address()).await;
    http.send_raw(b"\x16\x03\x01 no request\r\n\r\n").await;
    assert_eq!((http.read_response().await.status, legacy.malformed()), (400, 1));
}

#[tokio::test]
async fn replies_wait_for_delays_and_gates() {
    let legacy = Legacy::start();
    let gate = Gate::closed();
    legacy.set("/gate", Reply::text("open").behind(&gate));
    let mut clients = Vec::new();
    for n in 1..=3 {
        let mut http = Http::connect(legacy.address()).await;
        http.send("GET", "/gate?shared", &[], b"").await;
        clients.push(http);
        legacy.wait_in_flight("/gate", n).await;
    }
    gate.open();
    for http in &mut clients {
        assert_eq!(http.read_response().await.text(), "open");
    }
    legacy.wait_in_flight("/gate", 0).await;
    assert_eq!((legacy.max_in_flight("/gate"), legacy.in_flight("/gate")), (3, 0));
    legacy.set("/delay", Reply::text("late").delay(SHORT));
    let before = Instant::now();
    get(&legacy, "/delay").await.expect(200);
    assert!(before.elapsed() >= SHORT);
}

#[tokio::test]
async fn interim_responses_and_expectations_are_seen() {
    let legacy = Legacy::start();
    legacy.set("/hints", Reply::text("x").interim(103, &[("link", "</a>")]));
    let mut http = Http::connect(legacy.address()).await;
    http.get("/hints", &[]).await.expect(200);
    assert_eq!((http.interim[0].status, http.interim[0].header("link")), (103, Some("</a>")));
    legacy.set("/put", Reply::empty(204));
    let expect: &[(&str, &str)] = &[("expect", "100-continue"), ("content-length", "2")];
    http.send("PUT", "/put", expect, b"").await;
    let interim = http.wire.head().await.expect("an interim response").expect("not the end");
    assert!(interim.starts_with(b"HTTP/1.1 100 "));
    http.send_raw(b"ok").await;
    assert_eq!(http.read_response().await.status, 204);
    legacy.on_expect("/put", Expectation::Refuse(Reply::empty(413)));
    http.send("PUT", "/put", expect, b"").await;
    assert_eq!(http.read_response().await.status, 413);
    http.expect_eof().await;
}

#[tokio::test]
async fn a_taken_connection_is_the_tests_own_with_its_body_unread() {
    let legacy = Legacy::start();
    let (reply, mut takings) = Reply::take();
    legacy.set("/raw", reply);
    let mut http = Http::connect(legacy.address()).await;
    http.send("POST", "/raw", &[], b"body").await;
    let mut taken = takings.next().await;
    assert_eq!(taken.seen.method, "POST");
    assert_eq!(&taken.wire.exactly(4).await.expect("the body")[..], b"body");
    taken.wire.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await.expect("written");
    assert_eq!(http.read_response().await.status, 202);
    assert_eq!(legacy.in_flight("/raw"), 1);
    drop(taken);
    http.expect_eof().await;
    assert_eq!(legacy.in_flight("/raw"), 0);
}

#[tokio::test]
async fn a_stopped_legacy_api_refuses_and_comes_back_on_its_port() {
    let legacy = Legacy::start();
    legacy.set("/a", Reply::text("x"));
    let mut http = Http::connect(legacy.address()).await;
    http.get("/a", &[]).await.expect(200);
    legacy.stop().await;
    http.expect_closed().await;
    let refused = tokio::net::TcpStream::connect(legacy.address()).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    legacy.start_again();
    get(&legacy, "/a").await.expect(200);
    assert_eq!(legacy.count("/a"), 2);
}
