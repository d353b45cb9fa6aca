//! One resource on this node: what the node is for it, and what the others have said of it.
//!
//! Must not know: engines, when anything is said or asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::engine::{ClaimOutcome, Claimed, believed};
use super::record::{self, TAGS_MAX};
use super::resource_counts::RoleCounts;
use super::seal::{Head, Kind, Name, Seal, Undecodable};
use super::unshared::Unshared;
use crate::poll::backplane::{Inbox, Order, Report, Role, SharedContent, Want};

/// A resource that this node attends to.
pub(super) struct NodeResource {
    /// What it is called.
    pub name: Name,
    seal: Seal,
    /// What the loops of the resource are told through.
    pub inbox: Arc<Inbox>,
    /// The name whose preferred node polls it: its own, or its route's where that asks in batches.
    pub balanced_by: Name,
    /// The number of its upstream's name.
    pub upstream: u64,
    /// The content of a credential class.
    pub is_private: bool,
    /// How long the engine keeps its record without a write.
    pub keep: Duration,
    /// Entries of items that the engine keeps; 0 if it is no feed.
    pub history: u32,
    body_bytes_max: usize,
    roles: RoleCounts,
    /// What changes.
    pub state: Mutex<State>,
}

/// What changes.
pub(super) struct State {
    /// What this node is.
    pub role: Role,
    /// The session that holds it; empty if none does.
    pub holder: String,
    /// The fence of the holder.
    pub fence: u64,
    /// The content that is stored, as far as is known.
    pub order: Order,
    /// The tags of the last versions.
    tags: VecDeque<[u8; 6]>,
    /// It had no holder at the last beat already.
    pub is_vacant: bool,
    /// Its holder gave it up for want of clients that want it polled: it is claimed when one of this node does.
    pub is_dormant: bool,
    /// Why each node polls it for itself, if it does.
    pub apart: Option<Unshared>,
    /// Since when its holder has had a newer content.
    pub behind_since: Option<Instant>,
    /// Number of the last report that was told under this fence, by this node or another.
    pub reports: u64,
    /// The newest want that a message told of.
    pub heard_want: u64,
    /// A want that the engine knows of, and no message told of yet.
    pub unheard_want: Option<u64>,
    /// The last want that this node told to be settled.
    pub settled: u64,
    /// When the record was last made to live on.
    pub kept_at: Instant,
}

impl State {
    /// This content is had from now on.
    fn has(&mut self, order: Order) {
        self.order = order;
        self.behind_since = None;
    }

    /// The holder says that this is the content that it has.
    pub(super) fn holder_has(&mut self, order: Order) {
        if order <= self.order {
            self.behind_since = None;
        } else {
            self.behind_since.get_or_insert_with(Instant::now);
        }
    }
}

/// What a resource needs to be attended to.
pub(super) struct Settings {
    /// The name whose preferred node polls it; `None` if that is its own.
    pub balanced_by: Option<Name>,
    /// The number of its upstream's name.
    pub upstream: u64,
    /// It is of a credential class.
    pub is_private: bool,
    /// How long the engine keeps its record.
    pub keep: Duration,
    /// Entries of items that are kept.
    pub history: u32,
    /// The longest body of a poll.
    pub body_bytes_max: usize,
    /// Where its role is counted.
    pub roles: RoleCounts,
}

#[cfg(test)]
impl Settings {
    /// Those of tests: a public resource that is kept for longer than any test takes.
    pub(super) fn of_tests(roles: RoleCounts) -> Settings {
        Settings {
            balanced_by: None,
            upstream: 1,
            is_private: false,
            keep: Duration::from_secs(600),
            history: 0,
            body_bytes_max: 1024,
            roles,
        }
    }
}

/// What a refused write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nothing: what is known is newer.
    OldNews,
    /// The record is gone: the engine came back empty, or removed it for want of memory.
    Gone,
    /// Another node holds it.
    Taken,
}

