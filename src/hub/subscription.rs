//! A follower's position in a topic: what it has seen, and what it is to get next.
//!
//! No private queue, never blocks the publisher. Must not know: how a delivery is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::topic::Topic;
use super::view::{Closing, View};
use super::{Attend, Attendance};
use crate::frame::{Condition, Format, Frame, State};
use crate::resource::Version;

/// Where a follower comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// From nowhere: it gets the state.
    Start,
    /// It says that it has this version.
    From(Version),
}

/// What a follower gets next.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// The latest content.
    Frame(Arc<Frame>),
    /// How the resource is doing.
    Condition(Arc<Condition>),
    /// The topic ends.
    Closing(Closing),
}

/// A position. Small: ten thousand of them wait in a shard.
pub struct Subscription {
    attendance: Attendance,
    /// None: it lives in a task and watches the view itself.
    shard: Option<u16>,
    format: Format,
    /// Number of the poll that must have confirmed the state before anything is said about it; 0:
    /// none (contract §2).
    confirm: u64,
    seen_seq: u64,
    seen: Option<Version>,
    condition_seq: u64,
    told: Told,
}

/// What the follower last heard of how the resource is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing, or that all is well again.
    Well,
    Stale,
    Gone,
}

impl Subscription {
    /// Takes a position. An unknown version asks for one confirming poll, which starts after
    /// `attendance` began.
    pub fn new(attendance: Attendance, shard: Option<u16>, format: Format, resume: Resume) -> Subscription {
        debug_assert!(attendance.kind == Attend::Follow);
        let topic = attendance.topic();
        // Before the view is read: whatever is published from now on is encoded in this format.
        topic.formats[format as usize].fetch_add(1, Ordering::SeqCst);
        if let Some(shard) = shard {
            topic.join_shard(shard);
        }
        let view = topic.view();
        if let Some(frame) = &view.frame {
            frame.encode(format);
        }
        let (seen, confirm) = match resume {
            Resume::Start => (None, 0),
            Resume::From(version) if topic.has_held(version) => (Some(version), 0),
            Resume::From(version) => {
                topic.want_confirmed(attendance.next_poll);
                (Some(version), attendance.next_poll)
            }
        };
        Subscription {
            shard,
            format,
            confirm,
            seen_seq: 0,
            seen,
            condition_seq: 0,
            told: Told::Well,
            attendance,
        }
    }

    pub fn topic(&self) -> &Arc<Topic> {
        self.attendance.topic()
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the position still waits for its confirming poll.
    pub fn is_unconfirmed(&self, view: &View) -> bool {
        view.confirmed < self.confirm
    }

    /// Whether the next content would be the first one, with nothing known before.
    pub fn seen(&self) -> Option<Version> {
        self.seen
    }

    /// What comes next, if anything does. Conflation: only the latest content, and nothing when
    /// that is what the follower already has.
    pub fn next(&mut self, view: &View) -> Option<Delivery> {
        if let Some(closing) = view.closing {
            return Some(Delivery::Closing(closing));
        }
        if let Some(condition) = self.next_condition(view) {
            return Some(Delivery::Condition(condition));
        }
        if self.is_unconfirmed(view) || matches!(view.condition.state, State::Gone { .. }) {
            return None;
        }
        let frame = view.frame.as_ref()?;
        if frame.seq <= self.seen_seq {
            return None;
        }
        self.seen_seq = frame.seq;
        if self.seen == Some(frame.version()) {
            return None;
        }
        self.seen = Some(frame.version());
        Some(Delivery::Frame(frame.clone()))
    }

    fn next_condition(&mut self, view: &View) -> Option<Arc<Condition>> {
        let condition = &view.condition;
        if condition.seq <= self.condition_seq {
            return None;
        }
        self.condition_seq = condition.seq;
        let now = match condition.state {
            State::Fresh => Told::Well,
            State::Stale { .. } => Told::Stale,
            State::Gone { .. } => Told::Gone,
        };
        if now == Told::Gone {
            // When it comes back, its state is sent even if it is the old one (contract §5).
            self.seen = None;
        }
        // A spell that began and ended between two looks is no news.
        let news = now != self.told;
        self.told = now;
        news.then(|| condition.clone())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let topic = self.attendance.topic();
        topic.formats[self.format as usize].fetch_sub(1, Ordering::SeqCst);
        if let Some(shard) = self.shard {
            topic.leave_shard(shard);
        }
    }
}
