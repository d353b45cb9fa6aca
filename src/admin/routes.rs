//! What operators see of the routes: whether they are polled, and why requests passed through or were refused.
//!
//! Must not know: HTTP, resources.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::config::Route;
use crate::metrics::{Metrics, OTHER_ROUTES};

/// Adds `routes` to a list, in the order of the file, `no_route` with the reasons of requests that no route covers, and
/// `other_routes` with those of routes that have no series of their own (`limits.metric_routes`).
pub fn describe(metrics: &Metrics, routes: &[Arc<Route>], list: &mut Value) {
    let (passed, refused) = (metrics.reasons(true), metrics.reasons(false));
    // Routes of one path have one label.
    let of = |counted: &[(String, String, u64)], path: &str| -> Value {
        let mut reasons = Map::new();
        for (_, reason, count) in counted.iter().filter(|(route, ..)| route == path) {
            let before = reasons.get(reason).and_then(Value::as_u64).unwrap_or_default();
            reasons.insert(reason.clone(), Value::from(before + count));
        }
        Value::Object(reasons)
    };
    let described = routes.iter().map(|route| {
        json!({
            "path": route.path,
            "hosts": route.hosts,
            "poll": match (route.polled, route.switched_off) {
                (true, _) => "on",
                (false, None) => "off",
                (false, Some(_)) => "switched-off",
            },
            "off_since": route.switched_off.map(|at| humantime::format_rfc3339_millis(at).to_string()),
            "passed_through": of(&passed, &route.path),
            "refused": of(&refused, &route.path),
        })
    });
    list["routes"] = described.collect();
    let all = |path| json!({ "passed_through": of(&passed, path), "refused": of(&refused, path) });
    (list["no_route"], list["other_routes"]) = (all(""), all(OTHER_ROUTES));
}
