//! The clients that have streams, by their full names (contract §11): what all streams of one stay by, and the call that
//! ends them.
//!
//! Must not know: how a client proves its name.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use http::{HeaderName, HeaderValue};

use crate::config::Route;
use crate::fanout::{Entitlement, Revocable};
use crate::identity::{Identity, Principal, PrincipalPattern, Way};
use crate::transport::Expulsion;

/// Clients are looked through for those without streams when there are this many more than after the last time.
const SPARE_CLIENTS_MAX: usize = 1024;

/// Most clients of one name that a call which does not say which of them it means is told of.
const CANDIDATES_MAX: usize = 16;

/// The clients that have streams, by their full names (contract §11).
#[derive(Default)]
pub struct Subjects {
    revocables: DashMap<Arc<Principal>, Weak<Revocable>>,
    /// What those with a key (`authenticate.keys`) stay by on a route, by its number and a digest of the key: another route,
    /// and another configuration, may have another key of the same name.
    keys: DashMap<(usize, Arc<Principal>, u64), Weak<Revocable>>,
    hasher: RandomState,
    /// How many there were when they were last looked through.
    looked: std::sync::atomic::AtomicUsize,
}

impl Subjects {
    /// What all streams of an identity on a route stay by.
    pub(in crate::front) fn entitlement(&self, route: &Route, identity: &Identity) -> Arc<Entitlement> {
        Entitlement::new(identity.expires, self.revocables(route, identity))
    }

    /// The same, one by one.
    pub(in crate::front) fn revocables(&self, route: &Route, identity: &Identity) -> Vec<Arc<Revocable>> {
        let mut revocables = vec![self.revocable(&identity.principal)];
        if identity.principal.way == Way::Keys {
            let key = self.hasher.hash_one(key(route, &identity.principal.subject));
            let mut known = self.keys.entry((route.index, identity.principal.clone(), key)).or_default();
            revocables.push(known.upgrade().unwrap_or_else(|| {
                let revocable = Arc::new(Revocable::default());
                *known = Arc::downgrade(&revocable);
                revocable
            }));
        }
        revocables
    }

    /// Lets go of those whose key is no longer good on the route with the number that they came by. Returns how many keys that
    /// are. The fan-out has to be told.
    pub(in crate::front) fn revoke_keys(&self, routes: &[Arc<Route>]) -> usize {
        let routes: HashMap<usize, &Arc<Route>> = routes.iter().map(|route| (route.index, route)).collect();
        let mut revoked = 0;
        self.keys.retain(|(route, principal, came_by), revocable| {
            let Some(revocable) = revocable.upgrade() else { return false };
            let now = routes.get(route).and_then(|route| key(route, &principal.subject));
            let stays = now.is_some() && self.hasher.hash_one(now) == *came_by;
            if !stays {
                revocable.revoke(Expulsion::Revoked);
                revoked += 1;
            }
            stays
        });
        revoked
    }

    pub(in crate::front) fn revocable(&self, principal: &Arc<Principal>) -> Arc<Revocable> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.revocables.len() > self.looked.load(Relaxed) + SPARE_CLIENTS_MAX {
            self.revocables.retain(|_, revocable| revocable.strong_count() > 0);
            self.keys.retain(|_, revocable| revocable.strong_count() > 0);
            self.looked.store(self.revocables.len(), Relaxed);
        }
        let mut known = self.revocables.entry(principal.clone()).or_default();
        known.upgrade().unwrap_or_else(|| {
            let revocable = Arc::new(Revocable::default());
            *known = Arc::downgrade(&revocable);
            revocable
        })
    }

    /// Returns a number for whom a request is from: its identity, or the clients with equal class values. `None` if it is
    /// from no client in particular.
    pub(in crate::front) fn asker(
        &self,
        identity: Option<&Identity>,
        class: &[(HeaderName, HeaderValue)],
    ) -> Option<u64> {
        match identity {
            Some(identity) => Some(self.hasher.hash_one(&*identity.principal)),
            None => (!class.is_empty()).then(|| self.hasher.hash_one(class)),
        }
    }
}

