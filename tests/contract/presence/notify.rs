//! What the upstream is told: how many follow, and which subject came first or went last.

use std::time::Duration;

use serde_json::{Value, json};

use super::{JWT, bearer, follow, named, stand};
use crate::contract::Stand;
use crate::support::client::long_poll;
use crate::support::legacy::{Reply, Seen};
use crate::support::sse::Sse;

const NOTICES: &str = "/notices/A";

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).expect("JSON")
}

fn said(event: &str, subject: &str) -> Value {
    json!({ "event": event, "resource": "/prices/A", "subject": subject })
}

#[tokio::test]
async fn polls_say_how_many_follow_those_between_two_long_polls_among_them() {
    let stand = stand("presence: {linger: 1m}");
    let mut http = stand.http().await;
    long_poll(&mut http, "/prices/A", None, Duration::from_secs(30)).await.expect(200);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_named("message").await;
    let says = |seen: &Seen| seen.header("x-pollcast-subscribers") == Some("2");
    stand.legacy.wait_seen("a poll that says two", says).await;
}

#[tokio::test]
async fn the_upstream_is_told_of_the_first_and_the_last_of_a_subject() {
    let stand = named("notify: {path: '/notices/{symbol}', debounce: 100ms}");
    stand.legacy.set(NOTICES, Reply::empty(204));
    let (one, two) = (follow(&stand, "/prices/A", "ann").await, follow(&stand, "/prices/A", "ann").await);
    stand.legacy.wait_count(NOTICES, 1).await;
    let first = stand.legacy.seen(NOTICES).remove(0);
    assert_eq!((first.method.as_str(), body(&first)), ("POST", said("joined", "ann")));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("authorization"), None, "nothing of the client's but its name");
    drop(one);
    let bob = follow(&stand, "/prices/A", "bob").await;
    stand.legacy.wait_count(NOTICES, 2).await;
    assert_eq!(body(&stand.legacy.seen(NOTICES)[1]), said("joined", "bob"));
    drop(two);
    stand.legacy.wait_count(NOTICES, 3).await;
    assert_eq!(body(&stand.legacy.seen(NOTICES)[2]), said("left", "ann"));
    drop(bob);
    stand.legacy.wait_count(NOTICES, 4).await;
    assert_eq!(body(&stand.legacy.seen(NOTICES)[3]), said("left", "bob"));
    stand.metric_becomes("pollcast_presence_notices_total", "told", 4.0).await;
}

#[tokio::test]
async fn a_subject_that_is_back_in_time_has_never_left() {
    let stand = named("notify: {path: '/notices/{symbol}', debounce: 1s}");
    stand.legacy.set(NOTICES, Reply::empty(204));
    let mut ann = follow(&stand, "/prices/A", "ann").await;
    stand.legacy.wait_count(NOTICES, 1).await;
    for _ in 0..3 {
        drop(ann);
        ann = follow(&stand, "/prices/A", "ann").await;
    }
    // Bob's notice is as old as the last of what ann did, so that hers would be here with it.
    let _bob = follow(&stand, "/prices/A", "bob").await;
    stand
        .legacy
        .wait_seen("bob's notice", |seen| seen.path() == NOTICES && body(seen)["subject"] == "bob")
        .await;
    let of_ann = stand.legacy.seen(NOTICES).into_iter().filter(|seen| body(seen)["subject"] == "ann");
    assert_eq!(of_ann.map(|seen| body(&seen)).collect::<Vec<_>>(), [said("joined", "ann")]);
    drop(ann);
}

#[tokio::test]
async fn what_fails_is_tried_three_times_and_counted() {
    let stand = named("notify: {path: '/notices/{symbol}', debounce: 0s}");
    for reply in [Reply::empty(503), Reply::reset()] {
        stand.legacy.once(NOTICES, reply);
    }
    stand.legacy.set(NOTICES, Reply::empty(204));
    let ann = follow(&stand, "/prices/A", "ann").await;
    stand.metric_becomes("pollcast_presence_notices_total", "told", 1.0).await;
    assert_eq!(stand.legacy.count(NOTICES), 3);
    stand.legacy.set(NOTICES, Reply::empty(500));
    drop(ann);
    stand.metric_becomes("pollcast_presence_notices_total", "failed", 1.0).await;
    assert_eq!(stand.legacy.count(NOTICES), 6, "three more");
    // What it does not want is not tried again.
    stand.legacy.set(NOTICES, Reply::empty(404));
    let _bob = follow(&stand, "/prices/A", "bob").await;
    stand.metric_becomes("pollcast_presence_notices_total", "failed", 2.0).await;
    assert_eq!(stand.legacy.count(NOTICES), 7);
}

#[tokio::test]
async fn what_finds_no_room_to_wait_is_dropped_and_counted() {
    let stand = named("notify: {path: '/notices/{symbol}', debounce: 1m, queue: 1}");
    let _ann = follow(&stand, "/prices/A", "ann").await;
    let _bob = follow(&stand, "/prices/A", "bob").await;
    stand.metric_becomes("pollcast_presence_notices_total", "dropped", 1.0).await;
}

#[tokio::test]
async fn a_slow_upstream_of_notices_delays_no_client() {
    let stand = named("notify: {path: '/notices/{symbol}', debounce: 0s}");
    stand.legacy.set(NOTICES, Reply::silence());
    let mut ann = follow(&stand, "/prices/A?_presence=on", "ann").await;
    stand.legacy.wait_in_flight(NOTICES, 1).await;
    super::until_count(&mut ann, 1).await;
    stand.legacy.set("/prices/A", Reply::json("2"));
    assert_eq!(ann.next_named("message").await.data, "2");
}

#[tokio::test]
async fn what_polls_carry_of_the_operators_goes_along_and_nothing_of_a_client() {
    let poll = "poll: {interval: 100ms, headers: {x-api-key: ours}}";
    let notify = "hosts: [127.0.0.1], presence: {notify: {path: /notices, debounce: 0s}}";
    let stand = Stand::start(&format!("{poll}, {JWT}, share: public, {notify}"));
    stand.legacy.set("/prices/A", Reply::json("1"));
    stand.legacy.set("/notices", Reply::empty(204));
    let token = bearer("ann");
    let _ann = Sse::open(stand.address(), "/prices/A", &[("authorization", &token)]).await;
    stand.legacy.wait_count("/notices", 1).await;
    let notice = stand.legacy.seen("/notices").remove(0);
    assert_eq!(notice.header("x-api-key"), Some("ours"));
    assert_eq!(notice.header("authorization"), None);
}
