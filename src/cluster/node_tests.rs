//! What a node does on its engine, with an engine in memory that waits, refuses and forgets when it is told so.

use std::collections::HashMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::engine::{Beaten, Claim, ClaimOutcome, Claimed, Engine, Failed, Record, Taken, Write, Written};
use super::membership::Member;
use super::node::Node;
use super::node_resource::{NodeResource, Settings};
use super::seal::Name;
use super::turns::CLAIMS_MAX;
use super::{beats, claims};
use crate::config::Cluster;
use crate::metrics::{ClaimCause, Metrics};
use crate::poll::backplane::{Inbox, Membership, Order, Role, Want};

/// Another node, which holds what it is given.
const OTHER: &str = "000000000001.1";

/// What the engine was asked, and how it answers.
struct Asked {
    /// Renewals of sessions.
    beats: AtomicU64,
    /// The sessions that are not known, whatever was renewed.
    lapsed: Mutex<Vec<String>>,
    /// The clock, ms.
    clock_ms: AtomicU64,
    /// The session that holds each resource, and its fence.
    holders: Mutex<HashMap<Name, (String, u64)>>,
    /// How many goes of claims are answered.
    answered_claims: Semaphore,
    /// How many claims each go had.
    claims: Mutex<Vec<usize>>,
    wants: AtomicU64,
    freed: Mutex<Vec<(Name, u64)>>,
    /// Nothing that is said to all is ever acknowledged.
    hangs: AtomicBool,
}

impl Asked {
    fn new() -> Arc<Asked> {
        Arc::new(Asked {
            beats: AtomicU64::new(0),
            lapsed: Mutex::default(),
            clock_ms: AtomicU64::new(1000),
            holders: Mutex::default(),
            answered_claims: Semaphore::new(1000),
            claims: Mutex::default(),
            wants: AtomicU64::new(0),
            freed: Mutex::default(),
            hangs: AtomicBool::new(false),
        })
    }

    /// From now on claims wait until they are let through.
    fn hold_claims(&self) {
        self.answered_claims.forget_permits(usize::MAX >> 4);
    }
}

#[async_trait]
impl Engine for Asked {
    async fn beat(&self, session: &str, _: Duration, join: bool) -> Result<Beaten, Failed> {
        self.beats.fetch_add(1, Ordering::SeqCst);
        let mut live = vec![OTHER.to_owned(), session.to_owned()];
        let is_alive = join || !self.lapsed.lock().iter().any(|lapsed| lapsed == session);
        live.retain(|live| is_alive || live != session);
        Ok(Beaten { is_alive, time_ms: self.clock_ms.load(Ordering::SeqCst), live })
    }

    async fn claim(&self, session: &str, claims: &[Claim<'_>]) -> Result<Vec<Claimed>, Failed> {
        self.claims.lock().push(claims.len());
        self.answered_claims.acquire().await.unwrap().forget();
        let mut holders = self.holders.lock();
        let answer = |claim: &Claim<'_>| {
            let held = holders.get(&claim.name).cloned();
            let (outcome, (holder, fence)) = match held.filter(|(holder, _)| holder != claim.from) {
                Some(held) if held.0 != session => (ClaimOutcome::Refused, held),
                _ => (ClaimOutcome::Held, (session.to_owned(), claim.floor + 10)),
            };
            holders.insert(claim.name, (holder.clone(), fence));
            Claimed { outcome, record: Record { holder, fence, ..Record::default() } }
        };
        Ok(claims.iter().map(answer).collect())
    }

    async fn write(&self, _: &Write<'_>) -> Result<Written, Failed> {
        Ok(Written::Accepted { want: 0 })
    }

    async fn want(&self, _: &Name, _: &[u8], _: Duration) -> Result<u64, Failed> {
        Ok(self.wants.fetch_add(1, Ordering::SeqCst) + 1)
    }

    async fn free(&self, held: &[(Name, u64)], _: bool) -> Result<Vec<bool>, Failed> {
        self.freed.lock().extend(held);
        Ok(vec![true; held.len()])
    }

