//! The whole configuration, as validated: an illegal one cannot be built.
//!
//! Must not know: how it was written.

use std::sync::Arc;

use super::admin::Admin;
use super::listeners::Listener;
use super::problem::Problem;
use super::process::{Drain, Limits, Log, Threads, Upgrade};
use super::route::Route;
use super::secret::Secret;
use super::times::Times;
use super::upstream::Upstream;

/// A validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub listeners: Vec<Listener>,
    pub admin: Option<Admin>,
    pub upstreams: Vec<Arc<Upstream>>,
    /// Where everything without a route goes; `None` for 404.
    pub passthrough: Option<Arc<Upstream>>,
    pub routes: Vec<Arc<Route>>,
    pub limits: Limits,
    pub drain: Drain,
    /// `None` if SIGQUIT and `--upgrade` are refused.
    pub upgrade: Option<Upgrade>,
    pub threads: Threads,
    /// Own public helpers live under this path prefix (`/-/pollcast/`).
    pub public_prefix: String,
    /// Key of the content version (contract §2); the same on all nodes.
    pub version_key: Option<Secret>,
    pub log: Log,
    /// What no key changes; tests shorten it.
    pub times: Times,
    /// What is allowed but looks like a mistake; the operator is told, nothing is refused.
    pub warnings: Vec<Problem>,
}
