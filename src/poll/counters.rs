//! What the polls of one resource cost, and what they save.
//!
//! Must not know: what came of them.

use std::time::Duration;

use http::HeaderValue;

use crate::metrics::PollMetrics;
use crate::upstream::Answer;

/// What the polls of one resource are counted in.
pub(super) struct Counters {
    metrics: PollMetrics,
    /// Head and body of the last whole answer: what a client polling for itself would have cost.
    last_bytes: usize,
}

impl Counters {
    pub(super) fn new(metrics: PollMetrics) -> Counters {
        Counters { metrics, last_bytes: 0 }
    }

    /// An answer came.
    pub(super) fn answered(&mut self, answer: &Answer) {
        self.last_bytes = answer.head_bytes + answer.body_bytes;
        self.metrics.head_bytes.inc_by(answer.head_bytes as u64);
        self.metrics.body_bytes.inc_by(answer.body_bytes as u64);
    }

    /// A poll has ended that took so long. `traceparent`: that of its span, if it is recorded.
    pub(super) fn took(&self, time: Duration, traceparent: Option<&HeaderValue>) {
        self.metrics.seconds.observe(time.as_secs_f64());
        if let Some(traceparent) = traceparent.and_then(|field| field.to_str().ok()) {
            self.metrics.exemplars.note(traceparent, time.as_secs_f64());
        }
    }

    /// A poll has ended that so many clients would have made for themselves.
    pub(super) fn saved(&self, followers: usize) {
        let others = followers.saturating_sub(1) as u64;
        self.metrics.saved_requests.inc_by(others);
        self.metrics.saved_bytes.inc_by(others * self.last_bytes as u64);
    }
}
