//! Clients of `share: authorize` (contract §11): each is admitted only if its own credentials get what the topic
//! holds. What a check found counts for the same credentials and resource, by their digest; a "no" for some seconds.
//!
//! Must not know: how a client is told. `recheck` asks again about clients that follow.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::reason::Reason;
use super::recheck::Followers;
use crate::config::{Route, Share};
use crate::fanout::Hold;
use crate::front::Shared;
use crate::hub::Topic;
use crate::identity::{Identity, told};
use crate::poll::Own;
use crate::resource::{self, Digest, Digester, ResourceKey};

/// How long a "no" counts: long enough that a client that asks on and on costs the API one request each time and no check.
const REFUSAL_LASTS: Duration = Duration::from_secs(5);

/// Most memory of checks, and what one takes: a digest, a word and a time, with the links of the list.
const CHECKS_BYTES_MAX: usize = 8 << 20;
const CHECK_BYTES: usize = 96;

/// The client that the API is asked about.
#[derive(Clone, Copy)]
pub(in crate::front) struct Client<'a> {
    pub(in crate::front) headers: &'a HeaderMap,
    /// Its identity, where pollcast found one out.
    pub(in crate::front) identity: Option<&'a Identity>,
}

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
    fn label(self) -> &'static str {
        match self {
            Found::Same => "same",
            Found::Behind | Found::Different => "different",
            Found::Refused => "refused",
            Found::Failed => "failed",
        }
    }

    fn refusal(self) -> Option<Reason> {
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
enum Look {
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
        let most = most.min(CHECKS_BYTES_MAX / CHECK_BYTES);
        let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Checks {
            digester: Digester::default(),
            known: Mutex::new(LruCache::new(most)),
            turns: Mutex::default(),
            followers: Followers::default(),
        }
    }

    pub(in crate::front) fn remember(&self, digest: Digest, found: Found, recheck: Duration) {
        let lasts = match found {
            Found::Same => jittered(recheck),
            Found::Behind | Found::Different | Found::Refused => REFUSAL_LASTS.min(recheck),
            Found::Failed => return,
        };
        self.known.lock().put(digest, Known { found, until: Instant::now() + lasts });
    }

    fn recall(&self, digest: Digest, look: Look) -> Option<Found> {
        let mut memory = self.known.lock();
        let known = memory.get(&digest)?;
        let counts = Instant::now() < known.until && !(look == Look::Closely && known.found == Found::Behind);
        counts.then_some(known.found)
    }

    /// The name of some credentials' check on a resource.
    fn digest(&self, credentials: &[(HeaderName, HeaderValue)], key: &ResourceKey) -> Digest {
        let key = key.digest(&self.digester);
        let lines = credentials.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        self.digester.of([&key.bytes()[..]].into_iter().chain(lines))
    }

    /// Whose turn it is to ask about these credentials: one request at a time.
    fn turn(&self, digest: Digest) -> Turn<'_> {
        let one = self.turns.lock().entry(digest).or_default().clone();
        Turn { checks: self, digest, one: Some(one) }
    }
}

/// A place in the line of those that ask the same; the line is forgotten with its last one.
struct Turn<'a> {
    checks: &'a Checks,
    digest: Digest,
    one: Option<Arc<tokio::sync::Mutex<()>>>,
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

/// Whether a client was refused a moment ago, so that no poll helps it.
pub(in crate::front) fn is_refused(
    shared: &Shared,
    route: &Route,
    key: &ResourceKey,
    client: Client<'_>,
) -> bool {
    if route.share != Share::Authorize {
        return false;
    }
    let digest = shared.checks.digest(&credentials(route, client), key);
    shared.checks.recall(digest, Look::Once).is_some_and(|found| found.refusal().is_some())
}

/// Whether a plain request may be answered from a topic: its own credentials get the same, as far as one request of
/// its own tells. Nothing but a digest and a time is kept.
pub(in crate::front) async fn admits(
    shared: &Arc<Shared>,
    route: &Route,
    topic: &Arc<Topic>,
    client: Client<'_>,
) -> bool {
    if route.share != Share::Authorize {
        return true;
    }
    let credentials = credentials(route, client);
    let digest = shared.checks.digest(&credentials, topic.key());
    found(shared, topic, &credentials, digest, Look::Once).await.refusal().is_none()
}

