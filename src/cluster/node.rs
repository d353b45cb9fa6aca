//! This node of the cluster: its session, what it attends to, and what the others say.
//!
//! `beats` says that it lives, `events` takes what others say, `claims` claims and gives up, `membership` is one resource's part of it. Must not know:
//! which engine it is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::engine::{Engine, Failed, Loss};
use super::members::{Members, Succession};
use super::message::{Beat, Message, Said};
use super::naming::{Fingerprint, fingerprint};
use super::node_resource::NodeResource;
use super::replay::Replay;
use super::resource_counts::{RoleCounts, Seats};
use super::seal::{Kind, Name, Secret, Undecodable};
use super::turns::Turns;
use super::write_listener::ListenerThread;
use crate::config::{Cluster, Config, Route, WhenLost};
use crate::metrics::{ClaimCause, ClusterMetrics};
use crate::poll::backplane::{Order, Release, Role, ToldWrite, WriteNotice};
use crate::upstream::Gate;

/// One node.
pub(super) struct Node {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// `cluster` of the configuration.
    pub settings: Arc<Cluster>,
    /// Names and seals.
    pub secret: Arc<Secret>,
    /// Messages that were sealed with the secret before this one are read, too.
    pub previous: Option<Arc<Secret>>,
    /// By the numbers of routes.
    fingerprints: RwLock<HashMap<usize, Fingerprint>>,
    /// What is counted.
    pub metrics: ClusterMetrics,
    /// Resources by role.
    pub roles: RoleCounts,
    /// The node's part of its sessions.
    id: String,
    said: AtomicU64,
    /// It gives up what it holds, and claims only what no other node does: an operator said so, or the process ends.
    pub is_leaving: AtomicBool,
    /// Its session has ended for good: the process ends.
    pub has_parted: AtomicBool,
    /// What changes.
    pub state: Mutex<State>,
    /// Something is to be done on the engine.
    pub errands: Notify,
    /// Whose turn it is.
    pub turns: Turns,
    /// Something is to be said before the next beat.
    pub beat_now: Notify,
    /// The gates of the upstreams, by their names in the engine.
    pub budgets: RwLock<Vec<(Name, Arc<Gate>)>>,
    /// What acts on the writes of other nodes.
    pub writes: OnceLock<ListenerThread>,
}

/// What changes.
pub(super) struct State {
    /// The session, and whether the engine knows it.
    pub session: String,
    /// The engine knows the session.
    pub has_joined: bool,
    /// The engine can be had.
    pub is_connected: bool,
    /// The sessions that live.
    pub members: Members,
    /// The resources that it attends to.
    pub resources: HashMap<Name, Arc<NodeResource>>,
    /// How many of them it holds, as counted last.
    pub seats: Seats,
    /// The names by their numbers.
    pub numbers: HashMap<u64, Name>,
    /// What is to be done.
    pub todo: Todo,
    /// The numbers of the messages of each session.
    pub heard: HashMap<String, Replay>,
    /// What the nodes say of themselves.
    pub told: BTreeMap<String, (Beat, Instant)>,
    /// The engine's clock (ms) at a moment.
    clock: Option<(Instant, u64)>,
    /// Since when the engine cannot be had.
    pub lost_since: Option<Instant>,
    /// How often it was lost, or could not be had.
    pub losses: u64,
}

/// What is to be done on the engine. Each resource stands in each list at most once.
#[derive(Default)]
pub(super) struct Todo {
    /// What is to be heard.
    pub attend: HashSet<Name>,
    /// What is not heard any more.
    pub leave: HashSet<Name>,
    /// With the session that it may be taken from.
    pub claim: HashMap<Name, (ClaimCause, String)>,
    /// What is given up, with its fence; released for a reason, or for want of clients.
    pub free: HashMap<Name, (u64, Option<Release>)>,
    /// What is told to those that attend to a resource.
    pub tell: HashMap<Name, Bytes>,
    /// Records that are removed if no node claimed them by then.
    pub drop: HashMap<Name, (u64, Instant)>,
    /// Polls that found nothing new, for the next beat.
    pub unchanged: HashMap<Name, (Order, u64, Instant)>,
}

impl State {
    /// How long ago the session was last renewed. Returns `None` before the first time.
    pub(super) fn renewed_ago(&self) -> Option<Duration> {
        self.clock.map(|(at, _)| at.elapsed())
    }
}

