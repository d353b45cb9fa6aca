//! How often one resource is polled because of writes (contract §9): a few times an interval, however many writes there
//! are.
//!
//! Pure but for its clock, which comes in as milliseconds; 0 stands for never. Must not know: polls, readers.

use std::net::IpAddr;

/// Polls after writes an interval and resource.
const POLLS_MAX: usize = 4;

/// A resource with more writes than these within a second is written often.
const WRITES_MAX: usize = 5;

const SECOND_MS: u64 = 1000;

/// The times of the last `N` events.
#[derive(Debug, Clone)]
struct Recent<const N: usize> {
    times: [u64; N],
    next: usize,
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Recent { times: [0; N], next: 0 }
    }
}

impl<const N: usize> Recent<N> {
    fn push(&mut self, now: u64) {
        self.times[self.next] = now;
        self.next = (self.next + 1) % N;
    }

    /// Returns the first time at which one more event makes no more than `N` within `window`.
    fn free_at(&self, window: u64) -> u64 {
        match self.times[self.next] {
            0 => 0,
            oldest => oldest + window,
        }
    }
}

/// The polls that were made because of writes to one resource.
#[derive(Debug, Default)]
pub(super) struct WritePace {
    /// First polls after writes.
    firsts: Recent<POLLS_MAX>,
    /// First polls and their repeats.
    polls: Recent<POLLS_MAX>,
    writes: Recent<{ WRITES_MAX + 1 }>,
    /// When it was last polled because a member of the collection was written.
    as_parent: u64,
    /// When it was last polled because something above or below was written.
    as_relative: u64,
    /// The writers of other classes for which it was polled, and when. There are as many as polls are allowed, so that
    /// a writer is forgotten only when no further poll is allowed anyway.
    strangers: [(Option<IpAddr>, u64); POLLS_MAX],
}

impl WritePace {
    /// Notes a write.
    pub(super) fn written(&mut self, now: u64) {
        self.writes.push(now);
    }

    /// Whether the resource is written more than five times a second.
    pub(super) fn is_written_often(&self, now: u64) -> bool {
        now < self.writes.free_at(SECOND_MS)
    }

    /// Takes one of the first polls of an interval. Returns when it may be made: now, or later.
    pub(super) fn take(&mut self, now: u64, interval: u64) -> u64 {
        let at = self.firsts.free_at(interval).max(now);
        self.firsts.push(at);
        self.polls.push(at);
        at
    }

    /// Whether a first poll may be made now.
    pub(super) fn may_poll(&self, now: u64, interval: u64) -> bool {
        self.firsts.free_at(interval) <= now
    }

    /// Takes a repeat, if the interval has one left besides the first polls.
    pub(super) fn take_repeat(&mut self, now: u64, interval: u64) -> bool {
        let is_free = self.polls.free_at(interval) <= now;
        if is_free {
            self.polls.push(now);
        }
        is_free
    }

    /// Whether it may be polled as the collection of what was written: once an interval.
    pub(super) fn take_as_parent(&mut self, now: u64, interval: u64) -> bool {
        take(&mut self.as_parent, now, interval)
    }

    /// Whether it may be polled as something above or below of what was written: twice an interval.
    pub(super) fn take_as_relative(&mut self, now: u64, interval: u64) -> bool {
        take(&mut self.as_relative, now, interval / 2)
    }

    /// Whether a writer of another class touches it: once an interval for one address.
    pub(super) fn hears(&mut self, address: Option<IpAddr>, now: u64, interval: u64) -> bool {
        let is_known = |(known, at): &(Option<IpAddr>, u64)| *at > 0 && *known == address;
        let place = match self.strangers.iter().position(is_known) {
            Some(place) if now < self.strangers[place].1 + interval => return false,
            Some(place) => place,
            None => {
                let by_age = self.strangers.iter().enumerate().min_by_key(|(_, (_, at))| *at);
                by_age.map_or(0, |(place, _)| place)
            }
        };
        self.strangers[place] = (address, now);
        true
    }
}

