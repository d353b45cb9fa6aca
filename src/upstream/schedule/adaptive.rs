//! An interval that follows how often a resource changes.
//!
//! Must not know: clocks, other reasons to wait.

use std::time::Duration;

/// A change halves the interval, and this many polls without one double it again: a resource that
/// changes every T settles at about T/4, so that a change is seen T/8 late on average.
const QUIET_POLLS_COUNT: f64 = 3.0;

/// The current interval, between two bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adaptive {
    seconds: Option<f64>,
}

impl Adaptive {
    /// Begins with the shortest interval, as nothing is known yet and a client just came.
    pub(super) fn new() -> Adaptive {
        Adaptive { seconds: None }
    }

    /// Goes on from this interval; `None` begins anew.
    pub(super) fn at(interval: Option<Duration>) -> Adaptive {
        Adaptive { seconds: interval.map(|interval| interval.as_secs_f64()) }
    }

    /// The interval now. Returns `None` before the first poll.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// What the last poll found, and the interval that follows from it.
    pub(super) fn after(&mut self, changed: bool, min: Duration, max: Duration) -> Duration {
        let factor = if changed { 0.5 } else { 2f64.powf(1.0 / QUIET_POLLS_COUNT) };
        let (min, max) = (min.as_secs_f64(), max.as_secs_f64());
        let next = match self.seconds {
            Some(seconds) => (seconds * factor).clamp(min, max),
            None => min,
        };
        self.seconds = Some(next);
        Duration::from_secs_f64(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(60);

    /// Polls a source that changes every `period` for `total` seconds; gives the polls made and the
    /// mean delay of a change.
    fn run(period: f64, total: f64) -> (usize, f64) {
        let mut adaptive = Adaptive::new();
        let (mut now, mut seen, mut polls, mut late) = (0.0, 0u64, 0, Vec::new());
        while now < total {
            let state = (now / period) as u64;
            for change in seen + 1..=state {
                late.push(now - change as f64 * period);
            }
            let interval = adaptive.after(state != seen, MIN, MAX);
            seen = state;
            polls += 1;
            now += interval.as_secs_f64();
        }
        (polls, late.iter().sum::<f64>() / late.len().max(1) as f64)
    }

    #[test]
    fn it_settles_at_about_four_polls_a_change() {
        for period in [4.0, 10.0, 30.0, 120.0] {
            let changes = 200.0;
            let (polls, late) = run(period, period * changes);
            let a_change = polls as f64 / changes;
            assert!((3.0..=6.0).contains(&a_change), "{period}: {a_change} polls a change");
            assert!(late < period / 4.0, "{period}: {late} s late");
        }
    }

    #[test]
    fn it_keeps_its_bounds() {
        let (polls, _) = run(0.1, 60.0);
        assert_eq!(polls, 120, "the shortest interval under a storm of changes");
        let (polls, _) = run(1e9, 36_000.0);
        assert!((600..650).contains(&polls), "{polls}: the longest while nothing happens");
    }

    #[test]
    fn after_a_rest_a_burst_brings_it_back_in_a_few_polls() {
        let mut adaptive = Adaptive::new();
        (0..100).for_each(|_| _ = adaptive.after(false, MIN, MAX));
        let polls = (0..100).position(|_| adaptive.after(true, MIN, MAX) == MIN);
        assert!(polls.is_some_and(|polls| polls <= 8), "{polls:?}");
    }
}
