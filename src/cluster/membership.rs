//! This node's part in one resource, as the loops that publish it see it (contract §13).
//!
//! Must not know: sessions, other resources.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::engine::{self, Write};
use super::message::Said;
use super::node::Node;
use super::node_resource::{NodeResource, Refused};
use super::record;
use super::seal::Kind;
use super::unshared::Unshared;
use crate::metrics::ClaimCause;
use crate::poll::backplane::{
    Found, LookUp, Membership, Order, Release, Report, Role, SharedContent, SharedFeed, Stored, Want, Written,
};

/// Smaller bodies are compressed and sealed where they are; larger ones on a thread that may take its time.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Entries of items that one look-up reads.
const ENTRIES_READ_MAX: usize = 1000;

/// One resource's part of a node.
pub(super) struct Member {
    /// This node.
    pub node: Arc<Node>,
    /// The resource.
    pub resource: Arc<NodeResource>,
}

/// What goes into the engine of one content.
struct Sealed {
    content: Vec<u8>,
    tags: Vec<u8>,
    items: Vec<u8>,
}

fn sealed(resource: &NodeResource, content: &SharedContent, clock_ms: u64) -> Option<Sealed> {
    let order = content.order;
    let plain = record::content(content, resource.is_private, clock_ms);
    let has_items = content.feed.as_ref().is_some_and(|feed| !feed.items.is_empty() || feed.gap);
    let items = match has_items {
        true => resource.sealed(Kind::Items, order, &record::items(content))?,
        false => Vec::new(),
    };
    Some(Sealed {
        content: resource.sealed(Kind::Record, order, &plain)?,
        tags: resource.tags_with(content.snapshot.version.tag(), order)?,
        items,
    })
}

impl Member {
    async fn sealed(&self, content: &SharedContent) -> Option<Sealed> {
        let clock_ms = self.node.clock_ms().unwrap_or_default();
        if content.snapshot.body.len() <= INLINE_BYTES_MAX {
            return sealed(&self.resource, content, clock_ms);
        }
        let (resource, content) = (self.resource.clone(), content.clone());
        tokio::task::spawn_blocking(move || sealed(&resource, &content, clock_ms)).await.ok()?
    }

    fn count(&self, kind: &str) {
        self.node.metrics.writes.with_label_values(&[kind]).inc();
    }

    /// Each node polls for itself from now on; the others are told so.
    async fn is_too_large(&self, order: Order) -> Written {
        self.count("too_large");
        if let (Some(content), Some(tags)) = (
            self.resource.sealed(Kind::Record, order, &record::too_large()),
            self.resource.sealed(Kind::Condition, order, &record::tags(order, [].iter())),
        ) {
            let _ = self.node.engine.write(&self.write_of(order, &content, &tags, b"")).await;
        }
        let mut state = self.resource.state.lock();
        state.apart = Some(Unshared::TooLarge);
        self.resource.becomes(&mut state, Role::Alone);
        Written::TooLarge
    }

    fn write_of<'a>(
        &self,
        order: Order,
        content: &'a [u8],
        condition: &'a [u8],
        items: &'a [u8],
    ) -> Write<'a> {
        let (name, keep) = (self.resource.name, self.resource.keep);
        Write { name, order, content, condition, items, history: self.resource.history, keep }
    }

    /// The engine says that another has it.
    fn is_refused(&self, order: Order, holder: String, fence: u64) -> Written {
        self.count("refused");
        self.node.metrics.refused.with_label_values(&["fence"]).inc();
        let own = self.node.state.lock().session.clone();
        match self.resource.refused(order, &own, (holder, fence)) {
            Refused::OldNews => {}
            Refused::Gone => self.node.claim(&self.resource.name, ClaimCause::Back, String::new()),
            Refused::Taken => self.node.state.lock().members.fenced(Instant::now()),
        }
        Written::Refused
    }

    /// The items that came after `have`, in the order of their writes.
    async fn items_after(&self, have: Order, content: &mut SharedContent) -> Option<()> {
        let entries = self.node.engine.items(&self.resource.name, have, ENTRIES_READ_MAX).await.ok()?;
        let last = content.feed.take()?;
        let mut feed = SharedFeed { items: Vec::new(), gap: false, ..last };
        let mut before = have;
        let mut is_first = true;
        for (order, sealed) in entries {
            if order > content.order {
                break;
            }
            let (after, items) = match self.resource.items(&sealed) {
                Ok(read) => read,
                Err(found) => {
                    self.node.undecodable(found);
                    feed.gap = true;
                    continue;
                }
            };
            // States without items have no entry, so that only the first one tells whether something is missing.
            if items.gap || (is_first && after > before) {
                feed.items.clear();
                feed.gap = true;
            }
            is_first = false;
            feed.items.extend(items.items);
            before = order;
        }
        content.after = have;
        content.feed = Some(feed);
        Some(())
    }
}

