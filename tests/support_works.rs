//! The tests' own tools against each other: each misbehaviour of the legacy API shows at the client
//! as what it is. A tool that hid one would make other tests green for nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::{Http, Message, Response, Sse, SseItem, Ws, long_poll};
use super::support::frames::{BINARY, CONTINUATION, Frame, PING, TEXT};
use super::support::legacy::{Expectation, Gate, Legacy, Reply};
use super::support::process::{Folder, Process};
use super::support::sse::{Event, Parser};
use super::support::tls::Authority;
use super::support::wire::Wire;

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

#[tokio::test]
async fn a_fed_stream_arrives_piece_by_piece_and_ends_properly() {
    let legacy = Legacy::start();
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.set("/events", reply);
    let mut sse = Sse::open(legacy.address(), "/events", &[("last-event-id", "v0")]).await;
    assert_eq!(legacy.seen("/events")[0].header("last-event-id"), Some("v0"));
    feed.send("retry: 3000\n:hi\n\nid: v1\ndata: a\nda").await;
    assert_eq!(sse.next_item().await, SseItem::Retry(3000));
    assert_eq!(sse.next_item().await, SseItem::Comment("hi".into()));
    sse.expect_no_event(SHORT).await;
    feed.send("ta:b\r\n\r\n:later\nevent: stale\ndata: {}\n\n").await;
    let event = Event { id: Some("v1".into()), event: "message".into(), data: "a\nb".into() };
    assert_eq!(sse.next_event().await, event);
    assert_eq!(sse.next_named("stale").await.id, None);
    assert_eq!((sse.last_event_id(), &sse.passed[..]), ("v1", &[SseItem::Comment("later".into())][..]));
    feed.end();
    sse.expect_end().await;
}

#[tokio::test]
async fn a_cut_stream_is_not_an_end_and_a_leaving_reader_is_noticed() {
    let legacy = Legacy::start();
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.set("/cut", reply);
    let mut sse = Sse::open(legacy.address(), "/cut", &[]).await;
    feed.send("data: unfinished").await;
    feed.cut().await;
    assert_eq!(sse.expect_break().await.kind(), std::io::ErrorKind::UnexpectedEof);
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.set("/left", reply);
    drop(Sse::open(legacy.address(), "/left", &[]).await);
    feed.left().await;
}

#[tokio::test]
async fn an_http10_stream_has_no_chunks_and_ends_with_the_connection() {
    let legacy = Legacy::start();
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.set("/events", reply);
    let mut sse = Sse::open_http10(legacy.address(), "/events", &[]).await;
    assert_eq!(legacy.seen("/events")[0].version, 0);
    feed.send("data: x\n\n").await;
    assert_eq!(sse.next_event().await.data, "x");
    feed.end();
    sse.expect_end().await;
    sse.expect_eof().await;
}

#[tokio::test]
async fn what_is_no_stream_is_refused_as_one() {
    let legacy = Legacy::start();
    legacy.set("/json", Reply::json("{}"));
    let refused = Sse::try_open(legacy.address(), "/json", &[]).await.err().expect("not a stream");
    assert_eq!((refused.status, refused.header("content-type")), (200, Some("application/json")));
    let refused = Ws::try_open(legacy.address(), "/json", &[]).await.err().expect("not a WebSocket");
    assert_eq!(refused.status, 200);
}

/// Every way of cutting the bytes into two pieces gives these items.
fn parses_to(stream: &str, expected: &[SseItem]) {
    for at in 0..=stream.len() {
        let mut parser = Parser::default();
        let (first, second) = stream.as_bytes().split_at(at);
        let items = [parser.feed(first), parser.feed(second)].concat();
        assert_eq!(items, expected, "{stream:?} cut at {at}");
    }
}

fn event(id: Option<&str>, name: &str, data: &str) -> SseItem {
    SseItem::Event { id: id.map(str::to_owned), event: name.into(), data: data.into() }
}

#[test]
fn the_event_parser_keeps_to_the_standard() {
    parses_to(
        "\u{feff}data: x\r\rdata:y\r\n\r\n",
        &[event(None, "message", "x"), event(None, "message", "y")],
    );
    parses_to(
        "data\n\ndata:  two\ndata\n\n",
        &[event(None, "message", ""), event(None, "message", " two\n")],
    );
    parses_to("event: lost\n\nid: 7\n\ndata: a\n\n", &[event(None, "message", "a")]);
    parses_to("retry: 1x\nretry:\nretry: 20\nother: z\n", &[SseItem::Retry(20)]);
    parses_to("id: a\0b\ndata: d\n\ndata: cut off", &[event(None, "message", "d")]);
    let mut parser = Parser::default();
    parser.feed(b"id: 1\n\nid: 2\ndata: open\n");
    assert_eq!(parser.last_event_id, "1", "an id counts from its blank line on");
}

