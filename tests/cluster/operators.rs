//! What operators see of the cluster, and how they take a node out of it for maintenance (contract §12, §13).

use std::time::Duration;

use serde_json::Value;

use super::fleet::{Fleet, Follower};
use crate::support::app;
use crate::support::client::{Http, Response};
use crate::support::legacy::Reply;
use crate::support::process::Process;
use crate::support::wire::within;

const ROUTE: &str = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 400ms } }
  - { path: '/large/{name}', upstream: legacy, share: public, poll: { interval: 1h, max_body: 4MiB } }
  - { path: '/own/{name}', upstream: legacy, share: { by: [authorization] }, poll: { interval: 1h } }
  - { path: '/off/{name}', upstream: legacy, share: public, cluster: off, poll: { interval: 1h } }
";

async fn resources(node: &Process) -> Value {
    Http::connect(node.admin).await.get("/resources", &[]).await.expect(200).json()
}

async fn call(node: &Process, name: &str) -> Response {
    Http::connect(node.admin).await.request("POST", &format!("/-/cluster/{name}"), &[], b"").await
}

/// Asks until what a node lists is as wanted; nothing tells when it changes.
async fn until(node: &Process, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    within(what.to_owned(), async {
        loop {
            let listed = resources(node).await;
            if is_it(&listed) {
                return listed;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The resource of a path.
fn of<'a>(listed: &'a Value, path: &str) -> &'a Value {
    let resources = listed["resources"].as_array().expect("a list");
    resources.iter().find(|resource| resource["path"] == path).unwrap_or_else(|| panic!("{path}: {listed:#}"))
}

fn has_role(listed: &Value, path: &str, role: &str) -> bool {
    let resources = listed["resources"].as_array().expect("a list");
    resources.iter().any(|resource| resource["path"] == path && resource["role"] == role)
}

/// A stream on each node, each with a state, and the nodes know of each other.
async fn followed() -> (Fleet, Vec<Follower>) {
    let (fleet, streams) = Fleet::followed(ROUTE, 1).await;
    for node in &fleet.nodes {
        until(node, "three nodes that are known", |listed| {
            members(listed).len() == 3 && members(listed).iter().all(|member| member["build"].is_string())
        })
        .await;
    }
    (fleet, streams)
}

/// What all nodes list at a time when one holds the resource, and the others know which one.
async fn agreed(fleet: &Fleet, path: &str) -> Vec<Value> {
    within("nodes that agree", async {
        loop {
            let mut all = Vec::new();
            for node in &fleet.nodes {
                all.push(resources(node).await);
            }
            let holders: Vec<&Value> = all
                .iter()
                .filter(|listed| has_role(listed, path, "holder"))
                .map(|listed| &listed["cluster"]["node"])
                .collect();
            let is_known = |listed: &Value| {
                let of_it = listed["resources"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .find(|resource| resource["path"] == path);
                of_it.is_some_and(|resource| {
                    resource["holder"] == *holders[0] && !resource["content_order"].is_null()
                })
            };
            if holders.len() == 1 && all.iter().all(is_known) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn resources_say_which_nodes_there_are_and_which_one_polls() {
    let (fleet, _streams) = followed().await;
    for (place, listed) in agreed(&fleet, "/state/a").await.iter().enumerate() {
        let (cluster, name) = (&listed["cluster"], format!("node-{place}"));
        assert_eq!((&cluster["node"], &cluster["connected"]), (&name.clone().into(), &true.into()));
        assert_eq!((&cluster["alone_since"], &cluster["left"]), (&Value::Null, &false.into()));
        let mut nodes: Vec<&str> = Vec::new();
        for member in members(listed) {
            assert_eq!(
                (&member["build"], &member["leaving"]),
                (&env!("CARGO_PKG_VERSION").into(), &false.into())
            );
            assert!(member["seats"].is_u64() && member["beat_ms_ago"].is_u64(), "{member}");
            nodes.push(member["node"].as_str().expect("a name"));
        }
        assert_eq!(nodes[0], name, "this node comes first");
        nodes.sort_unstable();
        assert_eq!(nodes, ["node-0", "node-1", "node-2"]);
        let resource = of(listed, "/state/a");
        assert_eq!(
            (&resource["role"] == "mirror", &resource["shared"]),
            (resource["holder"] != name, &true.into())
        );
        assert_eq!(resource["behind_ms"].is_u64(), resource["role"] == "mirror", "{resource}");
        let order = resource["content_order"].as_str().expect("a content");
        assert!(order.split('-').all(|part| part.parse::<u64>().is_ok()), "{order}");
    }
}

#[tokio::test]
async fn resources_say_why_a_node_polls_one_for_itself() {
    let fleet = Fleet::start(ROUTE).await;
    for path in ["/own/a", "/off/a"] {
        fleet.count(path);
    }
    let noise: String = (0..2_000_000).map(|_| fastrand::alphanumeric()).collect();
    fleet.legacy.set("/large/a", Reply::json(format!("{{\"n\":1,\"noise\":\"{noise}\"}}")));
    let mut own = fleet.open(0, "/own/a", &[("Authorization", "Bearer x")]).await;
    own.next_event().await;
    let mut others = Vec::new();
    for path in ["/off/a", "/large/a"] {
        let mut stream = fleet.follow(0, path).await;
        stream.states(1).await;
        others.push(stream);
    }
    for (path, why) in [("/own/a", "private"), ("/off/a", "off"), ("/large/a", "too-large")] {
        let listed = until(&fleet.nodes[0], path, |listed| has_role(listed, path, "alone")).await;
        let resource = of(&listed, path);
        assert_eq!(resource["shared"], why, "{resource}");
        assert_eq!((&resource["holder"], &resource["behind_ms"]), (&Value::Null, &Value::Null));
    }
}

#[tokio::test]
async fn what_a_later_version_wrote_is_named_so() {
    let fleet = Fleet::start(ROUTE).await;
    fleet.count("/state/a");
    let mut first = fleet.follow(0, "/state/a").await;
    first.states(1).await;
    // As a later version would: its first byte says which one.
    let rewrite = "local changed = 0
        for _, key in ipairs(redis.call('KEYS', '*:r:*')) do
          local record = redis.call('HGET', key, 'b')
          if record then changed = redis.call('HSET', key, 'b', '\\99' .. string.sub(record, 2)) + 1 end
        end
        return changed";
    // The holder must not write over it in between.
    fleet.nodes[0].signal("STOP");
    assert_eq!(fleet.redis.ask(&["EVAL", rewrite, "0"]), "1");
    let mut second = fleet.follow(1, "/state/a").await;
    second.states(1).await;
    let listed = until(&fleet.nodes[1], "its role", |listed| has_role(listed, "/state/a", "alone")).await;
    assert_eq!(of(&listed, "/state/a")["shared"], "version");
    fleet.nodes[0].signal("CONT");
}

#[tokio::test]
async fn without_the_engine_resources_say_since_when() {
    let (mut fleet, mut streams) = followed().await;
    fleet.redis.kill();
    for node in &fleet.nodes {
        let listed = until(node, "the loss", |listed| listed["cluster"]["connected"] == false).await;
        let since = listed["cluster"]["alone_since"].as_str().expect("a time");
        let since = humantime::parse_rfc3339(since).expect("RFC 3339");
        assert!(since <= std::time::SystemTime::now());
        until(node, "its role", |listed| has_role(listed, "/state/a", "alone")).await;
    }
    fleet.redis.launch();
    for (node, stream) in fleet.nodes.iter().zip(&mut streams) {
        let listed = until(node, "the return", |listed| listed["cluster"]["connected"] == true).await;
        assert_eq!(listed["cluster"]["alone_since"], Value::Null);
        stream.states(2).await;
    }
}

#[tokio::test]
async fn without_a_cluster_nothing_is_said_of_one() {
    let app = app::start(
        "listeners: [{address: '127.0.0.1:0'}]\nadmin: {address: '127.0.0.1:0'}\n\
         upstreams: {api: {servers: ['127.0.0.1:1']}}\nroutes: [{path: /a, upstream: api}]\n",
    );
    let mut client = Http::connect(app.addresses()[0]).await;
    client.get("/a", &[]).await;
    let mut admin = Http::connect(app.admin_address().expect("configured above")).await;
    let listed = admin.get("/resources", &[]).await.expect(200).json();
    assert!(listed.get("cluster").is_none() && listed["resources"][0].get("role").is_none(), "{listed}");
    for name in ["leave", "join"] {
        let path = format!("/-/cluster/{name}");
        admin.request("POST", &path, &[], b"").await.expect(404);
        admin.get(&path, &[]).await.expect(405);
    }
}

/// The API says this number, and each stream is told it.
async fn all_are_told(fleet: &Fleet, streams: &mut [Follower], number: u64) {
    fleet.legacy.set("/state/a", Reply::json(format!("{{\"n\":{number}}}")));
    for stream in streams {
        // What it said before may be on the way.
        while stream.states(1).await != [number] {}
    }
}

fn members(listed: &Value) -> &[Value] {
    listed["cluster"]["members"].as_array().expect("members")
}

#[tokio::test]
async fn a_node_that_leaves_serves_on_and_misses_nothing_and_joins_again() {
    let (fleet, mut streams) = followed().await;
    // From here on the API says what this test has it say: more than it said before.
    all_are_told(&fleet, &mut streams, 1_000_000).await;
    let holder = fleet.holder().await;
    let said = call(&fleet.nodes[holder], "leave").await.expect(200).json();
    assert_eq!((&said["node"], &said["left"]), (&Value::from(format!("node-{holder}")), &Value::from(true)));
    all_are_told(&fleet, &mut streams, 1_000_001).await;
    let listed =
        until(&fleet.nodes[holder], "its role", |listed| has_role(listed, "/state/a", "mirror")).await;
    assert_eq!((&listed["cluster"]["left"], &listed["cluster"]["connected"]), (&true.into(), &true.into()));
    let other = &fleet.nodes[(holder + 1) % 3];
    until(other, "that it leaves", |listed| {
        members(listed).len() == 3
            && members(listed).iter().filter(|member| member["leaving"] == true).count() == 1
    })
    .await;
    all_are_told(&fleet, &mut streams, 1_000_002).await;
    let said = call(&fleet.nodes[holder], "join").await.expect(200).json();
    assert_eq!(said["left"], false);
    all_are_told(&fleet, &mut streams, 1_000_003).await;
    until(other, "three that stay", |listed| {
        members(listed).len() == 3 && members(listed).iter().all(|member| member["leaving"] == false)
    })
    .await;
    all_are_told(&fleet, &mut streams, 1_000_004).await;
}

#[tokio::test]
async fn a_node_that_left_polls_what_only_its_clients_want() {
    let (fleet, _streams) = followed().await;
    call(&fleet.nodes[0], "leave").await.expect(200);
    fleet.count("/state/b");
    let mut only_here = fleet.follow(0, "/state/b").await;
    only_here.states(3).await;
    until(&fleet.nodes[0], "its role", |listed| has_role(listed, "/state/b", "holder")).await;
    // As soon as another node has a client for it, that node has it.
    let mut there = fleet.follow(1, "/state/b").await;
    there.states(2).await;
    until(&fleet.nodes[1], "its role", |listed| has_role(listed, "/state/b", "holder")).await;
    until(&fleet.nodes[0], "its role", |listed| has_role(listed, "/state/b", "mirror")).await;
    only_here.states(2).await;
}

#[tokio::test]
async fn a_node_that_left_polls_when_no_other_node_lives() {
    let (fleet, mut streams) = followed().await;
    let holder = fleet.holder().await;
    call(&fleet.nodes[holder], "leave").await.expect(200);
    until(&fleet.nodes[holder], "its role", |listed| has_role(listed, "/state/a", "mirror")).await;
    for (_, node) in fleet.nodes.iter().enumerate().filter(|(place, _)| *place != holder) {
        node.signal("KILL");
        node.wait_exit().await;
    }
    until(&fleet.nodes[holder], "its role", |listed| has_role(listed, "/state/a", "holder")).await;
    streams[holder].states(3).await;
}

#[tokio::test]
async fn a_node_that_left_without_the_engine_has_left_when_the_engine_is_back() {
    let (mut fleet, _streams) = followed().await;
    fleet.redis.kill();
    until(&fleet.nodes[0], "the loss", |listed| listed["cluster"]["connected"] == false).await;
    let said = call(&fleet.nodes[0], "leave").await.expect(503).json();
    assert!(said["detail"].as_str().is_some_and(|detail| detail.contains("engine")), "{said}");
    fleet.redis.launch();
    for (place, role) in [(0, "mirror"), (1, ""), (2, "")] {
        until(&fleet.nodes[place], "the return", |listed| {
            listed["cluster"]["connected"] == true && (role.is_empty() || has_role(listed, "/state/a", role))
        })
        .await;
    }
    assert_eq!(resources(&fleet.nodes[0]).await["cluster"]["left"], true);
}
