//! Tokens of a budget that several nodes use together: taken from what all of them have in common a little ahead of need,
//! and void soon after (contract §13).
//!
//! In any sliding second the upstream gets at most `rate + burst` requests from all nodes. A token counts when it is used,
//! which is up to [`Tokens::valid`] after it was granted; so the common bucket holds that much less than the budget says.
//! Pure: time comes in. Must not know: where tokens come from, what waits for one.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Budget;

/// The longest that a token is kept.
const VALID_MAX: Duration = Duration::from_millis(250);
/// The shortest that tokens are worth the way to fetch them.
const VALID_MIN: Duration = Duration::from_millis(50);
/// So many answers in a row that came when their tokens were void say that the engine is too slow for common tokens.
const LATE_MAX: u32 = 3;
/// After a fetch without an answer the next one waits so long.
const FETCH_PAUSE: Duration = Duration::from_millis(100);

/// The common bucket as it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Tokens a second.
    pub rate: f64,
    /// Tokens that it holds.
    pub burst: u32,
}

/// What came of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Tokens that were granted.
    pub granted: u32,
    /// After what time there is another one.
    pub wait: Duration,
}

/// The tokens of this node.
#[derive(Debug)]
pub(super) struct Tokens {
    valid: Duration,
    /// With the moment from which they are void.
    granted: VecDeque<(Instant, u32)>,
    /// When tokens of the last time were used.
    used: VecDeque<Instant>,
    used_max: usize,
    not_before: Option<Instant>,
    /// Answers in a row that came too late.
    late: u32,
}

/// How long a token is valid under a budget, and the common bucket that follows from it: whatever is granted within a
/// second and a token's validity is within what a second may bring.
pub(super) fn bucket(budget: &Budget) -> (Duration, Bucket) {
    let room = f64::from(budget.burst.saturating_sub(1)) / budget.rate;
    let valid = Duration::from_secs_f64(room.min(VALID_MAX.as_secs_f64())).max(VALID_MIN);
    let late = budget.rate * valid.as_secs_f64();
    let burst = budget.burst.saturating_sub(late.ceil() as u32).max(1);
    let in_a_second = budget.rate + f64::from(budget.burst) - f64::from(burst);
    let rate = budget.rate.min(in_a_second / (1.0 + valid.as_secs_f64()));
    (valid, Bucket { rate, burst })
}

impl Tokens {
    pub(super) fn new(budget: &Budget) -> Tokens {
        let valid = bucket(budget).0;
        let used_max = ((budget.rate * valid.as_secs_f64()) as usize).max(1);
        Tokens { valid, granted: VecDeque::new(), used: VecDeque::new(), used_max, not_before: None, late: 0 }
    }

    /// Whether there is a token.
    pub(super) fn has(&mut self, now: Instant) -> bool {
        while self.granted.front().is_some_and(|(void_at, count)| *void_at <= now || *count == 0) {
            self.granted.pop_front();
        }
        !self.granted.is_empty()
    }

    /// Uses a token.
    pub(super) fn take(&mut self, now: Instant) {
        if let Some((_, count)) = self.granted.front_mut() {
            *count = count.saturating_sub(1);
        }
        self.used.push_back(now);
        while self.used.len() > self.used_max {
            self.used.pop_front();
        }
    }

    /// Takes back what was not used.
    pub(super) fn give_back(&mut self) {
        if let Some((_, count)) = self.granted.front_mut() {
            *count += 1;
        }
    }

    /// How many tokens to fetch for so many that wait: as many as were used of late, too, so that the next ones need not
    /// wait. Fails with the time before which there is none.
    pub(super) fn wanted(&mut self, waiting: usize, now: Instant) -> Result<u32, Instant> {
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            return Err(at);
        }
        while self.used.front().is_some_and(|at| *at + self.valid <= now) {
            self.used.pop_front();
        }
        let wanted = waiting.max(self.used.len()).clamp(1, self.used_max);
        Ok(u32::try_from(wanted).unwrap_or(u32::MAX))
    }

    /// Whether answers come so late that their tokens are void: to fetch more would take them from all nodes for nothing.
    pub(super) fn are_always_late(&self) -> bool {
        self.late >= LATE_MAX
    }

    /// Takes in what came of a fetch that began at `asked`.
    pub(super) fn fetched(&mut self, fetched: Option<Fetched>, asked: Instant, now: Instant) {
        match fetched {
            Some(Fetched { granted, .. }) if granted > 0 && asked + self.valid <= now => {
                self.late += 1;
                self.not_before = Some(now + FETCH_PAUSE);
            }
            // They were granted after they were asked for: from then on counts no less.
            Some(Fetched { granted, .. }) if granted > 0 => {
                self.late = 0;
                self.granted.push_back((asked + self.valid, granted));
                self.not_before = None;
            }
            // The time is rounded up: a timer that is a little early would find no token.
            Some(Fetched { wait, .. }) => self.not_before = Some(now + wait + Duration::from_millis(1)),
            None => self.not_before = Some(now + FETCH_PAUSE),
        }
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