    async fn heads(&self, names: &[Name]) -> Result<Vec<Record>, Failed> {
        Ok(vec![Record::default(); names.len()])
    }

    async fn read(&self, _: &Name) -> Result<Record, Failed> {
        Ok(Record::default())
    }

    async fn items(&self, _: &Name, _: Order, _: usize) -> Result<Vec<(Order, Bytes)>, Failed> {
        Ok(Vec::new())
    }

    async fn keep(&self, _: &[Name], _: Duration) -> Result<(), Failed> {
        Ok(())
    }

    async fn take(&self, _: &Name, _: f64, _: u32, requests: u32) -> Result<Taken, Failed> {
        Ok(Taken { granted: requests, wait: Duration::ZERO })
    }

    async fn announce(&self, _: Bytes) -> Result<(), Failed> {
        if self.hangs.load(Ordering::SeqCst) { std::future::pending().await } else { Ok(()) }
    }

    async fn announce_write(&self, _: Bytes) -> Result<Option<u64>, Failed> {
        Ok(None)
    }

    async fn tell(&self, _: &[(Name, Bytes)]) -> Result<(), Failed> {
        Ok(())
    }

    async fn attend(&self, _: &[Name]) -> Result<(), Failed> {
        Ok(())
    }

    async fn leave(&self, _: &[Name]) -> Result<(), Failed> {
        Ok(())
    }

    async fn part(&self, _: &str) -> Result<(), Failed> {
        Ok(())
    }
}

/// A node that is connected to such an engine.
fn node(engine: &Arc<Asked>, lease: Duration) -> Arc<Node> {
    let text = "listeners: [{ address: '127.0.0.1:0' }]\nupstreams: { api: { servers: ['127.0.0.1:1'] } }\n\
                routes: [{ path: /r, upstream: api, share: public }]\n";
    let config = crate::config::load_str(text, "test.yaml", Path::new(".")).unwrap();
    let settings = Arc::new(Cluster { lease, ..Cluster::unsaid() });
    let metrics = Metrics::new().unwrap().cluster().unwrap();
    let node = Node::new(engine.clone(), &settings, &config, metrics);
    node.is_back();
    node
}

/// Attends to a resource.
fn attend(node: &Arc<Node>, number: usize) -> Arc<Member> {
    let number = number.to_le_bytes();
    let parts = || [&number[..]];
    let settings = Settings::of_tests(node.roles.clone());
    let (name, seal) = (node.secret.name(parts()), node.secret.record(parts()));
    let resource = Arc::new(NodeResource::new(name, seal, Arc::new(Inbox::new(0)), settings));
    node.add(&resource);
    Arc::new(Member { node: node.clone(), resource })
}

fn role(member: &Member) -> Role {
    member.resource.state.lock().role
}

