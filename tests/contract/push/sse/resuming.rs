//! Contract §2, §5: a stream that resumes from a version.

use std::time::{Duration, Instant};

use super::{A, B, stand};
use crate::contract::{FAST, ONCE, version_of};
use crate::support::client::{Sse, SseItem};
use crate::support::legacy::Reply;

const C: &str = r#"{"price":3}"#;

#[tokio::test]
async fn a_client_that_comes_back_with_the_current_version_gets_only_a_comment() {
    let stand = stand(FAST).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = first.next_event().await.id.expect("an id");
    let by_header = Sse::open(stand.address(), "/prices/A", &[("last-event-id", &id)]).await;
    let snake = format!("/prices/A?last_event_id={id}");
    let camel = format!("/prices/A?lastEventId={id}");
    let by_snake = Sse::open(stand.address(), &snake, &[]).await;
    let by_camel = Sse::open(stand.address(), &camel, &[]).await;
    let mut streams = [by_header, by_snake, by_camel];
    for sse in &mut streams {
        sse.expect_no_event(Duration::from_millis(200)).await;
        let is_comment = |item: &SseItem| matches!(item, SseItem::Comment(_));
        assert!(sse.passed.iter().any(is_comment));
    }
    stand.legacy.set("/prices/A", Reply::json(B));
    for sse in &mut streams {
        assert_eq!(sse.next_event().await.data, B);
    }
}

#[tokio::test]
async fn the_header_wins_over_the_query_when_resuming() {
    let stand = stand(FAST).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = first.next_event().await.id.expect("an id");
    let path = "/prices/A?last_event_id=AAAAAAAAAAAAAAAAAAAAAA";
    let mut sse = Sse::open(stand.address(), path, &[("last-event-id", &id)]).await;
    sse.expect_no_event(Duration::from_millis(250)).await;
}

#[tokio::test]
async fn a_client_that_comes_back_with_an_older_version_gets_the_latest_at_once() {
    let stand = stand(FAST).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = first.next_event().await.id.expect("an id");
    for body in [B, C] {
        stand.legacy.set("/prices/A", Reply::json(body));
        assert_eq!(first.next_event().await.data, body);
    }
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("last-event-id", &id)]).await;
    assert_eq!(sse.next_event().await.data, C);
    sse.expect_no_event(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn an_unknown_version_waits_for_a_confirming_poll() {
    let stand = stand("poll: {interval: 1s}").await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(first.next_event().await.data, A);
    // This process still holds A. A client that has seen something newer elsewhere must not be
    // sent back in time.
    stand.legacy.set("/prices/A", Reply::json(B));
    let unknown = [("last-event-id", "AAAAAAAAAAAAAAAAAAAAAA")];
    let mut sse = Sse::open(stand.address(), "/prices/A", &unknown).await;
    assert_eq!(sse.next_event().await.data, B);
}

#[tokio::test]
async fn a_name_that_is_no_version_is_told_the_state_at_once() {
    let stand = stand(ONCE).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(first.next_event().await.data, A);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("last-event-id", "#25")]).await;
    assert_eq!(sse.next_event().await.data, A);
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn an_unknown_version_that_the_confirming_poll_finds_gets_nothing() {
    let stand = stand("poll: {interval: 1s}").await;
    let newer = version_of(&stand, B).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(first.next_event().await.data, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("last-event-id", &newer)]).await;
    assert_eq!(first.next_event().await.data, B);
    sse.expect_no_event(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn unknown_versions_cost_one_extra_poll_together() {
    let stand = stand("poll: {interval: 2s}").await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    first.next_event().await;
    let began = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let unknown = [("last-event-id", "AAAAAAAAAAAAAAAAAAAAAA")];
        streams.push(Sse::open(stand.address(), "/prices/A", &unknown).await);
    }
    for sse in &mut streams {
        assert_eq!(sse.next_event().await.data, A);
    }
    assert_eq!(stand.legacy.count("/prices/A"), 2);
    // Half an interval after the first poll, not a whole one.
    assert!(began.elapsed() < Duration::from_millis(1600), "{:?}", began.elapsed());
}

#[tokio::test]
async fn after_a_restart_the_first_poll_confirms_by_itself() {
    let stand = stand(ONCE).await;
    let unknown = [("last-event-id", "AAAAAAAAAAAAAAAAAAAAAA")];
    let mut sse = Sse::open(stand.address(), "/prices/A", &unknown).await;
    assert_eq!(sse.next_event().await.data, A);
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}
