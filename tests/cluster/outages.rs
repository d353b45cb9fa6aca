//! Whatever fails between the nodes, their clients are told every state once and in order, and nothing of the failure.

use super::crowd::{Crowd, ROUTES};
use super::fleet::{Fleet, NODES};
use crate::support::legacy::Legacy;
use crate::support::partition::{Cut, Partition};
use crate::support::redis::RedisServer;

/// Waits until all nodes have the engine, or none of them.
async fn engine_is(fleet: &Fleet, connected: bool) {
    for node in 0..NODES {
        fleet.until(node, "cluster_connected", |value| (value == 1) == connected).await;
    }
}

#[tokio::test]
async fn clients_see_each_state_once_whatever_is_cut_between_a_node_and_the_engine() {
    let (fleet, ways) = Fleet::start_apart(ROUTES).await;
    let mut crowd = Crowd::gather(&fleet).await;
    for cut in [Cut::Both, Cut::ToServer, Cut::FromServer, Cut::Subscriptions, Cut::Commands] {
        let node = fleet.holder().await;
        ways[node].cut(cut);
        crowd.sees(1, &format!("{cut:?} of node {node}, from the start")).await;
        fleet.until(node, "cluster_connected", |value| value == 0).await;
        crowd.sees(2, &format!("{cut:?} of node {node}")).await;
        ways[node].cut(Cut::Nothing);
        crowd.sees(1, &format!("after {cut:?} of node {node}")).await;
        fleet.until(node, "cluster_connected", |value| value == 1).await;
        crowd.sees(2, &format!("long after {cut:?} of node {node}")).await;
    }
}

#[tokio::test]
async fn clients_see_each_state_once_while_a_connection_to_the_engine_comes_and_goes() {
    let (fleet, ways) = Fleet::start_apart(ROUTES).await;
    let mut crowd = Crowd::gather(&fleet).await;
    for round in 0..4 {
        let node = round % NODES;
        ways[node].cut(Cut::Refused);
        fleet.until(node, "cluster_connected", |value| value == 0).await;
        crowd.sees(1, &format!("without the engine at node {node}, round {round}")).await;
        ways[node].cut(Cut::Nothing);
        fleet.until(node, "cluster_connected", |value| value == 1).await;
        crowd.sees(1, &format!("with the engine at node {node}, round {round}")).await;
    }
}

#[tokio::test]
async fn clients_see_each_state_once_whatever_becomes_of_the_engine() {
    let mut fleet = Fleet::start(ROUTES).await;
    let mut crowd = Crowd::gather(&fleet).await;
    fleet.redis.signal("STOP");
    crowd.sees(1, "as soon as the engine hangs").await;
    engine_is(&fleet, false).await;
    crowd.sees(2, "while the engine hangs").await;
    fleet.redis.signal("CONT");
    engine_is(&fleet, true).await;
    crowd.sees(2, "after the engine hung").await;

    fleet.redis.kill();
    crowd.sees(2, "while there is no engine").await;
    fleet.redis.launch();
    engine_is(&fleet, true).await;
    crowd.sees(2, "with an engine that came back empty").await;

    // As after a failover that lost the newest writes.
    assert_eq!(fleet.redis.ask(&["SAVE"]), "OK");
    crowd.sees(3, "before the engine loses the newest writes").await;
    fleet.redis.kill();
    fleet.redis.launch();
    crowd.sees(1, "as soon as the engine has lost the newest writes").await;
    engine_is(&fleet, true).await;
    crowd.sees(2, "with an engine that lost the newest writes").await;

    fleet.redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    crowd.sees(1, "as soon as the engine has no memory left").await;
    for node in 0..NODES {
        fleet.until(node, "cluster_losses_total{reason=\"memory\"}", |losses| losses > 0).await;
    }
    crowd.sees(2, "while the engine has no memory left").await;
    fleet.redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    engine_is(&fleet, true).await;
    crowd.sees(2, "when the engine has memory again").await;
}

#[tokio::test]
async fn clients_see_each_state_once_while_the_engine_evicts_what_the_nodes_store() {
    let redis = RedisServer::start(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"]);
    let fleet = Fleet::start_changed(redis, Legacy::start(), ROUTES, |_, _| {}).await;
    let mut crowd = Crowd::gather(&fleet).await;
    let fill = "for i = 1, 1000 do redis.call('SET', ARGV[1] .. ':' .. i, string.rep('x', 4000)) end";
    for round in 0..4 {
        fleet.redis.ask(&["EVAL", fill, "0", &round.to_string()]);
        crowd.sees(2, &format!("after eviction {round}")).await;
    }
    let evicted = fleet.redis.ask(&["INFO", "stats"]);
    assert!(!evicted.contains("evicted_keys:0\r"), "nothing was evicted");
}

#[tokio::test]
async fn clients_see_each_state_once_whatever_becomes_of_a_node() {
    let mut fleet = Fleet::start(ROUTES).await;
    let mut crowd = Crowd::gather(&fleet).await;
    let killed = fleet.holder().await;
    fleet.nodes[killed].signal("KILL");
    fleet.nodes[killed].wait_exit().await;
    crowd.sees(2, "after a holder was killed").await;
    fleet.start_again(killed).await;
    crowd.sees(2, "when it is there again").await;
    let stopped = fleet.holder().await;
    fleet.nodes[stopped].signal("STOP");
    crowd.sees(2, "while a holder stands still").await;
    fleet.nodes[stopped].signal("CONT");
    crowd.sees(2, "when it is awake").await;
    let drained = fleet.holder().await;
    fleet.nodes[drained].signal("TERM");
    crowd.sees(2, "while a holder drains, and after it").await;
    fleet.nodes[drained].wait_exit().await;
}

#[tokio::test]
async fn clients_see_each_state_once_while_the_holder_alone_cannot_reach_the_api() {
    let (redis, legacy) = (RedisServer::start(&[]), Legacy::start());
    let mut ways = Vec::new();
    for _ in 0..NODES {
        ways.push(Partition::before(legacy.address()).await);
    }
    let fleet = Fleet::start_changed(redis, legacy, ROUTES, |number, node| {
        node.api = Some(ways[number].address);
        node.upstream = "host: api.test";
    })
    .await;
    let mut crowd = Crowd::gather(&fleet).await;
    let cut_off = fleet.holder().await;
    ways[cut_off].cut(Cut::Refused);
    crowd.sees(3, "while the holder cannot reach the API").await;
    ways[cut_off].cut(Cut::Nothing);
    crowd.sees(2, "when it can").await;
}
