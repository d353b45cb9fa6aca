//! Several nodes and the engine between them, against real servers (contract §13).
//!
//! | module | claim it holds |
//! |---|---|
//! | `verbs` | what the engine does in one step: one holder, growing fences, refused writes, order |
//! | `nats` | the same of NATS: what it does in one step, and how it fails |
//! | `nodes` | one node holds a resource, the others have what it wrote, and another takes over |
//! | `privacy` | the engine alone lets its owner read nothing, and say nothing that is believed |
//! | `processes` | three processes poll as one, and clients see nothing of it |
//! | `takeover` | nodes and engines that fail: no client goes back, none is left behind |
//! | `writes` | a write through any node is polled for and shown on all |
//! | `named` | a client that names what it has seen is never sent back, whatever its node knows |
//! | `budgets` | an upstream's budget is one for all nodes |
//! | `kinds` | classes, large states, refusals and cursors are the same on all nodes |
//! | `rolling` | nodes whose secret or version differs, and nodes that hold without an engine |
//! | `reloads` | a new configuration is taken by one node after the other, and polls stay one for each meaning |
//! | `operators` | operators see which node polls what, and take a node out without a loss for any client |
//! | `demo` | the demo of three nodes in one command, of which one is killed and comes back |
//! | `probe` | `check --probe` says whether nodes can work with the engine, and what is wrong if not |
//! | `losses` | every way in which an engine fails is noticed, named and got over |
//! | `outages` | clients that go from node to node are told every state once, whatever fails meanwhile |
//! | `failover` | the same while Sentinel names another primary; `tests/cluster/long` runs it |
//! | `refusals` | an engine that refuses a node is named, and mended without a restart |
//!
//! `fleet` is three processes, `crowd` the clients that go around among them.

mod budgets;
mod crowd;
mod demo;
mod failover;
mod fleet;
mod kinds;
mod losses;
mod named;
mod nats;
mod nodes;
mod operators;
mod outages;
mod privacy;
mod probe;
mod processes;
mod refusals;
mod reloads;
mod rolling;
mod takeover;
mod verbs;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pollcast::cluster::engine::{Claim, ClaimOutcome, Claimed, Engine, Event, Loss, Write, Written};
use pollcast::cluster::redis::Redis;
use pollcast::cluster::seal::{Name, Secret};
use pollcast::cluster::subscription::Events;
use pollcast::config::Cluster;
use pollcast::poll::backplane::Order;

use crate::support::redis::RedisServer;
use crate::support::wire::within;

/// How long records live in these tests.
const KEEP: Duration = Duration::from_secs(600);
const LEASE: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    Secret::new(b"secret").name([text.as_bytes()])
}

/// A node's side of an engine, connected.
struct Node {
    redis: Redis,
    events: Events,
}

impl Node {
    async fn of(server: &RedisServer) -> Node {
        Node::with(server.cluster()).await
    }

    async fn with(cluster: Cluster) -> Node {
        let mut node = Node::unconnected(cluster);
        node.until("the engine", |event| *event == Event::Back).await;
        node
    }

    fn unconnected(cluster: Cluster) -> Node {
        let (redis, events) = Redis::start(&Arc::new(cluster));
        Node { redis, events }
    }

    /// The next event.
    async fn next(&mut self) -> Event {
        within("an event", self.events.next()).await.expect("the engine runs")
    }

    /// Waits for an event that is as wanted, past others.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        within(what, async {
            loop {
                let event = self.events.next().await.expect("the engine runs");
                if is_it(&event) {
                    return event;
                }
            }
        })
        .await
    }

    /// Waits until the engine is lost, or cannot be had, for this reason: on a slow machine others may come before.
    async fn loses(&mut self, loss: Loss) {
        self.until(loss.label(), |event| *event == Event::Lost(loss)).await;
    }

    async fn joins(&self, session: &str) {
        assert!(self.redis.beat(session, LEASE, true).await.unwrap().is_alive);
    }

    async fn claims(&self, session: &str, claim: Claim<'_>) -> Claimed {
        self.redis.claim(session, &[claim]).await.unwrap().remove(0)
    }

    /// Claims what must be had. Returns the fence.
    async fn holds(&self, session: &str, text: &str) -> u64 {
        let claimed = self.claims(session, claim(text)).await;
        assert_eq!(claimed.outcome, ClaimOutcome::Held);
        claimed.record.fence
    }
}

fn claim(text: &str) -> Claim<'static> {
    Claim { name: name(text), have: Order::default(), from: "", floor: 0, keep: KEEP }
}

fn write<'a>(text: &str, fence: u64, sequence: u64, content: &'a [u8]) -> Write<'a> {
    Write {
        name: name(text),
        order: Order { fence, sequence },
        content,
        condition: b"condition",
        items: b"",
        history: 100,
        keep: KEEP,
    }
}

fn became(text: &str, sealed: &'static [u8]) -> Event {
    Event::Became { name: name(text), sealed: Bytes::from_static(sealed) }
}

fn accepted(want: u64) -> Written {
    Written::Accepted { want }
}
