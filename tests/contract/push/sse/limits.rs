//! Contract §5, §11: streams that are refused, vanish, stall or end.

use std::time::{Duration, Instant};

use super::{A, B, stand};
use crate::contract::{FAST, ONCE, Stand, narrow};
use crate::support::client::{Sse, SseItem};
use crate::support::legacy::Reply;

#[tokio::test]
async fn an_answer_of_one_user_ends_running_streams_and_refuses_new_ones() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::json(B).header("cache-control", "private"));
    let bye = sse.next_named("bye").await;
    assert!(bye.data.contains("not-shareable"), "{}", bye.data);
    assert!(bye.data.contains("\"reconnect\":false"), "{}", bye.data);
    sse.expect_end().await;
    let refused = Sse::try_open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(refused.err().map(|head| head.status), Some(403));
    let plain = stand.http().await.get("/prices/A", &[]).await.expect(200);
    let passed = Some("pollcast; fwd=bypass; detail=not-shareable");
    assert_eq!((plain.text().as_str(), plain.header("cache-status")), (B, passed));
}

#[tokio::test]
async fn when_all_seats_are_taken_browsers_are_refused_softly_and_others_with_503() {
    let stand = Stand::with(FAST, "limits: {clients: 1}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut taken = Sse::open(stand.address(), "/prices/A", &[]).await;
    taken.next_event().await;

    let mut other = stand.http().await;
    let refused = other.get("/prices/A", &[("accept", "text/event-stream")]).await.expect(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");

    let browser = [("accept", "text/event-stream"), ("user-agent", "Mozilla/5.0")];
    let began = Instant::now();
    let mut soft = Sse::open(stand.address(), "/prices/A", &browser).await;
    let SseItem::Retry(retry) = soft.next_item().await else {
        panic!("no retry first");
    };
    assert!((5000..=60_000).contains(&retry), "{retry}");
    assert!(began.elapsed() < Duration::from_secs(1), "the retry was held back");
    let bye = soft.next_named("bye").await;
    assert!(bye.data.contains("\"reason\":\"clients\""), "{}", bye.data);
    // Held, so that a client that takes no `retry` does not come back at once.
    let held = began.elapsed();
    assert!(held >= Duration::from_secs(2), "{held:?}");
    assert!(held < Duration::from_secs(6), "{held:?}");
    soft.expect_end().await;

    // A seat is free again when its client is gone.
    drop(taken);
    stand.clients("sse", 0).await;
    Sse::open(stand.address(), "/prices/A", &[]).await.next_event().await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed_within_a_second_and_without_a_write() {
    let stand = stand(ONCE).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.clients("sse", 1).await;
    let began = Instant::now();
    drop(sse);
    stand.clients("sse", 0).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn two_resources_do_not_mix() {
    let stand = stand(FAST).await;
    stand.legacy.set("/prices/B", Reply::json(r#"{"b":0}"#));
    let mut a = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut b = Sse::open(stand.address(), "/prices/B", &[]).await;
    a.next_event().await;
    b.next_event().await;
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(a.next_event().await.data, B);
    b.expect_no_event(Duration::from_millis(300)).await;
    stand.legacy.set("/prices/B", Reply::json(r#"{"b":1}"#));
    assert_eq!(b.next_event().await.data, r#"{"b":1}"#);
    a.expect_no_event(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn conditional_polls_without_news_make_no_events() {
    let stand = stand(FAST).await;
    stand.legacy.set("/prices/A", Reply::json(A).with_etag());
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.wait_count("/prices/A", 4).await;
    let seen = stand.legacy.seen("/prices/A");
    assert_eq!(seen[0].header("if-none-match"), None);
    assert!(seen[1..].iter().all(|poll| poll.header("if-none-match").is_some()));
    sse.expect_no_event(Duration::from_millis(100)).await;
    stand.legacy.set("/prices/A", Reply::json(B).with_etag());
    assert_eq!(sse.next_event().await.data, B);
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_next() {
    let stand = Stand::with(FAST, "limits: {stall_timeout: 60s}");
    let big = |n: u32| Reply::json(format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(400_000)));
    stand.legacy.set("/prices/A", big(0));
    let slow = narrow(stand.address()).await;
    let host = stand.address().to_string();
    let mut slow = Sse::over(slow, &host, "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    let mut quick = Sse::open(stand.address(), "/prices/A", &[]).await;
    quick.next_event().await;
    for n in 1..=15 {
        stand.legacy.set("/prices/A", big(n));
        assert!(quick.next_event().await.data.starts_with(&format!("{{\"n\":{n},")));
    }
    let mut events = 0;
    loop {
        events += 1;
        if slow.next_event().await.data.starts_with("{\"n\":15,") {
            break;
        }
    }
    // What was half written, and the latest; perhaps one that the kernel had taken.
    assert!(events <= 3, "{events} events queued for a slow reader");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_after_stall_timeout() {
    let stand = Stand::with(FAST, "limits: {stall_timeout: 1s}");
    stand.legacy.set("/prices/A", Reply::json(format!("\"{}\"", "x".repeat(900_000))));
    let slow = narrow(stand.address()).await;
    let host = stand.address().to_string();
    let _slow = Sse::over(slow, &host, "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    stand.clients("sse", 1).await;
    stand.clients("sse", 0).await;
    stand.metric_becomes("pollcast_slow_closes_total", "sse", 1.0).await;
}

#[tokio::test]
async fn bytes_after_the_request_are_ignored() {
    let stand = stand(FAST).await;
    let mut http = stand.http().await;
    http.send_raw(
        b"GET /prices/A HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n\
          GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    let mut sse = Sse::answered(http.into_wire()).await.expect("a stream");
    assert_eq!(sse.next_event().await.data, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(sse.next_event().await.data, B);
    assert_eq!(stand.legacy.count("/elsewhere"), 0);
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_said_and_not_sent() {
    let stand = stand("poll: {interval: 100ms, max_body: 1KiB}, stale_after: 0s").await;
    stand.legacy.set("/prices/A", Reply::json(format!("\"{}\"", "x".repeat(5000))));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let stale = sse.next_named("stale").await;
    assert!(stale.data.contains("1024"), "{}", stale.data);
}
