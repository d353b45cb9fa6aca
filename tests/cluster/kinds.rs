//! Kinds of resources and answers, on the node that polls and on those that mirror (contract §8, §10, §13).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::fleet::{Fleet, Settings, number};
use crate::support::client::Sse;
use crate::support::legacy::Reply;
use crate::support::redis::RedisServer;
use crate::support::wire::within;

const SHARED: &str = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, plain: share, poll: { interval: 200ms } }
";

async fn next(sse: &mut Sse) -> u64 {
    loop {
        let event = sse.next_event().await;
        if event.event.is_empty() || event.event == "message" {
            return number(&event.data);
        }
    }
}

#[tokio::test]
async fn clients_of_one_class_share_a_poll_on_all_nodes_where_private_is_shared() {
    let redis = RedisServer::start(&[]);
    let settings = Settings { cluster: "private: shared", ..Settings::of(&redis) };
    let routes = "routes:
  - { path: '/state/{name}', upstream: legacy, share: { by: [authorization] }, poll: { interval: 1h } }
";
    let fleet = Fleet::start_with(redis, &settings, routes).await;
    fleet.count("/state/a");
    let open = async |node, user| fleet.open(node, "/state/a", &[("Authorization", user)]).await;
    let (ann, bob) = ("Bearer ann", "Bearer bob");
    let of_ann = next(&mut open(0, ann).await).await;
    for node in 0..3 {
        assert_eq!(next(&mut open(node, ann).await).await, of_ann, "node {node}");
    }
    let of_bob = next(&mut open(1, bob).await).await;
    assert_ne!(of_bob, of_ann);
    assert_eq!(next(&mut open(2, bob).await).await, of_bob);
    let users: Vec<Option<String>> = fleet.legacy.seen("/state/a").iter().map(user).collect();
    assert_eq!(users, [Some(ann.to_owned()), Some(bob.to_owned())], "one poll each");
}

fn user(seen: &crate::support::legacy::Seen) -> Option<String> {
    seen.header("authorization").map(str::to_owned)
}

#[tokio::test]
async fn a_state_that_is_too_large_to_share_reaches_the_followers_of_all_nodes() {
    let redis = RedisServer::start(&[]);
    let settings = Settings { cluster: "max_value: 4KiB", ..Settings::of(&redis) };
    let fleet = Fleet::start_with(redis, &settings, SHARED).await;
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    fleet.legacy.answer_with("/state/a", move |_| {
        let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
        // From the fourth on it does not fit, however it is compressed.
        let noise: String = (0..if n > 3 { 20_000 } else { 10 }).map(|_| fastrand::alphanumeric()).collect();
        Reply::json(json!({ "n": n, "noise": noise }).to_string())
    });
    let mut streams = Vec::new();
    for node in 0..3 {
        streams.push(fleet.follow(node, "/state/a").await);
    }
    for stream in &mut streams {
        while stream.states(1).await[0] < 12 {}
    }
}

#[tokio::test]
async fn an_answer_that_is_passed_on_is_the_same_on_the_nodes_that_did_not_ask() {
    let fleet = Fleet::start_calm(SHARED).await;
    fleet.count("/state/a");
    let mut streams = Vec::new();
    for node in 0..2 {
        streams.push(fleet.follow(node, "/state/a").await);
        streams[node].states(1).await;
    }
    let answer = json!({ "error": "sold out" }).to_string();
    fleet.legacy.set("/state/a", Reply::json(answer.clone()).status(404));
    for node in 0..2 {
        within("the API's own answer", async {
            loop {
                let got = fleet.get(node, "/state/a", &[]).await;
                if got.status == 404 {
                    assert_eq!(got.text(), answer, "node {node}");
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_new_holder_goes_on_with_the_cursor_and_no_item_comes_twice_or_never() {
    let fleet = Fleet::start(
        "routes:
  - { path: '/changes', upstream: legacy, share: public, poll: { interval: 200ms },
      feed: { items: /results, id: /seq, order: oldest_first, cursor: { query: since, from: /last_seq } } }
",
    )
    .await;
    let newest = Arc::new(AtomicU64::new(3));
    let known = newest.clone();
    fleet.legacy.answer_with("/changes", move |seen| {
        let since = seen.target.split_once("since=").map_or(0, |(_, since)| since.parse().unwrap_or(0));
        let newest = known.load(Ordering::SeqCst);
        let results: Vec<Value> = (since + 1..=newest).map(|seq| json!({ "seq": seq })).collect();
        Reply::json(json!({ "results": results, "last_seq": newest }).to_string())
    });
    let (mut first, mut second) =
        (fleet.open(0, "/changes", &[]).await, fleet.open(1, "/changes", &[]).await);
    let seq = |sse: &str| serde_json::from_str::<Value>(sse).unwrap()["seq"].as_u64().unwrap();
    newest.fetch_add(1, Ordering::SeqCst);
    // What was there before the first poll is no news.
    for stream in [&mut first, &mut second] {
        while seq(&item(stream).await) < 4 {}
    }
    let holder = fleet.holder().await;
    fleet.nodes[holder].signal("KILL");
    fleet.nodes[holder].wait_exit().await;
    let without_cursor =
        || fleet.legacy.seen("/changes").iter().filter(|s| !s.target.contains("since=")).count();
    let before = without_cursor();
    let stream = if holder == 0 { &mut second } else { &mut first };
    for wanted in 5..9 {
        newest.fetch_add(1, Ordering::SeqCst);
        assert_eq!(seq(&item(stream).await), wanted);
    }
    assert_eq!(without_cursor(), before, "the list was read from its beginning again");
}

/// The data of the next item.
async fn item(sse: &mut Sse) -> String {
    loop {
        let event = sse.next_event().await;
        if event.data.contains("seq") {
            return event.data;
        }
    }
}
