//! What all poll loops share, and what outlives them: backoff, memory accounts.
//!
//! Must not know: what a poll loop does, the subscribers.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::after_write::Lags;
use super::backplane::Backplane;
use super::compute::Compute;
use super::exchange::{Batches, Jars};
use super::remembered::Remembered;
use super::settings::Settings;
use super::source::Source;
use crate::config::{Config, Route};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::otlp::Tracer;
use crate::resource::{ResourceKey, VersionNamer};
use crate::upstream;
use crate::upstream::{BodyRoom, FetchError};

/// What all poll loops share.
pub struct Services {
    /// The topics that poll loops publish to.
    pub hub: Arc<Hub>,
    /// Gives contents their names (contract §2).
    pub namer: VersionNamer,
    /// What polls are counted in.
    pub metrics: Metrics,
    /// What a reload replaces.
    settings: ArcSwap<Settings>,
    pub(super) compute: Compute,
    pub(super) bodies: BodyRoom,
    pub(super) batches: Batches,
    pub(super) jars: Jars,
    /// Whether pass-through has said `Forwarded`: then polls say it, too.
    pub(super) says_forwarded: AtomicBool,
    pub(super) lags: Lags,
    /// Where the grids of batches start.
    pub(super) epoch: Instant,
    /// Backoff of resources that have no client any more.
    failing: Mutex<LruCache<ResourceKey, Remembered>>,
    /// Chance comes from here.
    seed: AtomicU64,
    /// Makes spans of polls.
    pub(super) tracer: Tracer,
    /// The other nodes; `None` if there are none.
    backplane: Option<Arc<dyn Backplane>>,
}

impl Services {
    pub(super) fn says_forwarded(&self) -> bool {
        self.says_forwarded.load(Ordering::Relaxed)
    }

    /// Returns what the poll loops of this configuration share. `seed` makes their random waits repeatable in tests.
    pub fn new(
        hub: Arc<Hub>,
        config: &Config,
        metrics: Metrics,
        sources: HashMap<String, Arc<dyn Source>>,
        seed: u64,
    ) -> Services {
        let remembered = NonZeroUsize::new(config.limits.resources).unwrap_or(NonZeroUsize::MIN);
        hub.bound_snapshots(config.limits.snapshot_bytes);
        let largest = largest_body(config);
        let (held, waits) = (metrics.poll_body_bytes.clone(), metrics.poll_body_waits.clone());
        let bodies = BodyRoom::new(config.limits.poll_body_bytes, largest, held, waits);
        let settings = Settings::new(config, &metrics, sources, &Settings::default());
        Services {
            hub,
            settings: ArcSwap::from_pointee(settings),
            batches: Batches::default(),
            jars: Jars::default(),
            says_forwarded: AtomicBool::new(false),
            lags: Lags::default(),
            epoch: Instant::now(),
            namer: VersionNamer::new(config.version_key.as_ref().map(|key| key.0.as_str())),
            metrics,
            compute: Compute::new(),
            bodies,
            failing: Mutex::new(LruCache::new(remembered)),
            seed: AtomicU64::new(seed),
            tracer: Tracer::default(),
            backplane: None,
        }
    }

    /// Makes spans of polls.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Services {
        Services { tracer, ..self }
    }

    /// Polls together with other nodes.
    #[must_use]
    pub fn with_backplane(self, backplane: Arc<dyn Backplane>) -> Services {
        Services { backplane: Some(backplane), ..self }
    }

    /// The other nodes. Returns `None` if there are none.
    pub(super) fn backplane(&self) -> Option<&Arc<dyn Backplane>> {
        self.backplane.as_ref()
    }

    /// What poll loops take from the configuration that counts now.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Takes another configuration: from now on polls are made by it, and poll loops follow their topics' routes.
    /// `sources`: by upstream name.
    pub fn renew(&self, config: &Config, sources: HashMap<String, Arc<dyn Source>>) {
        let settings = Settings::new(config, &self.metrics, sources, &self.settings.load());
        self.settings.store(Arc::new(settings));
        self.lags.keep(|number| config.routes.iter().any(|route| route.index == number));
        self.hub.bound_snapshots(config.limits.snapshot_bytes);
        self.bodies.resize(config.limits.poll_body_bytes, largest_body(config));
        let remembered = NonZeroUsize::new(config.limits.resources).unwrap_or(NonZeroUsize::MIN);
        self.failing.lock().resize(remembered);
    }

    /// Where the polls of a route go.
    pub(super) fn source(&self, route: &Route) -> Result<Arc<dyn Source>, FetchError> {
        // Validation ties every route to an upstream, and the application gives each a source. A route that a reload
        // removed may be without one until its poll loop ends.
        self.settings.load().source(&route.upstream.name).ok_or_else(|| FetchError {
            upstream: route.upstream.name.clone(),
            server: None,
            failure: upstream::Failure::NoServer {
                reason: format!("nothing was started for it, and route {} needs it", route.path),
            },
        })
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

/// Bytes of the longest body that any poll may read.
fn largest_body(config: &Config) -> usize {
    config.routes.iter().map(|route| route.poll.max_body).max().unwrap_or(0)
}
