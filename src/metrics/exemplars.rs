//! Exemplars (OpenMetrics 1.0): of each bucket of `poll_duration_seconds`, the last poll whose trace is recorded.
//!
//! Must not know: what is traced, how a trace is made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// The upper bounds of the buckets of `poll_duration_seconds`.
pub(super) const POLL_BOUNDS_SECONDS: [f64; 13] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// One for each bucket; the last bucket has no bound.
const BUCKETS_COUNT: usize = POLL_BOUNDS_SECONDS.len() + 1;

/// What was observed last of a bucket and is in a trace.
#[derive(Debug, Clone, PartialEq)]
struct Exemplar {
    trace_id: String,
    span_id: String,
    value: f64,
    /// Seconds since 1970.
    at: f64,
}

/// The exemplars of one upstream.
#[derive(Debug, Default)]
pub struct Exemplars(Mutex<[Option<Exemplar>; BUCKETS_COUNT]>);

impl Exemplars {
    /// Notes a poll that took so many seconds, by the `traceparent` of its span (W3C Trace Context).
    pub fn note(&self, traceparent: &str, value: f64) {
        let mut parts = traceparent.split('-').skip(1).map(str::to_owned);
        let (Some(trace_id), Some(span_id)) = (parts.next(), parts.next()) else { return };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.0.lock()[bucket(value)] = Some(Exemplar { trace_id, span_id, value, at });
    }

    /// What stands behind the sample of a bucket, by its place. Returns `None` if nothing in it is in a trace.
    pub(super) fn text(&self, bucket: usize) -> Option<String> {
        let exemplar = self.0.lock().get(bucket)?.clone()?;
        let Exemplar { trace_id, span_id, value, at } = exemplar;
        Some(format!(" # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {value} {at:.3}"))
    }
}

/// The place of the bucket that a value is in alone: a bound belongs to its bucket.
fn bucket(value: f64) -> usize {
    POLL_BOUNDS_SECONDS.partition_point(|bound| *bound < value)
}

/// The exemplars of all upstreams, by their names: as many as the configurations of this process have named.
pub(super) type OfUpstreams = Mutex<HashMap<String, Arc<Exemplars>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_the_exemplar_of_the_bucket_that_it_is_counted_in_alone() {
        let exemplars = Exemplars::default();
        for (value, place) in [(0.0, 0), (0.001, 0), (0.0011, 1), (30.0, 12), (31.0, 13)] {
            assert_eq!(bucket(value), place, "{value}");
        }
        exemplars.note("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 0.02);
        exemplars.note("nonsense", 0.02);
        let text = exemplars.text(3).expect("there is one");
        let wanted = " # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\",span_id=\"00f067aa0ba902b7\"} 0.02 ";
        assert!(text.starts_with(wanted), "{text}");
        assert_eq!((exemplars.text(2), exemplars.text(BUCKETS_COUNT)), (None, None));
    }
}
