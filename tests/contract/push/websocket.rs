//! Contract §6: WebSockets, end to end.

mod hostile;
mod refusals;

use std::time::{Duration, Instant};

use crate::contract::{FAST, ONCE, Stand, TlsStand};
use crate::support::client::{Http, Message, Ws};
use crate::support::frames::{BINARY, CLOSE, Frame, PING};
use crate::support::legacy::Reply;

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
