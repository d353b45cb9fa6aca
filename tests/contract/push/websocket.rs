//! Contract §6: WebSockets, end to end.

use std::time::{Duration, Instant};

use crate::contract::{FAST, FAST_FAILING, ONCE, Stand, TlsStand, narrow};
use crate::support::client::{Http, Message, Ws};
use crate::support::frames::{BINARY, CLOSE, CONTINUATION, Frame, PING, TEXT};
use crate::support::legacy::Reply;
use crate::support::wire::within;

const A: &str = r#"{"price":1}"#;
const B: &str = r#"{"price":2}"#;

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    stand.legacy.set("/prices/A", Reply::json(A));
    stand
}

#[tokio::test]
async fn the_current_body_comes_first_and_then_each_change() {
    let stand = stand(FAST);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(ws.next_text().await, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(ws.next_text().await, B);
    ws.expect_silence(Duration::from_millis(250)).await;
}

#[tokio::test]
async fn what_is_no_text_comes_as_binary_and_charsets_are_converted() {
    let stand = stand(FAST);
    stand.legacy.set("/prices/A", Reply::new("image/png", &b"\x89PNG\xff"[..]));
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(ws.next_message().await, Message::Binary(b"\x89PNG\xff".to_vec()));
    let reply = Reply::new("text/plain; charset=iso-8859-1", &b"caf\xe9"[..]);
    stand.legacy.set("/prices/B", reply);
    let mut ws = Ws::open(stand.address(), "/prices/B", &[]).await;
    assert_eq!(ws.next_text().await, "café");
}

#[tokio::test]
async fn bodies_of_every_frame_length_arrive() {
    let stand = stand(FAST);
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 500_000] {
        let path = format!("/prices/{length}");
        stand.legacy.set(&path, Reply::text("x".repeat(length)));
        let mut ws = Ws::open(stand.address(), &path, &[]).await;
        assert_eq!(ws.next_text().await.len(), length);
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let stand = stand(FAST);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    ws.send_ping(b"are you there").await;
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(ws.next_text().await, B);
    assert_eq!(ws.pongs, [b"are you there".to_vec()]);
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_lives_by_its_pongs() {
    let stand = stand("poll: {interval: 1h}, websocket: {ping: 1s, pong: 1s}");
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    let began = Instant::now();
    ws.next_ping().await;
    assert!(began.elapsed() >= Duration::from_millis(850), "{:?}", began.elapsed());
    ws.next_ping().await;
    ws.next_ping().await;
    stand.clients("websocket", 1).await;
}

#[tokio::test]
async fn a_client_without_pongs_is_closed() {
    let stand = stand("poll: {interval: 1h}, websocket: {ping: 1s, pong: 1s}");
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.answers_pings = false;
    ws.next_text().await;
    ws.next_ping().await;
    ws.expect_closed().await;
    stand.clients("websocket", 0).await;
    stand.metric_becomes("pollcast_ends_total", "no-pong", 1.0).await;
}

/// What a client must not send, and the close code for it.
fn hostile() -> Vec<(&'static str, Vec<u8>, u16)> {
    let masked = |frame: Frame| frame.encode(Some([1, 2, 3, 4]));
    let partial = |opcode, payload: &[u8]| Frame { fin: false, ..Frame::new(opcode, payload) };
    let raw = |first: u8, second: u8| vec![first, second, 1, 2, 3, 4];
    vec![
        ("unmasked", Frame::new(TEXT, "x").encode(None), 1002),
        ("rsv1", masked(Frame { rsv1: true, ..Frame::new(TEXT, "x") }), 1002),
        ("rsv2", raw(0xa1, 0x80), 1002),
        ("reserved data opcode", raw(0x83, 0x80), 1002),
        ("reserved control opcode", raw(0x8b, 0x80), 1002),
        ("fragmented ping", masked(partial(PING, b"")), 1002),
        ("long ping", masked(Frame::new(PING, vec![0; 126])), 1002),
        ("continuation of nothing", masked(Frame::new(CONTINUATION, "x")), 1002),
        (
            "message inside a message",
            [masked(partial(TEXT, b"a")), masked(Frame::new(TEXT, "b"))].concat(),
            1002,
        ),
        ("half a close code", masked(Frame::new(CLOSE, vec![3])), 1002),
        ("close code 1005", masked(Frame::new(CLOSE, 1005u16.to_be_bytes())), 1002),
        ("close code 999", masked(Frame::new(CLOSE, 999u16.to_be_bytes())), 1002),
        ("text that is not UTF-8", masked(Frame::new(TEXT, vec![0xff])), 1007),
        (
            "UTF-8 broken over fragments",
            [masked(partial(TEXT, &[0xc3])), masked(Frame::new(CONTINUATION, "x"))].concat(),
            1007,
        ),
        ("reason that is not UTF-8", masked(Frame::new(CLOSE, vec![3, 232, 0xff])), 1007),
        ("big message", masked(Frame::new(BINARY, vec![0; 70_000])), 1009),
        ("huge length", vec![0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1009),
        (
            "big by fragments",
            [masked(partial(BINARY, &[0; 40_000])), masked(Frame::new(CONTINUATION, vec![0; 40_000]))]
                .concat(),
            1009,
        ),
    ]
}

#[tokio::test]
async fn every_hostile_frame_gets_its_close_code() {
    let stand = stand(ONCE);
    for (name, bytes, code) in hostile() {
        let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
        ws.next_text().await;
        ws.send_raw_frame(&bytes).await;
        let (closed, _) = ws.next_close().await;
        assert_eq!(closed, code, "{name}");
        ws.expect_closed().await;
    }
    stand.clients("websocket", 0).await;
}

#[tokio::test]
async fn a_hostile_client_that_reads_nothing_stops_nobody() {
    let stand = Stand::with(FAST, "limits: {stall_timeout: 2s}\nthreads: {front: 1, shards: 1}");
    stand.legacy.set("/prices/BIG", Reply::text("x".repeat(900_000)));
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut good = Ws::open(stand.address(), "/prices/A", &[]).await;
    good.next_text().await;
    let mut streams = Vec::new();
    for (_, bytes, _) in hostile() {
        let stream = narrow(stand.address()).await;
        let mut ws = Ws::over(stream, "localhost", "/prices/BIG", &[]).await.expect("a WebSocket");
        ws.send_raw_frame(&bytes).await;
        streams.push(ws);
    }
    for body in [B, A, B] {
        stand.legacy.set("/prices/A", Reply::json(body));
        assert_eq!(good.next_text().await, body);
    }
    // They had their time.
    stand.clients("websocket", 1).await;
}

#[tokio::test]
async fn a_close_is_echoed_and_then_the_connection_ends() {
    let stand = stand(ONCE);
    for code in [1000, 1001, 3000, 4999] {
        let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
        ws.next_text().await;
        ws.send_close(code, "bye").await;
        assert_eq!(ws.next_close().await.0, code);
        ws.expect_closed().await;
    }
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    ws.send_frame(Frame::new(CLOSE, "")).await;
    ws.next_close().await;
    ws.expect_closed().await;
}

#[tokio::test]
async fn frames_sent_with_the_handshake_count() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let handshake = b"GET /prices/A HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let ping = Frame::new(PING, "early").encode(Some([9, 9, 9, 9]));
    http.send_raw(&[&handshake[..], &ping].concat()).await;
    assert_eq!(http.read_head().await.status, 101);
    let mut bytes = Vec::new();
    let (mut pong, mut state) = (false, false);
    while !(pong && state) {
        bytes.extend_from_slice(&http.wire.exactly(1).await.expect("a byte"));
        while let Some((frame, length)) = Frame::parse(&bytes).expect("a frame") {
            bytes.drain(..length);
            pong |= frame.payload == b"early";
            state |= frame.payload == A.as_bytes();
        }
    }
}

#[tokio::test]
async fn an_origin_is_let_in_if_it_is_absent_or_the_same_host() {
    let stand = stand(ONCE);
    let host = stand.address().to_string();
    let same = format!("http://{host}");
    Ws::open(stand.address(), "/prices/A", &[]).await;
    Ws::open(stand.address(), "/prices/A", &[("origin", &same)]).await;
    for origin in ["http://evil.example", "null", "http://127.0.0.1", ""] {
        let refused = Ws::try_open(stand.address(), "/prices/A", &[("origin", origin)]).await;
        assert_eq!(refused.err().map(|head| head.status), Some(403), "{origin:?}");
    }
}

#[tokio::test]
async fn configured_origins_are_the_only_ones() {
    let stand = stand("poll: {interval: 1h}, websocket: {origins: ['https://shop.example']}");
    Ws::open(stand.address(), "/prices/A", &[("origin", "https://shop.example")]).await;
    let same = format!("http://{}", stand.address());
    let refused = Ws::try_open(stand.address(), "/prices/A", &[("origin", &same)]).await;
    assert_eq!(refused.err().map(|head| head.status), Some(403));
}

#[tokio::test]
async fn another_version_of_the_protocol_is_426() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = http.get("/prices/A", &headers).await.expect(426);
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    assert_eq!(answer.header("upgrade"), Some("websocket"), "{answer:?}");
    let mut http = stand.http().await;
    let keyless = [headers[0], headers[1], ("sec-websocket-version", "13")];
    http.get("/prices/A", &keyless).await.expect(400);
}

#[tokio::test]
async fn what_the_upstream_refuses_is_a_close_code() {
    let stand = stand(FAST);
    for (status, code) in [(401, 4401), (403, 4403), (404, 4404), (410, 4404)] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::text("no").status(status));
        let mut ws = Ws::open(stand.address(), &path, &[]).await;
        assert_eq!(ws.next_close().await.0, code, "{status}");
        ws.expect_closed().await;
    }
    stand.clients("websocket", 0).await;
}

