//! NATS as the engine: each verb in one step, and every way in which it fails is noticed, named and got over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pollcast::cluster::engine::{Claim, ClaimOutcome, Claimed, Engine, Event, Loss, Written};
use pollcast::cluster::nats::Nats;
use pollcast::cluster::subscription::Events;
use pollcast::config::{Cluster, Secret};
use pollcast::poll::backplane::Order;

use super::{KEEP, LEASE, accepted, became, claim, name, write};
use crate::support::nats::NatsServer;
use crate::support::wire::{GUARD, within};

/// A node's side of the engine, connected.
struct Node {
    nats: Nats,
    events: Events,
}

impl Node {
    async fn of(server: &NatsServer) -> Node {
        let mut node = Node::unconnected(server.cluster());
        node.until("the engine", |event| *event == Event::Back).await;
        node
    }

    fn unconnected(cluster: Cluster) -> Node {
        let (nats, events) = Nats::start(&Arc::new(cluster));
        Node { nats, events }
    }

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

    async fn loses(&mut self, loss: Loss) {
        self.until(loss.label(), |event| *event == Event::Lost(loss)).await;
    }

    async fn joins(&self, session: &str) {
        assert!(self.nats.beat(session, LEASE, true).await.unwrap().is_alive);
    }

    async fn claims(&self, session: &str, claim: Claim<'_>) -> Claimed {
        self.nats.claim(session, &[claim]).await.unwrap().remove(0)
    }

    async fn holds(&self, session: &str, text: &str) -> u64 {
        let claimed = self.claims(session, claim(text)).await;
        assert_eq!(claimed.outcome, ClaimOutcome::Held);
        claimed.record.fence
    }
}

#[tokio::test]
async fn a_resource_has_one_holder_and_an_old_fence_writes_nothing() {
    let server = NatsServer::start(&[]);
    let (a, b) = (Node::of(&server).await, Node::of(&server).await);
    a.joins("a.1").await;
    b.joins("b.1").await;
    let first = a.holds("a.1", "/x").await;
    let refused = b.claims("b.1", claim("/x")).await;
    // What a sees of b's session, a has to look for.
    assert!(a.nats.beat("a.1", LEASE, false).await.unwrap().is_alive);
    assert_eq!((refused.outcome, refused.record.holder.as_str()), (ClaimOutcome::Refused, "a.1"));
    assert_eq!(a.nats.write(&write("/x", first, 1, b"one")).await.unwrap(), accepted(0));
    let from_another = b.claims("b.1", Claim { from: "c.1", ..claim("/x") }).await;
    assert_eq!(from_another.outcome, ClaimOutcome::Refused);
    let taken = b.claims("b.1", Claim { from: "a.1", ..claim("/x") }).await;
    assert_eq!(taken.outcome, ClaimOutcome::Held);
    assert!(taken.record.fence > first);
    let refused = Written::Refused { holder: "b.1".to_owned(), fence: taken.record.fence };
    assert_eq!(a.nats.write(&write("/x", first, 2, b"late")).await.unwrap(), refused);
    // A claim changes neither the content nor its order.
    assert_eq!(taken.record.order, Order { fence: first, sequence: 1 });
    assert_eq!((&taken.record.content[..], &taken.record.condition[..]), (&b"one"[..], &b"condition"[..]));
    let have = Claim { have: taken.record.order, ..claim("/x") };
    assert_eq!(b.claims("b.1", have).await.record.content, Bytes::new());
}

#[tokio::test]
async fn of_many_claims_at_once_one_is_held() {
    let server = NatsServer::start(&[]);
    let mut nodes = Vec::new();
    for session in ["a.1", "b.1", "c.1"] {
        let node = Node::of(&server).await;
        node.joins(session).await;
        nodes.push((node, session));
    }
    for (node, session) in &nodes {
        assert!(node.nats.beat(session, LEASE, false).await.unwrap().live.len() == 3);
    }
    let names: Vec<String> = (0..100).map(|n| format!("/{n}")).collect();
    let claims: Vec<Claim<'_>> = names.iter().map(|text| claim(text)).collect();
    let [a, b, c] = [0, 1, 2].map(|at| nodes[at].0.nats.claim(nodes[at].1, &claims));
    let (a, b, c) = tokio::join!(a, b, c);
    for ((a, b), c) in a.unwrap().iter().zip(b.unwrap()).zip(c.unwrap()) {
        let held = [a, &b, &c].iter().filter(|claimed| claimed.outcome == ClaimOutcome::Held).count();
        assert_eq!(held, 1);
    }
}