fn take(last: &mut u64, now: u64, pause: u64) -> bool {
    let is_free = *last == 0 || *last + pause <= now;
    if is_free {
        *last = now;
    }
    is_free
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: u64 = 10_000;

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    /// The most events within any window.
    fn densest(times: &[u64], window: u64) -> usize {
        let within = |start: u64| times.iter().filter(|at| (start..start + window).contains(at)).count();
        times.iter().map(|start| within(*start)).max().unwrap_or_default()
    }

    #[test]
    fn four_polls_come_at_once_and_the_fifth_when_the_interval_is_over() {
        let mut pace = WritePace::default();
        for now in [100, 200, 300, 400] {
            assert!(pace.may_poll(now, INTERVAL));
            assert_eq!(pace.take(now, INTERVAL), now);
        }
        assert!(!pace.may_poll(500, INTERVAL));
        assert_eq!(pace.take(500, INTERVAL), 100 + INTERVAL);
    }

    #[test]
    fn repeats_leave_first_polls_alone() {
        let mut pace = WritePace::default();
        pace.take(100, INTERVAL);
        assert_eq!(
            [200, 600, 2200, 2300].map(|now| pace.take_repeat(now, INTERVAL)),
            [true, true, true, false]
        );
        assert!(pace.may_poll(3000, INTERVAL), "another write");
        pace.take(3000, INTERVAL);
        assert!(!pace.take_repeat(3100, INTERVAL));
    }

    #[test]
    fn six_writes_within_a_second_are_often_and_five_are_not() {
        let mut pace = WritePace::default();
        for now in [100, 200, 300, 400, 500] {
            pace.written(now);
            assert!(!pace.is_written_often(now));
        }
        pace.written(1_000);
        assert!(pace.is_written_often(1_099) && !pace.is_written_often(1_100));
    }

    #[test]
    fn one_address_of_another_class_is_heard_once_an_interval() {
        let mut pace = WritePace::default();
        assert!(pace.hears(client(1), 100, INTERVAL) && pace.hears(client(2), 100, INTERVAL));
        assert!(
            !pace.hears(client(1), 5_000, INTERVAL) && !pace.hears(client(1), 100 + INTERVAL - 1, INTERVAL)
        );
        assert!(pace.hears(client(1), 100 + INTERVAL, INTERVAL));
        assert!(
            pace.hears(None, 5_000, INTERVAL) && !pace.hears(None, 6_000, INTERVAL),
            "an unknown one, too"
        );
    }

    #[test]
    fn a_collection_is_polled_once_an_interval_and_a_relative_twice() {
        let mut pace = WritePace::default();
        let mut count = |take: fn(&mut WritePace, u64, u64) -> bool| {
            (1..=10 * INTERVAL).step_by(100).filter(|now| take(&mut pace, *now, INTERVAL)).count()
        };
        assert_eq!(count(WritePace::take_as_parent), 10);
        assert_eq!(count(WritePace::take_as_relative), 20);
    }

    proptest! {
        #[test]
        fn however_writes_come_there_are_four_first_polls_an_interval(
            pauses in proptest::collection::vec(0..3_000u64, 1..200),
        ) {
            let (mut pace, mut now, mut polls) = (WritePace::default(), 1, Vec::new());
            for pause in pauses {
                now += pause;
                if pace.may_poll(now, INTERVAL) {
                    polls.push(pace.take(now, INTERVAL));
                }
            }
            prop_assert!(densest(&polls, INTERVAL) <= POLLS_MAX);
        }

        #[test]
        fn a_flood_is_answered_with_four_polls_an_interval_repeats_included(pause in 1..300u64) {
            let (mut pace, mut polls) = (WritePace::default(), Vec::new());
            let mut now = 1;
            while now < 5 * INTERVAL {
                if pace.may_poll(now, INTERVAL) {
                    polls.push(pace.take(now, INTERVAL));
                } else if pace.take_repeat(now, INTERVAL) {
                    polls.push(now);
                }
                now += pause;
            }
            prop_assert!(densest(&polls, INTERVAL) <= POLLS_MAX);
        }
    }
}
