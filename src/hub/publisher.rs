//! The sole write handle of a topic: the task that holds it is the poller, so "polled once" is ownership.
//!
//! Must not know: schedules, answers, why a poll ended the way it did.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::Instant;

use super::confirmation::Confirmation;
use super::draft::Draft;
use super::history::Past;
use super::items::News;
use super::named::OpenNames;
use super::poll_number::PollNumber;
use super::topic::Topic;
use super::view::{Closing, Failure, Outcome, Relayed, View};
use super::{ExceptionKind, Hub};
use crate::config::Order;
use crate::frame::{Batch, Condition, Format, Frame, PatchKind, State, wire_id};
use crate::resource::Snapshot;
use crate::upstream::schedule::Why;

/// The one write handle of a topic. If it is dropped without `retire` or `close` (a panic, a cancelled task), it closes
/// the topic, so that no client waits for a poller that is gone.
pub struct Publisher {
    topic: Arc<Topic>,
    hub: Arc<Hub>,
    done: bool,
}

/// A client came while the poller wanted to leave: it keeps its publisher.
pub struct Retained(pub Publisher);

impl Publisher {
    pub(super) fn new(topic: Arc<Topic>, hub: Arc<Hub>) -> Publisher {
        Publisher { topic, hub, done: false }
    }

