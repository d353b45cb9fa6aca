//! Nodes that differ while something is changed on one after the other: the secret, the version, the engine's place
//! (contract §13).

use pollcast::cluster::engine::{Engine, Write};
use pollcast::cluster::seal::Name;
use pollcast::poll::backplane::{Order, Role, Written};

use super::Node as Later;
use super::fleet::{Fleet, Settings, metric};
use super::nodes::{CALM, Node, content};
use super::{accepted, write};
use crate::support::legacy::Reply;
use crate::support::redis::RedisServer;
use crate::support::wire::within;

const FIRST: &str = "a secret of thirty-two bytes or more";
const SECOND: &str = "another secret of thirty-two bytes or more";

#[tokio::test]
async fn while_a_secret_is_changed_each_group_polls_and_writes_reach_all() {
    let redis = RedisServer::start(&[]);
    let old = Settings {
        secret: FIRST,
        cluster: "previous_secret: another secret of thirty-two bytes or more",
        ..Settings::of(&redis)
    };
    let new = Settings {
        secret: SECOND,
        cluster: "previous_secret: a secret of thirty-two bytes or more",
        ..Settings::of(&redis)
    };
    let routes = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, plain: share, poll: { interval: 1h } }
passthrough: legacy
";
    let fleet = Fleet::start_each(redis, [&old, &old, &new], routes).await;
    let number = fleet.count("/state/a");
    let mut streams = Vec::new();
    for node in 0..3 {
        streams.push(fleet.follow(node, "/state/a").await);
        streams[node].states(1).await;
    }
    assert_eq!(fleet.legacy.count("/state/a"), 2, "one poll for each secret");
    for writer in [2, 0] {
        let before = number.load(std::sync::atomic::Ordering::SeqCst);
        fleet.client(writer).await.request("PUT", "/state/a", &[], b"{}").await;
        for stream in &mut streams {
            while stream.states(1).await[0] <= before + 1 {}
        }
    }
}

#[tokio::test]
async fn without_the_engine_nodes_that_hold_poll_nothing_and_go_on_when_it_is_back() {
    let redis = RedisServer::start(&[]);
    let settings = Settings { cluster: "when_lost: hold", ..Settings::of(&redis) };
    let routes = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, plain: share, stale_after: 200ms, poll: { interval: 200ms } }
";
    let mut fleet = Fleet::start_with(redis, &settings, routes).await;
    fleet.count("/state/a");
    let mut streams = Vec::new();
    for node in 0..2 {
        let mut stream = fleet.follow(node, "/state/a").await;
        stream.states(2).await;
        streams.push(stream);
    }
    fleet.redis.kill();
    within("the loss", async {
        for node in &fleet.nodes {
            while metric(node, "pollcast_cluster_seats{role=\"waiting\"}").await == 0
                && metric(node, "pollcast_cluster_connected").await > 0
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    })
    .await;
    for stream in &mut streams {
        within("a stale state", async { while stream.sse.next_event().await.event != "stale" {} }).await;
    }
    fleet.legacy.forget();
    for node in 0..2 {
        let held = fleet.get(node, "/state/a", &[]).await.expect(200);
        assert!(held.text().contains("\"n\""), "what is there is served");
    }
    assert_eq!(fleet.legacy.count("/state/a"), 0);
    fleet.legacy.set("/state/b", Reply::json("{}"));
    fleet.redis.launch();
    for stream in &mut streams {
        stream.states(2).await;
    }
}

/// The only resource in the engine.
fn only_resource(server: &RedisServer) -> Name {
    let keys = server.ask(&["KEYS", "{pollcast:default}:r:*"]);
    let (_, name) = keys.rsplit_once(':').expect("there is one");
    Name::parse(name.as_bytes()).expect("it is a name")
}

#[tokio::test]
async fn a_node_polls_for_itself_what_a_later_version_writes() {
    let server = RedisServer::start(&[]);
    let (a, b) = (Node::start(&server, CALM), Node::start(&server, CALM));
    let holder = a.attends("/x");
    let fence = holder.holds().await;
    let mirror = b.attends("/x");
    mirror.is(Role::Mirror).await;
    assert_eq!(holder.member.write(&content(fence, 1, "one")).await, Written::Accepted);
    mirror.content().await;
    let later = Later::of(&server).await;
    let name = only_resource(&server);
    let mut record = later.redis.read(&name).await.unwrap().content.to_vec();
    record[0] += 1;
    let order = Order { fence, sequence: 2 };
    let written = Write { name, order, content: &record, ..write("", fence, 2, b"") };
    assert_eq!(later.redis.write(&written).await.unwrap(), accepted(0));
    mirror.is(Role::Alone).await;
}