#[tokio::test]
async fn a_websocket_echoes_and_closes() {
    let legacy = Legacy::start();
    legacy.set("/ws", Reply::websocket_echo());
    let mut ws = Ws::open(legacy.address(), "/ws", &[]).await;
    for length in [0, 125, 126, 65535, 65536] {
        let text = "x".repeat(length);
        ws.send_text(&text).await;
        assert_eq!(ws.next_text().await, text);
    }
    ws.send_ping(b"p").await;
    ws.send_frame(Frame::new(BINARY, [0xff])).await;
    assert_eq!(ws.next_message().await, Message::Binary(vec![0xff]));
    assert_eq!(ws.pongs, [b"p"]);
    ws.expect_silence(SHORT).await;
    ws.send_close(4000, "enough").await;
    assert_eq!(ws.next_close().await, (4000, "enough".to_owned()));
    ws.expect_closed().await;
}

#[tokio::test]
async fn fragments_are_joined_pings_answered_and_compressed_messages_inflated() {
    let legacy = Legacy::start();
    let (reply, mut takings) = Reply::websocket();
    legacy.set("/ws", reply.header("Sec-WebSocket-Extensions", "permessage-deflate"));
    let mut ws = Ws::open(legacy.address(), "/ws", &[]).await;
    let mut server = takings.next().await.wire;
    let part = |opcode, fin, text: &str| Frame { fin, ..Frame::new(opcode, text) }.encode(None);
    // "Hello", compressed: the example of RFC 7692 §7.2.3.1.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let compressed = Frame { rsv1: true, ..Frame::new(TEXT, hello) }.encode(None);
    let pieces = [
        part(TEXT, false, "a"),
        part(PING, true, "are you there"),
        part(CONTINUATION, true, "b"),
        compressed,
        part(PING, true, "quiet"),
    ];
    server.write(&pieces.concat()).await.expect("written");
    assert_eq!(ws.next_text().await, "ab");
    assert_eq!(ws.next_text().await, "Hello");
    assert_eq!((ws.compressed, &ws.pings[..]), (1, &[b"are you there".to_vec()][..]));
    ws.answers_pings = false;
    assert_eq!(ws.next_ping().await, b"quiet");
    let mut pong = [0; 2 + 4 + 13];
    server.read_exact(&mut pong).await.expect("the pong");
    let (pong, _) = Frame::parse(&pong).expect("a frame").expect("complete");
    assert!(pong.masked && pong.payload == b"are you there");
    ws.send_raw_frame(b"\xff\xff").await;
    let mut next = [0; 2];
    server.read_exact(&mut next).await.expect("raw bytes");
    assert_eq!(next, *b"\xff\xff", "the second ping was not answered");
    server.shutdown().await.expect("FIN");
    ws.expect_closed().await;
}

#[tokio::test]
async fn clients_and_the_legacy_api_speak_tls() {
    let authority = Authority::new();
    let legacy = Legacy::start_tls(&authority.certify(&["legacy.test", "127.0.0.1"]));
    legacy.set("/a", Reply::text("secret"));
    legacy.set("/reset", Reply::reset());
    let tls = authority.connect(legacy.address(), "legacy.test", &[]).await;
    let mut http = Http::over(tls, "legacy.test");
    assert_eq!(http.get("/a", &[]).await.text(), "secret");
    http.send("GET", "/reset", &[], b"").await;
    http.expect_reset().await;
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.set("/events", reply);
    let tls = authority.connect(legacy.address(), "127.0.0.1", &[]).await;
    let mut sse = Sse::over(tls, "legacy.test", "HTTP/1.1", "/events", &[]).await.expect("a stream");
    feed.send("data: x\n\n").await;
    assert_eq!(sse.next_event().await.data, "x");
}

#[tokio::test]
async fn a_timeout_inside_a_chunk_loses_nothing() {
    let (near, mut far) = tokio::io::duplex(64);
    let mut wire = Wire::over(near);
    far.write_all(b"5\r\nhel").await.expect("written");
    assert!(tokio::time::timeout(SHORT, wire.chunk()).await.is_err());
    far.write_all(b"lo\r\n0\r\nTrailer: x\r\n").await.expect("written");
    assert_eq!(wire.chunk().await.expect("a chunk").as_deref(), Some(&b"hello"[..]));
    assert!(tokio::time::timeout(SHORT, wire.chunk()).await.is_err());
    far.write_all(b"\r\n").await.expect("written");
    assert_eq!(wire.chunk().await.expect("the end"), None);
    far.write_all(b"2\r\nabXX").await.expect("written");
    assert!(wire.chunk().await.is_err(), "a chunk must end with CRLF");
}

#[tokio::test]
#[should_panic(expected = "the peer closed the connection instead of answering")]
async fn a_missing_answer_fails_with_a_message() {
    let legacy = Legacy::start();
    legacy.set("/close", Reply::close());
    get(&legacy, "/close").await;
}

#[tokio::test]
async fn a_process_is_signalled_and_its_end_seen() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap 'echo ending >&2; exit 7' TERM; echo up >&2; while :; do sleep 0.05; done"]);
    let process = Process::run(command, Folder::new());
    process.wait_stderr("up").await;
    assert!(process.exited().is_none() && process.id() > 0);
    process.signal("TERM");
    assert_eq!(process.wait_exit().await.code(), Some(7));
    assert_eq!(process.stderr(), "up\nending\n");
    let folder = process.folder.path.clone();
    process.folder.write("x", "y");
    drop(process);
    assert!(!folder.exists());
}
