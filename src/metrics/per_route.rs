//! Metrics with the label `route`: so many routes have series of their own, and the others share one.
//!
//! Must not know: what is counted.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use prometheus::core::{MetricVec, MetricVecBuilder};

/// The label of all routes beyond `limits.metric_routes`. Paths of routes begin with a slash, so none is called so.
pub const OTHER_ROUTES: &str = "other";

/// Most labels of one metric.
const LABELS_MAX: usize = 4;

/// The routes that have series of their own: the first that something was counted for.
#[derive(Debug)]
pub(super) struct RouteLabels {
    named: RwLock<HashSet<Box<str>>>,
    routes_max: AtomicUsize,
}

impl Default for RouteLabels {
    fn default() -> RouteLabels {
        RouteLabels { named: RwLock::default(), routes_max: AtomicUsize::new(usize::MAX) }
    }
}

impl RouteLabels {
    /// Bounds the routes that are named from now on.
    pub(super) fn bound(&self, routes_max: usize) {
        self.routes_max.store(routes_max, Ordering::Relaxed);
    }

    /// Returns the value of the label for a route. The empty one stands for requests without a route.
    fn shown<'a>(&self, route: &'a str) -> &'a str {
        if route.is_empty() || self.named.read().contains(route) {
            return route;
        }
        let mut named = self.named.write();
        if named.contains(route) || named.len() < self.routes_max.load(Ordering::Relaxed) {
            named.insert(route.into());
            return route;
        }
        OTHER_ROUTES
    }
}

/// A metric with the label `route`.
#[derive(Clone)]
pub struct PerRoute<V> {
    metric: V,
    /// The place of `route` among the labels.
    at: usize,
    routes: Arc<RouteLabels>,
}

impl<B: MetricVecBuilder> PerRoute<MetricVec<B>> {
    pub(super) fn new(metric: MetricVec<B>, at: usize, routes: Arc<RouteLabels>) -> Self {
        PerRoute { metric, at, routes }
    }

    /// Returns the series of these labels. Routes beyond `limits.metric_routes` share one.
    ///
    /// # Panics
    /// The labels are not as many as the metric has, which are constants of this program.
    pub fn with_label_values<L: AsRef<str>>(&self, labels: &[L]) -> B::M {
        let mut values = [""; LABELS_MAX];
        for (value, label) in values.iter_mut().zip(labels) {
            *value = label.as_ref();
        }
        values[self.at] = self.routes.shown(values[self.at]);
        self.metric.with_label_values(&values[..labels.len()])
    }

    /// The metric with all its series.
    pub fn all(&self) -> &MetricVec<B> {
        &self.metric
    }
}

impl<V> fmt::Debug for PerRoute<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerRoute").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_routes_are_named_and_the_others_share_one_series() {
        let labels = RouteLabels::default();
        labels.bound(2);
        assert_eq!(
            ["/a", "/b", "/c", "/a", ""].map(|route| labels.shown(route)),
            ["/a", "/b", "other", "/a", ""]
        );
    }
}