    /// The resource that it publishes.
    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// A poll starts now.
    pub fn start_poll(&self) -> PollNumber {
        self.topic.started.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Prepares a snapshot for publishing. `news`: on a feed, the items that are new in it.
    pub fn draft(&self, snapshot: Arc<Snapshot>, news: Option<News>) -> Draft {
        let view = self.topic.view();
        let seq = view.frame.as_ref().map_or(1, |frame| frame.seq + 1);
        let batch = news.map(|news| {
            let known = self.topic.items.lock();
            let before = view.frame.as_ref().and_then(|f| f.batch.as_ref()).map(|b| b.until());
            let before = before.unwrap_or(known.newest());
            let items = known.number(news);
            drop(known);
            let until = items.last().map_or(before, |item| item.seq);
            Arc::new(Batch::new(items, until, self.topic.rules()))
        });
        // A state that is not new is published in the forms that it has.
        let is_new = view.frame.as_ref().is_none_or(|held| held.version() != snapshot.version);
        let wants = |kind: &PatchKind| is_new && self.topic.wants_patches(*kind);
        let patches = PatchKind::ALL.into_iter().filter(wants).collect();
        let is_read = |format: &Format| is_new && self.topic.is_read(*format);
        let formats = Format::ALL.into_iter().filter(is_read).collect();
        let (snapshot, shared) = self.hub.contents.share(self.topic.route().index, snapshot);
        let frame = Frame::of(seq, snapshot, self.topic.rules(), shared).with_batch(batch);
        Draft { frame: Arc::new(frame), before: view.frame.clone(), formats, patches }
    }

    /// Remembers what the upstream has after an item that a follower came from, oldest first. Returns true if it
    /// reaches what is known, so that the follower can go on from there. `draft` belongs to the poll that is about to
    /// be published.
    pub fn catch_up(&self, id: &str, mut missed: Vec<(String, bytes::Bytes)>, draft: Option<&Draft>) -> bool {
        let batch = draft.and_then(|draft| draft.frame.batch.as_ref());
        let mut items = self.topic.items.lock();
        let oldest =
            items.oldest().or(batch.and_then(|batch| batch.items().first())).map(|item| item.id.clone());
        if missed.is_empty() {
            // The follower has the newest item.
            let newest = batch.map_or(items.newest(), |batch| batch.until());
            items.know(id, newest);
            return true;
        }
        if let Some(oldest) = oldest {
            let Some(end) = missed.iter().position(|(name, _)| wire_id(name) == oldest) else {
                return false;
            };
            missed.truncate(end);
        }
        let most = self.topic.route().feed.as_ref().map_or(0, |feed| feed.history);
        // A client that names ever older items makes the row grow, and only news makes it shorter again.
        let room = most.saturating_mul(2).saturating_sub(items.len());
        if missed.len() > most.min(room) || self.hub.history_is_full() {
            return false;
        }
        let grown = items.put_before(id, missed);
        self.hub.history_bytes.fetch_add(grown, Ordering::Relaxed);
        true
    }

    /// Publishes what a poll brought. Returns true if it differs from the last content, so that followers are told.
    pub fn publish(&mut self, poll: PollNumber, snapshot: Arc<Snapshot>, upstream_age: Duration) -> bool {
        let draft = self.draft(snapshot, None);
        self.publish_draft(poll, draft, upstream_age)
    }

    /// As [`Publisher::publish`], for a draft that was prepared, and perhaps encoded, elsewhere.
    pub fn publish_draft(&mut self, poll: PollNumber, draft: Draft, upstream_age: Duration) -> bool {
        self.publish_confirmed(Confirmation::of_poll(poll, upstream_age), draft)
    }

    /// As [`Publisher::publish_draft`], for what another node may have polled.
    pub fn publish_confirmed(&mut self, confirmation: Confirmation, draft: Draft) -> bool {
        let frame = draft.frame.clone();
        let view = self.topic.view();
        let same = view.frame.as_ref().is_some_and(|held| held.version() == frame.version());
        let resumed = matches!(view.condition.state, State::Gone { .. });
        if same && !resumed {
            // The content did not change, but headers and validators may be newer.
            self.confirm_with(confirmation, Some(frame.snapshot.clone()));
            return false;
        }
        if view.frame.is_none() {
            self.hub.is_covered(self.topic.key());
        }
        draft.encode();
        if let Some(batch) = &frame.batch {
            self.remember_items(batch);
        }
        self.topic.update(|view| {
            // It is encoded again under the lock, for a format that a client joined with meanwhile. Forms that exist
            // already cost nothing.
            self.encode(&frame, view.frame.as_deref());
            view.frame = Some(frame.clone());
            view.changed_at = Some(std::time::Instant::now());
            Self::data(view, confirmation);
        });
        self.remember(&frame);
        !same
    }

    /// Notes a poll that said that nothing changed (304). `renewed` is the content with the fields that it brought.
    pub fn confirm(&mut self, poll: PollNumber, upstream_age: Duration, renewed: Option<Arc<Snapshot>>) {
        self.confirm_with(Confirmation::of_poll(poll, upstream_age), renewed);
    }

    /// As [`Publisher::confirm`], for what another node may have polled.
    pub fn confirm_with(&mut self, confirmation: Confirmation, newer: Option<Arc<Snapshot>>) {
        let view = self.topic.view();
        // The sequence number and the content stay the same, so that followers are told nothing.
        let renewed = view.frame.as_ref().zip(newer).and_then(|(frame, snapshot)| {
            let held = &frame.snapshot;
            let differs = !Arc::ptr_eq(held, &snapshot)
                && (held.headers != snapshot.headers
                    || held.validators != snapshot.validators
                    || held.vary != snapshot.vary
                    || held.content_type != snapshot.content_type);
            differs.then(|| Arc::new(frame.renewed(snapshot)))
        });
        self.topic.update(|view| {
            if let Some(frame) = renewed {
                view.frame = Some(frame);
            }
            Self::data(view, confirmation);
        });
    }

    fn data(view: &mut View, confirmation: Confirmation) {
        let now = Instant::now();
        view.ended = confirmation.ended;
        view.confirmed = confirmation.confirmed;
        view.confirmed_at = Some(now.checked_sub(confirmation.age).unwrap_or(now));
        view.ended_at = Some(now);
        view.upstream_age = confirmation.upstream_age;
        view.outcome = Outcome::Data;
        view.withdrawn = false;
        set_state(view, State::Fresh);
    }

    /// What waits for these polls is answered by the view as it is: nothing newer is to be had.
    pub fn end_polls(&mut self, ended: PollNumber, confirmed: PollNumber) {
        self.topic.update(|view| {
            view.ended = view.ended.max(ended);
            view.confirmed = view.confirmed.max(confirmed);
        });
    }

    /// A look-up has ended. Nothing that was accepted anywhere before it began is newer than what is shown, so that clients
    /// which named what it found wait no longer: `tags`, and items that are remembered here. Returns
    /// whether all that clients had named was found.
    pub fn end_look_up(&mut self, names: &OpenNames, tags: &[[u8; 6]]) -> bool {
        let items: Vec<&str> = names.items().filter(|id| self.topic.knows_position(id)).collect();
        let found_all = self.topic.elsewhere.names.lock().end_look_up(names, tags, &items);
        self.fail_look_up();
        found_all
    }

    /// A look-up has ended that found nothing.
    pub fn fail_look_up(&mut self) {
        self.topic.update(|view| view.look_ups += 1);
    }

    /// The poll failed. Followers keep the last content; whether they hear of it is said with
    /// `stale`.
    pub fn fail(&mut self, poll: PollNumber, failure: Arc<Failure>, next_poll: Duration) {
        self.topic.update(|view| end(view, poll, Outcome::Failed(failure), next_poll));
    }

    /// Tells followers that the content may be old, once in a row of failures.
    pub fn stale(&mut self, status: Option<StatusCode>, reason: &str, next_poll: Duration) {
        let state = self.topic.view().condition.state.clone();
        if state != State::Fresh {
            return;
        }
        let stale = State::Stale {
            since: SystemTime::now(),
            status,
            reason: reason.to_owned(),
            next_poll_ms: next_poll.as_millis() as u64,
        };
        self.topic.update(|view| set_state(view, stale));
    }

    /// Notes that readers no longer wait for the effect of writes before this poll.
    pub fn settle(&mut self, poll: PollNumber) {
        if self.topic.view().settled < poll {
            self.topic.update(|view| view.settled = poll);
        }
    }

    /// Notes an answer that is passed on to ordinary polls and never published. `gone` says that the resource does not
    /// exist any more.
    pub fn relay(
        &mut self,
        poll: PollNumber,
        answer: Arc<Relayed>,
        gone: Option<StatusCode>,
        next: Duration,
    ) {
        let withdraws = answer.failure.is_none();
        self.topic.update(|view| {
            end(view, poll, Outcome::Relay(answer), next);
            view.withdrawn |= withdraws;
            if let Some(status) = gone {
                set_state(view, State::Gone { status });
            }
        });
    }

    /// Leaves a whole answer to the plain request that waits for this poll and caused it, if there is one.
    pub fn give(&self, poll: PollNumber, answer: Relayed) {
        self.topic.claims.give(poll, answer);
    }

    /// Sets when the next poll is due, and how long a snapshot counts as new.
    pub fn schedule(&mut self, next: Option<Instant>, effective_interval: Duration, why: Why) {
        self.topic.update(|view| {
            view.next_poll = next;
            view.effective_interval = effective_interval;
            view.why = why;
        });
    }

    /// Sets the order of the upstream's list, on a feed.
    pub fn order(&mut self, order: Option<Order>) {
        if self.topic.view().order != order {
            self.topic.update(|view| view.order = order);
        }
    }

    /// Ends the topic for all clients, and remembers why if the next request has to know.
    pub fn close(mut self, closing: Closing, exception: Option<(ExceptionKind, &str)>) {
        if let Some((kind, reason)) = exception {
            self.hub.except(self.topic.key(), kind, reason);
        }
        self.finish(closing);
    }

    /// Leaves if no client attends any more.
    pub fn retire(mut self) -> Result<(), Retained> {
        if self.hub.retire(&self.topic) {
            self.done = true;
            return Ok(());
        }
        Err(Retained(self))
    }

    fn finish(&mut self, closing: Closing) {
        self.done = true;
        // The topic leaves the map first, so that a client that is told finds a new topic when it comes back.
        self.hub.remove(&self.topic);
        self.topic.update(|view| view.closing = view.closing.or(Some(closing)));
    }

    fn encode(&self, frame: &Frame, before: Option<&Frame>) {
        let read = Format::ALL.into_iter().filter(|format| self.topic.is_read(*format));
        read.for_each(|format| frame.encode(format, before));
    }

    fn remember(&self, frame: &Frame) {
        let mut history = self.topic.history.lock();
        let past = Past::of(frame);
        self.hub.history_bytes.fetch_add(past.weight(), Ordering::Relaxed);
        history.push(past);
        let most = self.topic.route().history_versions.max(1);
        while history.len() > most || (history.len() > 1 && self.hub.history_is_full()) {
            let oldest = history.pop();
            self.hub.history_bytes.fetch_sub(oldest.map_or(0, |past| past.weight()), Ordering::Relaxed);
        }
    }

    /// The items are remembered before the view has them, so that a follower that sees the batch finds what came before
    /// it.
    fn remember_items(&self, batch: &Batch) {
        let mut items = self.topic.items.lock();
        self.hub.history_bytes.fetch_add(items.push(batch.items()), Ordering::Relaxed);
        let most = self.topic.route().feed.as_ref().map_or(0, |feed| feed.history);
        let fresh = batch.items().len();
        while items.len() > most.max(fresh) || (items.len() > fresh && self.hub.history_is_full()) {
            let oldest = items.pop();
            self.hub.history_bytes.fetch_sub(oldest.unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Gives back what histories were charged with: nothing is remembered any longer.
    fn forget(&self) {
        let history = std::mem::take(&mut *self.topic.history.lock());
        let items = std::mem::take(&mut *self.topic.items.lock());
        self.hub.history_bytes.fetch_sub(history.weight() + items.weight(), Ordering::Relaxed);
    }
}

fn end(view: &mut View, poll: PollNumber, outcome: Outcome, next: Duration) {
    let now = Instant::now();
    view.ended = poll;
    view.ended_at = Some(now);
    view.outcome = outcome;
    view.next_poll = Some(now + next);
}

fn set_state(view: &mut View, state: State) {
    let same = match (&view.condition.state, &state) {
        (State::Fresh, State::Fresh) => true,
        // There is one `stale` for a row of failures, with the words of the first failure.
        (State::Stale { .. }, State::Stale { .. }) => true,
        (State::Gone { .. }, State::Gone { .. }) => true,
        _ => false,
    };
    if !same {
        view.condition = Arc::new(Condition::new(view.condition.seq + 1, state));
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if !self.done {
            self.finish(Closing::Internal);
        }
        self.forget();
    }
}
