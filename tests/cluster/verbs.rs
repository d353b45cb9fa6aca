//! What the engine does in one step.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pollcast::cluster::engine::{Claim, ClaimOutcome, Engine, Event, Written};
use pollcast::poll::backplane::Order;

use super::{KEEP, LEASE, Node, accepted, became, claim, name, write};
use crate::support::redis::RedisServer;
use crate::support::wire::GUARD;

#[tokio::test]
async fn a_resource_has_one_holder_and_an_old_fence_writes_nothing() {
    let server = RedisServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    node.joins("b.1").await;
    let first = node.holds("a.1", "/x").await;
    let refused = node.claims("b.1", claim("/x")).await;
    assert_eq!((refused.outcome, refused.record.holder.as_str()), (ClaimOutcome::Refused, "a.1"));
    assert_eq!(refused.record.fence, first);
    assert_eq!(node.redis.write(&write("/x", first, 1, b"one")).await.unwrap(), accepted(0));

    // Taken from a holder that lives, only if that one is named.
    let from_another = node.claims("b.1", Claim { from: "c.1", ..claim("/x") }).await;
    assert_eq!(from_another.outcome, ClaimOutcome::Refused);
    let taken = node.claims("b.1", Claim { from: "a.1", ..claim("/x") }).await;
    assert_eq!(taken.outcome, ClaimOutcome::Held);
    let second = taken.record.fence;
    assert!(second > first);
    let refused = Written::Refused { holder: "b.1".to_owned(), fence: second };
    assert_eq!(node.redis.write(&write("/x", first, 2, b"late")).await.unwrap(), refused);
    // A claim changes neither the content nor its order.
    assert_eq!(taken.record.order, Order { fence: first, sequence: 1 });
    assert_eq!((&taken.record.content[..], &taken.record.condition[..]), (&b"one"[..], &b"condition"[..]));
    // What a node has already is not sent again.
    let have = Claim { have: taken.record.order, ..claim("/x") };
    assert_eq!(node.claims("b.1", have).await.record.content, Bytes::new());
}

#[tokio::test]
async fn a_session_that_lapsed_holds_and_claims_nothing() {
    let server = RedisServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    node.joins("b.1").await;
    node.holds("a.1", "/x").await;
    let until = Instant::now() + GUARD;
    assert!(node.redis.beat("a.1", Duration::from_millis(1), false).await.unwrap().is_alive);
    while node.redis.beat("b.1", LEASE, false).await.unwrap().live.len() > 1 {
        assert!(Instant::now() < until, "the lease does not end");
    }
    let beaten = node.redis.beat("a.1", LEASE, false).await.unwrap();
    assert_eq!((beaten.is_alive, beaten.live), (false, vec!["b.1".to_owned()]));
    assert_eq!(node.claims("a.1", claim("/y")).await.outcome, ClaimOutcome::Lapsed);
    node.holds("b.1", "/x").await;
    // One that parts is gone at once.
    node.redis.part("b.1").await.unwrap();
    node.joins("c.1").await;
    node.holds("c.1", "/x").await;
}

#[tokio::test]
async fn a_fence_grows_over_an_emptied_engine_and_over_a_floor() {
    let server = RedisServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    let mut last = 0;
    for _ in 0..5 {
        let fence = node.holds("a.1", "/x").await;
        assert!(fence > last, "{fence} after {last}");
        last = fence;
        server.ask(&["FLUSHALL"]);
        node.joins("a.1").await;
    }
    let floor = last + 1_000_000_000_000;
    let claimed = node.claims("a.1", Claim { floor, ..claim("/x") }).await;
    assert_eq!(claimed.record.fence, floor + 1);
    assert_eq!(node.holds("a.1", "/x").await, floor + 2, "no digit is lost");
}