impl NodeResource {
    pub(super) fn new(name: Name, seal: Seal, inbox: Arc<Inbox>, settings: Settings) -> NodeResource {
        settings.roles.enter(Role::Waiting);
        let state = State {
            role: Role::Waiting,
            holder: String::new(),
            fence: 0,
            order: Order::default(),
            tags: VecDeque::new(),
            is_vacant: false,
            is_dormant: false,
            apart: None,
            behind_since: None,
            reports: 0,
            heard_want: 0,
            unheard_want: None,
            settled: 0,
            kept_at: Instant::now(),
        };
        let Settings { balanced_by, upstream, is_private, keep, history, body_bytes_max, roles } = settings;
        NodeResource {
            name,
            seal,
            inbox,
            balanced_by: balanced_by.unwrap_or(name),
            upstream,
            is_private,
            keep,
            history,
            body_bytes_max,
            roles,
            state: Mutex::new(state),
        }
    }

    /// Tells what this node is from now on.
    pub(super) fn becomes(&self, state: &mut State, role: Role) {
        let role = if state.apart.is_some() { Role::Alone } else { role };
        if state.role != role {
            self.roles.leave(state.role);
            self.roles.enter(role);
            state.role = role;
            self.inbox.tell_role(role);
        }
    }

    /// Seals something about the resource.
    pub(super) fn sealed(&self, kind: Kind, order: Order, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal.seal(kind, &self.name, order, plain)
    }

    fn opened(&self, kind: Kind, sealed: &Bytes) -> Result<Bytes, Undecodable> {
        let mut bytes = sealed.to_vec();
        let opened = self.seal.open(kind, &self.name, &mut bytes)?;
        let (skip, count) = (super::seal::HEADER_BYTES, opened.len());
        // What was opened stands behind the header, in the same memory.
        Ok(Bytes::from(bytes).slice(skip..skip + count))
    }

    /// Reads a stored or told record. `clock_ms`: the engine's clock now.
    pub(super) fn content(
        &self,
        sealed: &Bytes,
        clock_ms: Option<u64>,
    ) -> Result<Option<SharedContent>, Undecodable> {
        let order = Head::read(sealed)?.order;
        let plain = self.opened(Kind::Record, sealed)?;
        match record::read_content(plain, order, self.body_bytes_max)? {
            record::Record::TooLarge => Ok(None),
            record::Record::Content(mut content, written_ms) => {
                let stored = clock_ms.map_or(0, |now| now.saturating_sub(written_ms));
                content.age = Duration::from_millis(stored);
                Ok(Some(*content))
            }
        }
    }

    /// The tags of the last versions, of a sealed condition.
    pub(super) fn tags(&self, sealed: &Bytes) -> Result<Vec<[u8; 6]>, Undecodable> {
        Ok(record::read_tags(self.opened(Kind::Condition, sealed)?)?.1)
    }

    /// Items of a feed, and what was before them.
    pub(super) fn items(
        &self,
        sealed: &Bytes,
    ) -> Result<(Order, crate::poll::backplane::SharedFeed), Undecodable> {
        record::read_items(self.opened(Kind::Items, sealed)?)
    }

    /// What the engine answered to a claim that was made with this floor: content, wants, then the role. What is not
    /// understood is left out, and returned: a holder writes over it, unless a later version wrote it.
    pub(super) fn claimed(
        &self,
        session: &str,
        (floor, claimed): (u64, &Claimed),
        clock_ms: Option<u64>,
    ) -> Option<Undecodable> {
        let record = &claimed.record;
        let mut state = self.state.lock();
        let mut undecodable = None;
        if !record.condition.is_empty() {
            match self.tags(&record.condition) {
                Ok(tags) => state.tags = tags.into(),
                Err(found) => undecodable = Some(found),
            }
        }
        let mut settled = 0;
        if !record.content.is_empty() {
            match self.content(&record.content, clock_ms) {
                Ok(None) => state.apart = Some(Unshared::TooLarge),
                Ok(Some(content)) => {
                    settled = content.settled;
                    state.has(content.order);
                    self.inbox.tell_content(content);
                }
                Err(found) => {
                    state.apart = (found == Undecodable::Version).then_some(Unshared::Version);
                    undecodable = Some(found);
                }
            }
        }
        if let Some(number) = believed(record.want, clock_ms).filter(|number| *number > 0) {
            let want = if number > settled.max(state.settled) { Want::Poll } else { Want::Young };
            state.heard_want = state.heard_want.max(number);
            self.inbox.tell_want(number, want);
        }
        if state.fence > floor && state.fence > record.fence {
            // Another node claimed it later, and that was heard before this answer.
            if !matches!(state.role, Role::Holder { .. } | Role::Mirror) {
                self.becomes(&mut state, Role::Mirror);
            }
            return undecodable;
        }
        if record.fence != state.fence {
            state.reports = 0;
        }
        state.fence = record.fence;
        state.holder.clone_from(&record.holder);
        (state.is_vacant, state.is_dormant) = (false, false);
        let role = match claimed.outcome {
            ClaimOutcome::Held => {
                session.clone_into(&mut state.holder);
                Role::Holder { fence: record.fence }
            }
            _ => Role::Mirror,
        };
        self.becomes(&mut state, role);
        undecodable
    }

