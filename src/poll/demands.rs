//! What is asked of the poll loop besides its schedule: by requests, unknown versions, writes and other nodes.
//!
//! Must not know: what it decides.

use tokio::time::Instant;

use super::accepted::REFUSED;
use super::after_write::Heard;
use super::plan::Situation;
use super::poller::Poller;
use crate::hub::{Outcome, PollNumber, View};

impl Poller {
    /// Everything that what comes next depends on.
    pub(super) fn situation(&self) -> Situation {
        let view = self.topic.view();
        let now = Instant::now();
        let linger = self.route.poll.linger;
        Situation {
            now,
            due: self.timing.due,
            last_start: self.timing.last_start,
            interval: self.route.poll.interval,
            failing: matches!(view.outcome, Outcome::Failed(_) | Outcome::Relay(_)),
            wanted_now: self.is_wanted(&view).then(|| self.wanted_from(&view, now)),
            after_write: self.topic.poll_for_write(),
            repeat: self.repeat_due(&view),
            wanted_confirmation: self.is_to_confirm(&view),
            active: self.is_active(now),
            linger_until: self.topic.linger_until(),
            deserted: self.topic.is_deserted(),
            keep_until: self.topic.touched_at() + linger.max(self.route.stale_if_error),
            evicted: self.topic.is_evicted(),
        }
    }

    /// Whether clients of this node want the resource polled by its schedule.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.topic.is_always_polled() || self.topic.followers() > 0 || self.topic.interest_until() > now
    }

    /// Whether a request waits for a poll at once, here or on another node.
    fn is_wanted(&self, view: &View) -> bool {
        self.topic.wanted_now() > view.ended
            || self.sharing.as_ref().is_some_and(|sharing| sharing.is_wanted(self.topic.is_young(view)))
    }

    /// Whether an unknown version waits for a poll, here or on another node.
    pub(super) fn is_to_confirm(&self, view: &View) -> bool {
        let awaited = self.topic.wanted_confirmation();
        match &self.sharing {
            None => awaited > self.topic.started(),
            // Look-ups have numbers, too.
            Some(sharing) => awaited > view.confirmed.max(sharing.poll.number) || sharing.is_to_confirm(),
        }
    }

    /// When the poll after a write is repeated. The first one goes through a backoff, its repeats do not.
    fn repeat_due(&self, view: &View) -> Option<Instant> {
        let failing = matches!(view.outcome, Outcome::Failed(_) | Outcome::Relay(_));
        self.echo.due(self.topic.wave().first).map(|due| if failing { due.max(self.timing.due) } else { due })
    }

    /// Whether a poll that starts now asks for the effect of a write.
    pub(super) fn is_after_write(&self, view: &View) -> bool {
        self.topic.is_unsettled(view) || self.echo.due(self.topic.wave().first).is_some()
    }

    /// Looks whether the effect of a write is there.
    pub(super) fn listen(&mut self, number: PollNumber, outcome: &str) {
        let view = self.topic.view();
        if !self.is_after_write(&view) {
            return;
        }
        let Some(publisher) = self.publisher.as_mut() else { return };
        let heard = match outcome {
            "changed" => Heard::Effect,
            // A reader is given the refusal itself, and not a state from before the write.
            "relayed" if view.frame.is_none() || view.condition.state.is_gone() => Heard::Effect,
            "failed" | "relayed" | REFUSED => Heard::Failed,
            _ => Heard::Nothing,
        };
        let (topic, lags, route) = (&self.topic, &self.services.lags, self.route.index);
        // Where repeats find something, they are what readers wait for.
        let take = || lags.lags(route) || topic.take_repeat();
        if self.echo.hear(number, heard, topic.wave(), (lags, route), take) {
            publisher.settle(number);
        }
    }

    /// From when on an ordinary poll may have a poll of its own: not while the last failure or
    /// refusal is remembered, and never before `Retry-After`.
    pub(super) fn wanted_from(&self, view: &View, now: Instant) -> Instant {
        match view.remembered_until(self.route.poll.interval) {
            // What the upstream answered before a write is not remembered after it.
            Some(_) if self.topic.is_aged(view) && view.answered().is_some() => {
                self.timing.not_before.max(now)
            }
            Some(remembered) => remembered.min(self.timing.due).max(self.timing.not_before),
            None => now,
        }
    }
}