impl Node {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        settings: &Arc<Cluster>,
        config: &Config,
        metrics: ClusterMetrics,
    ) -> Arc<Node> {
        let id = format!("{:012x}", fastrand::u64(..1 << 48));
        let session = format!("{id}.{:012x}", fastrand::u64(..1 << 48));
        let state = State {
            members: Members::new(&session, settings.lease),
            session,
            has_joined: false,
            is_connected: false,
            resources: HashMap::new(),
            seats: Seats::default(),
            numbers: HashMap::new(),
            todo: Todo::default(),
            heard: HashMap::new(),
            told: BTreeMap::new(),
            clock: None,
            lost_since: Some(Instant::now()),
            losses: 0,
        };
        let secret = |secret: &crate::config::Secret| Arc::new(Secret::new(secret.0.as_bytes()));
        let turns = Turns::new(settings.max_commands, &metrics);
        Arc::new(Node {
            engine,
            settings: settings.clone(),
            secret: secret(&settings.secret),
            previous: settings.previous_secret.as_ref().map(secret),
            fingerprints: RwLock::new(fingerprints(config)),
            roles: RoleCounts::new(&metrics),
            metrics,
            id,
            said: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
            has_parted: AtomicBool::new(false),
            state: Mutex::new(state),
            errands: Notify::new(),
            turns,
            beat_now: Notify::new(),
            budgets: RwLock::default(),
            writes: OnceLock::new(),
        })
    }

    pub(super) fn fingerprint(&self, route: usize) -> Option<Fingerprint> {
        self.fingerprints.read().get(&route).copied()
    }

    /// Names the routes of another configuration.
    pub(super) fn name_routes(&self, config: &Config) {
        *self.fingerprints.write() = fingerprints(config);
    }

    /// What people call this node.
    pub(super) fn name(&self) -> String {
        self.settings.node.clone().unwrap_or_else(|| self.id.chars().take(6).collect())
    }

    /// What a node is for a resource while the engine is lost.
    pub(super) fn role_when_lost(&self) -> Role {
        match self.settings.when_lost {
            WhenLost::Poll => Role::Alone,
            WhenLost::Hold => Role::Waiting,
        }
    }

    /// A message to all, sealed.
    pub(super) fn sealed(&self, session: &str, said: Said) -> Option<Bytes> {
        let message = Message { session: session.to_owned(), said };
        // Numbers go on over sessions: no two messages of a node have one.
        let number = self.said.fetch_add(1, Ordering::AcqRel) + 1;
        let order = Order { fence: 0, sequence: number };
        let sealed = self.secret.messages().seal(Kind::Message, &Name::ALL, order, &message.bytes())?;
        self.metrics.bytes.with_label_values(&["out"]).inc_by(sealed.len() as u64);
        Some(sealed.into())
    }

    /// Says something to all.
    pub(super) async fn say(&self, session: &str, said: Said) -> Result<(), Failed> {
        let Some(sealed) = self.sealed(session, said) else {
            return Err(Failed { loss: Loss::Protocol, message: "nothing can be sealed".to_owned() });
        };
        self.engine.announce(sealed).await
    }

    /// Tells all nodes of a write. Returns once the engine has told them, within `cluster.timeout`.
    pub(super) async fn tell_write(&self, notice: &WriteNotice) -> Option<ToldWrite> {
        let session = {
            let state = self.state.lock();
            state.is_connected.then(|| state.session.clone())?
        };
        let sealed = self.sealed(&session, Said::Written(notice.clone()))?;
        let telling = self.engine.announce_write(sealed);
        let number = tokio::time::timeout(self.settings.timeout, telling).await.ok()?.ok()?;
        Some(ToldWrite { number })
    }

    /// The engine's clock now, in ms.
    pub(super) fn clock_ms(&self) -> Option<u64> {
        let (at, ms) = self.state.lock().clock?;
        Some(ms + u64::try_from(at.elapsed().as_millis()).unwrap_or_default())
    }

    pub(super) fn undecodable(&self, found: Undecodable) {
        let reason = match found {
            Undecodable::Version => "version",
            Undecodable::Seal => "seal",
            Undecodable::Form => "form",
        };
        self.metrics.undecodable.with_label_values(&[reason]).inc();
    }

    /// Has a resource claimed.
    pub(super) fn claim(&self, name: &Name, cause: ClaimCause, from: String) {
        let mut state = self.state.lock();
        if state.is_connected {
            state.todo.claim.entry(*name).or_insert((cause, from));
            drop(state);
            self.errands.notify_one();
        }
    }

    /// The engine can be had, and nothing is known of it: a new session claims everything.
    pub(super) fn is_back(&self) {
        let mut state = self.state.lock();
        state.is_connected = true;
        if let Some(since) = state.lost_since.take() {
            self.metrics.alone_seconds.inc_by(since.elapsed().as_secs_f64());
        }
        self.metrics.connected.set(1);
        self.begin_session(&mut state);
        drop(state);
        self.divide_budgets();
        self.errands.notify_one();
    }

    /// A session that lapsed, or that may have, is never used again.
    pub(super) fn begin_session(&self, state: &mut State) {
        state.session = format!("{}.{:012x}", self.id, fastrand::u64(..1 << 48));
        state.has_joined = false;
        let session = state.session.clone();
        state.members.rejoin(&session);
        let names: Vec<Name> = state.resources.keys().copied().collect();
        for name in names {
            state.todo.claim.insert(name, (ClaimCause::Back, String::new()));
        }
    }

    pub(super) fn is_lost(&self, loss: Loss) {
        self.metrics.losses.with_label_values(&[loss.label()]).inc();
        if loss == Loss::Memory {
            self.metrics.refused.with_label_values(&["memory"]).inc();
        }
        self.metrics.connected.set(0);
        let mut state = self.state.lock();
        state.is_connected = false;
        state.has_joined = false;
        state.losses += 1;
        state.lost_since.get_or_insert_with(Instant::now);
        let todo = &mut state.todo;
        // All of it is done again, or void, when the engine is back.
        todo.claim.clear();
        self.turns.wait_claims(0);
        todo.unchanged.clear();
        todo.tell.clear();
        let role = self.role_when_lost();
        for resource in state.resources.values() {
            resource.becomes(&mut resource.state.lock(), role);
        }
        drop(state);
        // For the parts of budgets.
        self.count_seats();
        self.divide_budgets();
    }

    /// Notes the engine's clock and the sessions that live.
    pub(super) fn told_members(&self, time_ms: u64, live: &[String]) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.clock = Some((now, time_ms));
        state.has_joined = true;
        if state.members.told(live, now) {
            let State { told, heard, members, .. } = &mut *state;
            told.retain(|session, _| members.lives(session));
            heard.retain(|session, _| members.lives(session));
            self.metrics.members.set(i64::try_from(members.count()).unwrap_or(i64::MAX));
        }
    }

    /// Claims what has no holder any more, and what this node is preferred for.
    pub(super) fn succeed(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if !state.is_connected || !state.has_joined {
            return;
        }
        let mut takes_left = (state.resources.len() / 20).max(1);
        let State { members, resources, todo, .. } = &mut *state;
        for (name, resource) in resources.iter() {
            let balanced_by = &resource.balanced_by;
            let mut resource = resource.state.lock();
            // Before that its first poll is on the way, and would be for nothing.
            let has_content = resource.order != Order::default();
            if resource.role != Role::Mirror || resource.is_dormant || todo.claim.contains_key(name) {
                continue;
            }
            match members.succession(balanced_by, &resource.holder, resource.is_vacant, now) {
                Succession::Stay => resource.is_vacant = false,
                Succession::Wait => resource.is_vacant = true,
                Succession::Claim => {
                    todo.claim.insert(*name, (ClaimCause::Died, resource.holder.clone()));
                }
                Succession::Take if takes_left > 0 && has_content => {
                    takes_left -= 1;
                    todo.claim.insert(*name, (ClaimCause::Preferred, resource.holder.clone()));
                }
                Succession::Take => {}
            }
        }
        drop(state);
        self.errands.notify_one();
    }

    /// Adds a resource.
    pub(super) fn add(&self, resource: &Arc<NodeResource>) {
        let mut state = self.state.lock();
        state.numbers.insert(resource.name.number(), resource.name);
        state.resources.insert(resource.name, resource.clone());
        state.todo.leave.remove(&resource.name);
        state.todo.attend.insert(resource.name);
        if !state.is_connected {
            // Under the node's lock: once the engine is back, a claim decides.
            resource.becomes(&mut resource.state.lock(), self.role_when_lost());
            drop(state);
            self.errands.notify_one();
            return;
        }
        state.todo.claim.insert(resource.name, (ClaimCause::Attend, String::new()));
        drop(state);
        self.errands.notify_one();
    }

    /// Removes it, if no later one took its place.
    pub(super) fn remove(&self, resource: &Arc<NodeResource>) {
        let mut state = self.state.lock();
        let name = resource.name;
        if state.resources.get(&name).is_some_and(|other| Arc::ptr_eq(other, resource)) {
            state.resources.remove(&name);
            state.numbers.remove(&name.number());
            let todo = &mut state.todo;
            todo.claim.remove(&name);
            todo.attend.remove(&name);
            todo.unchanged.remove(&name);
            todo.tell.remove(&name);
            todo.leave.insert(name);
            if let Role::Holder { fence } = resource.state.lock().role {
                todo.free.insert(name, (fence, None));
            }
        }
        drop(state);
        self.errands.notify_one();
    }

    /// How often a node says that it lives: three times a lease.
    pub(super) fn beat_interval(&self) -> Duration {
        self.settings.lease / 3
    }
}

/// The fingerprints of all routes, by their numbers.
fn fingerprints(config: &Config) -> HashMap<usize, Fingerprint> {
    let named = |route: &Arc<Route>| (route.index, fingerprint(route, config.version_key.as_ref()));
    config.routes.iter().map(named).collect()
}
