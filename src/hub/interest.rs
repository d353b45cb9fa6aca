//! The signs of interest in one resource: when clients ask for it, and how long polls may go on when no client does.
//!
//! A resource that a client wanted for a moment is polled on no longer than that (contract §10). Pure but for its
//! clock, which comes in as milliseconds. Must not know: what clients are told.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// How many connections must poll within two intervals before polling goes on in the background (contract §3).
const CONNECTIONS_MIN: usize = 4;

/// The times are milliseconds of one clock; 0 stands for never.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// The first sign of the present stretch. Before it no sign came within `linger`.
    since: AtomicU64,
    last: AtomicU64,
    /// When the last follower left.
    left: AtomicU64,
    /// Plain polls keep the resource polled until then.
    until: AtomicU64,
    /// The connections of the last plain polls, each with the time of its last one.
    recent: Mutex<[(u64, u64); CONNECTIONS_MIN]>,
}

/// How a route is polled, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    pub(super) interval: u64,
    pub(super) linger: u64,
}

impl Interest {
    /// Notes that a client wants the resource.
    /// `followed` says that a client has wanted it all the time.
    pub(super) fn sign(&self, now: u64, followed: bool, rhythm: Rhythm) {
        let last = self.last.swap(now, Ordering::SeqCst);
        if followed {
            return;
        }
        if last == 0 || now.saturating_sub(last) > rhythm.linger.max(2 * rhythm.interval) {
            self.since.store(now, Ordering::SeqCst);
        }
    }

    /// Notes that the last follower left.
    pub(super) fn leave(&self, now: u64) {
        // A client that stayed for long showed interest all the time.
        self.last.fetch_max(now, Ordering::SeqCst);
        self.left.store(now, Ordering::SeqCst);
    }

    /// Notes a plain poll of a connection. Returns true if background polling starts by it.
    pub(super) fn plain_poll(&self, connection: u64, now: u64, followed: bool, rhythm: Rhythm) -> bool {
        self.sign(now, followed, rhythm);
        let window = 2 * rhythm.interval;
        // A resource that is polled in the background anyway needs no account of its connections.
        if self.until.load(Ordering::SeqCst) > now + window {
            return false;
        }
        let mut recent = self.recent.lock();
        let oldest = |recent: &[(u64, u64); CONNECTIONS_MIN]| {
            let by_age = recent.iter().enumerate().min_by_key(|(_, (_, at))| *at);
            by_age.map_or((0, 0), |(place, (_, at))| (place, *at))
        };
        let known = recent.iter().position(|(other, at)| *at > 0 && *other == connection);
        let place = known.unwrap_or_else(|| oldest(&recent).0);
        recent[place] = (connection, now);
        let (_, first) = oldest(&recent);
        drop(recent);
        if first == 0 || now.saturating_sub(first) > window {
            return false;
        }
        let until = (first + window).max(now + self.earned(rhythm));
        self.until.fetch_max(until, Ordering::SeqCst) <= now
    }

    /// Returns how long polls may go on after the last sign: no longer than the time from the first sign to the last
    /// one, and not at all if that time is shorter than an interval.
    fn earned(&self, rhythm: Rhythm) -> u64 {
        let shown = self.last.load(Ordering::SeqCst).saturating_sub(self.since.load(Ordering::SeqCst));
        if shown < rhythm.interval { 0 } else { shown.min(rhythm.linger) }
    }

    /// Until when polls go on for followers that left. Returns `None` if there never was one.
    pub(super) fn linger_until(&self, rhythm: Rhythm) -> Option<u64> {
        let left = self.left.load(Ordering::SeqCst);
        (left > 0).then(|| left + self.earned(rhythm))
    }

    /// Until when plain polls keep the resource polled.
    pub(super) fn until(&self) -> u64 {
        self.until.load(Ordering::SeqCst)
    }

    /// When a client last wanted the resource.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { interval: 1_000, linger: 30_000 };

    #[test]
    fn three_connections_never_start_background_polling_and_four_do() {
        let interest = Interest::default();
        for now in (1..20_000).step_by(100) {
            assert!(!interest.plain_poll(now / 100 % 3, now, false, RHYTHM), "{now}");
        }
        assert_eq!(interest.until(), 0);
        let interest = Interest::default();
        for (connection, now) in [(1, 10), (2, 500), (3, 1_500)] {
            assert!(!interest.plain_poll(connection, now, false, RHYTHM));
        }
        assert!(interest.plain_poll(4, 2_000, false, RHYTHM));
        assert_eq!(interest.until(), 2_000 + 1_990, "as long as interest was shown");
    }

    #[test]
    fn connections_that_come_one_after_the_other_too_slowly_start_nothing() {
        let interest = Interest::default();
        for turn in 1..50 {
            assert!(!interest.plain_poll(turn, turn * 700, false, RHYTHM), "{turn}");
        }
    }

    #[test]
    fn a_burst_of_four_is_polled_for_two_intervals_at_most() {
        let interest = Interest::default();
        let started =
            (1..=4).filter(|connection| interest.plain_poll(*connection, 100, false, RHYTHM)).count();
        assert_eq!((started, interest.until()), (1, 100 + 2_000));
    }

    #[test]
    fn linger_is_as_long_as_the_interest_was_and_none_under_an_interval() {
        for (stayed, earned) in
            [(0, 0), (999, 0), (1_000, 1_000), (10_000, 10_000), (30_000, 30_000), (500_000, 30_000)]
        {
            let interest = Interest::default();
            interest.sign(100, false, RHYTHM);
            interest.leave(100 + stayed);
            assert_eq!(interest.linger_until(RHYTHM), Some(100 + stayed + earned), "{stayed}");
        }
    }

    #[test]
    fn a_visit_long_ago_earns_nothing() {
        let interest = Interest::default();
        interest.sign(100, false, RHYTHM);
        interest.leave(200);
        interest.sign(200_000, false, RHYTHM);
        interest.leave(200_500);
        assert_eq!(interest.linger_until(RHYTHM), Some(200_500));
    }
}