#[tokio::test]
async fn what_cannot_be_a_snapshot_is_1011() {
    let stand = stand("poll: {interval: 100ms, max_body: 1KiB}");
    stand.legacy.set("/prices/A", Reply::text("x".repeat(5000)));
    for _ in 0..2 {
        let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
        assert_eq!(ws.next_close().await.0, 1011);
    }
}

#[tokio::test]
async fn a_close_code_needs_no_second_seat() {
    let stand = Stand::with("poll: {interval: 100ms, max_body: 1KiB}", "limits: {clients: 1}");
    stand.legacy.set("/prices/A", Reply::text("x".repeat(5000)));
    for path in ["/prices/A", "/prices/A", "/prices/404"] {
        // The seat of the one before is free once its connection is gone, which nothing tells.
        let open = async {
            loop {
                match Ws::try_open(stand.address(), path, &[]).await {
                    Err(full) if full.status == 503 => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(refused) => panic!("{refused:?}"),
                    Ok(ws) => return ws,
                }
            }
        };
        let mut ws = within("the one seat", open).await;
        ws.next_close().await;
        ws.expect_closed().await;
    }
}

#[tokio::test]
async fn cold_with_the_upstream_down_the_state_comes_when_it_comes() {
    let stand = stand(&format!("{FAST_FAILING}, first_answer: 200ms"));
    stand.legacy.stop().await;
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    stand.legacy.start_again();
    assert_eq!(ws.next_text().await, A);
}