#[tokio::test]
async fn what_is_written_is_told_to_those_that_attend_and_kept_in_order() {
    let server = RedisServer::start(&[]);
    let (holder, mut mirror) = (Node::of(&server).await, Node::of(&server).await);
    holder.joins("a.1").await;
    let fence = holder.holds("a.1", "/x").await;
    mirror.redis.attend(&[name("/x")]).await.unwrap();
    assert_eq!(holder.redis.write(&write("/x", fence, 1, b"one")).await.unwrap(), accepted(0));
    assert_eq!(mirror.next().await, became("/x", b"one"));
    assert_eq!(holder.redis.write(&write("/x", fence, 2, b"")).await.unwrap(), accepted(0));
    assert_eq!(mirror.next().await, became("/x", b"condition"));
    let refused = Written::Refused { holder: "a.1".to_owned(), fence };
    assert_eq!(holder.redis.write(&write("/x", fence, 2, b"again")).await.unwrap(), refused);

    let read = mirror.redis.read(&name("/x")).await.unwrap();
    assert_eq!((&read.content[..], read.order), (&b"one"[..], Order { fence, sequence: 2 }));
    let heads = mirror.redis.heads(&[name("/none"), name("/x")]).await.unwrap();
    assert_eq!((heads[0].order, heads[0].holder.as_str()), (Order::default(), ""));
    assert_eq!((heads[1].order, heads[1].holder.as_str()), (read.order, "a.1"));
    assert_eq!((&heads[1].condition[..], heads[1].content.len()), (&b"condition"[..], 0));
    mirror.redis.leave(&[name("/x")]).await.unwrap();
    assert_eq!(holder.redis.write(&write("/x", fence, 3, b"two")).await.unwrap(), accepted(0));
    mirror.redis.announce(Bytes::from_static(b"\x01 nothing before this")).await.unwrap();
    assert!(matches!(mirror.next().await, Event::Returned(_)), "what is not attended is not heard");
}

