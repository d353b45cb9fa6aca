//! When one resource is polled: the pace, what has to pass before the next poll, and how the last ones went.
//!
//! Must not know: what is asked, what came of it.

use std::time::Duration;

use http::header::AUTHORIZATION;
use tokio::time::Instant;

use crate::identity::expiry_hint;
use crate::resource::ResourceKey;
use crate::upstream::Held;
use crate::upstream::schedule::Pace;

/// The polls that say whether a resource changes often, a bit each.
const LAST_POLLS: u16 = (1 << 10) - 1;

/// When one resource is polled.
pub(super) struct Timing {
    pub(super) pace: Pace,
    /// When the schedule (interval or backoff) asks for the next poll.
    pub(super) due: Instant,
    /// The upstream's `Retry-After` lasts until then.
    pub(super) not_before: Instant,
    pub(super) last_start: Option<Instant>,
    /// The poll waits for its turn since then.
    pub(super) waiting_since: Option<Instant>,
    /// How long the last one waited.
    pub(super) waited: Duration,
    /// A bit for each of the last polls, set where it found a change.
    changes: u16,
    /// When the class's own token says that it ends.
    pub(super) expires: Option<Instant>,
    /// The upstream's own quotas that its polls count for.
    pub(super) quotas: Held,
    /// One of them counts for all polls of the upstream.
    pub(super) counts_for_all: bool,
}

impl Timing {
    /// Of a resource that is polled at once.
    pub(super) fn new(pace: Pace, key: &ResourceKey) -> Timing {
        let now = Instant::now();
        Timing {
            pace,
            due: now,
            not_before: now,
            last_start: None,
            waiting_since: None,
            waited: Duration::ZERO,
            changes: 0,
            expires: expiry(key).filter(|at| *at > now),
            quotas: Held::default(),
            counts_for_all: false,
        }
    }

    /// How long it is to the next poll of the schedule.
    pub(super) fn until_due(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// How long the upstream's `Retry-After` lasts. Returns `None` if it is over.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.not_before.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    }

    /// Whether the class's own token has ended.
    pub(super) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|at| Instant::now() >= at)
    }

    /// A poll starts. Returns when.
    pub(super) fn start(&mut self) -> Instant {
        let now = Instant::now();
        self.last_start = Some(now);
        now
    }

    /// The poll that began is no one's any more.
    pub(super) fn forget_start(&mut self) {
        self.waiting_since = None;
        self.last_start = None;
    }

    /// A poll begins to wait for its turn. Returns when.
    pub(super) fn wait_for_turn(&mut self) -> Instant {
        let now = Instant::now();
        self.waiting_since = Some(now);
        now
    }

    /// The turn of a poll has come, or was not to be had.
    pub(super) fn end_wait(&mut self) {
        self.waited = self.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// Notes whether a poll that brought data found a change.
    pub(super) fn note_change(&mut self, is_change: bool) {
        self.changes = self.changes << 1 | u16::from(is_change);
    }

    /// Whether one of the last polls found a change.
    pub(super) fn changes_often(&self) -> bool {
        self.changes & LAST_POLLS != 0
    }
}

/// When the token in a class's `Authorization` says that it ends.
fn expiry(key: &ResourceKey) -> Option<Instant> {
    let field = key.parts().class.iter().find(|(name, _)| *name == AUTHORIZATION);
    let (_, token) = field?.1.to_str().ok()?.split_once(' ')?;
    expiry_hint(token.trim()).map(Instant::from_std)
}
