//! The API's own pace (contract §3): clients of blocking queries ask again at once, because the API makes them wait. If
//! they were answered from a snapshot, their loops would become floods.
//!
//! Must not know: connections beyond a number, how a request passes through.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// A client that asks again within this time after its answer makes no pause of its own.
const QUICK_MS: u64 = 100;

/// After so many quick returns in a row a client seems to expect that the API makes it wait.
const QUICK_RETURNS_MIN: u8 = 3;

/// Most connections of one resource that are remembered. At the bound a new one is not.
const CONNECTIONS_MAX: usize = 1024;

/// From this number on, connections that are gone are looked for whenever there are twice as many as the last look
/// left, so that a new connection does not cost a walk over all others.
const SWEPT_CONNECTIONS_MIN: usize = 32;

/// At `CONNECTIONS_MAX` the connections are looked through no more often than this.
const SWEEP_MS: u64 = 10;

/// Only an answer that took longer than this can have been held by the API.
const HELD_MIN: Duration = Duration::from_millis(500);

/// An upstream that took more than this part of the time for other requests is slow, and holds nothing.
const OTHERS_PART: u32 = 5;

/// How quickly one connection comes back for a state that has not changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streak {
    answered_ms: u64,
    /// Sequence number of the state that it was given last.
    seq: u64,
    unchanged: bool,
    quick: u8,
}

impl Streak {
    /// Notes a request. Returns true if its client seems to expect that the API makes it wait.
    pub fn returns(&mut self, now_ms: u64) -> bool {
        let quick = self.unchanged && now_ms.saturating_sub(self.answered_ms) <= QUICK_MS;
        self.quick = if quick { self.quick.saturating_add(1) } else { 0 };
        self.is_restless()
    }

    /// Notes that the connection is answered with this state.
    pub fn answered(&mut self, now_ms: u64, seq: u64, is_hit: bool) {
        self.unchanged = is_hit && self.seq == seq;
        (self.seq, self.answered_ms) = (seq, now_ms);
    }

    fn is_restless(self) -> bool {
        self.quick >= QUICK_RETURNS_MIN
    }
}

/// What becomes of a request of such a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paced {
    /// It is answered like the requests of others.
    Here,
    /// It may try whether the API holds it.
    Tries,
    /// The API holds such requests: it passes through.
    Passes,
}

/// The connections of one resource that were answered last.
#[derive(Debug, Default)]
struct Connections {
    known: HashMap<u64, Streak>,
    /// How many there may be before they are looked through again.
    sweep_at: usize,
    swept_ms: u64,
}

impl Connections {
    /// Whether there is room for one more connection. `is_there` tells whether a connection may still come back.
    fn make_room(&mut self, now_ms: u64, is_there: impl Fn(&Streak) -> bool) -> bool {
        let count = self.known.len();
        let is_due = count < CONNECTIONS_MAX || now_ms.saturating_sub(self.swept_ms) >= SWEEP_MS;
        if count >= self.sweep_at.max(SWEPT_CONNECTIONS_MIN) && is_due {
            self.known.retain(|_, streak| is_there(streak));
            self.sweep_at = (2 * self.known.len()).min(CONNECTIONS_MAX);
            self.swept_ms = now_ms;
        }
        self.known.len() < CONNECTIONS_MAX
    }
}

/// What is known of the pace of one resource. Times are those of its topic.
#[derive(Debug, Default)]
pub struct Pace {
    connections: Mutex<Connections>,
    /// Nothing is tried before then; 0 stands for never.
    next_try_ms: AtomicU64,
    passes_until_ms: AtomicU64,
}

impl Pace {
    /// Decides about a request of a connection.
    pub fn request(&self, connection: u64, now_ms: u64) -> Paced {
        let passes = now_ms < self.passes_until_ms.load(Ordering::SeqCst);
        let mut connections = self.connections.lock();
        let Some(streak) = connections.known.get_mut(&connection) else { return Paced::Here };
        // A connection whose requests pass through gets no answers here that its streak could be counted by.
        if passes && streak.is_restless() {
            return Paced::Passes;
        }
        match streak.returns(now_ms) {
            true if passes => Paced::Passes,
            true if now_ms >= self.next_try_ms.load(Ordering::SeqCst) => Paced::Tries,
            _ => Paced::Here,
        }
    }