#[tokio::test]
async fn a_route_without_websockets_passes_them_through() {
    let stand = stand("poll: {interval: 1h}, transports: [sse, poll]");
    stand.legacy.set("/prices/A", Reply::websocket_echo());
    let mut ws = Ws::open(stand.address(), "/prices/A?_push=ws", &[("x-mine", "1")]).await;
    ws.send_text("hello").await;
    assert_eq!(ws.next_text().await, "hello");
    let seen = &stand.legacy.seen("/prices/A")[0];
    assert_eq!((seen.header("x-mine"), seen.target.as_str()), (Some("1"), "/prices/A"));
}

#[tokio::test]
async fn messages_are_ignored_without_send() {
    let stand = stand(FAST);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    for _ in 0..100 {
        ws.send_text("anybody there?").await;
    }
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(ws.next_text().await, B);
    assert!(stand.legacy.all_seen().iter().all(|seen| seen.method == "GET"));
}

const SEND: &str = "poll: {interval: 1h}, share: {by: [authorization]}, \
     websocket: {send: {method: POST, path: '/prices/{symbol}/notes', content_type: 'text/plain', \
     headers: {x-from: pollcast}, rate: 5/s, errors: true}}";

#[tokio::test]
async fn a_message_is_forwarded_as_a_request_with_the_clients_credentials() {
    let stand = stand(SEND);
    stand.legacy.set("/prices/A/notes", Reply::empty(204));
    let headers = [("authorization", "Bearer me"), ("cookie", "secret=1"), ("user-agent", "browser")];
    let mut ws = Ws::open(stand.address(), "/prices/A", &headers).await;
    ws.next_text().await;
    ws.send_text("first").await;
    ws.send_frame(Frame::new(BINARY, "second")).await;
    stand.legacy.wait_count("/prices/A/notes", 2).await;
    let seen = stand.legacy.seen("/prices/A/notes");
    assert_eq!((&seen[0].body[..], &seen[1].body[..]), (&b"first"[..], &b"second"[..]));
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].header("authorization"), Some("Bearer me"));
    assert_eq!(seen[0].header("content-type"), Some("text/plain"));
    assert_eq!(seen[0].header("x-from"), Some("pollcast"));
    assert_eq!(seen[0].header("cookie"), None);
    ws.expect_silence(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_message_that_is_not_taken_is_told_when_errors_are_wanted() {
    let stand = stand(SEND);
    stand.legacy.set("/prices/A/notes", Reply::text("no").status(422));
    let mut ws = Ws::open(stand.address(), "/prices/A", &[("authorization", "x")]).await;
    ws.next_text().await;
    ws.send_text("x").await;
    let told: serde_json::Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert!(told["error"].to_string().contains("422"), "{told}");
}

#[tokio::test]
async fn more_messages_than_the_rate_end_the_connection() {
    let stand = stand(SEND);
    stand.legacy.set("/prices/A/notes", Reply::empty(204));
    let mut ws = Ws::open(stand.address(), "/prices/A", &[("authorization", "x")]).await;
    ws.next_text().await;
    for _ in 0..6 {
        ws.send_text("x").await;
    }
    assert_eq!(ws.next_close().await.0, 4429);
}

#[tokio::test]
async fn a_class_whose_credentials_end_is_4401() {
    let stand = stand("poll: {interval: 100ms}, share: {by: [authorization]}");
    let mut ws = Ws::open(stand.address(), "/prices/A", &[("authorization", "x")]).await;
    ws.next_text().await;
    stand.legacy.set("/prices/A", Reply::text("no").status(401));
    assert_eq!(ws.next_close().await.0, 4401);
}

#[tokio::test]
async fn an_answer_of_one_user_is_1008() {
    let stand = stand(FAST);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    stand.legacy.set("/prices/A", Reply::json(A).header("set-cookie", "user=1"));
    assert_eq!(ws.next_close().await.0, 1008);
}

#[tokio::test]
async fn a_drain_says_going_away() {
    let stand = stand(FAST);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    let closed = async { ws.next_close().await.0 };
    assert_eq!(tokio::join!(closed, stand.app.drain()).0, 1001);
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed_within_a_second() {
    let stand = stand(ONCE);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    stand.clients("websocket", 1).await;
    let began = Instant::now();
    drop(ws);
    stand.clients("websocket", 0).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn all_seats_taken_is_503_before_the_handshake() {
    let stand = Stand::with(FAST, "limits: {clients: 1}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut first = Ws::open(stand.address(), "/prices/A", &[]).await;
    first.next_text().await;
    let refused = Ws::try_open(stand.address(), "/prices/A", &[]).await;
    let head = refused.err().expect("a refusal");
    assert_eq!(head.status, 503);
    assert!(head.header("retry-after").is_some());
}

#[tokio::test]
async fn a_websocket_over_tls_works_alike() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let stream = tls.connect(&["http/1.1"]).await;
    let mut ws = Ws::over(stream, "localhost", "/prices/A", &[("origin", "https://localhost")])
        .await
        .expect("a WebSocket");
    assert_eq!(ws.next_text().await, A);
    ws.send_ping(b"x").await;
    tls.stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(ws.next_text().await, B);
    assert_eq!(ws.pongs.len(), 1);
    ws.send_close(1000, "").await;
    assert_eq!(ws.next_close().await.0, 1000);
    ws.expect_closed().await;
}

#[tokio::test]
async fn a_plain_request_on_the_same_route_is_a_poll() {
    let stand = stand(ONCE);
    // `Upgrade` without `Connection: upgrade` means nothing.
    let mut http = Http::connect(stand.address()).await;
    let answer = http.get("/prices/A", &[("upgrade", "websocket")]).await.expect(200);
    assert_eq!(answer.text(), A);
}
