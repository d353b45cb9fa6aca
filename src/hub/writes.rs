//! A topic's knowledge of writes (contract §9): what they ask of the poller, and for which poll readers wait.
//!
//! A poll counts for a write only if it started after the write's answer came, so that all of this is said in numbers
//! of polls. Must not know: requests, how a poll is done.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::topic::Topic;
use super::view::{Outcome, View};
use super::write_pace::WritePace;

/// How a write bears on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// The write named the resource: it is polled at once, and readers wait for that poll.
    Named {
        /// Whether polls without effect are repeated.
        repeats: bool,
    },
    /// The write named a member of this collection: it is polled at once, at most once an interval, and that poll is not
    /// repeated.
    Parent,
    /// The write was one of another class: a followed resource is polled, and no reader waits.
    Stranger,
    /// The resource stands above or below what was written: if it is followed, it is polled after a pause, and not
    /// again for half an interval.
    Relative {
        /// How long the poll waits.
        after: Duration,
    },
}

/// The newest write that is asked about again while it shows no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wave {
    /// Number of the first poll that knows of the write; 0 if there was no write.
    pub first: u64,
    /// When the write was noted.
    pub at: Instant,
}

impl Topic {
    /// A write may have changed the resource. Polls that have started already do not count: they may have read the
    /// state before it. Many writes ask for one poll.
    pub fn touch(&self, touch: Touch) {
        self.touch_by(touch, None);
    }

    /// The same, for a write that has this number among those of all nodes. A number that is not greater than the last one
    /// is none: the clock that gave it went back.
    pub fn touch_by(&self, touch: Touch, number: Option<u64>) {
        let mut pace = self.written.pace.lock();
        let pace = pace.get_or_insert_default();
        match number {
            Some(number) if self.written.number.fetch_max(number, Ordering::SeqCst) < number => {}
            _ => self.written.has_unnumbered.store(true, Ordering::SeqCst),
        }
        let (now, interval) = (self.now_ms(), self.write_interval());
        pace.written(now);
        let first = self.started() + 1;
        self.written.aged.fetch_max(first, Ordering::SeqCst);
        match touch {
            Touch::Named { repeats } => {
                if self.ask(pace, first, now) <= now {
                    self.written.awaited.fetch_max(first, Ordering::SeqCst);
                    if repeats {
                        self.written.wave_at.store(now, Ordering::SeqCst);
                        self.written.wave.store(first, Ordering::SeqCst);
                    }
                }
            }
            Touch::Parent => {
                let is_pending = self.is_due(now);
                let may = !is_pending && pace.may_poll(now, interval) && pace.take_as_parent(now, interval);
                if is_pending || (may && self.ask(pace, first, now) <= now) {
                    self.written.awaited.fetch_max(first, Ordering::SeqCst);
                }
            }
            Touch::Stranger if self.is_followed() => {
                self.ask(pace, first, now);
            }
            Touch::Relative { after } if self.is_followed() && pace.take_as_relative(now, interval) => {
                self.ask(pace, first, now + after.as_millis() as u64);
            }
            Touch::Stranger | Touch::Relative { .. } => {}
        }
        self.wake();
    }

    /// Starts what answers all writes so far, and takes their number among those of all nodes. Returns `None` for it if one
    /// of them has none.
    pub fn take_writes(&self, start: impl FnOnce() -> u64) -> (u64, Option<u64>) {
        // A write that is noted meanwhile is either known to both or to neither.
        let _pace = self.written.pace.lock();
        let started = start();
        let has_unnumbered = self.written.has_unnumbered.swap(false, Ordering::SeqCst);
        let number = self.told_write();
        (started, (!has_unnumbered && number > 0).then_some(number))
    }

    /// The newest number that all nodes have for a write to this resource; 0 if there is none.
    pub fn told_write(&self) -> u64 {
        self.written.number.load(Ordering::SeqCst)
    }

