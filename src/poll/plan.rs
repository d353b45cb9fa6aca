//! What the poll loop does next: a pure decision, so that its tests are a table.
//!
//! Must not know: how time passes, how a poll is done.

use std::time::Duration;

use tokio::time::Instant;

/// Everything the decision depends on.
#[derive(Debug, Clone)]
pub struct Situation {
    /// The time of the decision.
    pub now: Instant,
    /// When the schedule (interval or backoff) asks for the next poll.
    pub due: Instant,
    /// When the last poll began. `None` before the first.
    pub last_start: Option<Instant>,
    /// The current interval.
    pub interval: Duration,
    /// The last poll failed: nothing is asked before `due`.
    pub failing: bool,
    /// An ordinary poll waits, and is answered by a poll from then on.
    pub wanted_now: Option<Instant>,
    /// A client with an unknown version waits.
    pub wanted_confirmation: bool,
    /// A write asks for a poll from then on (contract §9).
    pub after_write: Option<Instant>,
    /// Such a poll found no effect, and is repeated then.
    pub repeat: Option<Instant>,
    /// Followers, `always`, or ordinary polls often enough.
    pub active: bool,
    /// Polls go on until then without any of those; `None` if there never were any.
    pub linger_until: Option<Instant>,
    /// No client attends at all.
    pub deserted: bool,
    /// The snapshot is kept for ordinary polls until then.
    pub keep_until: Instant,
    /// The resource has to make room for another one.
    pub evicted: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Poll now.
    Poll,
    /// Nothing before then, unless something is demanded.
    Sleep(Instant),
    /// End: no client attends, and nothing is kept for one.
    Retire,
}

impl Situation {
    /// Returns what to do.
    pub fn decide(&self) -> Action {
        if self.evicted && self.deserted {
            return Action::Retire;
        }
        match self.next_poll() {
            Some(at) if at <= self.now => Action::Poll,
            Some(at) => Action::Sleep(at),
            None if self.deserted && self.keep_until <= self.now => Action::Retire,
            None if self.deserted => Action::Sleep(self.keep_until),
            // A client attends but wants nothing more: it will leave or demand.
            None => Action::Sleep(self.keep_until.max(self.now + Duration::from_secs(1))),
        }
    }

    /// When the next poll is to start; `None` if the resource is dormant.
    pub fn next_poll(&self) -> Option<Instant> {
        let lingering = self.linger_until.is_some_and(|until| self.due < until && self.now < until);
        let scheduled = (self.active || lingering).then_some(self.due);
        let confirming = self.wanted_confirmation.then(|| {
            let spaced = self.last_start.map_or(self.now, |start| start + self.interval / 2);
            if self.failing { spaced.max(self.due) } else { spaced.min(self.due).max(self.now) }
        });
        // What no client looks at is not polled for a write: the next client will ask.
        let after_write = self.after_write.filter(|_| !self.deserted || scheduled.is_some());
        // A client looked when the first poll was made, and may look again.
        [scheduled, self.wanted_now, confirming, after_write, self.repeat].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn quiet(now: Instant) -> Situation {
        Situation {
            now,
            due: now + SECOND,
            last_start: Some(now - SECOND),
            interval: 2 * SECOND,
            failing: false,
            wanted_now: None,
            wanted_confirmation: false,
            after_write: None,
            repeat: None,
            active: false,
            linger_until: None,
            deserted: true,
            keep_until: now + 60 * SECOND,
            evicted: false,
        }
    }

    #[test]
    fn the_table() {
        let now = Instant::now() + 100 * SECOND;
        let base = quiet(now);
        let cases = [
            (
                "nobody: asleep as long as the snapshot is kept",
                base.clone(),
                Action::Sleep(now + 60 * SECOND),
            ),
            ("then gone", Situation { keep_until: now, ..base.clone() }, Action::Retire),
            ("memory is short: gone at once", Situation { evicted: true, ..base.clone() }, Action::Retire),
            (
                "but never under somebody",
                Situation { evicted: true, deserted: false, ..base.clone() },
                Action::Sleep(now + 60 * SECOND),
            ),
            (
                "followers: by schedule",
                Situation { active: true, deserted: false, ..base.clone() },
                Action::Sleep(now + SECOND),
            ),
            ("due", Situation { active: true, due: now, ..base.clone() }, Action::Poll),
            (
                "lingering: by schedule",
                Situation { linger_until: Some(now + 5 * SECOND), ..base.clone() },
                Action::Sleep(now + SECOND),
            ),
            (
                "no poll after the linger",
                Situation { linger_until: Some(now + SECOND / 2), ..base.clone() },
                Action::Sleep(now + 60 * SECOND),
            ),
            ("an ordinary poll waits", Situation { wanted_now: Some(now), ..base.clone() }, Action::Poll),
            (
                "but not through the backoff",
                Situation { wanted_now: Some(now + SECOND / 4), failing: true, ..base.clone() },
                Action::Sleep(now + SECOND / 4),
            ),
            (
                "a confirmation, half an interval after the last poll",
                Situation { wanted_confirmation: true, active: true, ..base.clone() },
                Action::Poll,
            ),
            (
                "not sooner",
                Situation {
                    wanted_confirmation: true,
                    active: true,
                    last_start: Some(now - SECOND / 2),
                    due: now + 2 * SECOND,
                    ..base.clone()
                },
                Action::Sleep(now + SECOND / 2),
            ),
            (
                "a write: at once, before the schedule and through a backoff",
                Situation {
                    after_write: Some(now),
                    active: true,
                    deserted: false,
                    failing: true,
                    ..base.clone()
                },
                Action::Poll,
            ),
            (
                "its repeat: in a moment",
                Situation { repeat: Some(now + SECOND / 10), active: true, deserted: false, ..base.clone() },
                Action::Sleep(now + SECOND / 10),
            ),
            (
                "a write to what nobody looks at",
                Situation { after_write: Some(now), ..base.clone() },
                Action::Sleep(now + 60 * SECOND),
            ),
            (
                "but its repeats are made for who looked and left",
                Situation { repeat: Some(now), ..base.clone() },
                Action::Poll,
            ),
            (
                "but while it lingers",
                Situation { after_write: Some(now), linger_until: Some(now + 5 * SECOND), ..base.clone() },
                Action::Poll,
            ),
        ];
        for (claim, situation, wanted) in cases {
            assert_eq!(situation.decide(), wanted, "{claim}");
        }
    }
}
