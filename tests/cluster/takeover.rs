//! Nodes and engines that fail: no client goes back, none is left behind, and none is told of it (contract §13).

use std::sync::atomic::Ordering;

use super::fleet::{Fleet, Follower};
use crate::support::ports::unused_address;
use crate::support::redis::RedisServer;

const ROUTE: &str = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 400ms } }
";

/// Three streams of one resource, each with a state.
async fn followed() -> (Fleet, Vec<Follower>) {
    Fleet::followed(ROUTE, 2).await
}

#[tokio::test]
async fn another_node_polls_when_the_holder_is_killed() {
    let (fleet, mut streams) = followed().await;
    let holder = fleet.holder().await;
    fleet.nodes[holder].signal("KILL");
    fleet.nodes[holder].wait_exit().await;
    drop(streams.remove(holder));
    for stream in &mut streams {
        stream.states(4).await;
    }
}

#[tokio::test]
async fn a_holder_that_stood_still_shows_nothing_old_when_it_wakes() {
    let (fleet, mut streams) = followed().await;
    let holder = fleet.holder().await;
    fleet.nodes[holder].signal("STOP");
    for (_, stream) in streams.iter_mut().enumerate().filter(|(node, _)| *node != holder) {
        stream.states(8).await;
    }
    let before = fleet.legacy.count("/state/a") as u64;
    fleet.nodes[holder].signal("CONT");
    // Each state is greater than the one before: the follower holds that.
    let stream = &mut streams[holder];
    loop {
        if stream.states(1).await[0] >= before {
            break;
        }
    }
}

#[tokio::test]
async fn nodes_poll_for_themselves_while_the_engine_is_gone() {
    let (mut fleet, mut streams) = followed().await;
    fleet.redis.kill();
    for stream in &mut streams {
        stream.states(4).await;
    }
    fleet.redis.launch();
    fleet.holder().await;
    for stream in &mut streams {
        stream.states(4).await;
    }
}

#[tokio::test]
async fn nodes_poll_for_themselves_while_the_engine_hangs() {
    let (fleet, mut streams) = followed().await;
    fleet.redis.signal("STOP");
    for stream in &mut streams {
        stream.states(6).await;
    }
    fleet.redis.signal("CONT");
    fleet.holder().await;
    for stream in &mut streams {
        stream.states(4).await;
    }
}

#[tokio::test]
async fn nodes_without_an_engine_from_the_start_serve_all_the_same() {
    let redis = RedisServer::start(&[]);
    let nowhere = unused_address().to_string();
    let fleet = Fleet::start_over(redis, &nowhere, ROUTE).await;
    let number = fleet.count("/state/a");
    for node in 0..3 {
        let mut stream = fleet.follow(node, "/state/a").await;
        stream.states(3).await;
    }
    assert!(number.load(Ordering::SeqCst) >= 9, "each node has polled three states for itself");
}
