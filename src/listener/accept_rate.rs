//! How many push clients may come in a second: what is over it is refused for now, so that a storm of
//! reconnects comes in at a pace that the process and its upstreams keep up with.
//!
//! Time comes in, so that the tests are tables. Must not know: the clients, what the others are told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pingora::proxy::Session;

const SECOND_NS: u64 = 1_000_000_000;

/// A connection that is younger than this has come for its first request.
const NEW_AGE_MAX: Duration = Duration::from_secs(1);

/// Lets so many in a second, and as many at once as a second lets in.
///
/// One number says it all: when the next one would be due if all came evenly (GCRA). So a storm costs
/// no lock.
#[derive(Debug)]
pub struct Turnstile {
    began: Instant,
    /// Nanoseconds from one client to the next.
    spacing: u64,
    /// Nanoseconds since it began.
    due: AtomicU64,
}

impl Turnstile {
    /// `rate`: clients a second, at least 1.
    pub fn new(rate: u32, now: Instant) -> Turnstile {
        Turnstile { began: now, spacing: SECOND_NS / u64::from(rate.max(1)), due: AtomicU64::new(0) }
    }

    /// Whether one more may come in now.
    pub fn lets_in(&self, now: Instant) -> bool {
        let next = |due: u64| self.next(due, now);
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// The same for one that does not come in: no turn is taken.
    pub fn would_let_in(&self, now: Instant) -> bool {
        self.next(self.due.load(Ordering::Relaxed), now).is_some()
    }

    /// When the next one is due after one that comes in now. Returns `None` if it may not.
    fn next(&self, due: u64, now: Instant) -> Option<u64> {
        // Centuries of nanoseconds fit.
        let now = now.saturating_duration_since(self.began).as_nanos() as u64;
        let after = due.max(now) + self.spacing;
        (after <= now + SECOND_NS).then_some(after)
    }
}

/// Whether an HTTP/2 connection was made for this request. Its streams have no common memory, but its age
/// tells: a re-request follows an answer that came long after the first request.
pub(crate) fn is_new_http2(session: &Session) -> bool {
    let digest = session.downstream_session.digest();
    let layers = digest.map(|digest| digest.timing_digest.as_slice()).unwrap_or_default();
    let began = layers.iter().flatten().map(|timing| timing.established_ts).min();
    began.is_none_or(|began| began.elapsed().is_ok_and(|age| age < NEW_AGE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn let_in(turnstile: &Turnstile, at: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| turnstile.lets_in(at)).count()
    }

    #[test]
    fn a_second_s_worth_comes_in_at_once_and_then_one_by_one() {
        let began = Instant::now();
        /// Milliseconds since the beginning, tries, and how many come in.
        type Step = (u64, usize, usize);
        let cases: [(u32, &[Step]); 4] = [
            (1, &[(0, 5, 1), (999, 5, 0), (1000, 5, 1), (60_000, 5, 1)]),
            (10, &[(0, 100, 10), (50, 100, 0), (100, 100, 1), (300, 100, 2), (10_000, 100, 10)]),
            (2000, &[(0, 9999, 2000), (1, 9999, 2), (500, 9999, 998)]),
            (10, &[(0, 4, 4), (0, 4, 4), (0, 4, 2)]),
        ];
        for (rate, steps) in cases {
            let turnstile = Turnstile::new(rate, began);
            for (ms, tries, wanted) in steps {
                let at = began + Duration::from_millis(*ms);
                assert_eq!(let_in(&turnstile, at, *tries), *wanted, "{rate}/s, {ms} ms");
            }
        }
    }

    proptest! {
        /// In no window come more than a second's worth and the window's; and a client that comes no faster than
        /// the rate is never refused.
        #[test]
        fn the_rate_is_kept(rate in 1..5000_u32, gaps in proptest::collection::vec(0..50_000_000_u64, 1..400)) {
            let began = Instant::now();
            let (storm, calm) = (Turnstile::new(rate, began), Turnstile::new(rate, began));
            let (mut at, mut calm_at) = (began, began);
            let mut passed = Vec::new();
            for gap in gaps {
                at += Duration::from_nanos(gap);
                if storm.lets_in(at) {
                    passed.push(at);
                }
                calm_at += Duration::from_nanos(gap.max(SECOND_NS / u64::from(rate)));
                prop_assert!(calm.lets_in(calm_at));
            }
            for first in 0..passed.len() {
                for last in first..passed.len() {
                    let window = (passed[last] - passed[first]).as_secs_f64();
                    let most = f64::from(rate) * (1.0 + window) * 1.0001 + 1.0;
                    prop_assert!((last - first + 1) as f64 <= most);
                }
            }
        }
    }
}
