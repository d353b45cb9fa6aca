//! The series of metrics by one of their labels, so that those of a route or an upstream that a reload has removed can be
//! forgotten.
//!
//! Must not know: what is counted.

use std::collections::HashMap;
use std::fmt;

use parking_lot::Mutex;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;

/// The label whose values are the names of upstreams.
pub(super) const UPSTREAM: &str = "upstream";

/// Forgets the series of one metric whose value of the label is gone.
type Forget = Box<dyn Fn(&dyn Fn(&str) -> bool) + Send + Sync>;

/// The metrics that have one label.
pub(super) struct SeriesBy {
    label: &'static str,
    /// One for each metric.
    forgets: Mutex<Vec<Forget>>,
}

impl SeriesBy {
    pub(super) fn new(label: &'static str) -> SeriesBy {
        SeriesBy { label, forgets: Mutex::default() }
    }

    /// Returns the metric. If it has the label, its series follow [`SeriesBy::forget`] from now on.
    pub(super) fn watched<B: MetricVecBuilder + 'static>(
        &self,
        metric: MetricVec<B>,
        labels: &[&str],
    ) -> MetricVec<B> {
        if labels.contains(&self.label) {
            let (held, label) = (metric.clone(), self.label);
            self.forgets.lock().push(Box::new(move |is_gone| forget(&held, label, is_gone)));
        }
        metric
    }

    /// Forgets the series of values that are gone. What holds such a series goes on to count, and no scrape sees it.
    pub(super) fn forget(&self, is_gone: impl Fn(&str) -> bool) {
        self.forgets.lock().iter().for_each(|forget| forget(&is_gone));
    }
}

fn forget<B: MetricVecBuilder>(metric: &MetricVec<B>, label: &str, is_gone: &dyn Fn(&str) -> bool) {
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

impl fmt::Debug for SeriesBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesBy").field("label", &self.label).finish_non_exhaustive()
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
