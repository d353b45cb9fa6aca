//! The other nodes of an application, where its configuration has a `cluster` (contract §13).
//!
//! Must not know: engines, what nodes tell each other.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crate::cluster::Others;
use crate::config::{Config, Route};
use crate::metrics::Metrics;
use crate::poll::Services;
use crate::poll::backplane::Backplane;
use crate::upstream::Client;

/// This node's side of its cluster; nothing where there is none.
pub(super) struct Cluster(Option<Arc<Others>>);

impl Cluster {
    /// Begins to connect to the engine. Returns at once: without it each node polls for itself.
    ///
    /// # Errors
    /// The thread of the cluster cannot be started, or this program was built without the engine.
    pub(super) fn start(config: &Config, metrics: &Metrics) -> io::Result<Cluster> {
        if config.cluster.is_none() {
            return Ok(Cluster(None));
        }
        let metrics = metrics.cluster().map_err(io::Error::other)?;
        Ok(Cluster(Others::start(config, metrics)?.map(Arc::new)))
    }

    /// The poll loops' share in it.
    pub(super) fn joined_by(&self, services: Services) -> Services {
        match &self.0 {
            Some(others) => services.with_backplane(others.clone()),
            None => services,
        }
    }

    /// Has polls use their budgets together with those of other nodes.
    pub(super) fn share_budgets(&self, clients: &HashMap<String, Arc<Client>>) {
        let Some(others) = &self.0 else { return };
        let gates = clients.iter().map(|(name, client)| (name.clone(), client.gate().clone()));
        others.share_budgets(gates.collect());
    }

    /// Follows another configuration: what resources are called between the nodes, and which budgets they share.
    pub(super) fn follow(&self, config: &Config, clients: &HashMap<String, Arc<Client>>) {
        let Some(others) = &self.0 else { return };
        others.name_routes(config);
        self.share_budgets(clients);
    }

    /// Whether the resources of two routes have the same names between the nodes; without other nodes they have.
    pub(super) fn names_alike(&self, one: &Route, other: &Route) -> bool {
        self.0.is_none() || crate::cluster::names_alike(one, other)
    }

    /// The other nodes.
    pub(super) fn backplane(&self) -> Option<Arc<dyn Backplane>> {
        self.0.clone().map(|others| others as Arc<dyn Backplane>)
    }

    /// What operators see and do of it.
    pub(super) fn others(&self) -> Option<Arc<Others>> {
        self.0.clone()
    }

    /// Lets other nodes take over at once, before this one drains. It goes on with what no other node has a client for.
    pub(super) async fn leave(&self) {
        let Some(others) = &self.0 else { return };
        if let Err(error) = others.leave().await {
            tracing::info!("the other nodes take over when the lease ends: {error}");
        }
    }

    /// Says that this node is gone, after the drain.
    pub(super) async fn part(&self) {
        let Some(others) = &self.0 else { return };
        if let Err(error) = others.part().await {
            tracing::info!("the other nodes notice when the lease ends: {error}");
        }
    }
}
