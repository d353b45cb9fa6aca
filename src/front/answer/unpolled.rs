//! Which plain requests are not polled for first (contract §3): those that will pass through whatever a poll says,
//! and those for which a poll costs more than they ask for.
//!
//! Must not know: how a poll is done, what an answer carries.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;

use super::plain_poll::is_remembered;
use crate::front::covered::Cover;
use crate::front::request::delta_choice;
use crate::front::request::transport_choice::Accept;
use crate::hub::{Audience, ExceptionKind, Outcome, View};
use crate::metrics::Bypass;
use crate::resource::ResourceKey;

/// So many new keys in a row that could not be shared say that a route's answers are not for all clients.
const NEW_KEYS: usize = 10;

/// They have to come from so many clients at least: one client proves nothing about the others.
const CLIENTS_MIN: usize = 3;

/// What became of the last new keys, route by route.
pub struct Novelties {
    routes: Box<[Mutex<Novelty>]>,
    hasher: RandomState,
}

#[derive(Default)]
struct Novelty {
    /// Whose request each of the last new keys was, and whether its answer could be shared; oldest first.
    last: VecDeque<(u64, bool)>,
    /// No new key is polled for before then.
    rests_until: Option<Instant>,
}

impl Novelties {
    /// For so many routes.
    pub fn new(routes: usize) -> Novelties {
        Novelties { routes: (0..routes).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// Whether a new key of a route is polled for. After a rest one is, and the next rest begins.
    fn admits(&self, route: usize, now: Instant, rest: Duration) -> bool {
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
    fn note(&self, route: usize, client: Option<IpAddr>, shared: bool, now: Instant, rest: Duration) {
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

impl Cover<'_> {
    /// Why a plain request passes through without a poll. Returns `None` if it may be polled for.
    pub(super) fn passes_unpolled(&self, key: &ResourceKey) -> Option<Bypass> {
        let shared = &self.front.shared;
        let Some(topic) = shared.hub.get(key) else {
            let rest = shared.config.times.unshared_rest;
            return if !self.admits_expected() {
                Some(Bypass::Accept)
            } else if self.method == Method::HEAD {
                Some(Bypass::Head)
            } else {
                let admits = shared.novelties.admits(self.route.index, Instant::now(), rest);
                (!admits).then_some(Bypass::Unshared)
            };
        };
        let view = topic.view();
        let takes_patches =
            delta_choice::of_answer(&self.route, &self.headers, self.query.as_deref()).is_some();
        let admits = match &view.frame {
            Some(frame) => takes_patches || self.admits(&frame.snapshot),
            None => self.admits_expected(),
        };
        if !admits {
            return Some(Bypass::Accept);
        }
        if let Some(reason) = self.prefers_another_form(&view).filter(|_| !takes_patches) {
            return Some(reason);
        }
        let at_once = topic.is_young(&view) || is_remembered(&view, self.route.poll.interval) || view.rests();
        // What is wrong with a body is nothing to a request that asks for none.
        let is_answered = at_once && (!matches!(view.outcome, Outcome::Failed(_)) || self.has_stale(&view));
        (self.method == Method::HEAD && !is_answered).then_some(Bypass::Head)
    }

    /// Whether the last good state may still be answered while polls fail.
    fn has_stale(&self, view: &View) -> bool {
        let is_usable = view.frame.is_some() && !view.withdrawn && !view.condition.state.is_gone();
        is_usable && view.confirmed_at.is_some_and(|at| at.elapsed() <= self.route.stale_if_error)
    }

    /// Whether the client's `Accept` lets it be sent anything that counts as data on the route.
    fn admits_expected(&self) -> bool {
        let expected = &self.route.poll.expect;
        let accept = Accept::of(&self.headers);
        expected.is_empty() || expected.iter().any(|essence| accept.admits(essence))
    }

    /// Notes whether what the first poll of a new key brought could be shared.
    pub(super) fn note_novelty(&self, key: &ResourceKey, view: &View) {
        let shared = &self.front.shared;
        let is_ones = match &view.outcome {
            _ if self.exception(key) == Some(ExceptionKind::NotShareable) => true,
            Outcome::Relay(relayed) if relayed.audience != Audience::All => true,
            Outcome::Data => false,
            Outcome::Relay(_) | Outcome::Failed(_) | Outcome::Cold => return,
        };
        let rest = shared.config.times.unshared_rest;
        shared.novelties.note(self.route.index, self.ctx.client, !is_ones, Instant::now(), rest);
    }
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
