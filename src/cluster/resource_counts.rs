//! How many resources a node has which role for, as operators see it: exact at each moment.
//!
//! Must not know: why a role changes.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::IntGauge;

use crate::metrics::{ClusterMetrics, ROLES};
use crate::poll::backplane::Role;

/// The place of a role in [`ROLES`].
pub(super) fn role_place(role: Role) -> usize {
    match role {
        Role::Holder { .. } => 0,
        Role::Mirror => 1,
        Role::Alone => 2,
        Role::Waiting => 3,
    }
}

/// The resources that a node holds.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// All of them.
    pub all: u64,
    /// By the numbers of their upstreams.
    pub by_upstream: HashMap<u64, u64>,
}

/// The gauges of all roles.
#[derive(Clone)]
pub(super) struct RoleCounts(Arc<[IntGauge; 4]>);

impl RoleCounts {
    pub(super) fn new(metrics: &ClusterMetrics) -> RoleCounts {
        RoleCounts(Arc::new(ROLES.map(|role| metrics.seats.with_label_values(&[role]))))
    }

    /// There is one more resource with this role.
    pub(super) fn enter(&self, role: Role) {
        self.0[role_place(role)].inc();
    }

    /// There is one less.
    pub(super) fn leave(&self, role: Role) {
        self.0[role_place(role)].dec();
    }
}
