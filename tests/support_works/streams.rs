//! Streams, events and WebSockets of the tests' own tools.

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::support::client::{Http, Message, Sse, SseItem, Ws};
use super::super::support::frames::{BINARY, CONTINUATION, Frame, PING, TEXT};
use super::super::support::legacy::{Legacy, Reply};
use super::super::support::process::{Folder, Process};
use super::super::support::sse::{Event, Parser};
use super::super::support::tls::Authority;
use super::super::support::wire::Wire;
use super::{SHORT, get};

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
