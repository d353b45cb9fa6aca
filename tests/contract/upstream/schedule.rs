//! Contract §10: when the upstream is asked, end to end.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::contract::{Stand, config};
use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;

/// What `/resources` says about the first resource.
async fn resource(stand: &Stand) -> Value {
    let admin = stand.app.admin_address().expect("the admin listener");
    let mut listed = Http::connect(admin).await.get("/resources", &[]).await.expect(200).json();
    listed["resources"][0].take()
}

/// Waits until it says so.
async fn resource_says(stand: &Stand, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let found = resource(stand).await;
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < until, "never {what}: {found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_adaptive_interval_grows_while_nothing_happens_and_shrinks_after_changes() {
    let stand = Stand::start("poll: {interval: {min: 100ms, max: 800ms}}");
    stand.legacy.set("/prices/A", Reply::json("{\"n\":0}"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    let grown = resource_says(&stand, "grown", |r| r["effective_interval_ms"] == 800).await;
    assert_eq!(grown["why"], "adaptive");
    for n in 1..5 {
        stand.legacy.set("/prices/A", Reply::json(format!("{{\"n\":{n}}}")));
        sse.next_event().await;
    }
    resource_says(&stand, "shrunk", |r| r["effective_interval_ms"].as_u64() < Some(300)).await;
}

#[tokio::test]
async fn an_upstream_that_asks_for_time_gets_it_and_operators_are_told_why() {
    let cases = [
        ("cache-control", "max-age=60", "cache-control"),
        ("retry-after", "60", "retry-after"),
        ("ratelimit", "\"default\";r=0;t=60", "rate-limit"),
        ("ratelimit", "limit=10, remaining=1, reset=60", "rate-limit"),
    ];
    for (name, value, why) in cases {
        let stand = Stand::start("poll: {interval: 100ms}");
        stand.legacy.set("/prices/A", Reply::json("{}").header(name, value));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        sse.next_event().await;
        let found = resource_says(&stand, "paced", |r| r["why"] == why).await;
        assert_eq!(found["effective_interval_ms"], 60_000, "{name}: {value}");
        sse.expect_no_event(Duration::from_millis(350)).await;
        assert_eq!(stand.legacy.count("/prices/A"), 1, "{name}: {value}");
    }
}

/// pollcast whose upstream says more.
fn with_upstream(more: &str, route: &str) -> Stand {
    let legacy = Legacy::start();
    let yaml = config(&legacy, route, "").replacen("']}}", &format!("'], {more}}}}}"), 1);
    Stand { app: app::start(&yaml), legacy }
}

#[tokio::test]
async fn a_budget_is_never_exceeded_and_no_resource_is_forgotten() {
    let stand = with_upstream("budget: {rate: 20/s, burst: 5, max_concurrent: 2}", "poll: {interval: 100ms}");
    let mut streams = Vec::new();
    for n in 0..15 {
        let path = format!("/prices/{n}");
        stand.legacy.set(&path, Reply::json("{}").delay(Duration::from_millis(10)));
        streams.push(Sse::open(stand.address(), &path, &[]).await);
    }
    stand.legacy.forget();
    let began = Instant::now();
    for n in 0..15 {
        stand.legacy.wait_count(&format!("/prices/{n}"), 2).await;
    }
    let most = began.elapsed().as_secs_f64() * 20.0 + 5.0 + 1.0;
    let sent = stand.legacy.all_seen().len();
    assert!(sent as f64 <= most, "{sent} polls in {:?}", began.elapsed());
    assert!(stand.legacy.in_flight("/prices/0") <= 2);
    resource_says(&stand, "budgeted", |r| r["why"] == "budget").await;
}

#[tokio::test]
async fn a_request_that_gets_no_turn_is_told_when_to_come_back() {
    let stand = with_upstream("budget: {rate: 1/m, burst: 1}", "first_answer: 200ms");
    let mut http = stand.http().await;
    for path in ["/prices/A", "/prices/B"] {
        stand.legacy.set(path, Reply::json("{}"));
    }
    http.get("/prices/A", &[]).await.expect(200);
    let refused = http.get("/prices/B", &[]).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.text().contains("its budget is used up"), "{}", refused.text());
    assert_eq!(stand.legacy.count("/prices/B"), 0);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_tried_by_one_poll_at_a_time() {
    let stand = with_upstream(
        "breaker: {failures: 3, wait: 200ms}",
        "poll: {interval: 100ms, backoff: {min: 100ms, max: 100ms}}",
    );
    stand.legacy.set("/prices/A", Reply::empty(500));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.event, "stale");
    resource_says(&stand, "open", |r| r["last_outcome"] == "breaker").await;
    stand.legacy.set("/prices/A", Reply::json("{\"up\":1}"));
    sse.next_named("fresh").await;
    assert_eq!(sse.next_event().await.data, "{\"up\":1}");
}
