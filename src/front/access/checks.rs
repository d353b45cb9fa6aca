//! What the API said of clients' credentials (`share: authorize`, contract §11), by digests, and the followers that stay
//! by it.
//!
//! Must not know: how the API is asked.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use lru::LruCache;
use parking_lot::Mutex;

use super::reason::Reason;
use crate::fanout::Revocable;
use crate::resource::{Digest, Digester, ResourceKey};

/// How long a "no" counts: long enough that a client that asks on and on costs the API one request each time and no check.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(5);

/// Most memory of checks, and what one takes: a digest, a word and a time, with the links of the list.
const CHECKS_BYTES_MAX: usize = 8 << 20;
const CHECK_BYTES: usize = 96;

/// What the API said of some credentials and a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Found {
    Same,
    /// It is another state than the topic's, and the topic was not polled for it.
    Behind,
    Different,
    Refused,
    Failed,
}

impl Found {
    pub(super) fn label(self) -> &'static str {
        match self {
            Found::Same => "same",
            Found::Behind | Found::Different => "different",
            Found::Refused => "refused",
            Found::Failed => "failed",
        }
    }

    pub(super) fn refusal(self) -> Option<Reason> {
        match self {
            Found::Same => None,
            Found::Behind | Found::Different => Some(Reason::OtherAnswer),
            Found::Refused => Some(Reason::RefusedByUpstream),
            Found::Failed => Some(Reason::UnansweredCheck),
        }
    }
}

/// How closely it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Look {
    /// One request of the client's own. If in doubt the request is the API's.
    Once,
    /// The topic is polled, too, if the client's own state is another: it may be newer.
    Closely,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    found: Found,
    until: Instant,
}

/// Checks that count, and those that are being made.
pub struct Checks {
    digester: Digester,
    known: Mutex<LruCache<Digest, Known>>,
    turns: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    pub(in crate::front) followers: Followers,
}

impl Checks {
    /// `most`: checks that are remembered, within the bytes that they may take.
    pub fn new(most: usize) -> Checks {
        Checks {
            digester: Digester::default(),
            known: Mutex::new(LruCache::new(count_max(most))),
            turns: Mutex::default(),
            followers: Followers::default(),
        }
    }

    /// From now on so many checks are remembered, within the bytes that they may take.
    pub fn resize(&self, most: usize) {
        self.known.lock().resize(count_max(most));
    }

    pub(in crate::front) fn remember(&self, digest: Digest, found: Found, recheck: Duration) {
        let lasts = match found {
            Found::Same => jittered(recheck),
            Found::Behind | Found::Different | Found::Refused => REFUSAL_LIFETIME.min(recheck),
            Found::Failed => return,
        };
        self.known.lock().put(digest, Known { found, until: Instant::now() + lasts });
    }

    pub(super) fn recall(&self, digest: Digest, look: Look) -> Option<Found> {
        let mut memory = self.known.lock();
        let known = memory.get(&digest)?;
        let counts = Instant::now() < known.until && !(look == Look::Closely && known.found == Found::Behind);
        counts.then_some(known.found)
    }

    /// The name of some credentials' check on a resource.
    pub(super) fn digest(&self, credentials: &[(HeaderName, HeaderValue)], key: &ResourceKey) -> Digest {
        let key = key.digest(&self.digester);
        let lines = credentials.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        self.digester.of([&key.bytes()[..]].into_iter().chain(lines))
    }

    /// Returns the turn to ask about these credentials: one request asks at a time.
    pub(super) fn turn(&self, digest: Digest) -> Turn<'_> {
        let one = self.turns.lock().entry(digest).or_default().clone();
        Turn { checks: self, digest, one: Some(one) }
    }
}

fn count_max(most: usize) -> NonZeroUsize {
    NonZeroUsize::new(most.min(CHECKS_BYTES_MAX / CHECK_BYTES)).unwrap_or(NonZeroUsize::MIN)
}

