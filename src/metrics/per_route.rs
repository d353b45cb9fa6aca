//! Metrics with the label `route`: so many routes have series of their own, and the others share one.
//!
//! Must not know: what is counted.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;

use super::series::SeriesBy;

/// The label whose values are the paths of routes.
pub(super) const ROUTE: &str = "route";

/// The label of all routes beyond `limits.metric_routes`. Paths of routes begin with a slash, so none is called so.
pub const OTHER_ROUTES: &str = "other";

/// Most labels of one metric.
const LABELS_MAX: usize = 4;

/// The routes that have series of their own: the first that something was counted for.
pub(super) struct RouteLabels {
    named: RwLock<HashSet<Box<str>>>,
    routes_max: AtomicUsize,
    series: SeriesBy,
}

impl Default for RouteLabels {
    fn default() -> RouteLabels {
        let routes_max = AtomicUsize::new(usize::MAX);
        RouteLabels { named: RwLock::default(), routes_max, series: SeriesBy::new(ROUTE) }
    }
}

impl RouteLabels {
    /// Bounds the routes that are named from now on.
    pub(super) fn bound(&self, routes_max: usize) {
        self.routes_max.store(routes_max, Ordering::Relaxed);
    }

    /// Forgets the routes that are not among these, with their series, so that others have room. What holds such a series
    /// goes on to count, and no scrape sees it.
    pub(super) fn keep(&self, routes: &HashSet<&str>) {
        let mut named = self.named.write();
        let gone: HashSet<Box<str>> = named.extract_if(|route| !routes.contains(&**route)).collect();
        drop(named);
        if !gone.is_empty() {
            self.series.forget(|route| gone.contains(route));
        }
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

impl<B: MetricVecBuilder + 'static> PerRoute<MetricVec<B>> {
    pub(super) fn new(metric: MetricVec<B>, at: usize, routes: Arc<RouteLabels>) -> Self {
        let metric = routes.series.watched(metric, &[ROUTE]);
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

/// The counts of requests that passed through (`passed`), or that were refused, by route and reason.
pub(super) fn reasons(requests: &[MetricFamily], passed: bool) -> Vec<(String, String, u64)> {
    let counted = requests.iter().flat_map(MetricFamily::get_metric).filter_map(|series| {
        let label = |name| series.get_label().iter().find(|label| label.name() == name);
        let [route, answer, reason] =
            [ROUTE, "answer", "reason"].map(|name| label(name).map_or("", |label| label.value()));
        let is_wanted = match answer {
            "passthrough" => passed,
            "refused" | "soft-refused" => !passed,
            _ => false,
        };
        let count = series.get_counter().get_value() as u64;
        is_wanted.then(|| (route.to_owned(), reason.to_owned(), count))
    });
    counted.collect()
}

impl fmt::Debug for RouteLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteLabels").field("named", &self.named).finish_non_exhaustive()
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

    #[test]
    fn routes_that_are_gone_have_no_series_and_leave_their_room() {
        let metrics = crate::metrics::Metrics::new().expect("metrics");
        metrics.bound_routes(2);
        for route in ["/kept", "/gone", "/late", ""] {
            metrics.events.with_label_values(&["sse", route]).inc();
            metrics.paced(route, "interval", std::time::Duration::from_secs(1));
        }
        metrics.keep_routes(["/kept", "/late"].into_iter());
        let text = String::from_utf8(metrics.encode().expect("text")).expect("UTF-8");
        assert!(!text.contains("/gone") && !text.contains("\"/late\""), "{text}");
        for route in ["route=\"/kept\"", "route=\"other\"", "route=\"\""] {
            assert!(text.contains(route), "{route}: {text}");
        }
        metrics.events.with_label_values(&["sse", "/late"]).inc();
        let text = String::from_utf8(metrics.encode().expect("text")).expect("UTF-8");
        assert!(text.contains("route=\"/late\""), "{text}");
    }
}