    /// A write of this order was refused: that session holds the resource under that fence. What this node claimed later
    /// itself is no loss, and what it knows of later claims stands: the answer may be late.
    pub(super) fn refused(&self, order: Order, own: &str, (holder, fence): (String, u64)) -> Refused {
        let mut state = self.state.lock();
        if state.fence > fence.max(order.fence) || (holder == own && fence >= order.fence) {
            return Refused::OldNews;
        }
        state.holder = holder;
        state.fence = fence.max(state.fence);
        self.becomes(&mut state, Role::Mirror);
        if fence == 0 { Refused::Gone } else { Refused::Taken }
    }

    /// What the resource became, as another node wrote it.
    pub(super) fn became(&self, sealed: &Bytes) -> Result<(), Undecodable> {
        let head = Head::read(sealed)?;
        match head.kind {
            Some(Kind::Record) => {
                {
                    let state = self.state.lock();
                    let is_own = state.role == (Role::Holder { fence: head.order.fence });
                    // One's own, and what came before what is known: also if it is said once more.
                    if is_own || head.order <= state.order {
                        return Ok(());
                    }
                }
                let content = self.content(sealed, None)?;
                let mut state = self.state.lock();
                if head.order <= state.order {
                    return Ok(());
                }
                state.has(head.order);
                match content {
                    Some(content) => {
                        push_tag(&mut state.tags, content.snapshot.version.tag());
                        state.settled = state.settled.max(content.settled);
                        self.inbox.tell_content(content);
                    }
                    None => {
                        state.apart = Some(Unshared::TooLarge);
                        self.becomes(&mut state, Role::Alone);
                    }
                }
            }
            Some(Kind::Report) => {
                let report = record::read_report(self.opened(Kind::Report, sealed)?)?;
                let mut state = self.state.lock();
                let is_new = head.order.fence == state.fence && head.order.sequence > state.reports;
                if is_new && state.role == Role::Mirror {
                    state.reports = head.order.sequence;
                    state.settled = state.settled.max(report.settled);
                    self.inbox.tell_report(report);
                }
            }
            // Of a later version, or not for this channel.
            _ => {}
        }
        Ok(())
    }

    /// The tags with one more, sealed for a write at this place.
    pub(super) fn tags_with(&self, tag: [u8; 6], order: Order) -> Option<Vec<u8>> {
        let mut tags = self.state.lock().tags.clone();
        push_tag(&mut tags, tag);
        self.sealed(Kind::Condition, order, &record::tags(order, tags.iter()))
    }

    /// A write was accepted.
    pub(super) fn wrote(&self, content: &SharedContent, want: u64) {
        let mut state = self.state.lock();
        state.order = state.order.max(content.order);
        push_tag(&mut state.tags, content.snapshot.version.tag());
        state.kept_at = Instant::now();
        state.settled = state.settled.max(content.settled);
        if want > state.heard_want {
            // Its message is on the way, or was lost: the next beat will tell.
            state.unheard_want = Some(want);
        }
    }

    /// The next report under this fence, sealed. `body_bytes_max`: the longest body of an answer that is passed on.
    pub(super) fn report(&self, fence: u64, report: &Report, body_bytes_max: usize) -> Option<Vec<u8>> {
        let order = {
            let mut state = self.state.lock();
            state.reports += 1;
            Order { fence, sequence: state.reports }
        };
        self.sealed(Kind::Report, order, &record::report(report, body_bytes_max))
    }
}

impl Drop for NodeResource {
    fn drop(&mut self) {
        self.roles.leave(self.state.get_mut().role);
    }
}

fn push_tag(tags: &mut VecDeque<[u8; 6]>, tag: [u8; 6]) {
    tags.retain(|other| *other != tag);
    tags.push_back(tag);
    while tags.len() > TAGS_MAX {
        tags.pop_front();
    }
}

#[cfg(test)]
#[path = "node_resource_tests.rs"]
mod tests;