/// What a follower of a topic stays by, where the route asks for it. Returns `None` where it does not.
///
/// # Errors
/// Its own credentials get something else, or nothing.
pub(in crate::front) async fn admit(
    shared: &Arc<Shared>,
    route: &Route,
    topic: &Arc<Topic>,
    client: Client<'_>,
) -> Result<Option<Arc<Hold>>, Reason> {
    if route.share != Share::Authorize {
        return Ok(None);
    }
    let credentials = credentials(route, client);
    let digest = shared.checks.digest(&credentials, topic.key());
    if let Some(hold) = shared.checks.followers.hold(digest) {
        // Others follow by the same credentials, and are asked about.
        return Ok(Some(hold));
    }
    match found(shared, topic, &credentials, digest, Look::Closely).await.refusal() {
        Some(refused) => Err(refused),
        None => Followers::watch(shared, topic, digest, credentials).map(Some),
    }
}

pub(in crate::front) fn jittered(recheck: Duration) -> Duration {
    recheck.mul_f64(0.8 + 0.4 * fastrand::f64())
}

/// Everything by which the upstream may know the client, exactly as a request that passes through says it: the lines of a field as
/// one, and its identity where pollcast found one out. A proxy's credentials end here.
fn credentials(route: &Route, client: Client<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut found = told(client.identity);
    for (name, _) in resource::credentials(route, client.headers) {
        if *name == header::PROXY_AUTHORIZATION || found.iter().any(|(known, _)| known == name) {
            continue;
        }
        let lines: Vec<&[u8]> = client.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let between: &[u8] = if *name == header::COOKIE { b"; " } else { b", " };
        if let Ok(mut value) = HeaderValue::from_bytes(&lines.join(between)) {
            value.set_sensitive(true);
            found.push((name.clone(), value));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    found
}

/// What is remembered of these credentials, or what the API says now.
async fn found(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
    digest: Digest,
    look: Look,
) -> Found {
    if let Some(found) = shared.checks.recall(digest, look) {
        return found;
    }
    let turn = shared.checks.turn(digest);
    let one = turn.one.clone().unwrap_or_default();
    let asking = one.lock().await;
    // Another client with the same credentials may have asked meanwhile.
    let found = match shared.checks.recall(digest, look) {
        Some(found) => found,
        None => {
            let found = check(shared, topic, credentials, look).await;
            shared.checks.remember(digest, found, topic.route().recheck);
            found
        }
    };
    drop(asking);
    drop(one);
    drop(turn);
    found
}

/// Asks about a follower again, as closely as at first.
pub(super) async fn check_again(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
) -> Found {
    check(shared, topic, credentials, Look::Closely).await
}

async fn check(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
    look: Look,
) -> Found {
    let found = compare(shared, topic, credentials, look).await;
    let labels = [topic.route().path.as_str(), found.label()];
    shared.metrics.authorizations.with_label_values(&labels).inc();
    found
}

/// Rounds of a close look: the resource may change between the client's poll and the topic's.
const ROUNDS: usize = 2;

async fn compare(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
    look: Look,
) -> Found {
    let current = || topic.view().frame.as_ref().map(|frame| frame.version());
    for _ in 0..ROUNDS {
        let before = current();
        let own = match shared.relay.own(topic.clone(), credentials.to_vec()).await {
            Own::Version(version) => version,
            Own::Refused(_) => return Found::Refused,
            Own::Unknown(reason) => {
                tracing::debug!("a client's own answer could not be had: {reason}");
                return Found::Failed;
            }
        };
        if before == Some(own) || current() == Some(own) {
            return Found::Same;
        }
        if look == Look::Once {
            return Found::Behind;
        }
        // The client may have been told of a change before the poll was.
        let number = topic.want_poll();
        let polled = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
        let patience = topic.route().poll.timeout;
        if timeout(patience, polled).await.is_ok_and(|view| view.closing.is_some()) {
            return Found::Failed;
        }
        if current() == Some(own) {
            return Found::Same;
        }
        if current() == before {
            // The topic's is the upstream's state, and the client's is another.
            return Found::Different;
        }
    }
    Found::Different
}

#[cfg(test)]
mod tests {
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
