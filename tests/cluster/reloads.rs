//! A new configuration that is taken by one node after the other while clients follow (contract §13): what means the same
//! is polled once meanwhile, what means something else is another resource on the nodes that know it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fleet::{Fleet, Follower, NODES};
use crate::support::client::Http;
use crate::support::legacy::Reply;

const FIRST: &str = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, plain: share, poll: { interval: 1h } }
passthrough: legacy
";

/// Three nodes with a stream each; the API says how often it was polled.
async fn followed() -> (Fleet, Vec<Follower>) {
    let fleet = Fleet::start_calm(FIRST).await;
    let polls = AtomicU64::new(0);
    fleet.legacy.answer_with("/state/a", move |seen| match seen.method == "GET" {
        true => Reply::json(format!("{{\"n\":{}}}", polls.fetch_add(1, Ordering::SeqCst) + 1)),
        false => Reply::empty(204),
    });
    let mut streams = Vec::new();
    for node in 0..NODES {
        let mut stream = fleet.follow(node, "/state/a").await;
        stream.shows(1).await;
        streams.push(stream);
    }
    (fleet, streams)
}

impl Fleet {
    /// Has a node read other routes.
    async fn reload(&self, node: usize, routes: &str) {
        let process = &self.nodes[node];
        let yaml = self.yaml_of(node).replace(FIRST, routes);
        let yaml = yaml.replace("PUBLIC_ADDRESS", &process.address.to_string());
        process.folder.write("pollcast.yaml", &yaml.replace("ADMIN_ADDRESS", &process.admin.to_string()));
        let mut admin = Http::connect(process.admin).await;
        let report = admin.request("POST", "/-/reload", &[], b"").await.expect(200).json();
        assert_eq!(report["result"], "applied", "{report}");
    }

    /// Writes through a node: one poll more is made, and each stream is told what it found.
    async fn is_told_of_a_write(&self, node: usize, streams: &mut [Follower], polls: u64) {
        self.client(node).await.request("PUT", "/state/a", &[], b"{}").await.expect(204);
        for stream in streams {
            stream.shows(polls).await;
        }
        assert_eq!(self.polls(), polls);
    }

    fn polls(&self) -> u64 {
        self.legacy.seen("/state/a").iter().filter(|seen| seen.method == "GET").count() as u64
    }
}

/// Follows on a node once its stream was ended for this reason.
async fn comes_back(fleet: &Fleet, node: usize, stream: &mut Follower, reason: &str) {
    let bye = loop {
        let event = stream.sse.next_event().await;
        if event.event == "bye" {
            break event;
        }
    };
    assert!(bye.data.contains(reason), "{bye:?}");
    *stream = fleet.follow(node, "/state/a").await;
}

#[tokio::test]
async fn routes_that_mean_the_same_are_polled_once_while_nodes_reload_one_after_the_other() {
    let (fleet, mut streams) = followed().await;
    let more = FIRST.replace("interval: 1h } }", "interval: 2h } }\n  - { path: /other, upstream: legacy }");
    // Through a node that has not reloaded, through one that has, and where all have.
    for (node, writer) in [(0, 2), (1, 0), (2, 1)] {
        fleet.reload(node, &more).await;
        fleet.is_told_of_a_write(writer, &mut streams, node as u64 + 2).await;
    }
}

#[tokio::test]
async fn a_route_that_means_something_else_is_polled_once_by_each_of_the_two() {
    let (fleet, mut streams) = followed().await;
    let other = FIRST.replace("poll: {", "change: { ignore: [/none] }, poll: {");
    // The first node with the new meaning polls for it, and the others have what it wrote.
    for (node, stream) in streams.iter_mut().enumerate() {
        fleet.reload(node, &other).await;
        comes_back(&fleet, node, stream, "reconfigured").await;
        stream.shows(2).await;
        assert_eq!(fleet.polls(), 2, "node {node} polled again");
    }
    fleet.is_told_of_a_write(1, &mut streams, 3).await;
}

#[tokio::test]
async fn a_route_that_one_node_has_no_more_goes_on_on_the_others() {
    let (fleet, mut streams) = followed().await;
    let holder = fleet.holder().await;
    fleet.reload(holder, "routes: [{ path: /other, upstream: legacy }]\npassthrough: legacy\n").await;
    let mut ended = streams.remove(holder);
    while ended.sse.next_event().await.event != "bye" {}
    // Another node holds it from now on, without a poll before its time.
    fleet.until(holder, "cluster_seats{role=\"holder\"}", |seats| seats == 0).await;
    assert_ne!(fleet.holder().await, holder);
    let writer = (holder + 1) % NODES;
    fleet.is_told_of_a_write(writer, &mut streams, 2).await;
}
