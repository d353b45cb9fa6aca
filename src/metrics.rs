//! Every metric the process has, by name. Labels: transport, route, outcome, reason, upstream;
//! never a path, a key or an address.
//!
//! Must not know: what the figures are used for.

mod bypass;
mod log_loss;
mod make;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use tokio::runtime::Handle;

pub use bypass::Bypass;
pub use log_loss::{LogLoss, log_lines_lost};
use make::Make;

/// All metrics of one running application; each application has a registry of its own.
#[derive(Clone)]
#[allow(missing_docs, reason = "each has its name and its help text where it is registered, in `make`")]
pub struct Metrics {
    registry: Registry,
    pub subscribers: IntGaugeVec,
    pub bundled: IntGauge,
    pub requests: IntCounterVec,
    pub passthrough_active: IntGauge,
    pub polls: IntCounterVec,
    pub poll_failures: IntCounterVec,
    pub batches: IntCounterVec,
    pub batches_refused: IntCounterVec,
    pub secret_file_failures: IntCounter,
    pub poll_seconds: HistogramVec,
    pub interval_seconds: HistogramVec,
    pub items: IntCounterVec,
    pub gaps: IntCounterVec,
    pub upstream_bytes: IntCounterVec,
    pub saved_requests: IntCounterVec,
    pub saved_bytes: IntCounterVec,
    pub lag_seconds: HistogramVec,
    pub events: IntCounterVec,
    pub bytes_out: IntCounterVec,
    pub ends: IntCounterVec,
    pub stalls: IntCounterVec,
    pub slow_closes: IntCounterVec,
    pub message_pauses: IntCounterVec,
    pub http2_parked: IntCounter,
    pub resumes: IntCounterVec,
    pub refusals: IntCounterVec,
    pub authentications: IntCounterVec,
    pub authorizations: IntCounterVec,
    pub certificate_reloads: IntCounterVec,
    pub not_obeyed: IntCounterVec,
    pub doubtful_headers: IntCounterVec,
    pub jars_forgotten: IntCounter,
    pub vary_forgotten: IntCounter,
    pub touches: IntCounterVec,
    pub repolls: IntCounterVec,
    pub unconfirmed: IntCounterVec,
    pub slow_304: IntCounterVec,
    pub resources: IntGauge,
    pub snapshot_bytes: IntGauge,
    pub poll_body_bytes: IntGauge,
    pub poll_body_waits: IntCounter,
    pub history_bytes: IntGauge,
    pub snapshot_evictions: IntCounter,
    pub compressions: IntCounter,
    pub compressed_bytes: IntCounter,
    pub tasks: IntGaugeVec,
    pub build: GaugeVec,
    /// The runtimes whose tasks are counted when the metrics are asked for.
    runtimes: Arc<OnceLock<Vec<(&'static str, Handle)>>>,
}

/// What became of a request with a header that may choose the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubtOutcome {
    /// A plain request passed through.
    Passed,
    /// A push request was the API's.
    Asked,
    /// It was answered all the same: `share: public`.
    Counted,
}

impl DoubtOutcome {
    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            DoubtOutcome::Passed => "passed",
            DoubtOutcome::Asked => "asked",
            DoubtOutcome::Counted => "counted",
        }
    }
}

/// The label of answers that vary by User-Agent and were pushed all the same.
pub const VARY_USER_AGENT: &str = "vary-user-agent";

/// The transports as labels.
pub const SSE: &str = "sse";
/// The label of WebSockets.
pub const WEBSOCKET: &str = "websocket";
/// Ordinary polls of a connection that is not Pingora's.
pub const POLL: &str = "poll";
/// The label of held long-polls.
pub const LONG_POLL: &str = "long_poll";
/// Many resources on one connection.
pub const ENVELOPE: &str = "envelope";
/// The label of event streams of several resources.
pub const SSE_MANY: &str = "sse_many";

