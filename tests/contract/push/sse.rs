//! Contract §5 and §7: server-sent events, end to end.

mod content;
mod failures;
mod limits;
mod protocols;
mod resuming;

use std::time::{Duration, Instant};

use crate::contract::{FAST, Stand};
use crate::support::client::{Sse, SseItem};
use crate::support::legacy::Reply;
use crate::support::wire::within;

const A: &str = r#"{"price":1}"#;

const B: &str = r#"{"price":2}"#;

async fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    stand.legacy.set("/prices/A", Reply::json(A));
    stand
}

#[tokio::test]
async fn a_stream_gets_the_state_and_then_each_change() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let first = sse.next_event().await;
    assert_eq!((first.event.as_str(), first.data.as_str()), ("message", A));
    stand.legacy.set("/prices/A", Reply::json(B));
    let second = sse.next_event().await;
    assert_eq!(second.data, B);
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn the_id_of_an_event_is_the_etag_of_the_same_state() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = sse.next_event().await.id.expect("an id");
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(answer.etag(), format!("\"{id}\""));
}

#[tokio::test]
async fn the_head_keeps_intermediaries_from_buffering() {
    let stand = stand(FAST).await;
    let sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let head = &sse.head;
    assert_eq!(head.version, 1);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert!(head.names("vary", "accept") && head.names("vary", "prefer"), "{head:?}");
    assert!(head.names("transfer-encoding", "chunked"), "{head:?}");
    assert_eq!(head.header("etag"), None);
}

#[tokio::test]
async fn a_stream_begins_with_retry_and_a_comment_before_any_state() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let SseItem::Retry(retry) = sse.next_item().await else {
        panic!("no retry first");
    };
    assert!((2000..=8000).contains(&retry), "{retry}");
    assert!(matches!(sse.next_item().await, SseItem::Comment(_)));
    assert!(matches!(sse.next_item().await, SseItem::Event { .. }));
}

/// Libraries that dispatch on any field see an event at each empty line: there is one behind an event, and no other.
#[tokio::test]
async fn an_empty_line_ends_an_event_and_nothing_else() {
    let stand = stand("poll: {interval: 100ms}, heartbeat: 1s").await;
    for path in ["/prices/A", "/-/pollcast/events?resource=/prices/A"] {
        let mut http = stand.http().await;
        http.send("GET", path, &[("accept", "text/event-stream")], b"").await;
        http.read_head().await.expect(200);
        let mut text = String::new();
        while !text.ends_with("\n:\n") {
            let chunk =
                within("a chunk", http.wire.chunk()).await.expect("a chunk").expect("the stream goes on");
            text += std::str::from_utf8(&chunk).expect("text");
        }
        assert!(text.starts_with("retry: ") && text.contains("\n: pollcast\n"), "{path}: {text:?}");
        let blocks: Vec<&str> = text.split("\n\n").collect();
        for block in &blocks[..blocks.len() - 1] {
            assert!(block.lines().any(|line| line.starts_with("data: ")), "{path}: {block:?} in {text:?}");
        }
        assert!(!text.ends_with("\n\n"), "{path}: {text:?}");
    }
}

#[tokio::test]
async fn a_silent_stream_gets_heartbeats() {
    let stand = stand("poll: {interval: 100ms}, heartbeat: 1s").await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    let began = Instant::now();
    for beat in 1..=2u32 {
        assert!(matches!(sse.next_item().await, SseItem::Comment(_)));
        let elapsed = began.elapsed();
        assert!(elapsed >= Duration::from_millis(850) * beat, "{elapsed:?}");
        assert!(elapsed <= Duration::from_millis(1700) * beat, "{elapsed:?}");
    }
}

#[tokio::test]
async fn http10_gets_no_chunks_and_its_end_is_the_connections() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open_http10(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.head.header("transfer-encoding"), None);
    assert!(sse.head.names("connection", "close"), "{:?}", sse.head);
    assert_eq!(sse.next_event().await.data, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(sse.next_event().await.data, B);
    stand.app.stop();
    assert_eq!(sse.next_named("bye").await.id, None);
    sse.expect_end().await;
}

#[tokio::test]
async fn a_stream_ends_with_bye_and_its_last_chunk() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.app.stop();
    let bye = sse.next_named("bye").await;
    let data: serde_json::Value = serde_json::from_str(&bye.data).expect("JSON");
    assert_eq!(data["reason"], "drain");
    assert_eq!(data["reconnect"], true);
    assert!(data["retry_ms"].is_u64());
    sse.expect_end().await;
    sse.expect_eof().await;
}