#[tokio::test]
async fn a_session_that_lapsed_holds_and_claims_nothing() {
    let server = NatsServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    node.joins("b.1").await;
    node.holds("a.1", "/x").await;
    assert!(node.nats.beat("a.1", Duration::from_millis(1), false).await.is_ok());
    let until = Instant::now() + GUARD;
    while node.nats.beat("b.1", LEASE, false).await.unwrap().live.len() > 1 {
        assert!(Instant::now() < until, "the lease does not end");
    }
    let beaten = node.nats.beat("a.1", LEASE, false).await.unwrap();
    assert_eq!((beaten.is_alive, beaten.live), (false, vec!["b.1".to_owned()]));
    assert_eq!(node.claims("a.1", claim("/y")).await.outcome, ClaimOutcome::Lapsed);
    node.holds("b.1", "/x").await;
    // One that parts is gone at once.
    node.nats.part("b.1").await.unwrap();
    node.joins("c.1").await;
    node.holds("c.1", "/x").await;
}

#[tokio::test]
async fn a_fence_grows_over_an_emptied_engine_and_over_a_floor() {
    let mut server = NatsServer::start(&[]);
    let mut node = Node::of(&server).await;
    node.joins("a.1").await;
    let first = node.holds("a.1", "/x").await;
    let want = node.nats.want(&name("/x"), b"sealed", KEEP).await.unwrap();
    server.kill();
    node.loses(Loss::Connection).await;
    assert!(node.nats.read(&name("/x")).await.is_err(), "each verb fails while the engine is lost");
    server.launch();
    node.until("the engine", |event| *event == Event::Back).await;
    assert!(!node.nats.beat("a.1", LEASE, false).await.unwrap().is_alive, "the engine knows nothing");
    node.joins("a.2").await;
    let second = node.holds("a.2", "/x").await;
    assert!(second > first, "{second} after {first}");
    assert!(node.nats.want(&name("/x"), b"sealed", KEEP).await.unwrap() > want);
    let floor = second + 1_000_000_000_000;
    let claimed = node.claims("a.2", Claim { floor, ..claim("/x") }).await;
    assert_eq!(claimed.record.fence, floor + 1);
    assert_eq!(node.holds("a.2", "/x").await, floor + 2);
}

#[tokio::test]
async fn those_that_attend_hear_what_was_accepted_and_nothing_else() {
    let server = NatsServer::start(&[]);
    let (holder, mut mirror) = (Node::of(&server).await, Node::of(&server).await);
    holder.joins("a.1").await;
    let fence = holder.holds("a.1", "/x").await;
    mirror.nats.attend(&[name("/x"), name("/y")]).await.unwrap();
    let late = write("/x", fence - 1, 1, b"late");
    assert!(matches!(holder.nats.write(&late).await.unwrap(), Written::Refused { .. }));
    assert_eq!(holder.nats.write(&write("/x", fence, 1, b"one")).await.unwrap(), accepted(0));
    // Only its condition has changed.
    assert_eq!(holder.nats.write(&write("/x", fence, 2, b"")).await.unwrap(), accepted(0));
    holder.nats.tell(&[(name("/y"), Bytes::from_static(b"told"))]).await.unwrap();
    for wanted in [became("/x", b"one"), became("/x", b"condition"), became("/y", b"told")] {
        let heard = mirror.until("what was accepted", |event| matches!(event, Event::Became { .. })).await;
        assert_eq!(heard, wanted);
    }
    let record = mirror.nats.read(&name("/x")).await.unwrap();
    assert_eq!((&record.content[..], record.order.sequence), (&b"one"[..], 2), "its content stays");
    mirror.nats.leave(&[name("/x")]).await.unwrap();
    holder.nats.tell(&[(name("/x"), Bytes::from_static(b"unheard"))]).await.unwrap();
    holder.nats.tell(&[(name("/y"), Bytes::from_static(b"last"))]).await.unwrap();
    mirror.until("the last word", |event| *event == became("/y", b"last")).await;
}

#[tokio::test]
async fn wants_are_numbered_told_to_all_and_known_to_the_next_write() {
    let server = NatsServer::start(&[]);
    let (holder, mut other) = (Node::of(&server).await, Node::of(&server).await);
    holder.joins("a.1").await;
    let fence = holder.holds("a.1", "/x").await;
    let first = other.nats.want(&name("/x"), b"a sealed message", KEEP).await.unwrap();
    let second = other.nats.want(&name("/x"), b"a sealed message", KEEP).await.unwrap();
    assert!(second > first);
    let said = |want| Event::Said { number: Some(want), message: Bytes::from_static(b"a sealed message") };
    for want in [first, second] {
        let heard = other.until("a want", |event| matches!(event, Event::Said { .. })).await;
        assert_eq!(heard, said(want));
    }
    assert_eq!(holder.nats.write(&write("/x", fence, 1, b"one")).await.unwrap(), accepted(second));
    // What a node says comes back to it.
    other.nats.announce(Bytes::from_static(b"fourteen bytes and more")).await.unwrap();
    other.until("its own message", |event| matches!(event, Event::Returned(_))).await;
}

