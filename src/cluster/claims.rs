//! What is done on the engine one after another: hearing, claiming, giving up, telling.
//!
//! What fails is void: then the engine is lost, and all is claimed again when it is back. Must not know: why something is
//! claimed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::engine::{Claim, ClaimOutcome, Failed};
use super::message::{ENTRIES_MAX, Said};
use super::node::Node;
use super::node_resource::NodeResource;
use super::seal::Name;
use super::turns::CLAIMS_MAX;
use crate::metrics::ClaimCause;
use crate::poll::backplane::{Release, Role};

/// Records that wait for being removed.
const DROPS_MAX: usize = 100_000;

/// Does errands until the task is aborted.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        node.errands.notified().await;
        while is_due(&node) {
            if node.do_errands().await.is_err() {
                break;
            }
        }
    }
}

fn is_due(node: &Node) -> bool {
    if node.has_parted.load(Ordering::Acquire) {
        return false;
    }
    let state = node.state.lock();
    let todo = &state.todo;
    let is_for_engine = !todo.claim.is_empty() || !todo.free.is_empty() || !todo.tell.is_empty();
    // What is attended to is noted while the engine is lost, too: it is heard again when the engine is back.
    !todo.attend.is_empty() || !todo.leave.is_empty() || (state.is_connected && is_for_engine)
}

impl Node {
    async fn do_errands(&self) -> Result<(), Failed> {
        let (attend, leave): (Vec<Name>, Vec<Name>) = {
            let todo = &mut self.state.lock().todo;
            (todo.attend.drain().collect(), todo.leave.drain().collect())
        };
        // What it becomes has to be heard before it is claimed: nothing is missed in between. Both are noted by the
        // engine before anything can fail.
        let left = if leave.is_empty() { Ok(()) } else { self.engine.leave(&leave).await };
        if !attend.is_empty() {
            self.engine.attend(&attend).await?;
        }
        left?;
        self.join().await?;
        let tell: Vec<(Name, Bytes)> = self.state.lock().todo.tell.drain().collect();
        if !tell.is_empty() {
            self.engine.tell(&tell).await?;
        }
        self.claim_all().await?;
        self.free_all().await
    }

    /// Makes the session known, if it is not.
    pub(super) async fn join(&self) -> Result<(), Failed> {
        let session = {
            let state = self.state.lock();
            if state.has_joined {
                return Ok(());
            }
            state.session.clone()
        };
        let beaten = self.engine.beat(&session, self.settings.lease, true).await?;
        self.told_members(beaten.time_ms, &beaten.live);
        Ok(())
    }

    async fn claim_all(&self) -> Result<(), Failed> {
        loop {
            let (session, wanted) = self.next_claims();
            if wanted.is_empty() {
                return Ok(());
            }
            let claims: Vec<Claim<'_>> = wanted
                .iter()
                .map(|(resource, cause, from)| {
                    self.metrics.claims.with_label_values(&[cause.label()]).inc();
                    let state = resource.state.lock();
                    Claim {
                        name: resource.name,
                        have: state.order,
                        from,
                        floor: state.fence,
                        keep: resource.keep,
                    }
                })
                .collect();
            let answers = self.engine.claim(&session, &claims).await?;
            let floors = claims.iter().map(|claim| claim.floor);
            let clock = self.clock_ms();
            let mut held = Vec::new();
            let mut has_lapsed = false;
            for (((resource, ..), floor), claimed) in wanted.iter().zip(floors).zip(&answers) {
                if claimed.outcome == ClaimOutcome::Lapsed {
                    has_lapsed = true;
                    continue;
                }
                if !self.is_current(&session) {
                    // The engine was lost in between: all of it is claimed again.
                    return Ok(());
                }
                if let Some(found) = resource.claimed(&session, (floor, claimed), clock) {
                    self.undecodable(found);
                }
                if claimed.outcome == ClaimOutcome::Held {
                    held.push((resource.name, claimed.record.fence));
                    self.free_if_left(resource, claimed.record.fence);
                }
            }
            for claimed in held.chunks(ENTRIES_MAX) {
                self.say(&session, Said::Claimed(claimed.to_vec())).await?;
            }
            if has_lapsed {
                self.has_lapsed(&session);
                return self.join().await;
            }
        }
    }

    /// What its last client left while it was claimed is given up: others would wait for its polls.
    fn free_if_left(&self, resource: &Arc<NodeResource>, fence: u64) {
        let mut state = self.state.lock();
        let attended = state.resources.get(&resource.name);
        if attended.is_none_or(|attended| !Arc::ptr_eq(attended, resource)) {
            // If it is attended to again, it is claimed again, too, under a greater fence.
            state.todo.free.insert(resource.name, (fence, None));
        }
    }

    fn is_current(&self, session: &str) -> bool {
        let state = self.state.lock();
        state.is_connected && state.session == session
    }

