//! Contract §5: streams over TLS and HTTP/2.

use std::time::{Duration, Instant};

use super::{A, B, stand};
use crate::contract::{FAST, ONCE, TlsStand};
use crate::support::client::{Http, Sse, SseItem};
use crate::support::h2::H2;
use crate::support::legacy::Reply;

#[tokio::test]
async fn a_stream_over_tls_ends_with_close_notify() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let stream = tls.connect(&[]).await;
    let mut sse = Sse::over(stream, "localhost", "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    assert_eq!(sse.next_event().await.data, A);
    tls.stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(sse.next_event().await.data, B);
    tls.stand.app.drain().await;
    sse.next_named("bye").await;
    sse.expect_end().await;
    // Without close_notify this would be an error.
    sse.expect_eof().await;
}

#[tokio::test]
async fn large_states_over_tls_arrive_whole() {
    let tls = TlsStand::start(FAST);
    let body = |n: u32| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(900_000));
    tls.stand.legacy.set("/prices/A", Reply::json(body(0)));
    let stream = tls.connect(&[]).await;
    let mut sse = Sse::over(stream, "localhost", "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    for n in 0..3 {
        assert_eq!(sse.next_event().await.data, body(n));
        tls.stand.legacy.set("/prices/A", Reply::json(body(n + 1)));
    }
}

#[tokio::test]
async fn a_vanished_tls_client_is_noticed() {
    let tls = TlsStand::start(ONCE);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let stream = tls.connect(&[]).await;
    let mut sse = Sse::over(stream, "localhost", "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    sse.next_event().await;
    let began = Instant::now();
    drop(sse);
    tls.stand.clients("sse", 0).await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_stream_over_http2_gets_the_state_and_each_change() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let accept = [("accept", "text/event-stream")];
    let (head, mut sse) = h2.open("GET", "/prices/A", &accept).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert!(matches!(sse.next_item().await, SseItem::Retry(_)));
    assert!(matches!(sse.next_item().await, SseItem::Comment(_)));
    let first = sse.next_event().await;
    assert_eq!(first.data, A);
    tls.stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(sse.next_event().await.data, B);

    // Many streams on one connection, and plain answers beside them.
    let (_, mut second) = h2.open("GET", "/prices/A", &accept).await;
    assert_eq!(second.next_event().await.data, B);
    assert_eq!(h2.get("/prices/A", &[]).await.text(), B);
    tls.stand.clients("sse", 2).await;
    drop(second);
    tls.stand.clients("sse", 1).await;
    h2.cut();
    tls.stand.clients("sse", 0).await;
}

#[tokio::test]
async fn a_stream_over_http2_ends_properly_in_a_drain() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let (_, mut sse) = h2.open("GET", "/prices/A", &[("accept", "text/event-stream")]).await;
    sse.next_event().await;
    let ends = async {
        assert_eq!(sse.next_event().await.event, "bye");
        sse.expect_end().await;
    };
    tokio::join!(ends, tls.stand.app.drain());
}

#[tokio::test]
async fn cold_refusals_over_http2_are_relayed() {
    let tls = TlsStand::start(FAST);
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let answer = h2.get("/prices/A", &[("accept", "text/event-stream")]).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn an_own_origin_is_allowed_on_every_answer() {
    let stand = stand("poll: {interval: 100ms}, cors: {origins: ['https://shop.example']}").await;
    let origin = [("origin", "https://shop.example")];
    let sse = Sse::open(stand.address(), "/prices/A", &origin).await;
    let allow = "access-control-allow-origin";
    assert_eq!(sse.head.header(allow), Some("https://shop.example"));
    assert!(sse.head.headers("vary").iter().any(|v| v.contains("Origin")));
    let mut http = Http::connect(stand.address()).await;
    let plain = http.get("/prices/A", &origin).await.expect(200);
    assert_eq!(plain.header(allow), Some("https://shop.example"));
    let tag = plain.etag().to_owned();
    let headers = [("origin", "https://shop.example"), ("if-none-match", tag.as_str())];
    assert_eq!(http.get("/prices/A", &headers).await.expect(304).header(allow), Some("https://shop.example"));
    let other = http.get("/prices/A", &[("origin", "https://evil.example")]).await;
    assert_eq!(other.header(allow), None);
}

#[tokio::test]
async fn a_soft_refusal_over_http2_ends_its_stream_alone() {
    let tls = TlsStand::with("poll: {interval: 1h}, soft_refusal: always", "limits: {clients: 1}");
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let accept = [("accept", "text/event-stream")];
    let (_, mut first) = h2.open("GET", "/prices/A", &accept).await;
    first.next_event().await;
    let (head, mut refused) = h2.open("GET", "/prices/A", &accept).await;
    assert_eq!(head.status, 200);
    assert_eq!(refused.next_event().await.event, "bye");
    refused.expect_end().await;
    tls.stand.clients("sse", 1).await;
}

#[tokio::test]
async fn an_http2_reader_that_takes_nothing_is_closed_after_stall_timeout() {
    let tls = TlsStand::with(FAST, "limits: {stall_timeout: 1s}");
    let body = format!("\"{}\"", "x".repeat(900_000));
    tls.stand.legacy.set("/prices/A", Reply::json(body));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let (_, slow) = h2.open("GET", "/prices/A", &[("accept", "text/event-stream")]).await;
    tls.stand.clients("sse", 1).await;
    tls.stand.clients("sse", 0).await;
    assert_eq!(tls.stand.metric("pollcast_slow_closes_total", "sse").await, 1.0);
    // What it left unread takes up the connection's window; without it all is as before.
    drop(slow);
    assert_eq!(h2.get("/prices/404", &[]).await.status, 404);
}
