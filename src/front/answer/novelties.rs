//! Whether new keys of a route could be shared: a route whose answers never can is not polled for a while (contract §3).
//!
//! Must not know: how an answer is judged.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many new keys in a row that could not be shared say that a route's answers are not for all clients.
const NEW_KEYS: usize = 10;

/// They have to come from so many clients at least: one client proves nothing about the others.
const CLIENTS_MIN: usize = 3;

/// What became of the last new keys, route by route.
pub struct Novelties {
    routes: Box<[Mutex<Novelty>]>,
    hasher: RandomState,
}

impl Novelties {
    /// For so many routes.
    pub fn new(routes: usize) -> Novelties {
        Novelties { routes: (0..routes).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// Whether a new key of a route is polled for. After a rest one is, and the next rest begins.
    pub(super) fn admits(&self, route: usize, now: Instant, rest: Duration) -> bool {
        let Some(novelty) = self.routes.get(route) else { return true };
        let mut novelty = novelty.lock();
        match novelty.rests_until {
            Some(until) if now < until => false,
            Some(_) => {
                novelty.rests_until = Some(now + rest);
                true
            }
            None => true,
        }
    }

    /// Notes what became of a new key.
    pub(super) fn note(
        &self,
        route: usize,
        client: Option<IpAddr>,
        shared: bool,
        now: Instant,
        rest: Duration,
    ) {
        let Some(novelty) = self.routes.get(route) else { return };
        let mut novelty = novelty.lock();
        if novelty.last.len() == NEW_KEYS {
            novelty.last.pop_front();
        }
        novelty.last.push_back((self.hasher.hash_one(client), shared));
        if shared {
            novelty.rests_until = None;
            return;
        }
        let mut clients: Vec<u64> = novelty.last.iter().map(|(client, _)| *client).collect();
        clients.sort_unstable();
        clients.dedup();
        let none = novelty.last.len() == NEW_KEYS && novelty.last.iter().all(|(_, shared)| !shared);
        if none && clients.len() >= CLIENTS_MIN {
            novelty.rests_until.get_or_insert(now + rest);
        }
    }
}

#[derive(Default)]
pub(in crate::front) struct Novelty {
    /// Whose request each of the last new keys was, and whether its answer could be shared; oldest first.
    last: VecDeque<(u64, bool)>,
    /// No new key is polled for before then.
    rests_until: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(60);

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn ten_new_keys_of_three_clients_that_cannot_be_shared_let_the_route_rest() {
        let novelties = Novelties::new(1);
        let now = Instant::now();
        for number in 0..10 {
            assert!(novelties.admits(0, now, REST), "{number}");
            novelties.note(0, client(number % 3), false, now, REST);
        }
        assert!(!novelties.admits(0, now, REST) && !novelties.admits(0, now + REST / 2, REST));
        assert!(novelties.admits(0, now + REST, REST), "then the next new key is polled for");
        assert!(!novelties.admits(0, now + REST, REST), "and no other");
        novelties.note(0, client(1), true, now + REST, REST);
        assert!(novelties.admits(0, now + REST, REST), "it could be shared");
    }

    #[test]
    fn two_clients_or_one_shared_answer_prove_nothing() {
        let now = Instant::now();
        let novelties = Novelties::new(2);
        for number in 0..50 {
            novelties.note(0, client(number % 2), false, now, REST);
            novelties.note(1, client(number % 3), number % 10 == 0, now, REST);
        }
        assert!(novelties.admits(0, now, REST) && novelties.admits(1, now, REST));
    }
}
