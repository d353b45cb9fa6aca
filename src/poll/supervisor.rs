//! Starts a poll loop for each new topic and keeps what outlives it: backoff, memory accounts.
//!
//! Must not know: what a poll loop does, the subscribers.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::after_write::Lags;
use super::compute::Compute;
use super::exchange::{Batches, Guests, Jars, Secrets, Tokens};
use super::poller::Poller;
use super::{credential_check, forwarded};
use crate::config::{Config, Route, Upstream};
use crate::hub::{Failure, Hub, Outcome, Publisher, Relayed};
use crate::metrics::Metrics;
use crate::resource::{ResourceKey, VersionNamer};
use crate::upstream::schedule::{Failing, Quota};
use crate::upstream::{self, Answer, Ask, BodyRoom, FetchError, Priority, Quotas, Turn};

/// Where polls go: one configured upstream.
#[async_trait]
pub trait Source: Send + Sync {
    /// Waits for a poll's turn; it is over when what this gives is dropped.
    async fn turn(&self, _priority: Priority) -> Result<Option<Turn>, FetchError> {
        Ok(None)
    }

    async fn fetch(&self, ask: &Ask) -> Result<Answer, FetchError>;

    /// How long no poll has a turn because of the upstream's own quota; `None` if one has.
    fn quota_wait(&self) -> Option<Duration> {
        None
    }

    /// The upstream says how much more it will answer to all polls together.
    fn learn(&self, _quota: Quota) {}
}

/// What is remembered of a failing resource when its topic ends, so that leaving and coming back
/// is no way around the backoff (contract §10).
pub(super) struct Remembered {
    pub(super) failing: Failing,
    /// Nothing is asked before then.
    pub(super) due: Instant,
    /// It had a snapshot: its slowness is the API's trouble, not its kind (contract §1).
    pub(super) document: bool,
    /// How the last poll failed; `None` if the upstream answered and may be asked again at once.
    pub(super) last: Option<Last>,
}

/// Longest body of a failure that outlives its topic, bytes: there may be `limits.resources` of them.
const REMEMBERED_BODY_BYTES_MAX: usize = 4 * 1024;

/// A poll that failed, by itself or by its answer.
pub(super) enum Last {
    Failure(Arc<Failure>),
    Answer(Arc<Relayed>),
}

impl Last {
    /// What is remembered of an outcome.
    pub(super) fn of(outcome: &Outcome) -> Option<Last> {
        match outcome {
            Outcome::Failed(failure) => Some(Last::Failure(failure.clone())),
            Outcome::Relay(relayed) => {
                let failure = relayed.failure.as_ref()?;
                Some(match relayed.body.len() <= REMEMBERED_BODY_BYTES_MAX {
                    true => Last::Answer(relayed.clone()),
                    false => Last::Failure(Arc::new(failure.clone())),
                })
            }
            Outcome::Cold | Outcome::Data => None,
        }
    }

    /// Its status and reason, for followers.
    pub(super) fn told(&self) -> (Option<StatusCode>, &str) {
        match self {
            Last::Failure(failure) => (failure.status, &failure.reason),
            Last::Answer(relayed) => {
                (Some(relayed.status), relayed.failure.as_ref().map_or("", |failure| &failure.reason))
            }
        }
    }
}

#[async_trait]
impl Source for crate::upstream::Client {
    async fn turn(&self, priority: Priority) -> Result<Option<Turn>, FetchError> {
        crate::upstream::Client::turn(self, priority).await
    }

    async fn fetch(&self, ask: &Ask) -> Result<Answer, FetchError> {
        crate::upstream::Client::poll(self, ask).await
    }

    fn quota_wait(&self) -> Option<Duration> {
        crate::upstream::Client::quota_wait(self)
    }

    fn learn(&self, quota: Quota) {
        crate::upstream::Client::learn(self, quota);
    }
}

/// What all poll loops share.
pub struct Stakes {
    pub hub: Arc<Hub>,
    pub namer: VersionNamer,
    pub metrics: Metrics,
    /// By upstream name.
    pub sources: HashMap<String, Arc<dyn Source>>,
    pub(super) compute: Compute,
    pub(super) bodies: BodyRoom,
    pub(super) tokens: Tokens,
    pub(super) guests: Guests,
    pub(super) secrets: Secrets,
    pub(super) batches: Batches,
    pub(super) jars: Jars,
    /// Whether pass-through has said `Forwarded`: then polls say it, too.
    says_forwarded: AtomicBool,
    pub(super) lags: Lags,
    /// See [`credential_check::routes`].
    pub(super) own_routes: HashMap<usize, Arc<Route>>,
    /// Where the grids of batches start.
    pub(super) epoch: Instant,
    /// Backoff of resources that have no client any more.
    failing: Mutex<LruCache<ResourceKey, Remembered>>,
    /// Chance comes from here.
    seed: AtomicU64,
    /// Poll loops by upstream.
    sharers: HashMap<String, AtomicUsize>,
    /// What each upstream itself allows.
    quotas: HashMap<String, Quotas>,
}