impl Metrics {
    /// Registers everything. The names are constants, so this fails only on a mistake in here.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let r = Make { registry: &registry };
        let metrics = Metrics {
            subscribers: r.gauges("subscribers", "Push clients now.", &["transport", "route"])?,
            bundled: r.gauge("connection_resources", "Resources followed on connections of many.")?,
            requests: r.counters(
                "requests_total",
                "Requests by how they were answered, and why they passed through if they did.",
                &["route", "answer", "reason"],
            )?,
            passthrough_active: r.gauge("passthrough_active", "Requests passing through now.")?,
            polls: r.counters(
                "polls_total",
                "Polls by outcome: changed, unchanged, not_modified, relayed, failed.",
                &["upstream", "route", "outcome"],
            )?,
            poll_failures: r.counters(
                "poll_failures_total",
                "Failed polls by class.",
                &["upstream", "class"],
            )?,
            batches: r.counters("batches_total", "Requests for many resources at once.", &["route"])?,
            batches_refused: r.counters(
                "batches_refused_total",
                "Requests for many resources that the upstream refused, and that were taken apart.",
                &["route"],
            )?,
            secret_file_failures: r.counter(
                "secret_file_failures_total",
                "Looks at files with secrets of polls that gave no value.",
            )?,
            poll_seconds: r.histograms(
                "poll_duration_seconds",
                "From the ask to the whole answer.",
                &["upstream"],
                vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            )?,
            items: r.counters("feed_items_total", "New items of feeds.", &["route"])?,
            gaps: r.counters(
                "feed_gaps_total",
                "Polls of feeds that did not reach back to the last known item.",
                &["route"],
            )?,
            interval_seconds: r.histograms(
                "poll_interval_seconds",
                "Effective intervals after polls that gave data, and what made them so long.",
                &["route", "why"],
                vec![0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0],
            )?,
            upstream_bytes: r.counters(
                "upstream_bytes_total",
                "Bytes of polled answers.",
                &["upstream", "part"],
            )?,
            saved_requests: r.counters(
                "saved_requests_total",
                "Upstream requests that every client polling for itself would have added.",
                &["route"],
            )?,
            saved_bytes: r.counters(
                "saved_bytes_total",
                "Upstream bytes that every client polling for itself would have added.",
                &["route"],
            )?,
            lag_seconds: r.histograms(
                "lag_seconds",
                "From the published change to the client's socket.",
                &["transport"],
                vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0],
            )?,
            events: r.counters("events_total", "Changes written.", &["transport", "route"])?,
            bytes_out: r.counters(
                "bytes_out_total",
                "Bytes written to push clients.",
                &["transport", "route"],
            )?,
            ends: r.counters("ends_total", "Push clients that ended.", &["transport", "reason"])?,
            stalls: r.counters("stalls_total", "Writes that met a full socket.", &["transport"])?,
            slow_closes: r.counters(
                "slow_closes_total",
                "Clients closed after stall_timeout.",
                &["transport"],
            )?,
            message_pauses: r.counters(
                "message_pauses_total",
                "Times that a WebSocket client was not read until its messages had room.",
                &["transport"],
            )?,
            http2_parked: r.counter(
                "http2_parked_requests_total",
                "Requests that waited because too many streams of their HTTP/2 connection have no window.",
            )?,
            resumes: r.counters(
                "resumes_total",
                "Push clients by what they came back with: none, current, known, unknown.",
                &["outcome"],
            )?,
            refusals: r.counters("refusals_total", "Requests refused, by limit.", &["reason"])?,
            authentications: r.counters(
                "authentications_total",
                "Requests by what authenticate said: let_in, or why not.",
                &["route", "outcome"],
            )?,
            authorizations: r.counters(
                "authorizations_total",
                "Checks of share: authorize: same, different, refused, failed.",
                &["route", "outcome"],
            )?,
            certificate_reloads: r.counters(
                "certificate_reloads_total",
                "Changes of certificate files that were found, by what they were: new, bad.",
                &["outcome"],
            )?,
            not_obeyed: r.counters(
                "sharing_signals_not_obeyed_total",
                "Answers that were shared although they say otherwise: on `share: public` routes, and vary-user-agent.",
                &["route", "signal"],
            )?,
            jars_forgotten: r.counter(
                "cookie_jars_forgotten_total",
                "Cookie jars of polls that were forgotten for want of room.",
            )?,
            vary_forgotten: r.counter(
                "vary_forgotten_total",
                "Times that what resources vary by was forgotten for want of room.",
            )?,
            doubtful_headers: r.counters(
                "doubtful_headers_total",
                "Requests with a header that may choose the content, by what became of them: passed, asked, counted.",
                &["route", "outcome"],
            )?,
            touches: r.counters(
                "touches_total",
                "Resources that writes touched, by cause: write, parent, relative, refresh, send, admin; beyond: too many below.",
                &["cause"],
            )?,
            repolls: r.counters("repolls_total", "Polls for the effect of a write.", &["route"])?,
            unconfirmed: r.counters(
                "unconfirmed_answers_total",
                "Answers that may be older than a write.",
                &["route"],
            )?,
            slow_304: r.counters(
                "slow_304_total",
                "Held conditional polls by end: changed, unchanged, released, abandoned, drain.",
                &["route", "end"],
            )?,
            resources: r.gauge("resources", "Resources held now.")?,
            snapshot_bytes: r.gauge("snapshot_bytes", "Memory of snapshots and their encodings.")?,
            poll_body_bytes: r.gauge("poll_body_bytes", "Memory of the bodies of polls in progress.")?,
            poll_body_waits: r.counter(
                "poll_body_waits_total",
                "Waits of polls for room among those bodies (limits.poll_body_bytes).",
            )?,
            history_bytes: r.gauge("history_bytes", "Memory of histories.")?,
            snapshot_evictions: r.counter(
                "snapshot_evictions_total",
                "Unfollowed snapshots dropped for limits.snapshot_bytes.",
            )?,
            compressions: r.counter(
                "compressions_total",
                "Bodies and events compressed, each once for all clients that take that coding.",
            )?,
            compressed_bytes: r.counter("compressed_bytes_total", "Bytes that compression made.")?,
            tasks: r.gauges("tasks", "Tasks that have not ended.", &["runtime"])?,
            build: r.float_gauges("build_info", "The running version.", &["version"])?,
            runtimes: Arc::default(),
            registry,
        };
        metrics.registry.register(Box::new(log_loss::collector()))?;
        metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Shows how many tasks these runtimes have, by name, from now on. Only the first call counts.
    pub fn watch_tasks(&self, runtimes: Vec<(&'static str, Handle)>) {
        let _ = self.runtimes.set(runtimes);
    }

    /// The Prometheus text format.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        for (name, runtime) in self.runtimes.get().into_iter().flatten() {
            let alive = i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX);
            self.tasks.with_label_values(&[name]).set(alive);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The metrics of the polls of one resource, looked up once.
    pub fn polling(&self, upstream: &str, route: &str) -> PollMetrics {
        PollMetrics {
            seconds: self.poll_seconds.with_label_values(&[upstream]),
            head_bytes: self.upstream_bytes.with_label_values(&[upstream, "head"]),
            body_bytes: self.upstream_bytes.with_label_values(&[upstream, "body"]),
            saved_requests: self.saved_requests.with_label_values(&[route]),
            saved_bytes: self.saved_bytes.with_label_values(&[route]),
        }
    }

    /// Counts one poll.
    pub fn polled(&self, upstream: &str, route: &str, outcome: &str) {
        self.polls.with_label_values(&[upstream, route, outcome]).inc();
    }

    /// Notes the interval that a poll led to.
    pub fn paced(&self, route: &str, why: &str, interval: Duration) {
        self.interval_seconds.with_label_values(&[route, why]).observe(interval.as_secs_f64());
    }

    /// The metrics of the streams of one route and transport, looked up once.
    pub fn stream(&self, transport: &'static str, route: &str) -> StreamMetrics {
        let labels = [transport, route];
        StreamMetrics {
            transport,
            subscribers: self.subscribers.with_label_values(&labels),
            events: self.events.with_label_values(&labels),
            bytes_out: self.bytes_out.with_label_values(&labels),
            stalls: self.stalls.with_label_values(&[transport]),
            slow_closes: self.slow_closes.with_label_values(&[transport]),
            lag: self.lag_seconds.with_label_values(&[transport]),
            hits: self.requests.with_label_values(&[route, "hit", ""]),
            not_modified: self.requests.with_label_values(&[route, "not_modified", ""]),
            ends: self.ends.clone(),
        }
    }
}