/// Lets a node work until something is so.
async fn until(node: &Arc<Node>, is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = claims::run(node.clone()) => {}
        looked = tokio::time::timeout(Duration::from_secs(60), look) => looked.expect("it becomes so"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_in_time_while_nothing_that_is_said_is_acknowledged() {
    let engine = Asked::new();
    let node = node(&engine, Duration::from_secs(3));
    engine.hangs.store(true, Ordering::SeqCst);
    let ten_renewals = tokio::time::sleep(Duration::from_millis(9_500));
    tokio::select! {
        () = beats::run(node) => {}
        () = ten_renewals => {}
    }
    let beats = engine.beats.load(Ordering::SeqCst);
    assert!((10..=13).contains(&beats), "{beats} in ten thirds of a lease");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_lapsed_is_replaced_and_the_next_one_claims_everything() {
    let engine = Asked::new();
    let node = node(&engine, Duration::from_secs(3));
    let member = attend(&node, 1);
    until(&node, || matches!(role(&member), Role::Holder { .. })).await;
    let lapsed = node.state.lock().session.clone();
    engine.lapsed.lock().push(lapsed.clone());
    tokio::select! {
        () = beats::run(node.clone()) => {}
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    {
        let state = node.state.lock();
        assert_ne!(state.session, lapsed);
        assert!(state.has_joined, "the next session has joined");
        assert_eq!(
            state.todo.claim.get(&member.resource.name).map(|(cause, _)| *cause),
            Some(ClaimCause::Back)
        );
    }
    assert_eq!(node.metrics.refused.with_label_values(&["session"]).get(), 1);
}

#[tokio::test]
async fn a_node_takes_a_part_of_what_it_is_preferred_for_at_a_beat_and_nothing_without_a_content() {
    const RESOURCES: usize = 400;
    let lease = Duration::from_millis(1);
    let engine = Asked::new();
    let node = node(&engine, lease);
    let members: Vec<_> = (0..RESOURCES).map(|number| attend(&node, number)).collect();
    for member in &members {
        engine.holders.lock().insert(member.resource.name, (OTHER.to_owned(), 5));
    }
    until(&node, || members.iter().all(|member| role(member) == Role::Mirror)).await;
    // Until both nodes have lived for a lease.
    let joined = Instant::now();
    while joined.elapsed() <= lease {
        tokio::task::yield_now().await;
    }
    let wanted = |node: &Node| {
        node.succeed();
        let claims = std::mem::take(&mut node.state.lock().todo.claim);
        assert!(claims.values().all(|(cause, from)| *cause == ClaimCause::Preferred && from == OTHER));
        claims.into_keys().collect::<Vec<_>>()
    };
    assert!(wanted(&node).is_empty(), "their first polls are on the way");
    let has_content = |member: &Arc<Member>| member.resource.state.lock().order = Order::begin(5).next();
    members.iter().for_each(has_content);
    let taken = wanted(&node);
    assert_eq!(taken.len(), RESOURCES / 20, "5 % at a beat");
    let now = Instant::now();
    let state = node.state.lock();
    let is_own = |name: &Name| state.members.preferred(name, now) == Some(state.members.own());
    assert!(taken.iter().all(is_own));
}

#[tokio::test(start_paused = true)]
async fn wants_wait_at_the_start_until_few_claims_are_left_and_none_is_lost() {
    let engine = Asked::new();
    let node = node(&engine, Duration::from_secs(3));
    engine.hold_claims();
    let members: Vec<_> = (0..3 * CLAIMS_MAX).map(|number| attend(&node, number)).collect();
    let mut want = pin!(members[0].want(Want::Young));
    assert!(want.as_mut().now_or_never().is_none());
    until(&node, || engine.claims.lock().len() == 1).await;
    assert!(want.as_mut().now_or_never().is_none(), "more are to be claimed than one go takes");
    assert_eq!(engine.wants.load(Ordering::SeqCst), 0);
    engine.answered_claims.add_permits(usize::MAX >> 5);
    // What was on its way when the loop was left is claimed again with the next session.
    node.is_back();
    until(&node, || members.iter().all(|member| matches!(role(member), Role::Holder { .. }))).await;
    assert_eq!(want.await, Some(1));
    assert_eq!(node.metrics.delayed.with_label_values(&["claims"]).get(), 1);
    assert!(engine.claims.lock().iter().all(|count| *count <= CLAIMS_MAX));
}

#[tokio::test(start_paused = true)]
async fn what_its_last_client_left_while_it_was_claimed_is_given_up() {
    let engine = Asked::new();
    let node = node(&engine, Duration::from_secs(3));
    engine.hold_claims();
    let member = attend(&node, 1);
    let name = member.resource.name;
    let left = async {
        while engine.claims.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(member);
        assert!(node.state.lock().todo.free.is_empty(), "it is not known yet that this node has it");
        engine.answered_claims.add_permits(1);
        while engine.freed.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = claims::run(node.clone()) => {}
        left = tokio::time::timeout(Duration::from_secs(60), left) => left.expect("it is given up"),
    }
    let (_, fence) = engine.holders.lock()[&name].clone();
    assert_eq!(*engine.freed.lock(), [(name, fence)]);
}