    /// Notes what a connection was answered. Returns how it comes back so far.
    pub fn answered(&self, connection: u64, now_ms: u64, seq: u64, is_hit: bool) -> Streak {
        let mut connections = self.connections.lock();
        if !connections.known.contains_key(&connection) {
            let passes = now_ms < self.passes_until_ms.load(Ordering::SeqCst);
            let is_there = |streak: &Streak| {
                now_ms.saturating_sub(streak.answered_ms) <= QUICK_MS || (passes && streak.is_restless())
            };
            if !connections.make_room(now_ms, is_there) {
                return Streak::default();
            }
        }
        let streak = connections.known.entry(connection).or_default();
        streak.answered(now_ms, seq, is_hit);
        *streak
    }

    /// Whether a connection that seems to expect a wait has to be told to the place that decides, where it is answered
    /// elsewhere.
    pub fn may_matter(&self, now_ms: u64) -> bool {
        now_ms < self.passes_until_ms.load(Ordering::SeqCst)
            || now_ms >= self.next_try_ms.load(Ordering::SeqCst)
    }

    /// Takes over a connection that was answered elsewhere. By then it has sent one more request.
    pub fn takes_over(&self, connection: u64, streak: Streak) {
        let mut connections = self.connections.lock();
        if connections.known.len() < CONNECTIONS_MAX {
            connections.known.insert(connection, Streak { quick: streak.quick.saturating_sub(1), ..streak });
        }
    }

    /// Claims the only try within `pause`. Returns false if another connection was faster.
    pub fn claims_try(&self, now_ms: u64, pause: Duration) -> bool {
        let next = self.next_try_ms.load(Ordering::SeqCst);
        let later = now_ms + pause.as_millis() as u64;
        let exchange = self.next_try_ms.compare_exchange(next, later, Ordering::SeqCst, Ordering::SeqCst);
        next <= now_ms && exchange.is_ok()
    }

    /// Notes that the API holds such requests: they pass through for `time`.
    pub fn passes_for(&self, now_ms: u64, time: Duration) {
        self.passes_until_ms.store(now_ms + time.as_millis() as u64, Ordering::SeqCst);
    }

    /// Whether such connections ask for the resource: then the duration of its polls says nothing about the upstream's
    /// speed.
    pub fn is_asked(&self) -> bool {
        self.next_try_ms.load(Ordering::SeqCst) > 0
    }
}

/// Watches how long an upstream takes for others while a try is on its way.
#[derive(Debug)]
pub struct Watch {
    upstream: String,
    slowest_ms: AtomicU64,
}

impl Watch {
    /// Whether an answer that took so long was held, and the upstream is not just slow.
    pub fn was_held(&self, took: Duration) -> bool {
        let others = Duration::from_millis(self.slowest_ms.load(Ordering::SeqCst));
        took > HELD_MIN && others <= took / OTHERS_PART
    }
}

/// The watches of the tries that are on their way.
#[derive(Debug, Default)]
pub struct Watches {
    count: AtomicUsize,
    watches: Mutex<Vec<Arc<Watch>>>,
}

impl Watches {
    /// Notes that a request to the upstream has begun.
    pub fn begin(&self, upstream: &str) -> Arc<Watch> {
        let watch = Arc::new(Watch { upstream: upstream.to_owned(), slowest_ms: AtomicU64::new(0) });
        let mut watches = self.watches.lock();
        watches.push(watch.clone());
        self.count.store(watches.len(), Ordering::SeqCst);
        watch
    }

    /// Notes that the request has ended.
    pub fn end(&self, watch: &Arc<Watch>) {
        let mut watches = self.watches.lock();
        watches.retain(|other| !Arc::ptr_eq(other, watch));
        self.count.store(watches.len(), Ordering::SeqCst);
    }

