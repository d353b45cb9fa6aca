//! When an upstream as a whole counts as down (contract §10): then one poll at a time tries it.
//!
//! Pure: time comes in. Must not know: what a failure was.

use std::time::Duration;

use tokio::time::Instant;

use crate::config;

/// The longest wait, however many failures there were.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The state of one upstream.
#[derive(Debug)]
pub struct Breaker {
    rules: config::Breaker,
    failures: u32,
    /// The breaker is open until then. A trial that starts moves this on.
    open: Option<Instant>,
    wait: Duration,
}

impl Breaker {
    /// Returns a breaker that is closed.
    pub fn new(rules: config::Breaker) -> Breaker {
        Breaker { rules, failures: 0, open: None, wait: rules.wait }
    }

    /// Admits a poll, or returns how long it has to wait. A poll that is admitted while the breaker is open is the
    /// trial, and others wait for its result.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.open {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                self.open = Some(now + self.wait);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Returns whether the upstream counts as down.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Notes a poll that got an answer: the breaker closes.
    pub fn succeeded(&mut self) {
        *self = Breaker::new(self.rules);
    }

    /// Notes a failed poll: the breaker opens once there were `failures` in a row, and waits twice as long after each
    /// failed trial.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.rules.failures.is_none_or(|most| self.failures < most) {
            return;
        }
        if self.open.is_some() {
            self.wait = (self.wait * 2).min(WAIT_MAX.max(self.rules.wait));
        }
        self.open = Some(now + self.wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(config::Breaker { failures: Some(3), wait: SECOND })
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_trial_through() {
        let now = Instant::now();
        let mut breaker = breaker();
        breaker.failed(now);
        breaker.failed(now);
        breaker.succeeded();
        (0..2).for_each(|_| breaker.failed(now));
        assert_eq!(breaker.admit(now), Ok(()), "not in a row");
        breaker.failed(now);
        assert_eq!(breaker.admit(now), Err(SECOND));
        let later = now + SECOND;
        assert_eq!(breaker.admit(later), Ok(()), "the trial");
        assert!(breaker.admit(later).is_err(), "one at a time");
        breaker.failed(later);
        assert_eq!(breaker.admit(later + SECOND), Err(SECOND), "twice as long");
        breaker.succeeded();
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn its_waits_have_a_bound_and_off_is_off() {
        let now = Instant::now();
        let mut tripped = breaker();
        (0..100).for_each(|_| tripped.failed(now));
        assert_eq!(tripped.admit(now), Err(WAIT_MAX));
        let mut off = Breaker::new(config::Breaker { failures: None, wait: SECOND });
        (0..100).for_each(|_| off.failed(now));
        assert_eq!(off.admit(now), Ok(()));
    }
}
