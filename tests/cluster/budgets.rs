//! An upstream's budget is one for all nodes (contract §10, §13).

use std::time::{Duration, Instant};

use super::fleet::{Fleet, Settings, metric};
use crate::support::legacy::Reply;
use crate::support::redis::RedisServer;
use crate::support::wire::within;

/// Requests a second, and at once.
const RATE: f64 = 50.0;
const BURST: f64 = 5.0;
/// Resources of each node. All of them want five polls a second.
const RESOURCES: usize = 20;

/// Three nodes that want six times what their budget allows.
async fn greedy() -> Fleet {
    let redis = RedisServer::start(&[]);
    let settings = Settings { upstream: "budget: { rate: 50/s, burst: 5 }", ..Settings::of(&redis) };
    let routes = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 200ms } }
";
    let fleet = Fleet::start_with(redis, &settings, routes).await;
    for resource in 0..3 * RESOURCES {
        fleet.legacy.set(&format!("/state/{resource}"), Reply::json("{}"));
    }
    fleet
}

/// How many requests the API gets from now on, until there are so many; and within what time.
async fn requests(fleet: &Fleet, least: usize) -> (f64, Duration) {
    fleet.legacy.forget();
    let began = Instant::now();
    within("requests", async {
        while fleet.legacy.all_seen().len() < least {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Counted first: what comes in between makes the time longer, and not the number greater.
    (fleet.legacy.all_seen().len() as f64, began.elapsed())
}

/// What one budget allows in this time, and what was on its way already.
fn allowed(time: Duration) -> f64 {
    RATE * time.as_secs_f64() + 3.0 * BURST
}

#[tokio::test]
async fn three_nodes_together_ask_no_more_than_the_budget_with_the_engine_and_without() {
    let mut fleet = greedy().await;
    let mut streams = Vec::new();
    for resource in 0..3 * RESOURCES {
        streams.push(fleet.open(resource % 3, &format!("/state/{resource}"), &[]).await);
    }
    let (count, time) = requests(&fleet, 200).await;
    assert!(count <= allowed(time), "{count} requests in {time:?}");
    for node in &fleet.nodes {
        let tokens = metric(node, "pollcast_cluster_tokens_total{upstream=\"legacy\"}").await;
        assert!(tokens > 0, "each node has its part");
    }

    fleet.redis.kill();
    within("the loss", async {
        for node in &fleet.nodes {
            while metric(node, "pollcast_cluster_connected").await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    })
    .await;
    let (count, time) = requests(&fleet, 150).await;
    assert!(count <= allowed(time), "each node makes a third of it: {count} requests in {time:?}");
}