    /// Asks for a poll at that time, or as soon as the pace allows. Returns when it is due.
    fn ask(&self, pace: &mut WritePace, first: u64, at: u64) -> u64 {
        let (now, interval) = (self.now_ms(), self.write_interval());
        let written = &self.written;
        let is_pending = written.asked.load(Ordering::SeqCst) > self.started();
        let due = written.due.load(Ordering::SeqCst);
        if is_pending && (due <= at || !pace.may_poll(now, interval)) {
            return due;
        }
        let at = pace.take(at, interval);
        written.due.store(at, Ordering::SeqCst);
        written.asked.fetch_max(first, Ordering::SeqCst);
        at
    }

    /// Whether a poll for a write is about to start.
    fn is_due(&self, now: u64) -> bool {
        self.written.asked.load(Ordering::SeqCst) > self.started()
            && self.written.due.load(Ordering::SeqCst) <= now
    }

    /// Whether a write of another class counts here, as it does once an interval for one address.
    pub fn hears(&self, writer: Option<IpAddr>) -> bool {
        let mut pace = self.written.pace.lock();
        pace.get_or_insert_default().hears(writer, self.now_ms(), self.write_interval())
    }

    /// Takes one more poll for the newest write, if there are not too many already.
    pub fn take_repeat(&self) -> bool {
        let mut pace = self.written.pace.lock();
        pace.get_or_insert_default().take_repeat(self.now_ms(), self.write_interval())
    }

    /// The interval by which polls after writes are counted, milliseconds.
    fn write_interval(&self) -> u64 {
        self.route().poll.interval.as_millis() as u64
    }

    /// Whether the resource is polled even while no client asks.
    pub fn is_followed(&self) -> bool {
        self.followers() > 0 || self.is_always_polled()
    }

    /// Number of the poll that readers wait for; 0 if there was no write.
    pub fn written(&self) -> u64 {
        self.written.awaited.load(Ordering::SeqCst)
    }

    /// Number of the first poll that knows of all writes so far; 0 if there was no write.
    pub fn aged(&self) -> u64 {
        self.written.aged.load(Ordering::SeqCst)
    }

    /// When a poll for a write is to start. Returns `None` if none is asked for that has not started.
    pub fn poll_for_write(&self) -> Option<Instant> {
        let is_pending = self.written.asked.load(Ordering::SeqCst) > self.started();
        // The topic's clock begins with 1.
        let due = self.written.due.load(Ordering::SeqCst).saturating_sub(1);
        is_pending.then(|| self.epoch + Duration::from_millis(due))
    }

    /// The newest write whose polls are repeated.
    pub fn wave(&self) -> Wave {
        let first = self.written.wave.load(Ordering::SeqCst);
        let at = self.epoch + Duration::from_millis(self.written.wave_at.load(Ordering::SeqCst));
        Wave { first, at }
    }

    /// Whether the view may be older than a write that readers wait for.
    pub fn is_unconfirmed(&self, view: &View) -> bool {
        view.settled < self.written()
    }

    /// Whether the last poll that ended may be older than a write. It counts from the moment that its answer is in the
    /// view, so that the reader that comes with it does not ask once more.
    pub fn is_aged(&self, view: &View) -> bool {
        view.ended < self.aged()
    }

    /// Whether polls still look for the effect of a write.
    pub fn is_unsettled(&self, view: &View) -> bool {
        view.settled < self.aged()
    }

    /// Whether the state is young enough for an ordinary poll: by its age, and since no write came after it.
    pub fn is_young(&self, view: &View) -> bool {
        view.is_young() && !self.is_aged(view)
    }

    /// Whether it is written so often that waiting for a write's poll would be waiting all the time.
    pub fn is_written_often(&self) -> bool {
        let pace = self.written.pace.lock();
        pace.as_ref().is_some_and(|pace| pace.is_written_often(self.now_ms()))
    }

    /// Waits until the writes so far are settled, or a poll that knows of them failed. Wakes the
    /// poller, which does not poll without a client.
    pub async fn settled(&self) -> Arc<View> {
        let written = self.written();
        self.wake();
        let failed = |view: &View| {
            view.ended >= written && matches!(view.outcome, Outcome::Failed(_) | Outcome::Relay(_))
        };
        self.wait_for(|view| view.settled >= written || failed(view) || view.closing.is_some()).await
    }
}