/// See [`Metrics::polling`].
#[derive(Clone)]
pub struct PollMetrics {
    /// How long polls take, in seconds.
    pub seconds: Histogram,
    /// Bytes of heads received from the upstream.
    pub head_bytes: IntCounter,
    /// Bytes of bodies received from the upstream.
    pub body_bytes: IntCounter,
    /// Requests that the upstream was spared.
    pub saved_requests: IntCounter,
    /// Bytes that the upstream was spared.
    pub saved_bytes: IntCounter,
}

/// See [`Metrics::stream`].
#[derive(Clone)]
pub struct StreamMetrics {
    /// The label of the transport.
    pub transport: &'static str,
    /// Clients that follow at the moment.
    pub subscribers: IntGauge,
    /// Events, messages and answers sent.
    pub events: IntCounter,
    /// Bytes written to clients.
    pub bytes_out: IntCounter,
    /// Clients closed because a write made no progress.
    pub stalls: IntCounter,
    /// Clients closed because they took too long to close.
    pub slow_closes: IntCounter,
    /// Time from the end of a poll to the write of its event, in seconds.
    pub lag: Histogram,
    /// Ordinary polls answered from the snapshot, whole and with 304.
    pub hits: IntCounter,
    /// Held polls that ended without a change.
    pub not_modified: IntCounter,
    ends: IntCounterVec,
}

impl StreamMetrics {
    /// Counts the end of a stream, by its reason.
    pub fn ended(&self, reason: &str) {
        self.ends.with_label_values(&[self.transport, reason]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_counted_when_they_are_asked_for() {
        let metrics = Metrics::new().unwrap();
        metrics.watch_tasks(vec![("front", Handle::current())]);
        let text = || String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(text().contains("pollcast_tasks{runtime=\"front\"} 0"), "{}", text());
        let task = tokio::spawn(std::future::pending::<()>());
        assert!(text().contains("pollcast_tasks{runtime=\"front\"} 1"), "{}", text());
        task.abort();
    }

    #[test]
    fn everything_registers_and_is_written() {
        let metrics = Metrics::new().unwrap();
        metrics.stream(SSE, "/a").subscribers.inc();
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(text.contains("pollcast_subscribers{route=\"/a\",transport=\"sse\"} 1"), "{text}");
        assert!(text.contains("process_"), "{text}");
    }
}
