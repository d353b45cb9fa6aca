//! Contract §3, §5: streams of an upstream that fails, refuses or says that something is gone.

use std::time::{Duration, Instant};

use super::{A, stand};
use crate::contract::{FAST, FAST_FAILING};
use crate::support::client::{Sse, SseItem};
use crate::support::legacy::{Gate, Reply};

/// A little longer than what the shortest interval needs for several polls.
const SEVERAL_POLLS: Duration = Duration::from_millis(400);

#[tokio::test]
async fn cold_with_the_upstream_down_it_says_stale_and_then_the_state() {
    let stand = stand(&format!("{FAST_FAILING}, first_answer: 200ms")).await;
    stand.legacy.stop().await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let stale = sse.next_named("stale").await;
    assert_eq!(stale.id, None);
    let data: serde_json::Value = serde_json::from_str(&stale.data).expect("JSON");
    for field in ["since", "status", "reason", "next_poll_ms"] {
        assert!(data.get(field).is_some(), "no {field} in {data}");
    }
    stand.legacy.start_again();
    assert_eq!(sse.next_named("fresh").await.id, None);
    assert_eq!(sse.next_event().await.data, A);
}

#[tokio::test]
async fn a_cold_upstream_that_hangs_holds_the_head_back_no_longer_than_first_answer() {
    let stand = stand("poll: {interval: 100ms}, first_answer: 300ms").await;
    let gate = Gate::closed();
    stand.legacy.once("/prices/A", Reply::json(A).behind(&gate));
    let began = Instant::now();
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let elapsed = began.elapsed();
    assert!(elapsed >= Duration::from_millis(280), "{elapsed:?}");
    assert!(elapsed < Duration::from_millis(1500), "{elapsed:?}");
    assert!(matches!(sse.next_item().await, SseItem::Retry(_)));
    gate.open();
    assert_eq!(sse.next_event().await.data, A);
}

#[tokio::test]
async fn cold_refusals_are_relayed_as_statuses() {
    let stand = stand(FAST).await;
    for status in [401, 403, 404, 410] {
        let path = format!("/prices/{status}");
        let reply = Reply::text("no").status(status).header("www-authenticate", "Basic");
        stand.legacy.set(&path, reply);
        let mut http = stand.http().await;
        let answer = http.get(&path, &[("accept", "text/event-stream")]).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, "no"));
        assert_eq!(answer.header("www-authenticate"), Some("Basic"));
        // The connection is as good as after any other answer.
        assert_eq!(http.get(&path, &[]).await.status, status);
    }
}

#[tokio::test]
async fn a_remembered_refusal_is_relayed_at_once() {
    let stand = stand("poll: {interval: 5s, backoff: {min: 5s, max: 5s}}").await;
    stand.legacy.set("/prices/A", Reply::text("no").status(404));
    let began = Instant::now();
    for _ in 0..3 {
        let refused = Sse::try_open(stand.address(), "/prices/A", &[]).await;
        assert_eq!(refused.err().map(|head| head.status), Some(404));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn other_cold_failures_are_streams_that_say_stale() {
    let stand = stand(FAST_FAILING).await;
    for status in [302, 429, 500, 503] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::text("no").status(status));
        let mut sse = Sse::open(stand.address(), &path, &[]).await;
        let stale = sse.next_named("stale").await;
        let data: serde_json::Value = serde_json::from_str(&stale.data).expect("JSON");
        assert_eq!(data["status"], status);
        stand.legacy.set(&path, Reply::json(A));
        sse.next_named("fresh").await;
        assert_eq!(sse.next_event().await.data, A);
    }
}

#[tokio::test]
async fn a_failing_upstream_is_stale_once_and_fresh_on_recovery() {
    let stand = stand(FAST_FAILING).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::text("oops").status(500));
    sse.next_named("stale").await;
    sse.expect_no_event(SEVERAL_POLLS).await;
    stand.legacy.set("/prices/A", Reply::json(A));
    sse.next_named("fresh").await;
    // The state is the one the client has.
    sse.expect_no_event(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_client_that_joins_a_stale_resource_gets_the_state_and_hears_of_it() {
    let stand = stand(FAST_FAILING).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    first.next_event().await;
    stand.legacy.set("/prices/A", Reply::text("oops").status(500));
    first.next_named("stale").await;
    let mut second = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut events = [second.next_event().await.event, second.next_event().await.event];
    events.sort();
    assert_eq!(events, ["message", "stale"]);
}

#[tokio::test]
async fn gone_is_said_once_and_a_comeback_sends_the_state() {
    let stand = stand("poll: {interval: 100ms, backoff: {min: 100ms, max: 300ms}}").await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::text("no").status(404));
    let gone = sse.next_named("gone").await;
    assert_eq!((gone.id, gone.data.as_str()), (None, r#"{"status":404}"#));
    sse.expect_no_event(Duration::from_millis(700)).await;
    stand.legacy.set("/prices/A", Reply::json(A));
    sse.next_named("fresh").await;
    assert_eq!(sse.next_event().await.data, A);
}

#[tokio::test]
async fn gone_after_ends_the_stream_and_the_reconnect_gets_204() {
    let route = "poll: {interval: 100ms, backoff: {min: 100ms, max: 100ms}}, gone_after: 1s";
    let stand = stand(route).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::text("no").status(410));
    sse.next_named("gone").await;
    let bye = sse.next_named("bye").await;
    assert!(bye.data.contains("\"reconnect\":false"), "{}", bye.data);
    sse.expect_end().await;
    let mut http = stand.http().await;
    let again = http.get("/prices/A", &[("accept", "text/event-stream")]).await;
    assert_eq!(again.status, 204);
    assert_eq!(again.header("content-length"), None, "{again:?}");
}