#[tokio::test]
async fn a_feeds_items_are_kept_in_order_and_the_oldest_go_first() {
    let server = NatsServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    let fence = node.holds("a.1", "/feed").await;
    for sequence in 1..=5 {
        let items = format!("item {sequence}");
        let mut write = write("/feed", fence, sequence, b"page");
        (write.items, write.history) = (items.as_bytes(), 3);
        assert_eq!(node.nats.write(&write).await.unwrap(), accepted(0));
    }
    let kept = node.nats.items(&name("/feed"), Order::default(), 10).await.unwrap();
    let texts: Vec<&[u8]> = kept.iter().map(|(_, item)| &item[..]).collect();
    assert_eq!(texts, [b"item 3", b"item 4", b"item 5"]);
    let after = node.nats.items(&name("/feed"), Order { fence, sequence: 4 }, 10).await.unwrap();
    assert_eq!(after, [(Order { fence, sequence: 5 }, Bytes::from_static(b"item 5"))]);
}

#[tokio::test]
async fn a_freed_resource_is_anybodys_and_a_dropped_one_has_no_content() {
    let server = NatsServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    node.joins("b.1").await;
    let fence = node.holds("a.1", "/x").await;
    node.nats.write(&write("/x", fence, 1, b"one")).await.unwrap();
    assert_eq!(node.nats.free(&[(name("/x"), fence - 1)], false).await.unwrap(), [false]);
    assert_eq!(node.nats.free(&[(name("/x"), fence)], false).await.unwrap(), [true]);
    let next = node.holds("b.1", "/x").await;
    assert_eq!(&node.nats.read(&name("/x")).await.unwrap().content[..], b"one");
    node.nats.keep(&[name("/x")], KEEP).await.unwrap();
    assert_eq!(node.nats.free(&[(name("/x"), next)], true).await.unwrap(), [true]);
    let heads = node.nats.heads(&[name("/x"), name("/never")]).await.unwrap();
    assert_eq!((heads[0].order, heads[0].holder.as_str()), (Order::default(), ""));
    assert_eq!(heads[1], pollcast::cluster::engine::Record::default());
}

#[tokio::test]
async fn a_budget_grants_its_burst_and_no_more_to_all_nodes_together() {
    let server = NatsServer::start(&[]);
    let (a, b) = (Node::of(&server).await, Node::of(&server).await);
    let upstream = name("upstream");
    let (mut granted, rate) = (0, 0.001);
    for _ in 0..6 {
        granted += a.nats.take(&upstream, rate, 10, 2).await.unwrap().granted;
        granted += b.nats.take(&upstream, rate, 10, 2).await.unwrap().granted;
    }
    assert_eq!(granted, 10);
    let none = a.nats.take(&upstream, rate, 10, 1).await.unwrap();
    assert_eq!(none.granted, 0);
    assert!(none.wait > Duration::from_secs(500), "{:?}", none.wait);
}

#[tokio::test]
async fn each_way_to_fail_has_its_name() {
    let absent = Cluster { servers: vec!["127.0.0.1:1".to_owned()], ..NatsServer::start(&[]).cluster() };
    Node::unconnected(absent).loses(Loss::Connection).await;

    let guarded = NatsServer::configured("authorization { user: pollcast, password: right }");
    let who = |password: &str| Cluster {
        username: Some("pollcast".to_owned()),
        password: Some(Secret(password.to_owned())),
        ..guarded.cluster()
    };
    Node::unconnected(who("wrong")).loses(Loss::Credentials).await;
    Node::unconnected(who("right")).until("the engine", |event| *event == Event::Back).await;

    let small = NatsServer::configured("max_payload: 100000");
    let mut node = Node::unconnected(small.cluster());
    node.loses(Loss::Protocol).await;

    let hung = NatsServer::start(&[]);
    let cluster = Cluster { timeout: Duration::from_millis(300), ..hung.cluster() };
    let mut node = Node::unconnected(cluster);
    node.until("the engine", |event| *event == Event::Back).await;
    hung.signal("STOP");
    let asked = node.nats.read(&name("/x")).await;
    assert_eq!(asked.unwrap_err().loss, Loss::Timeout);
    node.loses(Loss::Timeout).await;
    hung.signal("CONT");
    node.until("the engine", |event| *event == Event::Back).await;
}

