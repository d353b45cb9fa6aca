//! When the next poll of a resource is due, after one that brought data and after one that failed.
//!
//! Must not know: what is published.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::poller::Poller;
use crate::upstream::Answer;
use crate::upstream::schedule::{Found, Next, Why, asked_rest};

/// What follows from a poll that brought data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paced {
    /// When the next poll is due.
    pub(super) due: Instant,
    /// How long the data counts as new.
    pub(super) effective: Duration,
    pub(super) why: Why,
}

impl Poller {
    /// When the next poll is due after one that brought data.
    pub(super) fn pace_after(&mut self, answer: &Answer, changed: bool) -> Paced {
        self.timing.note_change(changed);
        let found = Found {
            headers: &answer.headers,
            changed,
            sharers: self.sharers.as_ref().map_or(1, |sharers| sharers.load(Ordering::Relaxed)),
            quota: self.quota_interval(),
            waited: self.timing.waited,
            now: SystemTime::now(),
        };
        let Next { effective, wait: next, why } = self.timing.pace.after_success(&self.route.poll, &found);
        let next = self.in_step(effective, next, why);
        self.services.metrics.paced(&self.route.path, why.word(), effective);
        // From start to start, but a poll that took longer than that is not followed at once.
        let now = Instant::now();
        let regular = self.timing.last_start.map_or(now, |start| start + next);
        let due = self.together(regular.max(now + next.saturating_sub(effective)));
        Paced { due, effective, why }
    }

    /// How long an item of a batch waits: polls that go together are not spread by chance, and the
    /// next grid point may come a little early for one that joined late.
    fn in_step(&self, effective: Duration, jittered: Duration, why: Why) -> Duration {
        let Some(batch) = self.route.poll.batch.as_ref().filter(|_| self.fetch_state.item.is_some()) else {
            return jittered;
        };
        let own = matches!(why, Why::Interval | Why::Adaptive | Why::Budget);
        let early = if own { self.route.poll.interval / 10 } else { batch.window };
        effective.saturating_sub(early.min(effective / 10))
    }

    /// How long to wait after one more failure, `Retry-After` obeyed.
    pub(super) fn back_off(&mut self, answer: Option<&Answer>) -> Duration {
        let asked = answer
            .and_then(|answer| asked_rest(answer.status, &answer.headers, SystemTime::now()))
            .map(|asked| asked.min(self.route.poll.backoff.retry_after_max));
        if let Some(asked) = asked {
            self.timing.not_before = Instant::now() + asked;
        }
        self.timing.pace.after_failure(&self.route.poll, asked)
    }

    /// Why a failing resource waits.
    pub(super) fn why_failed(&self) -> Why {
        if self.timing.not_before > Instant::now() { Why::RetryAfter } else { Why::Backoff }
    }
}
