//! Metrics with the label `upstream`: the series of an upstream that a reload has removed are forgotten.
//!
//! Must not know: what is counted.

use std::collections::{HashMap, HashSet};
use std::fmt;

use parking_lot::Mutex;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;

/// The label whose values are the names of upstreams.
pub(super) const UPSTREAM: &str = "upstream";

/// Removes the series of one metric whose upstream is not one of these.
type Keep = Box<dyn Fn(&HashSet<&str>) + Send + Sync>;

/// The metrics with the label `upstream`.
#[derive(Default)]
pub(super) struct UpstreamLabels(Mutex<Vec<Keep>>);

impl UpstreamLabels {
    /// Returns the metric. If it has the label, its series follow [`UpstreamLabels::keep`] from now on.
    pub(super) fn watched<B: MetricVecBuilder + 'static>(
        &self,
        metric: MetricVec<B>,
        labels: &[&str],
    ) -> MetricVec<B> {
        if labels.contains(&UPSTREAM) {
            let held = metric.clone();
            self.0.lock().push(Box::new(move |names| {
                remove_series(&held, UPSTREAM, |upstream| !names.contains(upstream));
            }));
        }
        metric
    }

    /// Forgets the series of all upstreams but these. What holds such a series goes on to count, and no scrape sees it.
    pub(super) fn keep(&self, names: &HashSet<&str>) {
        self.0.lock().iter().for_each(|keep| keep(names));
    }
}

/// Removes the series of a metric whose label has a value that is gone.
pub(super) fn remove_series<B: MetricVecBuilder>(
    metric: &MetricVec<B>,
    label: &str,
    is_gone: impl Fn(&str) -> bool,
) {
    let families = metric.collect();
    for series in families.iter().flat_map(MetricFamily::get_metric) {
        let labels: HashMap<&str, &str> =
            series.get_label().iter().map(|label| (label.name(), label.value())).collect();
        if labels.get(label).is_some_and(|value| is_gone(value)) {
            // One that another reload has removed meanwhile is gone as well.
            let _ = metric.remove(&labels);
        }
    }
}

impl fmt::Debug for UpstreamLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamLabels").field("metrics", &self.0.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    #[test]
    fn upstreams_that_are_gone_have_no_series_and_others_keep_their_counts() {
        let metrics = Metrics::new().expect("metrics");
        metrics.make_upstreams(["kept", "spare"].into_iter());
        for upstream in ["kept", "spare"] {
            let polling = metrics.polling(upstream, "/a");
            polling.seconds.observe(1.0);
            polling.exemplars.note("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 1.0);
            metrics.polled(upstream, "/a", "changed");
        }
        metrics.keep_upstreams(["kept"].into_iter());
        for text in
            [String::from_utf8(metrics.encode().expect("text")).expect("UTF-8"), metrics.encode_openmetrics()]
        {
            assert!(!text.contains("\"spare\""), "{text}");
            assert!(text.contains("pollcast_poll_duration_seconds_count{upstream=\"kept\"} 1"), "{text}");
            assert!(
                text.contains("pollcast_polls_total{outcome=\"changed\",route=\"/a\",upstream=\"kept\"} 1"),
                "{text}"
            );
        }
        // One of the same name that comes later begins anew.
        metrics.make_upstreams(["spare"].into_iter());
        let text = metrics.encode_openmetrics();
        assert!(text.contains("pollcast_poll_duration_seconds_count{upstream=\"spare\"} 0"), "{text}");
        assert_eq!(text.matches("trace_id").count(), 1, "{text}");
    }
}