impl Stakes {
    pub(super) fn says_forwarded(&self) -> bool {
        self.says_forwarded.load(Ordering::Relaxed)
    }

    pub fn new(
        hub: Arc<Hub>,
        config: &Config,
        metrics: Metrics,
        sources: HashMap<String, Arc<dyn Source>>,
        seed: u64,
    ) -> Stakes {
        let remembered = NonZeroUsize::new(config.limits.resources).unwrap_or(NonZeroUsize::MIN);
        hub.bound_snapshots(config.limits.snapshot_bytes);
        let largest = config.routes.iter().map(|route| route.poll.max_body).max().unwrap_or(0);
        let (held, waits) = (metrics.poll_body_bytes.clone(), metrics.poll_body_waits.clone());
        let bodies = BodyRoom::new(config.limits.poll_body_bytes, largest, held, waits);
        let secrets = Secrets::new(config, &metrics.secret_file_failures);
        Stakes {
            hub,
            guests: Guests::new(config, &secrets),
            tokens: Tokens::new(config, &sources, &secrets),
            secrets,
            batches: Batches::default(),
            jars: Jars::default(),
            says_forwarded: AtomicBool::new(false),
            lags: Lags::new(config.routes.len()),
            own_routes: credential_check::routes(config),
            epoch: Instant::now(),
            namer: VersionNamer::new(config.version_key.as_ref().map(|key| key.0.as_str())),
            metrics,
            sources,
            compute: Compute::new(),
            bodies,
            failing: Mutex::new(LruCache::new(remembered)),
            seed: AtomicU64::new(seed),
            sharers: config.upstreams.iter().map(|u| (u.name.clone(), AtomicUsize::new(0))).collect(),
            quotas: config
                .upstreams
                .iter()
                .map(|u| (u.name.clone(), Quotas::new(u.quota_is_shared)))
                .collect(),
        }
    }

    /// Where the polls of a route go.
    pub(super) fn source(&self, route: &Route) -> Result<&dyn Source, FetchError> {
        // Validation ties every route to an upstream, and the application gives each a source.
        self.sources.get(&route.upstream.name).map(AsRef::as_ref).ok_or_else(|| FetchError {
            upstream: route.upstream.name.clone(),
            server: None,
            failure: upstream::Failure::NoServer {
                reason: format!("nothing was started for it, and route {} needs it", route.path),
            },
        })
    }

    /// Poll loops of an upstream.
    pub(super) fn sharers(&self, upstream: &str) -> Option<&AtomicUsize> {
        self.sharers.get(upstream)
    }

    /// What an upstream itself allows.
    pub(super) fn quotas(&self, upstream: &str) -> Option<&Quotas> {
        self.quotas.get(upstream)
    }

    pub(super) fn next_seed(&self) -> u64 {
        self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    pub(super) fn take_failing(&self, key: &ResourceKey) -> Option<Remembered> {
        self.failing.lock().pop(key)
    }

    pub(super) fn keep_failing(&self, key: &ResourceKey, remembered: Remembered) {
        self.failing.lock().put(key.clone(), remembered);
    }

    /// Has snapshots without clients make way for others when all together hold more than
    /// `limits.snapshot_bytes`. Returns false if that is not enough.
    pub(super) fn make_room(&self) -> bool {
        let room = self.hub.make_room(0);
        self.metrics.snapshot_evictions.inc_by(room.evicted as u64);
        room.fits
    }
}

/// Starts poll loops on one runtime.
#[derive(Clone)]
pub struct Relay {
    stakes: Arc<Stakes>,
    runtime: Handle,
}

impl Relay {
    pub fn new(stakes: Arc<Stakes>, runtime: Handle) -> Relay {
        Relay { stakes, runtime }
    }

    pub fn stakes(&self) -> &Arc<Stakes> {
        &self.stakes
    }

    /// Notes that a trusted proxy says `Forwarded`, so that what passes through does: from now on polls do, too.
    pub fn note_forwarded(&self) {
        if !self.stakes.says_forwarded() {
            self.stakes.says_forwarded.store(true, Ordering::Relaxed);
        }
    }

    /// What a request to the API says that is made for a client, but not by it.
    pub fn say_forwarded(&self, ask: &mut Ask, proto: &str, host: Option<&str>, upstream: &Upstream) {
        let own: Vec<_> = forwarded::fields(upstream, proto, host)
            .filter(|(name, _)| !ask.headers.iter().any(|(said, _)| said == name))
            .collect();
        ask.headers.extend(own);
        if self.stakes.says_forwarded() {
            forwarded::add_standard(ask);
        }
    }

    /// Runs something beside the poll loops.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// Polls the publisher's topic until no client attends to it. Returns at once.
    pub fn start(&self, publisher: Publisher) -> AbortHandle {
        let poller = Poller::new(self.stakes.clone(), publisher);
        self.runtime.spawn(poller.run()).abort_handle()
    }
}
