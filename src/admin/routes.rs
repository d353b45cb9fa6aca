//! What operators see of the routes: whether they are polled, and why requests passed through or were refused.
//!
//! Must not know: HTTP, resources.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::config::Route;
use crate::metrics::{Metrics, OTHER_ROUTES};

/// Why requests passed through or were refused since the start.
pub(super) struct Reasons {
    /// Label of the route, reason, count.
    passed: Vec<(String, String, u64)>,
    refused: Vec<(String, String, u64)>,
}

impl Reasons {
    pub(super) fn of(metrics: &Metrics) -> Reasons {
        Reasons { passed: metrics.reasons(true), refused: metrics.reasons(false) }
    }

    /// Those of requests that no route covers.
    pub(super) fn uncovered(&self) -> Value {
        self.both("")
    }

    fn both(&self, label: &str) -> Value {
        json!({ "passed_through": at(&self.passed, label), "refused": at(&self.refused, label) })
    }
}

/// The counts of one label by reason. Routes of one path have one label.
fn at(counted: &[(String, String, u64)], label: &str) -> Value {
    let mut reasons = Map::new();
    for (_, reason, count) in counted.iter().filter(|(route, ..)| route == label) {
        let before = reasons.get(reason).and_then(Value::as_u64).unwrap_or_default();
        reasons.insert(reason.clone(), Value::from(before + count));
    }
    Value::Object(reasons)
}

/// Whether a route is polled, in a word: `on`, `off` as its file says, or `switched-off` by an operator.
pub(super) fn polled(route: &Route) -> &'static str {
    match (route.polled, route.switched_off) {
        (true, _) => "on",
        (false, None) => "off",
        (false, Some(_)) => "switched-off",
    }
}

/// Describes one route.
pub(super) fn describe_one(route: &Route, reasons: &Reasons) -> Value {
    json!({
        "path": route.path,
        "hosts": route.hosts,
        "poll": polled(route),
        "off_since": route.switched_off.map(|at| humantime::format_rfc3339_millis(at).to_string()),
        "passed_through": at(&reasons.passed, &route.path),
        "refused": at(&reasons.refused, &route.path),
    })
}

/// Adds `routes` to a list, in the order of the file, `no_route` with the reasons of requests that no route covers, and
/// `other_routes` with those of routes that have no series of their own (`limits.metric_routes`).
pub fn describe(metrics: &Metrics, routes: &[Arc<Route>], list: &mut Value) {
    let reasons = Reasons::of(metrics);
    list["routes"] = routes.iter().map(|route| describe_one(route, &reasons)).collect();
    (list["no_route"], list["other_routes"]) = (reasons.uncovered(), reasons.both(OTHER_ROUTES));
}
