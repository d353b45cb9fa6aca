//! Whether new keys of a route could be shared: a route whose answers never can is not polled for a while (contract §3).
//!
//! Must not know: how an answer is judged.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many new keys in a row that could not be shared say that a route's answers are not for all clients.
const NEW_KEYS_MIN: usize = 10;

/// They have to come from so many clients at least: one client proves nothing about the others.
const CLIENTS_MIN: usize = 3;

/// What became of the last new keys, route by route.
#[derive(Default)]
pub struct NewKeys {
    /// By the number of the route.
    routes: Mutex<HashMap<usize, RouteKeys>>,
    hasher: RandomState,
}

impl NewKeys {
    /// Of no route yet.
    pub fn new() -> NewKeys {
        NewKeys { routes: Mutex::default(), hasher: RandomState::new() }
    }

    /// Forgets the routes that are none any more.
    pub fn keep(&self, is_route: impl Fn(usize) -> bool) {
        self.routes.lock().retain(|route, _| is_route(*route));
    }

    /// Whether a new key of a route is polled for. After a rest one is, and the next rest begins.
    pub(super) fn admits(&self, route: usize, now: Instant, rest: Duration) -> bool {
        let mut routes = self.routes.lock();
        let Some(keys) = routes.get_mut(&route) else { return true };
        match keys.rests_until {
            Some(until) if now < until => false,
            Some(_) => {
                keys.rests_until = Some(now + rest);
                true
            }
            None => true,
        }
    }

    /// The same for a request that is only explained: no rest begins.
    pub(super) fn would_admit(&self, route: usize, now: Instant) -> bool {
        let routes = self.routes.lock();
        routes.get(&route).and_then(|keys| keys.rests_until).is_none_or(|until| until <= now)
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
        let mut routes = self.routes.lock();
        let keys = routes.entry(route).or_default();
        if keys.last.len() == NEW_KEYS_MIN {
            keys.last.pop_front();
        }
        keys.last.push_back((self.hasher.hash_one(client), shared));
        if shared {
            keys.rests_until = None;
            return;
        }
        let mut clients: Vec<u64> = keys.last.iter().map(|(client, _)| *client).collect();
        clients.sort_unstable();
        clients.dedup();
        let none = keys.last.len() == NEW_KEYS_MIN && keys.last.iter().all(|(_, shared)| !shared);
        if none && clients.len() >= CLIENTS_MIN {
            keys.rests_until.get_or_insert(now + rest);
        }
    }
}

#[derive(Default)]
pub(in crate::front) struct RouteKeys {
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
        let new_keys = NewKeys::new();
        let now = Instant::now();
        for number in 0..10 {
            assert!(new_keys.admits(0, now, REST), "{number}");
            new_keys.note(0, client(number % 3), false, now, REST);
        }
        assert!(!new_keys.admits(0, now, REST) && !new_keys.admits(0, now + REST / 2, REST));
        assert!(new_keys.admits(0, now + REST, REST), "then the next new key is polled for");
        assert!(!new_keys.admits(0, now + REST, REST), "and no other");
        new_keys.note(0, client(1), true, now + REST, REST);
        assert!(new_keys.admits(0, now + REST, REST), "it could be shared");
    }

    #[test]
    fn two_clients_or_one_shared_answer_prove_nothing() {
        let now = Instant::now();
        let new_keys = NewKeys::new();
        for number in 0..50 {
            new_keys.note(0, client(number % 2), false, now, REST);
            new_keys.note(1, client(number % 3), number % 10 == 0, now, REST);
        }
        assert!(new_keys.admits(0, now, REST) && new_keys.admits(1, now, REST));
    }
}