#[tokio::test]
async fn items_of_a_feed_are_read_after_any_order_and_never_twice() {
    let server = RedisServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    let fence = node.holds("a.1", "/x").await;
    for (sequence, items) in [(1, &b"1"[..]), (2, b""), (3, b"3"), (4, b"4")] {
        let write = super::Write { items, ..write("/x", fence, sequence, b"page") };
        assert_eq!(node.redis.write(&write).await.unwrap(), accepted(0));
    }
    let order = |sequence| Order { fence, sequence };
    let feed = name("/x");
    let after = |after, max| node.redis.items(&feed, after, max);
    let all = after(Order::default(), 10).await.unwrap();
    let bytes = |items: &[(Order, Bytes)]| {
        items.iter().map(|(at, item)| (at.sequence, item.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(bytes(&all), [(1, b"1".to_vec()), (3, b"3".to_vec()), (4, b"4".to_vec())]);
    assert_eq!(bytes(&after(order(1), 10).await.unwrap()), [(3, b"3".to_vec()), (4, b"4".to_vec())]);
    assert_eq!(bytes(&after(order(1), 1).await.unwrap()), [(3, b"3".to_vec())]);
    assert_eq!(bytes(&after(order(4), 10).await.unwrap()), []);
}

#[tokio::test]
async fn the_numbers_of_wants_grow_over_an_emptied_engine_and_go_with_them() {
    let server = RedisServer::start(&[]);
    let (node, mut other) = (Node::of(&server).await, Node::of(&server).await);
    let mut last = 0;
    for _ in 0..3 {
        let want = node.redis.want(&name("/x"), b"\x01sealed", KEEP).await.unwrap();
        assert!(want > last, "{want} after {last}");
        last = want;
        let message = Bytes::from_static(b"\x01sealed");
        assert_eq!(other.next().await, Event::Said { number: Some(want), message });
        assert_eq!(other.redis.read(&name("/x")).await.unwrap().want, want);
        server.ask(&["FLUSHALL"]);
    }
    node.joins("a.1").await;
    let fence = node.holds("a.1", "/x").await;
    let want = node.redis.want(&name("/x"), b"\x01sealed", KEEP).await.unwrap();
    assert_eq!(node.redis.write(&write("/x", fence, 1, b"one")).await.unwrap(), accepted(want));
}

#[tokio::test]
async fn what_is_given_up_is_anothers_and_what_is_dropped_is_gone() {
    let server = RedisServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    node.joins("b.1").await;
    let fence = node.holds("a.1", "/x").await;
    node.redis.write(&write("/x", fence, 1, b"one")).await.unwrap();
    assert_eq!(
        node.redis.free(&[(name("/x"), fence - 1), (name("/x"), fence)], false).await.unwrap(),
        [false, true]
    );
    let taken = node.claims("b.1", claim("/x")).await;
    assert_eq!((taken.outcome, &taken.record.content[..]), (ClaimOutcome::Held, &b"one"[..]));
    assert_eq!(node.redis.free(&[(name("/x"), fence)], true).await.unwrap(), [false], "another has it");
    assert_eq!(node.redis.free(&[(name("/x"), taken.record.fence)], true).await.unwrap(), [true]);
    assert_eq!(node.redis.read(&name("/x")).await.unwrap(), Default::default());
}

#[tokio::test]
async fn records_live_as_long_as_they_are_kept() {
    let server = RedisServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    let fence = node.holds("a.1", "/x").await;
    let key = format!("{{pollcast:default}}:r:{}", name("/x"));
    let left = || server.ask(&["PTTL", &key]).parse::<i64>().unwrap();
    assert!((1..=600_000).contains(&left()), "a claim without a write ends, too");
    node.redis.write(&write("/x", fence, 1, b"one")).await.unwrap();
    node.redis.keep(&[name("/x")], KEEP * 10).await.unwrap();
    assert!(left() > 600_000);
}

#[tokio::test]
async fn many_claims_go_in_few_pipelines_and_are_answered_in_order() {
    let server = RedisServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    node.joins("b.1").await;
    let names: Vec<String> = (0..1200).map(|number| format!("/{number}")).collect();
    for name in names.iter().step_by(3) {
        node.holds("b.1", name).await;
    }
    let claims: Vec<Claim<'_>> = names.iter().map(|name| claim(name)).collect();
    let claimed = node.redis.claim("a.1", &claims).await.unwrap();
    let held: Vec<bool> = claimed.iter().map(|claimed| claimed.outcome == ClaimOutcome::Held).collect();
    assert_eq!(held, (0..1200).map(|number| number % 3 != 0).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_budget_gives_its_burst_and_then_says_when() {
    let server = RedisServer::start(&[]);
    let (node, other) = (Node::of(&server).await, Node::of(&server).await);
    let upstream = name("api");
    let mut granted = 0;
    for node in [&node, &other, &node, &other] {
        granted += node.redis.take(&upstream, 0.001, 5, 2).await.unwrap().granted;
    }
    assert_eq!(granted, 5);
    let taken = node.redis.take(&upstream, 0.001, 5, 2).await.unwrap();
    assert_eq!(taken.granted, 0);
    assert!((1..=1000).contains(&taken.wait.as_secs()), "{taken:?}");
}

#[tokio::test]
async fn scripts_that_the_engine_forgot_are_loaded_again() {
    let server = RedisServer::start(&[]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    server.ask(&["SCRIPT", "FLUSH"]);
    let claims: Vec<Claim<'_>> = ["/x", "/y"].map(claim).to_vec();
    let claimed = node.redis.claim("a.1", &claims).await.unwrap();
    assert!(claimed.iter().all(|claimed| claimed.outcome == ClaimOutcome::Held));
}

#[tokio::test]
async fn what_a_node_says_is_heard_by_all_and_comes_back_to_it() {
    let server = RedisServer::start(&[]);
    let (mut node, mut other) = (Node::of(&server).await, Node::of(&server).await);
    let message = Bytes::from_static(b"\x01\x04 a message of a node");
    node.redis.announce(message.clone()).await.unwrap();
    assert!(matches!(node.next().await, Event::Returned(_)));
    assert_eq!(node.next().await, Event::Said { number: None, message: message.clone() });
    assert_eq!(other.next().await, Event::Said { number: None, message });
}

#[tokio::test]
async fn as_many_resources_as_clients_want_are_heard_and_claimed_in_order() {
    /// More than are on their way at once.
    const RESOURCES: usize = 4_600;
    let server = RedisServer::start(&[]);
    let (mut node, other) = (Node::of(&server).await, Node::of(&server).await);
    node.joins("a.1").await;
    let texts: Vec<String> = (0..RESOURCES).map(|number| format!("/{number}")).collect();
    let names: Vec<_> = texts.iter().map(|text| name(text)).collect();
    node.redis.attend(&names).await.unwrap();
    // What is heard once this has returned is heard of each of them.
    let told: Vec<_> = names.iter().map(|name| (*name, Bytes::from_static(b"told"))).collect();
    other.redis.tell(&told).await.unwrap();
    for text in &texts {
        assert_eq!(node.next().await, became(text, b"told"));
    }
    let held = other.holds("a.1", "/7").await;
    let claims: Vec<_> = texts.iter().map(|text| claim(text)).collect();
    let claimed = node.redis.claim("a.1", &claims).await.unwrap();
    assert_eq!(claimed.len(), RESOURCES);
    let again: Vec<_> = (0..RESOURCES).filter(|number| claimed[*number].record.fence == held).collect();
    assert!(again.is_empty(), "a claim has a fence of its own: {again:?}");
    assert!(claimed.windows(2).all(|two| two[0].record.fence <= two[1].record.fence));
}