    /// Takes the next claims off the list.
    fn next_claims(&self) -> (String, Vec<(Arc<NodeResource>, ClaimCause, String)>) {
        let mut state = self.state.lock();
        let names: Vec<Name> = state.todo.claim.keys().take(CLAIMS_MAX).copied().collect();
        let mut wanted = Vec::with_capacity(names.len());
        for name in names {
            let claim = state.todo.claim.remove(&name);
            if let (Some((cause, from)), Some(resource)) = (claim, state.resources.get(&name)) {
                wanted.push((resource.clone(), cause, from));
            }
        }
        self.turns.wait_claims(state.todo.claim.len());
        (state.session.clone(), wanted)
    }

    /// The session is not known any more: another one begins, and claims everything.
    pub(super) fn has_lapsed(&self, session: &str) {
        let mut state = self.state.lock();
        if state.session != session {
            return;
        }
        self.metrics.refused.with_label_values(&["session"]).inc();
        state.members.fenced(Instant::now());
        self.begin_session(&mut state);
        drop(state);
        self.errands.notify_one();
    }

    /// Gives up what no client of this node attends to any more, and what was released.
    pub(super) async fn free_all(&self) -> Result<(), Failed> {
        let (session, free) = {
            let mut state = self.state.lock();
            (state.session.clone(), std::mem::take(&mut state.todo.free))
        };
        if free.is_empty() {
            return Ok(());
        }
        let free: Vec<_> = free.into_iter().collect();
        let held: Vec<(Name, u64)> = free.iter().map(|(name, (fence, _))| (*name, *fence)).collect();
        let freed = self.engine.free(&held, false).await?;
        let until = Instant::now() + 2 * self.settings.lease;
        for ((name, (fence, why)), was_own) in free.into_iter().zip(freed) {
            if !was_own {
                continue;
            }
            if why.is_none() {
                self.drop_later(name, fence, until);
            }
            // A resource without clients here is any other node's to claim.
            self.say(&session, Said::Free(name, fence, why.unwrap_or(Release::CannotConnect))).await?;
        }
        Ok(())
    }

    /// Has a record removed if no node claimed it by then. More records than that end when their own life does.
    fn drop_later(&self, name: Name, fence: u64, until: Instant) {
        let drop = &mut self.state.lock().todo.drop;
        if drop.len() < DROPS_MAX {
            drop.insert(name, (fence, until));
        }
    }

    /// Removes records that no node claimed.
    pub(super) async fn drop_untaken(&self) -> Result<(), Failed> {
        let now = Instant::now();
        let due: Vec<(Name, u64)> = {
            let todo = &mut self.state.lock().todo;
            let is_due = |until: &Instant| *until <= now;
            let due = todo.drop.iter().filter(|(_, (_, until))| is_due(until));
            let due = due.map(|(name, (fence, _))| (*name, *fence)).collect();
            todo.drop.retain(|_, (_, until)| !is_due(until));
            due
        };
        if due.is_empty() { Ok(()) } else { self.engine.free(&due, true).await.map(drop) }
    }

    /// Lets others take over all that this node holds. What no other node has a client for it goes on with: no client of it
    /// is left without polls.
    pub(super) async fn leave(&self) -> Result<(), Failed> {
        self.is_leaving.store(true, Ordering::Release);
        let session = {
            let mut state = self.state.lock();
            state.members.set_leaving(true);
            let held: Vec<(Name, u64)> = state
                .resources
                .values()
                .filter_map(|resource| match resource.state.lock().role {
                    Role::Holder { fence } => Some((resource.name, fence)),
                    _ => None,
                })
                .collect();
            for (name, fence) in held {
                state.todo.free.insert(name, (fence, Some(Release::CannotConnect)));
            }
            state.session.clone()
        };
        // The others hear that it goes, and know where to look.
        self.count_seats();
        self.say_beat(&session, Vec::new()).await?;
        self.free_all().await
    }

    /// Takes its part again after it left, with a session that no other node knows as one that goes.
    pub(super) async fn return_after_leave(&self) -> Result<(), Failed> {
        if !self.is_leaving.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let before = {
            let mut state = self.state.lock();
            state.members.set_leaving(false);
            let before = state.session.clone();
            self.begin_session(&mut state);
            before
        };
        let parted = self.engine.part(&before).await;
        self.errands.notify_one();
        parted
    }

    /// Ends the session for good, before the process ends.
    pub(super) async fn part(&self) -> Result<(), Failed> {
        self.has_parted.store(true, Ordering::Release);
        let session = self.state.lock().session.clone();
        self.engine.part(&session).await
    }

    /// Something to tell those that attend to a resource. A later one takes its place.
    pub(super) fn tell_soon(&self, name: Name, sealed: Bytes) {
        self.metrics.bytes.with_label_values(&["out"]).inc_by(sealed.len() as u64);
        self.state.lock().todo.tell.insert(name, sealed);
        self.errands.notify_one();
    }
}
