//! What a dashboard says of the process and of its upstreams.
//!
//! Must not know: resources.

use serde_json::{Value, json};

use crate::admin::cluster;
use crate::admin::context::{Context, UpstreamView};

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
        "upstreams": (context.upstreams)().iter().map(upstream).collect::<Vec<_>>(),
        "cluster": context.cluster.as_deref().map(cluster::describe),
    })
}

fn upstream(view: &UpstreamView) -> Value {
    let seconds = |time: std::time::Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
    json!({
        "name": view.name,
        "servers": view.standing.servers,
        "healthy": view.standing.healthy,
        "breaker_open": view.standing.breaker_open,
        "waiting": view.standing.waiting,
        "passing": view.standing.passing,
        "quota_wait_s": view.standing.quota_wait.map(seconds),
        "budget_rate": view.standing.budget_rate,
    })
}