impl Subjects {
    pub(super) fn end(&self, call: &PrincipalPattern) -> Result<usize, Vec<Arc<Principal>>> {
        let meant: Vec<_> = self
            .revocables
            .iter()
            .filter(|entry| call.means(entry.key()) && entry.value().strong_count() > 0)
            .map(|entry| entry.key().clone())
            .take(CANDIDATES_MAX)
            .collect();
        let [principal] = &meant[..] else {
            return if meant.is_empty() { Ok(0) } else { Err(meant) };
        };
        let Some((_, revocable)) = self.revocables.remove(principal) else { return Ok(0) };
        let Some(revocable) = revocable.upgrade() else { return Ok(0) };
        // One of them is ours.
        let count = Arc::strong_count(&revocable).saturating_sub(1);
        revocable.revoke(Expulsion::Revoked);
        Ok(count)
    }
}

/// The key of a client of this name on a route. Returns `None` if it has none.
fn key<'a>(route: &'a Route, name: &str) -> Option<&'a str> {
    let clients = &route.authenticate.as_ref()?.keys.as_ref()?.clients;
    clients.iter().find(|(known, _)| known == name).map(|(_, key)| key.0.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_as_long_as_it_has_streams() {
        let subjects = Subjects::default();
        let ann = Arc::new(Principal::of(Way::Keys, None, "ann"));
        let first = subjects.revocable(&ann);
        assert!(Arc::ptr_eq(&first, &subjects.revocable(&ann)));
        first.revoke(Expulsion::Revoked);
        drop(first);
        assert_eq!(subjects.revocable(&ann).revoked(), None, "who comes again is somebody new");
        for n in 0..5 * SPARE_CLIENTS_MAX {
            subjects.revocable(&Arc::new(Principal::of(Way::Keys, None, &format!("user {n}"))));
        }
        assert!(subjects.revocables.len() <= 2 * SPARE_CLIENTS_MAX + 2, "{}", subjects.revocables.len());
    }

    #[test]
    fn a_call_ends_the_streams_of_one_client_or_names_those_it_may_mean() {
        let subjects = Subjects::default();
        let (staff, public) = (Some("https://staff.test"), Some("https://public.test"));
        let text = |way, issuer| Principal::of(way, issuer, "1001");
        let clients = [
            text(Way::Jwt, staff),
            text(Way::Jwt, public),
            text(Way::Keys, None),
            Principal { numeric: true, ..text(Way::Jwt, staff) },
        ];
        let revocables = clients.map(|client| subjects.revocable(&Arc::new(client)));
        let call = |way, issuer: Option<&str>, numeric| {
            let issuer = issuer.map(str::to_owned);
            subjects.end(&PrincipalPattern { subject: "1001".to_owned(), way, issuer, numeric })
        };
        let several = |ended: Result<usize, Vec<_>>| ended.map_err(|candidates| candidates.len());
        assert_eq!(several(call(None, None, None)), Err(4));
        assert_eq!(several(call(Some(Way::Jwt), None, None)), Err(3));
        assert_eq!(several(call(None, staff, None)), Err(2));
        assert_eq!(several(call(Some(Way::Forward), None, None)), Ok(0));
        assert!(
            revocables.iter().all(|revocable| revocable.revoked().is_none()),
            "an ambiguous call ends nothing"
        );
        assert_eq!(several(call(None, staff, Some(true))), Ok(1));
        assert_eq!(several(call(None, staff, None)), Ok(1), "one of that name is left there");
        assert_eq!(several(call(None, Some(""), None)), Ok(1), "no issuer");
        assert_eq!(several(call(None, None, None)), Ok(1), "one is left");
        assert!(revocables.iter().all(|revocable| revocable.revoked() == Some(Expulsion::Revoked)));
    }

    #[test]
    fn the_same_subject_of_two_origins_counts_twice() {
        let subjects = Subjects::default();
        let of = |principal| subjects.asker(Some(&Identity::of(principal)), &[]);
        let one = of(Principal::of(Way::Jwt, Some("a"), "ann"));
        assert_eq!(one, of(Principal::of(Way::Jwt, Some("a"), "ann")));
        for other in [
            Principal::of(Way::Jwt, Some("b"), "ann"),
            Principal::of(Way::Jwt, None, "ann"),
            Principal::of(Way::Forward, Some("a"), "ann"),
            Principal { numeric: true, ..Principal::of(Way::Jwt, Some("a"), "ann") },
        ] {
            assert_ne!(one, of(other.clone()), "{other:?}");
        }
    }
}