    /// Notes how long an upstream took for an answer to another request.
    pub fn answered(&self, upstream: &str, took: Duration) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for watch in self.watches.lock().iter().filter(|watch| watch.upstream == upstream) {
            watch.slowest_ms.fetch_max(took.as_millis() as u64, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A connection that is given a state, then comes back for it after these times.
    fn comes_back(pace: &Pace, connection: u64, waits_ms: &[u64]) -> Vec<Paced> {
        let mut now = 1_000;
        pace.answered(connection, now, 7, false);
        let mut seen = Vec::new();
        for wait in waits_ms {
            now += wait;
            seen.push(pace.request(connection, now));
            pace.answered(connection, now, 7, true);
        }
        seen
    }

    #[test]
    fn three_quick_returns_from_unchanged_hits_look_like_the_wish_for_a_wait() {
        use Paced::{Here, Tries};
        assert_eq!(comes_back(&Pace::default(), 1, &[1, 1, 1, 1]), [Here, Here, Here, Tries]);
        assert_eq!(comes_back(&Pace::default(), 1, &[1, 1, 1]), [Here, Here, Here]);
        assert_eq!(comes_back(&Pace::default(), 1, &[500, 100, 100, 100])[3], Tries);
        assert!(!comes_back(&Pace::default(), 1, &[1, 90, 101, 90, 90, 101, 90]).contains(&Tries));
    }

    #[test]
    fn a_change_is_a_reason_to_come_back() {
        let pace = Pace::default();
        for seq in 1..50 {
            pace.answered(1, seq, seq, true);
            assert_eq!(pace.request(1, seq), Paced::Here);
        }
    }

    #[test]
    fn one_request_tries_in_a_while_and_what_is_held_passes_through() {
        let pace = Pace::default();
        for connection in [1, 2] {
            assert_eq!(comes_back(&pace, connection, &[1, 1, 1, 1, 1]).last(), Some(&Paced::Tries));
        }
        assert!(pace.claims_try(2_000, MINUTE) && !pace.claims_try(2_000, MINUTE));
        assert_eq!(comes_back(&pace, 3, &[1, 1, 1, 1, 1]).last(), Some(&Paced::Here));
        pace.passes_for(1_000, MINUTE);
        assert_eq!(pace.request(3, 40_000), Paced::Passes);
        assert_eq!(pace.request(4, 40_000), Paced::Here, "no others");
        assert_eq!(pace.request(3, 61_000), Paced::Here, "after a minute it shows again");
        assert!(pace.claims_try(62_001, MINUTE));
    }

    #[test]
    fn an_upstream_that_is_slow_for_others_holds_nothing() {
        let watches = Watches::default();
        for (others_ms, took_ms, held) in
            [(0, 1_000, true), (200, 1_000, true), (201, 1_000, false), (0, 500, false)]
        {
            let watch = watches.begin("a");
            watches.answered("a", Duration::from_millis(others_ms));
            watches.answered("b", Duration::from_secs(9));
            assert_eq!(watch.was_held(Duration::from_millis(took_ms)), held, "{others_ms} {took_ms}");
            watches.end(&watch);
        }
        watches.answered("a", Duration::from_secs(9));
    }

    #[test]
    fn the_connections_of_a_resource_are_bounded() {
        let pace = Pace::default();
        for connection in 0..10_000 {
            pace.answered(connection, 5, 1, true);
        }
        assert!(pace.connections.lock().known.len() <= CONNECTIONS_MAX);
        pace.answered(1 << 40, 10_000, 1, true);
        assert_eq!(pace.connections.lock().known.len(), 1, "who is gone makes room");
    }
    #[test]
    fn a_new_connection_costs_no_walk_over_all_others() {
        let (mut connections, looks) = (Connections::default(), std::cell::Cell::new(0));
        for connection in 0..10_000 {
            let is_there = |_: &Streak| {
                looks.set(looks.get() + 1);
                true
            };
            if connections.make_room(5, is_there) {
                connections.known.insert(connection, Streak::default());
            }
        }
        assert!(looks.get() <= 2 * CONNECTIONS_MAX, "{} looks", looks.get());
    }
}
