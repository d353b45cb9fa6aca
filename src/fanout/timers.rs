//! One coarse timer wheel for the deadlines of all connections of a shard.
//!
//! A slot stands in at most one bucket that counts; when it comes up, the owner looks at the real
//! deadline and puts it back if that is later. Must not know: what a deadline means.

use std::time::{Duration, Instant};

/// Width of a bucket: deadlines are no finer than this.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Buckets of the wheel. A deadline that is further away comes up on the way, and is put back.
const BUCKETS_COUNT: usize = 512;

/// Number of a tick since the wheel began.
pub(super) type Tick = u32;

#[derive(Debug)]
pub(super) struct Wheel {
    began: Instant,
    /// The last tick that was taken.
    taken: Tick,
    buckets: Vec<Vec<u32>>,
    /// How many slots stand in buckets.
    standing: usize,
    /// No bucket between the last that was taken and this one has anything in it.
    nearest: Tick,
}

impl Wheel {
    pub(super) fn new(now: Instant) -> Wheel {
        Wheel { began: now, taken: 0, buckets: vec![Vec::new(); BUCKETS_COUNT], standing: 0, nearest: 0 }
    }

    /// Puts a slot into the bucket of `at`. Returns the tick under which it stands. The owner keeps that number: an
    /// entry with another one is out of date.
    pub(super) fn insert(&mut self, slot: u32, at: Instant) -> Tick {
        let wanted = self.tick_of(at);
        let tick = wanted.clamp(self.taken + 1, self.taken + BUCKETS_COUNT as Tick - 1);
        self.buckets[tick as usize % BUCKETS_COUNT].push(slot);
        self.standing += 1;
        self.nearest = self.nearest.min(tick);
        tick
    }

    /// The number of the tick at or after `at`; never 0.
    pub(super) fn tick_at(&self, at: Instant) -> Tick {
        self.tick_of(at).max(1)
    }

    /// Returns the time of a tick.
    pub(super) fn time_of(&self, tick: Tick) -> Instant {
        self.began + TICK * tick
    }

    /// Whether a deadline lies before the bucket of `tick`.
    pub(super) fn is_before(&self, at: Instant, tick: Tick) -> bool {
        self.tick_of(at) < tick
    }

    /// The first tick that is not before `at`.
    fn tick_of(&self, at: Instant) -> Tick {
        let ticks = at.saturating_duration_since(self.began).as_nanos().div_ceil(TICK.as_nanos());
        ticks.min(Tick::MAX as u128 / 2) as Tick
    }

    /// Takes the next bucket whose time has come, with its tick.
    pub(super) fn take(&mut self, now: Instant, into: &mut Vec<u32>) -> Option<Tick> {
        let elapsed = now.saturating_duration_since(self.began).as_nanos() / TICK.as_nanos();
        if u128::from(self.taken) >= elapsed {
            return None;
        }
        if self.standing == 0 {
            self.taken = elapsed.min(Tick::MAX as u128 / 2) as Tick;
            return None;
        }
        self.taken += 1;
        into.clear();
        std::mem::swap(into, &mut self.buckets[self.taken as usize % BUCKETS_COUNT]);
        self.standing -= into.len();
        Some(self.taken)
    }

    /// When the next bucket with anything in it comes up. It is asked with each turn of the loop, so that what was found
    /// is remembered.
    pub(super) fn next(&mut self) -> Option<Instant> {
        if self.standing == 0 {
            return None;
        }
        let last = self.taken + BUCKETS_COUNT as Tick;
        self.nearest = (self.nearest.max(self.taken + 1)..=last)
            .find(|tick| !self.buckets[*tick as usize % BUCKETS_COUNT].is_empty())?;
        Some(self.time_of(self.nearest))
    }
}

/// How long a stream with this `max_age` lasts: a fifth less or more, so that clients that came together do not come
/// back together. `chance` is a random number from 0 to 1.
pub(super) fn lifetime(max_age: Duration, chance: f64) -> Duration {
    max_age.mul_f64(0.8 + 0.4 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every slot comes up not before its time and at most a tick late, however far away.
        #[test]
        fn every_deadline_comes_up(delays in proptest::collection::vec(0..120_000u64, 1..50)) {
            let began = Instant::now();
            let mut wheel = Wheel::new(began);
            let at = |ms: u64| began + Duration::from_millis(ms);
            let mut standing: Vec<Tick> =
                delays.iter().enumerate().map(|(slot, ms)| wheel.insert(slot as u32, at(*ms))).collect();
            let mut fired = vec![None; delays.len()];
            let mut bucket = Vec::new();
            while let Some(now) = wheel.next() {
                while let Some(tick) = wheel.take(now, &mut bucket) {
                    for slot in bucket.clone() {
                        let i = slot as usize;
                        if standing[i] != tick { continue; }
                        if now < at(delays[i]) {
                            standing[i] = wheel.insert(slot, at(delays[i]));
                        } else {
                            fired[i] = Some(now);
                        }
                    }
                }
            }
            for (ms, fired) in delays.iter().zip(fired) {
                let fired = fired.expect("came up");
                prop_assert!(fired >= at(*ms));
                prop_assert!(fired <= at(*ms) + 2 * TICK);
            }
        }
    }

    #[test]
    fn a_lifetime_is_a_fifth_less_or_more() {
        let lives = [0.0, 0.5, 1.0].map(|chance| lifetime(Duration::from_secs(10), chance));
        assert_eq!(lives, [8, 10, 12].map(Duration::from_secs));
    }

    #[test]
    fn a_tick_names_a_time_no_earlier() {
        let began = Instant::now();
        let wheel = Wheel::new(began);
        for ms in [0, 1, 100, 101, 3_600_000, 30 * 86_400_000] {
            let at = began + Duration::from_millis(ms);
            let tick = wheel.tick_at(at);
            assert!(tick > 0);
            assert!(wheel.time_of(tick) >= at && wheel.time_of(tick) <= at + TICK, "{ms} ms");
        }
    }

    #[test]
    fn a_nearer_deadline_is_found_after_a_farther_one() {
        let began = Instant::now();
        let mut wheel = Wheel::new(began);
        for ms in [9_000, 2_000, 5_000, 1_000] {
            wheel.insert(0, began + Duration::from_millis(ms));
        }
        for ms in [1_000, 2_000, 5_000, 9_000] {
            let at = wheel.next();
            assert_eq!(at, Some(began + Duration::from_millis(ms)));
            while wheel.take(at.expect("a bucket"), &mut Vec::new()).is_some() {}
        }
        assert_eq!(wheel.next(), None);
        wheel.insert(0, began + Duration::from_millis(9_500));
        assert_eq!(wheel.next(), Some(began + Duration::from_millis(9_500)));
    }

    #[test]
    fn an_idle_wheel_never_wakes_a_member() {
        let mut wheel = Wheel::new(Instant::now());
        assert_eq!(wheel.next(), None);
        assert_eq!(wheel.take(Instant::now() + Duration::from_secs(3600), &mut Vec::new()), None);
    }
}