#[async_trait]
impl Membership for Member {
    async fn write(&self, content: &SharedContent) -> Written {
        let order = content.order;
        let _turn = self.node.turns.turn().await;
        let Some(sealed) = self.sealed(content).await else { return Written::Lost };
        if sealed.content.len() > self.node.settings.max_value
            || sealed.items.len() > self.node.settings.max_value
        {
            return self.is_too_large(order).await;
        }
        let write = self.write_of(order, &sealed.content, &sealed.tags, &sealed.items);
        let bytes = sealed.content.len() + sealed.tags.len() + sealed.items.len();
        self.node.metrics.bytes.with_label_values(&["out"]).inc_by(bytes as u64);
        match self.node.engine.write(&write).await {
            Ok(engine::Written::Accepted { want }) => {
                self.count("accepted");
                self.resource
                    .wrote(content, engine::believed(want, self.node.clock_ms()).unwrap_or_default());
                Written::Accepted
            }
            Ok(engine::Written::Refused { holder, fence }) => self.is_refused(order, holder, fence),
            Err(_) => {
                self.count("lost");
                Written::Lost
            }
        }
    }

    fn report(&self, fence: u64, report: Report) {
        let settles = {
            let mut state = self.resource.state.lock();
            if state.role != (Role::Holder { fence }) {
                return;
            }
            let settles = report.settled > state.settled;
            state.settled = state.settled.max(report.settled);
            settles
        };
        if matches!(report.found, Found::Unchanged) {
            let told = (report.order, report.settled, Instant::now());
            self.node.state.lock().todo.unchanged.insert(self.resource.name, told);
            if settles {
                self.node.beat_now.notify_one();
            }
        } else if let Some(sealed) = self.resource.report(fence, &report, self.node.settings.max_value) {
            self.node.tell_soon(self.resource.name, sealed.into());
        }
    }

    async fn want(&self, want: Want) -> Option<u64> {
        let _turn = self.node.turns.turn_after_claims(|| self.node.state.lock().todo.claim.len()).await;
        let session = {
            let state = self.node.state.lock();
            state.is_connected.then(|| state.session.clone())?
        };
        let sealed = self.node.sealed(&session, Said::Want(self.resource.name, want))?;
        self.node.engine.want(&self.resource.name, &sealed, self.resource.keep).await.ok()
    }

    async fn look_up(&self, have: Order) -> LookUp {
        self.node.metrics.reads.with_label_values(&["resume"]).inc();
        let _turn = self.node.turns.turn().await;
        let engine = &self.node.engine;
        let Ok(heads) = engine.heads(&[self.resource.name]).await else { return LookUp::Lost };
        let Some(mut record) = heads.into_iter().next() else { return LookUp::Lost };
        if record.order == Order::default() || record.condition.is_empty() {
            return LookUp::Nothing;
        }
        let is_other = record.order != have;
        if is_other {
            let Ok(read) = engine.read(&self.resource.name).await else { return LookUp::Lost };
            record = read;
        }
        let tags = match self.resource.tags(&record.condition) {
            Ok(tags) => tags,
            Err(found) => {
                self.node.undecodable(found);
                return LookUp::Nothing;
            }
        };
        let mut content = None;
        if is_other && !record.content.is_empty() {
            match self.resource.content(&record.content, self.node.clock_ms()) {
                Ok(read) => content = read,
                Err(found) => {
                    self.node.undecodable(found);
                    return LookUp::Nothing;
                }
            }
        }
        if let Some(found) = content.as_mut().filter(|found| found.feed.is_some() && found.order > have)
            && self.items_after(have, found).await.is_none()
        {
            return LookUp::Lost;
        }
        LookUp::Found(Box::new(Stored { order: record.order, content, tags }))
    }

    fn release(&self, fence: u64, why: Release) {
        let mut state = self.node.state.lock();
        if state.is_connected && self.resource.state.lock().role == (Role::Holder { fence }) {
            state.todo.free.insert(self.resource.name, (fence, Some(why)));
            if why == Release::CannotConnect {
                state.members.rests(Instant::now());
            }
            drop(state);
            self.node.errands.notify_one();
        }
    }

    fn is_dormant(&self) -> bool {
        self.resource.state.lock().is_dormant
    }

    fn is_begun(&self) -> bool {
        let fence = self.resource.state.lock().fence;
        // Fences are of the engine's clock, in µs.
        let lease = u64::try_from(self.node.settings.lease.as_millis()).unwrap_or(u64::MAX);
        self.node.clock_ms().is_some_and(|now| now < (fence / 1000).saturating_add(lease))
    }

    fn claim(&self) {
        let is_held = {
            let mut state = self.resource.state.lock();
            state.is_dormant = false;
            matches!(state.role, Role::Alone | Role::Waiting)
        };
        if !is_held {
            self.node.claim(&self.resource.name, ClaimCause::Attend, String::new());
        }
    }

    fn note_regression(&self) {
        self.node.metrics.regressions.inc();
    }

    fn lease(&self) -> Duration {
        self.node.settings.lease
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.node.remove(&self.resource);
    }
}
