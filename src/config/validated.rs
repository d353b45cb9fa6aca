//! The whole configuration, as validated: an illegal one cannot be built.
//!
//! Must not know: how it was written.

use std::sync::Arc;

use super::admin::Admin;
use super::cluster::Cluster;
use super::files::Files;
use super::listeners::Listener;
use super::otlp::Otlp;
use super::problem::Problem;
use super::process::{Drain, Limits, Log, Reload, Threads, Upgrade};
use super::route::Route;
use super::secret::Secret;
use super::times::Times;
use super::upstream::Upstream;

/// A validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// The operators' own listener. `None` if there is none.
    pub admin: Option<Admin>,
    /// The APIs behind pollcast.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The upstream of requests without a route. `None` if they get 404 (default).
    pub passthrough: Option<Arc<Upstream>>,
    /// What is polled and pushed. The most specific path counts, in whatever order they stand.
    pub routes: Vec<Arc<Route>>,
    /// The bounds of the whole process.
    pub limits: Limits,
    /// How a shutdown goes.
    pub drain: Drain,
    /// `None` if SIGQUIT and `--upgrade` are refused.
    pub upgrade: Option<Upgrade>,
    /// What has the file read again.
    pub reload: Reload,
    /// How many threads serve requests and streams.
    pub threads: Threads,
    /// Own public helpers live under this path prefix (`/-/pollcast/`).
    pub public_prefix: String,
    /// Key of the content version (contract §2); the same on all nodes.
    pub version_key: Option<Secret>,
    /// What is logged, and how.
    pub log: Log,
    /// Where spans go; `None` if nothing is traced.
    pub tracing: Option<Otlp>,
    /// The nodes that polls are shared with; `None` if there are none.
    pub cluster: Option<Arc<Cluster>>,
    /// Times that no key changes; tests shorten them.
    pub times: Times,
    /// The files that it was read from.
    pub files: Files,
    /// Settings that are allowed but look like mistakes: the operator is told of them.
    pub warnings: Vec<Problem>,
}
