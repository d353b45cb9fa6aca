//! How many new resources an address may name in a second (`limits.new_resources_per_address`): each costs the API a
//! request, and memory here.
//!
//! Time comes in, so that the tests are tables. Must not know: what is asked for.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

/// Addresses that are remembered; more forget the one that named nothing for longest.
const ADDRESSES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("it is not 0");

const SECOND: Duration = Duration::from_secs(1);

/// Gives each address so many turns in a second, and as many at once as a second has.
#[derive(Debug)]
pub struct Newcomers {
    /// From one turn to the next.
    spacing: Duration,
    /// When the next turn of each would be due if all came evenly (GCRA).
    due: Mutex<LruCache<IpAddr, Instant>>,
}

impl Newcomers {
    /// `rate`: turns a second, at least 1.
    pub fn new(rate: u32) -> Newcomers {
        Newcomers { spacing: SECOND / rate.max(1), due: Mutex::new(LruCache::new(ADDRESSES_MAX)) }
    }

    /// Takes a turn, and says how long it is until then. Returns `None` if that is longer than `wait_max`; then no
    /// turn is taken.
    pub(in crate::front) fn turn(
        &self,
        address: IpAddr,
        now: Instant,
        wait_max: Duration,
    ) -> Option<Duration> {
        let mut due = self.due.lock();
        let next = self.next(due.get(&address).copied(), now);
        let wait = next.saturating_duration_since(now + SECOND);
        if wait > wait_max {
            return None;
        }
        due.put(address, next);
        Some(wait)
    }

    /// Whether [`Newcomers::turn`] would give one. None is taken.
    pub(in crate::front) fn has_turn(&self, address: IpAddr, now: Instant, wait_max: Duration) -> bool {
        let next = self.next(self.due.lock().peek(&address).copied(), now);
        next.saturating_duration_since(now + SECOND) <= wait_max
    }

    /// When the turn after one that is taken now is due.
    fn next(&self, due: Option<Instant>, now: Instant) -> Instant {
        due.unwrap_or(now).max(now) + self.spacing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_second_has_its_turns_at_once_and_then_evenly() {
        let (newcomers, now) = (Newcomers::new(10), Instant::now());
        let at_once = |at| (0..100).take_while(|_| newcomers.turn(ONE, at, Duration::ZERO).is_some()).count();
        assert_eq!(at_once(now), 10);
        assert_eq!(at_once(now + SECOND / 2), 5);
        assert!(newcomers.turn(OTHER, now, Duration::ZERO).is_some(), "others have their own");
    }

    #[test]
    fn a_client_that_can_wait_gets_its_turn_later_and_another_takes_none() {
        let (newcomers, now) = (Newcomers::new(10), Instant::now());
        let waits: Vec<Option<Duration>> = (0..40).map(|_| newcomers.turn(ONE, now, 2 * SECOND)).collect();
        assert_eq!(waits.iter().filter(|wait| **wait == Some(Duration::ZERO)).count(), 10);
        assert_eq!(waits.iter().flatten().count(), 30, "those of two more seconds wait");
        assert_eq!(waits.iter().flatten().max(), Some(&(2 * SECOND)));
        assert!(newcomers.turn(ONE, now + SECOND, SECOND).is_none());
        assert!(newcomers.turn(ONE, now + SECOND + SECOND / 10, 2 * SECOND).is_some());
    }
}