/// A place in the line of those that ask the same; the line is forgotten with its last one.
pub(in crate::front) struct Turn<'a> {
    checks: &'a Checks,
    digest: Digest,
    pub(super) one: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.checks.turns.lock();
        self.one = None;
        if turns.get(&self.digest).is_some_and(|one| Arc::strong_count(one) == 1) {
            turns.remove(&self.digest);
        }
    }
}

pub(in crate::front) fn jittered(recheck: Duration) -> Duration {
    recheck.mul_f64(0.8 + 0.4 * fastrand::f64())
}

/// The credentials by which clients follow.
#[derive(Default)]
pub(in crate::front) struct Followers(pub(super) Mutex<Watched>);

impl Followers {
    /// What others follow by with the same credentials.
    pub(super) fn revocable(&self, digest: Digest) -> Option<Arc<Revocable>> {
        let watched = self.0.lock();
        let revocable = watched.revocables.get(&digest)?.upgrade()?;
        revocable.revoked().is_none().then_some(revocable)
    }
}

#[derive(Default)]
pub(in crate::front) struct Watched {
    pub(super) revocables: HashMap<Digest, Weak<Revocable>>,
    /// Of all credentials that are kept.
    pub(super) bytes: usize,
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::hub::tests::route::key;

    #[test]
    fn what_was_found_counts_for_its_time_and_its_look() {
        let checks = Checks::new(10);
        let (digest, hour) = (checks.digest(&[], &key("/a")), Duration::from_secs(3600));
        for (found, once, closely) in [
            (Found::Same, Some(Found::Same), Some(Found::Same)),
            (Found::Different, Some(Found::Different), Some(Found::Different)),
            (Found::Refused, Some(Found::Refused), Some(Found::Refused)),
            (Found::Behind, Some(Found::Behind), None),
        ] {
            checks.remember(digest, found, hour);
            assert_eq!(checks.recall(digest, Look::Once), once);
            assert_eq!(checks.recall(digest, Look::Closely), closely);
        }
        checks.remember(digest, Found::Same, Duration::ZERO);
        assert_eq!(checks.recall(digest, Look::Once), None);
        checks.remember(digest, Found::Failed, hour);
        assert_eq!(checks.recall(digest, Look::Once), None, "it is asked again");
    }

    #[test]
    fn credentials_and_resources_are_told_apart() {
        let checks = Checks::new(10);
        let of = |value: &'static str| [(header::AUTHORIZATION, HeaderValue::from_static(value))];
        let digest = |value, path| checks.digest(&of(value), &key(path));
        assert_eq!(digest("a", "/a"), digest("a", "/a"));
        assert_ne!(digest("a", "/a"), digest("b", "/a"));
        assert_ne!(digest("a", "/a"), digest("a", "/b"));
        assert_ne!(digest("a", "/a"), checks.digest(&[], &key("/a")));
    }

    #[test]
    fn no_more_is_remembered_than_there_may_be() {
        assert_eq!(Checks::new(usize::MAX).known.lock().cap().get(), CHECKS_BYTES_MAX / CHECK_BYTES);
        let checks = Checks::new(2);
        for path in ["/a", "/b", "/c"] {
            let digest = checks.digest(&[], &key(path));
            checks.remember(digest, Found::Same, Duration::from_secs(60));
        }
        assert_eq!(checks.known.lock().len(), 2);
    }

    #[tokio::test]
    async fn equal_checks_wait_in_one_line_that_ends_with_them() {
        let checks = Checks::new(10);
        let digest = checks.digest(&[], &key("/a"));
        let (one, two) = (checks.turn(digest), checks.turn(digest));
        let asking = one.one.as_ref().unwrap().lock().await;
        assert!(two.one.as_ref().unwrap().try_lock().is_err());
        drop(asking);
        drop(one);
        assert_eq!(checks.turns.lock().len(), 1);
        drop(two);
        assert!(checks.turns.lock().is_empty());
    }
}
