//! What a dashboard says of the process and of its upstreams.
//!
//! Must not know: resources.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::admin::cluster;
use crate::admin::context::{Context, UpstreamView};
use crate::config::Route;

/// Most routes that are named as switched off.
const ROUTES_OFF_MAX: usize = 100;

/// Returns what changes from one moment to the next beside the resources.
pub(super) fn describe(context: &Context, now_ms: u64) -> Value {
    json!({
        "now": now_ms,
        "version": env!("CARGO_PKG_VERSION"),
        "draining": (context.is_draining)(),
        "token": context.token.is_some(),
        "resources": context.hub.len(),
        "resources_max": context.hub.max_topics(),
        "snapshot_bytes": context.hub.snapshot_bytes(),
        "routes_off": routes_off(&(context.routes)()),
        "upstreams": (context.upstreams)().iter().map(upstream).collect::<Vec<_>>(),
        "cluster": context.cluster.as_deref().map(cluster::describe),
    })
}

/// The paths of the routes that an operator has switched off, each once, in their order.
fn routes_off(routes: &[Arc<Route>]) -> Vec<&str> {
    let off = routes.iter().filter(|route| route.switched_off.is_some()).map(|route| route.path.as_str());
    let paths: BTreeSet<&str> = off.collect();
    paths.into_iter().take(ROUTES_OFF_MAX).collect()
}

fn upstream(view: &UpstreamView) -> Value {
    let seconds = |time: std::time::Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
    json!({
        "name": view.name,
        "servers": view.standing.servers,
        "healthy": view.standing.healthy,
        "breaker_open": view.standing.breaker_open,
        "waiting": view.standing.waiting,
        "polling": view.standing.polling,
        "passing": view.standing.passing,
        "quota_wait_s": view.standing.quota_wait.map(seconds),
        "budget_rate": view.standing.budget_rate,
    })
}
