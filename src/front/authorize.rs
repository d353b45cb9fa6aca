//! Subscribers of `share: authorize` (contract §11): each is admitted only if its own credentials get what
//! the topic holds, and asked again from time to time.
//!
//! What a check found counts for the same credentials and resource, by their digest. Must not know: how a
//! client is told.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Shared;
use crate::config::{Route, Share};
use crate::fanout::Hold;
use crate::hub::Topic;
use crate::relay::Own;
use crate::resource::{Digest, Digester, ResourceKey};
use crate::transport::Expulsion;

/// A check that cannot be made is tried again this often, for as long as the last one counts once more.
const AGAIN: Duration = Duration::from_secs(10);

/// Rounds of a check: the resource may change between the client's poll and the topic's.
const ROUNDS: usize = 2;

/// Checks that count.
pub struct Checks {
    digester: Digester,
    known: Mutex<LruCache<(Digest, ResourceKey), Known>>,
}

#[derive(Clone)]
struct Known {
    hold: Arc<Hold>,
    until: Instant,
    watch: AbortHandle,
}

/// How a check ended.
enum Found {
    Same,
    Different,
    Refused,
    Failed,
}

impl Found {
    fn label(&self) -> &'static str {
        match self {
            Found::Same => "same",
            Found::Different => "different",
            Found::Refused => "refused",
            Found::Failed => "failed",
        }
    }
}

/// Why a client is not admitted; the words go to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAuthorized(pub(super) &'static str);

impl Checks {
    /// `most`: checks that are remembered.
    pub fn new(most: usize) -> Checks {
        let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Checks { digester: Digester::default(), known: Mutex::new(LruCache::new(most)) }
    }

    /// Whoever follows by what is forgotten for it goes on being watched; of nobody else anything is left.
    fn remember(&self, place: (Digest, ResourceKey), one: Known) {
        let mut known = self.known.lock();
        if let Some((_, lost)) = known.push(place, one)
            && Arc::strong_count(&lost.hold) == 1
        {
            lost.watch.abort();
        }
    }
}

/// What a client of a topic stays by, where the route asks for it; none: it does not.
///
/// # Errors
/// Its own credentials get something else, or nothing.
pub(super) async fn admit(
    shared: &Arc<Shared>,
    route: &Route,
    topic: &Arc<Topic>,
    headers: &HeaderMap,
) -> Result<Option<Arc<Hold>>, NotAuthorized> {
    if route.share != Share::Authorize {
        return Ok(None);
    }
    let credentials = credentials(route, headers);
    let parts = credentials.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
    let place = (shared.checks.digester.of(parts), topic.key().clone());
    let now = Instant::now();
    if let Some(known) = shared.checks.known.lock().get(&place)
        && now < known.until
        && known.hold.is_let_go().is_none()
    {
        return Ok(Some(known.hold.clone()));
    }
    match check(shared, topic, &credentials).await {
        Found::Same => {}
        Found::Different => return Err(NotAuthorized("the upstream gives these credentials something else")),
        Found::Refused => return Err(NotAuthorized("the upstream refuses these credentials")),
        Found::Failed => {
            return Err(NotAuthorized("the upstream cannot be asked about these credentials now"));
        }
    }
    let (hold, until) = (Arc::new(Hold::default()), Instant::now() + jittered(route.recheck));
    let (shared_then, topic_then) = (Arc::downgrade(shared), Arc::downgrade(topic));
    let watch = Watch { shared: shared_then, topic: topic_then, place: place.clone(), credentials };
    let watch = tokio::spawn(watch.run(Arc::downgrade(&hold), route.recheck, until)).abort_handle();
    shared.checks.remember(place, Known { hold: hold.clone(), until, watch });
    Ok(Some(hold))
}

fn jittered(recheck: Duration) -> Duration {
    recheck.mul_f64(0.8 + 0.4 * fastrand::f64())
}

/// Everything by which the upstream may know the client.
fn credentials(route: &Route, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut found: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for name in route.credentials.iter().chain([&header::COOKIE]) {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let between: &[u8] = if *name == header::COOKIE { b"; " } else { b", " };
        if let (false, Ok(mut value)) = (lines.is_empty(), HeaderValue::from_bytes(&lines.join(between))) {
            value.set_sensitive(true);
            found.push((name.clone(), value));
        }
    }
    found
}

async fn check(shared: &Arc<Shared>, topic: &Arc<Topic>, credentials: &[(HeaderName, HeaderValue)]) -> Found {
    let found = compare(shared, topic, credentials).await;
    let labels = [topic.route().path.as_str(), found.label()];
    shared.metrics.authorizations.with_label_values(&labels).inc();
    found
}

async fn compare(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
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
    }
    Found::Different
}

/// Asks again for as long as somebody stays by it.
struct Watch {
    shared: std::sync::Weak<Shared>,
    topic: std::sync::Weak<Topic>,
    place: (Digest, ResourceKey),
    credentials: Vec<(HeaderName, HeaderValue)>,
}

impl Watch {
    async fn run(self, hold: std::sync::Weak<Hold>, recheck: Duration, until: Instant) {
        let mut until = until;
        loop {
            sleep(until.saturating_duration_since(Instant::now())).await;
            let (Some(shared), Some(topic)) = (self.shared.upgrade(), self.topic.upgrade()) else { return };
            let Some(held) = hold.upgrade() else { return };
            let remembered = {
                let known = shared.checks.known.lock();
                known.peek(&self.place).is_some_and(|known| Arc::ptr_eq(&known.hold, &held))
            };
            // This one, and the memory of it, which may have been lost to others': whoever follows is more.
            if Arc::strong_count(&held) <= 1 + usize::from(remembered) {
                if remembered {
                    shared.checks.known.lock().pop(&self.place);
                }
                return;
            }
            let last = Instant::now() + recheck;
            let found = loop {
                match check(&shared, &topic, &self.credentials).await {
                    Found::Failed if Instant::now() + AGAIN < last => sleep(AGAIN).await,
                    found => break found,
                }
            };
            if !matches!(found, Found::Same) {
                if remembered {
                    shared.checks.known.lock().pop(&self.place);
                }
                held.let_go(Expulsion::Forbidden);
                shared.fanout.expel();
                return;
            }
            until = Instant::now() + jittered(recheck);
            if let Some(known) = shared.checks.known.lock().get_mut(&self.place)
                && Arc::ptr_eq(&known.hold, &held)
            {
                known.until = until;
            }
        }
    }
}
