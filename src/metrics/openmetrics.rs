//! OpenMetrics 1.0 text: the same series as in the older format, with the differences that its parsers insist on.
//!
//! Must not know: which metrics there are.

use std::fmt::Write;

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// Writes families in OpenMetrics 1.0. A counter's family is named without `_total`, numbers of `le` have a point, and
/// the last line is `# EOF`. `exemplar`: what stands behind the sample of a bucket of this family and series, by the
/// bucket's place.
pub(super) fn write(
    families: &[MetricFamily],
    exemplar: impl Fn(&str, &Metric, usize) -> Option<String>,
) -> String {
    let mut text = String::new();
    for family in families {
        let name = family.name();
        let (name, kind) = match family.get_field_type() {
            MetricType::COUNTER => (name.strip_suffix("_total").unwrap_or(name), "counter"),
            MetricType::GAUGE => (name, "gauge"),
            MetricType::HISTOGRAM => (name, "histogram"),
            // Nothing here makes these.
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "# TYPE {name} {kind}");
        let _ = writeln!(text, "# HELP {name} {}", escaped(family.help()));
        for metric in family.get_metric() {
            series(&mut text, name, kind, metric, |bucket| exemplar(name, metric, bucket));
        }
    }
    text.push_str("# EOF\n");
    text
}

fn series(
    text: &mut String,
    name: &str,
    kind: &str,
    metric: &Metric,
    exemplar: impl Fn(usize) -> Option<String>,
) {
    match kind {
        "counter" => sample(text, (name, "_total"), metric, None, metric.get_counter().get_value()),
        "gauge" => sample(text, (name, ""), metric, None, metric.get_gauge().get_value()),
        _ => {
            let histogram = metric.get_histogram();
            let mut bucket = |place: usize, bound: &str, count: f64| {
                sample(text, (name, "_bucket"), metric, Some(bound), count);
                if let Some(exemplar) = exemplar(place) {
                    text.truncate(text.trim_end().len());
                    text.push_str(&exemplar);
                    text.push('\n');
                }
            };
            for (place, found) in histogram.get_bucket().iter().enumerate() {
                // With a point, as its parsers compare these labels as texts.
                bucket(place, &format!("{:?}", found.upper_bound()), found.cumulative_count() as f64);
            }
            let count = histogram.get_sample_count() as f64;
            bucket(histogram.get_bucket().len(), "+Inf", count);
            sample(text, (name, "_sum"), metric, None, histogram.get_sample_sum());
            sample(text, (name, "_count"), metric, None, count);
        }
    }
}

fn sample(text: &mut String, (name, part): (&str, &str), metric: &Metric, bound: Option<&str>, value: f64) {
    text.push_str(name);
    text.push_str(part);
    let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
    let mut opening = '{';
    for (label, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        let _ = write!(text, "{opening}{label}=\"{}\"", escaped(value));
        opening = ',';
    }
    if opening == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

    #[test]
    fn counters_histograms_and_labels_are_written_as_the_format_wants_them() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("a_total", "A \"b\"."), &["x"]).unwrap();
        counter.with_label_values(&["q\"\\\n"]).inc();
        let histogram = Histogram::with_opts(HistogramOpts::new("h", "H.").buckets(vec![0.5, 1.0])).unwrap();
        histogram.observe(0.7);
        registry.register(Box::new(counter)).unwrap();
        registry.register(Box::new(histogram)).unwrap();
        assert_eq!(
            super::write(&registry.gather(), |family, _, bucket| {
                (family == "h" && bucket == 1).then(|| " # {trace_id=\"t\"} 0.7 1.5".to_owned())
            }),
            "# TYPE a counter\n# HELP a A \\\"b\\\".\na_total{x=\"q\\\"\\\\\\n\"} 1\n\
             # TYPE h histogram\n# HELP h H.\nh_bucket{le=\"0.5\"} 0\nh_bucket{le=\"1.0\"} 1 # {trace_id=\"t\"} 0.7 1.5\nh_bucket{le=\"+Inf\"} 1\n\
             h_sum 0.7\nh_count 1\n# EOF\n"
        );
    }
}