/// A server with one user, who may publish to these subjects and hear those.
fn with_rights(publish: &[&str], subscribe: &[&str]) -> NatsServer {
    let list = |subjects: &[&str]| subjects.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
    NatsServer::configured(&format!(
        "authorization {{ users = [ {{ user: pollcast, password: right, permissions: {{ publish: [{}], subscribe: [{}] \
         }} }} ] }}",
        list(publish),
        list(subscribe)
    ))
}

/// What the manual's page says that a user needs.
const PUBLISH: [&str; 7] = [
    "$KV.pollcast-default.>",
    "$JS.API.STREAM.INFO.KV_pollcast-default",
    "$JS.API.STREAM.CREATE.KV_pollcast-default",
    "$JS.API.STREAM.UPDATE.KV_pollcast-default",
    "$JS.API.STREAM.PURGE.KV_pollcast-default",
    "$JS.API.STREAM.MSG.GET.KV_pollcast-default",
    "pollcast.default.>",
];
const SUBSCRIBE: [&str; 2] = ["pollcast.default.>", "_INBOX.>"];

fn user(server: &NatsServer) -> Cluster {
    Cluster {
        username: Some("pollcast".to_owned()),
        password: Some(Secret("right".to_owned())),
        ..server.cluster()
    }
}

#[tokio::test]
async fn the_rights_that_the_manual_names_suffice() {
    let page = include_str!("../../src/manual/cluster.md");
    for subject in PUBLISH.iter().chain(&SUBSCRIBE) {
        assert!(page.contains(&format!("\"{subject}\"")), "{subject} is not on the page");
    }
    let server = with_rights(&PUBLISH, &SUBSCRIBE);
    let mut node = Node::unconnected(user(&server));
    node.until("the engine", |event| *event == Event::Back).await;
    node.joins("a.1").await;
    let long = Claim { keep: 10 * KEEP, ..claim("/x") };
    let fence = node.claims("a.1", long).await.record.fence;
    node.nats.attend(&[name("/x")]).await.unwrap();
    node.nats.write(&write("/x", fence, 1, b"one")).await.unwrap();
    node.until("its own write", |event| *event == became("/x", b"one")).await;
    node.nats.want(&name("/x"), b"a sealed message", KEEP).await.unwrap();
    node.nats.announce(Bytes::from_static(b"fourteen bytes and more")).await.unwrap();
    node.until("its own message", |event| matches!(event, Event::Returned(_))).await;
    node.nats.keep(&[name("/x")], KEEP).await.unwrap();
    node.nats.free(&[(name("/x"), fence)], true).await.unwrap();
    node.nats.part("a.1").await.unwrap();
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let missing = "$JS.API.STREAM.CREATE.KV_pollcast-default";
    let publish: Vec<&str> = PUBLISH.into_iter().filter(|subject| *subject != missing).collect();
    let server = with_rights(&publish, &SUBSCRIBE);
    let cluster = Cluster { timeout: Duration::from_millis(500), ..user(&server) };
    Node::unconnected(cluster.clone()).loses(Loss::Rights).await;
    let refused = Nats::examine(&Arc::new(cluster)).await.unwrap_err();
    assert_eq!(refused.loss, Loss::Rights);
    assert!(refused.message.contains(missing), "{refused}");
}

#[tokio::test]
async fn a_holder_that_joined_a_moment_ago_is_known_to_live() {
    let server = NatsServer::start(&[]);
    let (early, late) = (Node::of(&server).await, Node::of(&server).await);
    early.joins("a.1").await;
    late.joins("b.1").await;
    late.holds("b.1", "/x").await;
    // The first node has not looked at sessions since.
    assert_eq!(early.claims("a.1", claim("/x")).await.outcome, ClaimOutcome::Refused);
}

#[tokio::test]
async fn the_largest_content_is_stored_and_told_whole() {
    let server = NatsServer::start(&[]);
    let cluster = Cluster { max_value: 896 * 1024, ..server.cluster() };
    let mut node = Node::unconnected(cluster);
    node.until("the engine", |event| *event == Event::Back).await;
    node.joins("a.1").await;
    let fence = node.holds("a.1", "/x").await;
    node.nats.attend(&[name("/x")]).await.unwrap();
    let content = vec![7; 896 * 1024];
    assert_eq!(node.nats.write(&write("/x", fence, 1, &content)).await.unwrap(), accepted(0));
    let told = node.until("the content", |event| matches!(event, Event::Became { .. })).await;
    assert!(told == Event::Became { name: name("/x"), sealed: content.clone().into() });
    assert!(node.nats.read(&name("/x")).await.unwrap().content == content);
    // A message that no server takes fails by itself.
    let refused = node.nats.tell(&[(name("/x"), vec![7; 2 << 20].into())]).await.unwrap_err();
    assert_eq!(refused.loss, Loss::Protocol);
    assert!(node.nats.read(&name("/x")).await.is_ok(), "the connection goes on");
}
