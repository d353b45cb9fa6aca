//! What poll loops take from the configuration besides their routes: a reload replaces it as a whole, and what the new
//! configuration says as before goes on with what it knows.
//!
//! Must not know: what a poll loop does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::exchange::{Guests, Secrets, Tokens};
use super::own_routes;
use super::source::Source;
use crate::config::{Config, Route};
use crate::metrics::Metrics;
use crate::upstream::Quotas;

/// What poll loops take from the configuration besides their routes.
#[derive(Default)]
pub(super) struct Settings {
    /// By upstream name.
    sources: HashMap<String, Arc<dyn Source>>,
    pub(super) tokens: Tokens,
    pub(super) guests: Guests,
    pub(super) secrets: Secrets,
    /// See [`own_routes::routes`].
    own_routes: HashMap<usize, Arc<Route>>,
    /// By upstream name.
    upstreams: HashMap<String, Upstream>,
}

/// What is known of an upstream as long as the configuration has it.
#[derive(Clone)]
struct Upstream {
    /// Its poll loops.
    sharers: Arc<AtomicUsize>,
    /// What it itself allows.
    quotas: Arc<Quotas>,
}

impl Settings {
    /// Reads them, and takes over what `before` knows of the same. `sources`: by upstream name.
    pub(super) fn new(
        config: &Config,
        metrics: &Metrics,
        sources: HashMap<String, Arc<dyn Source>>,
        before: &Settings,
    ) -> Settings {
        let secrets = Secrets::new(config, &metrics.secret_file_failures, &before.secrets);
        let upstream = |upstream: &Arc<crate::config::Upstream>| {
            let known = before.upstreams.get(&upstream.name);
            let sharers = known.map_or_else(Arc::default, |known| known.sharers.clone());
            let is_shared = upstream.quota_is_shared;
            let quotas =
                known.map(|known| &known.quotas).filter(|quotas| quotas.is_shared() == is_shared).cloned();
            let quotas = quotas.unwrap_or_else(|| Arc::new(Quotas::new(is_shared)));
            (upstream.name.clone(), Upstream { sharers, quotas })
        };
        Settings {
            guests: Guests::new(config, &secrets, &before.guests),
            tokens: Tokens::new(config, &sources, &secrets, &before.tokens),
            secrets,
            own_routes: own_routes::routes(config),
            upstreams: config.upstreams.iter().map(upstream).collect(),
            sources,
        }
    }

    pub(super) fn source(&self, upstream: &str) -> Option<Arc<dyn Source>> {
        self.sources.get(upstream).cloned()
    }

    /// A route as clients' own credentials are checked by it.
    pub(super) fn own_route(&self, route: usize) -> Option<Arc<Route>> {
        self.own_routes.get(&route).cloned()
    }

    /// Poll loops of an upstream.
    pub(super) fn sharers(&self, upstream: &str) -> Option<Arc<AtomicUsize>> {
        self.upstreams.get(upstream).map(|upstream| upstream.sharers.clone())
    }

    /// What an upstream itself allows.
    pub(super) fn quotas(&self, upstream: &str) -> Option<Arc<Quotas>> {
        self.upstreams.get(upstream).map(|upstream| upstream.quotas.clone())
    }
}
