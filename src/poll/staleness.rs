//! When followers are told that their content is old (contract §10).
//!
//! Must not know: why polls fail.

use std::time::Duration;

use tokio::time::Instant;

use super::poller::Poller;
use crate::frame::State;
use crate::hub::Outcome;

/// No poll is overdue before it took this long.
const OVERDUE_TIME_MIN: Duration = Duration::from_secs(1);

impl Poller {
    /// When followers are to hear `stale`: the last poll failed or is overdue, and the content is
    /// older than `stale_after` and the effective interval. Returns `None` if there is nothing to tell.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        let view = self.topic.view();
        let failing = matches!(view.outcome, Outcome::Failed(_) | Outcome::Relay(_));
        let in_flight = self
            .timing
            .waiting_since
            .or(self.timing.last_start.filter(|_| self.topic.started() > view.ended));
        if view.condition.state != State::Fresh || !(failing || in_flight.is_some()) {
            return None;
        }
        let old = view.confirmed_at()? + view.effective_interval + self.route.stale_after;
        Some(match in_flight {
            // Old content alone does not make the poll overdue: it may be the first one after a
            // rest, or on a route whose `stale_after` is next to nothing.
            Some(start) if !failing => old.max(start + self.route.stale_after.max(OVERDUE_TIME_MIN)),
            _ => old,
        })
    }

    /// Tells followers that their content is old.
    pub(super) fn tell_stale(&mut self) {
        let view = self.topic.view();
        let next = self.timing.until_due();
        let overdue = || (None, self.named("the poll is overdue"));
        let (status, reason) = self.trouble(&view.outcome).unwrap_or_else(overdue);
        if let Some(publisher) = &mut self.publisher {
            publisher.stale(status, &reason, next);
        }
    }
}
