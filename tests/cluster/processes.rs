//! Three nodes poll as one, and clients see nothing of it (contract §13).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fleet::{Fleet, INTERVAL, number};

const ROUTE: &str = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 400ms } }
";

#[tokio::test]
async fn three_nodes_ask_once_an_interval_and_show_the_same() {
    let fleet = Fleet::start_calm(ROUTE).await;
    fleet.count("/state/a");
    let mut streams = Vec::new();
    for node in 0..3 {
        streams.push(fleet.follow(node, "/state/a").await);
    }
    let mut all = Vec::new();
    for stream in &mut streams {
        all.push(stream.states(8).await);
    }
    // A stream that began later has no less.
    let newest = all.iter().filter_map(|seen| seen.last()).min().copied().unwrap_or_default();
    let first = all.iter().filter_map(|seen| seen.first()).max().copied().unwrap_or_default();
    for seen in &all {
        let common: Vec<u64> = seen.iter().copied().filter(|n| (first..=newest).contains(n)).collect();
        assert_eq!(common, (first..=newest).collect::<Vec<_>>(), "{all:?}");
    }
    let seen = fleet.legacy.seen("/state/a");
    let took = seen[seen.len() - 1].at - seen[0].at;
    let most = took.as_secs_f64() / INTERVAL.as_secs_f64() + 2.0;
    assert!((seen.len() as f64) <= most, "{} polls in {took:?}", seen.len());
}

#[tokio::test]
async fn a_node_that_joins_asks_nothing_for_what_another_has() {
    let fleet = Fleet::start_calm(
        "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 1h } }
",
    )
    .await;
    fleet.count("/state/a");
    let mut first = fleet.follow(0, "/state/a").await;
    assert_eq!(first.states(1).await, [1]);
    for node in 1..3 {
        let mut other = fleet.follow(node, "/state/a").await;
        assert_eq!(other.states(1).await, [1], "node {node}");
    }
    assert_eq!(fleet.legacy.count("/state/a"), 1);
}

#[tokio::test]
async fn a_client_goes_on_at_another_node_for_nothing() {
    let fleet = Fleet::start_calm(
        "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 1h }, plain: share }
",
    )
    .await;
    fleet.count("/state/a");
    let mut first = fleet.follow(0, "/state/a").await;
    let event = first.sse.next_event().await;
    assert_eq!(number(&event.data), 1);
    let id = first.sse.last_event_id().to_owned();
    drop(first);
    let got = fleet.get(1, "/state/a", &[("If-None-Match", &format!("\"{id}\""))]).await;
    assert_eq!(got.status, 304, "{got:?}");
    let mut second = fleet.resume(1, "/state/a", &id).await;
    second.expect_no_event(Duration::from_millis(300)).await;
    assert_eq!(fleet.legacy.count("/state/a"), 1, "the upstream was asked again");
}

#[tokio::test]
async fn a_write_through_one_node_is_seen_on_all() {
    let fleet = Fleet::start_calm(
        "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 1h } }
passthrough: legacy
",
    )
    .await;
    let number_now = fleet.count("/state/a");
    let mut streams = Vec::new();
    for node in 0..3 {
        let mut stream = fleet.follow(node, "/state/a").await;
        assert_eq!(stream.states(1).await, [1], "node {node}");
        streams.push(stream);
    }
    let before = number_now.load(Ordering::SeqCst);
    let mut writer = fleet.client(2).await;
    writer.request("PUT", "/state/a", &[], b"{}").await;
    for (node, stream) in streams.iter_mut().enumerate() {
        let next = stream.states(1).await[0];
        assert!(next > before, "node {node} was told {next} after {before}");
    }
}
