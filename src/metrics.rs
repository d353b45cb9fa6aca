//! Every metric the process has, by name. Labels: transport, route, outcome, reason, upstream;
//! never a path, a key or an address.
//!
//! Must not know: what the figures are used for.

mod bypass;
mod cluster;
mod exemplars;
mod labels;
mod log_loss;
mod make;
mod openmetrics;
mod per_route;
mod refusal;
mod series;
mod touches;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use tokio::runtime::Handle;

pub use bypass::Bypass;
pub use cluster::{ClaimCause, ClusterMetrics, ROLES};
pub use exemplars::Exemplars;
use exemplars::{OfUpstreams, POLL_BOUNDS_SECONDS};
pub use labels::{CERTIFICATE_KINDS, ENDS, FAILURES, REFUSALS, TRANSPORTS};
pub use log_loss::{LogLoss, log_lines_lost};
pub use make::Described;
use make::{Make, metrics};
use per_route::RouteLabels;
pub use per_route::{OTHER_ROUTES, PerRoute};
pub use refusal::RefusalReason;
use series::{SeriesBy, UPSTREAM};
pub use touches::TouchCause;

metrics! {
    /// Push clients now.
    subscribers: PerRoute<IntGaugeVec> = route_gauges("subscribers", &["transport", "route"]);
    /// Resources followed on connections of many.
    bundled: IntGauge = gauge("connection_resources");
    /// Requests by how they were answered, and why they passed through or were refused if they were.
    requests: PerRoute<IntCounterVec> = route_counters("requests_total", &["route", "answer", "reason"]);
    /// Requests passing through now.
    passthrough_active: IntGauge = gauge("passthrough_active");
    /// Polls by outcome: changed, unchanged, not_modified, relayed, failed.
    polls: PerRoute<IntCounterVec> = route_counters("polls_total", &["upstream", "route", "outcome"]);
    /// Failed polls by class.
    poll_failures: IntCounterVec = counters("poll_failures_total", &["upstream", "class"]);
    /// Requests for many resources at once.
    batches: PerRoute<IntCounterVec> = route_counters("batches_total", &["route"]);
    /// Requests for many resources that the upstream refused, and that were taken apart.
    batches_refused: PerRoute<IntCounterVec> = route_counters("batches_refused_total", &["route"]);
    /// Looks at files with secrets of polls that gave no value.
    secret_file_failures: IntCounter = counter("secret_file_failures_total");
    /// From the ask to the whole answer.
    poll_seconds: HistogramVec = histograms("poll_duration_seconds", &["upstream"],
        POLL_BOUNDS_SECONDS.to_vec());
    /// New items of feeds.
    items: PerRoute<IntCounterVec> = route_counters("feed_items_total", &["route"]);
    /// Polls of feeds that did not reach back to the last known item.
    gaps: PerRoute<IntCounterVec> = route_counters("feed_gaps_total", &["route"]);
    /// Effective intervals after polls that gave data, and what made them so long.
    interval_seconds: PerRoute<HistogramVec> = route_histograms("poll_interval_seconds", &["route", "why"],
        vec![0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0]);
    /// Bytes of polled answers.
    upstream_bytes: IntCounterVec = counters("upstream_bytes_total", &["upstream", "part"]);
    /// Upstream requests that every client polling for itself would have added.
    saved_requests: PerRoute<IntCounterVec> = route_counters("saved_requests_total", &["route"]);
    /// Upstream bytes that every client polling for itself would have added.
    saved_bytes: PerRoute<IntCounterVec> = route_counters("saved_bytes_total", &["route"]);
    /// From the published change to the client's socket.
    lag_seconds: HistogramVec = histograms("lag_seconds", &["transport"],
        vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]);
    /// Changes written.
    events: PerRoute<IntCounterVec> = route_counters("events_total", &["transport", "route"]);
    /// Bytes written to push clients.
    bytes_out: PerRoute<IntCounterVec> = route_counters("bytes_out_total", &["transport", "route"]);
    /// Push clients that ended.
    ends: IntCounterVec = counters("ends_total", &["transport", "reason"]);
    /// Writes that met a full socket.
    stalls: IntCounterVec = counters("stalls_total", &["transport"]);
    /// Clients closed after stall_timeout.
    slow_closes: IntCounterVec = counters("slow_closes_total", &["transport"]);
    /// Times that a WebSocket client was not read until its messages had room.
    message_pauses: IntCounterVec = counters("message_pauses_total", &["transport"]);
    /// Requests that waited because too many streams of their HTTP/2 connection have no window.
    http2_parked: IntCounter = counter("http2_parked_requests_total");
    /// Push clients by what they came back with: none, current, known, unknown.
    resumes: IntCounterVec = counters("resumes_total", &["outcome"]);
    /// Clients whose subject was not named for want of room (presence.subjects).
    presence_unnamed: PerRoute<IntCounterVec> = route_counters("presence_unnamed_total", &["route"]);
    /// Times that an upstream was to be told that a subject came or went (presence.notify), by outcome: told, failed, dropped.
    presence_notices: IntCounterVec = counters("presence_notices_total", &["outcome"]);
    /// Requests refused, by limit.
    refusals: IntCounterVec = counters("refusals_total", &["reason"]);
    /// Requests by what authenticate said: let_in, or why not.
    authentications: PerRoute<IntCounterVec> = route_counters("authentications_total", &["route", "outcome"]);
    /// Checks of share: authorize: same, different, refused, failed.
    authorizations: PerRoute<IntCounterVec> = route_counters("authorizations_total", &["route", "outcome"]);
    /// When the first of a TLS listener's certificates, authorities or revocation lists runs out, in seconds since 1970.
    certificate_not_after: IntGaugeVec = gauges("certificate_not_after_seconds", &["listener", "kind"]);
    /// Changes of certificate files that were found, by what they were: new, bad.
    certificate_reloads: IntCounterVec = counters("certificate_reloads_total", &["outcome"]);
    /// Answers that were shared although they say otherwise: on `share: public` routes, and vary-user-agent.
    not_obeyed: PerRoute<IntCounterVec> = route_counters("sharing_signals_not_obeyed_total", &["route", "signal"]);
    /// Cookie jars of polls that were forgotten for want of room.
    jars_forgotten: IntCounter = counter("cookie_jars_forgotten_total");
    /// Times that what resources vary by was forgotten for want of room.
    vary_forgotten: IntCounter = counter("vary_forgotten_total");
    /// Requests with a header that may choose the content, by what became of them: passed, asked, counted.
    doubtful_headers: PerRoute<IntCounterVec> = route_counters("doubtful_headers_total", &["route", "outcome"]);
    /// Resources that writes touched, by cause: write, parent, relative, refresh, send, admin; beyond: too many below.
    touches: IntCounterVec = counters("touches_total", &["cause"]);
    /// Polls for the effect of a write.
    repolls: PerRoute<IntCounterVec> = route_counters("repolls_total", &["route"]);
    /// Answers that may be older than a write.
    unconfirmed: PerRoute<IntCounterVec> = route_counters("unconfirmed_answers_total", &["route"]);
    /// Held conditional polls by end: changed, unchanged, released, abandoned, drain.
    slow_304: PerRoute<IntCounterVec> = route_counters("slow_304_total", &["route", "end"]);
    /// Resources held now.
    resources: IntGauge = gauge("resources");
    /// Memory of snapshots and their encodings.
    snapshot_bytes: IntGauge = gauge("snapshot_bytes");
    /// Memory of the bodies of polls in progress.
    poll_body_bytes: IntGauge = gauge("poll_body_bytes");
    /// Waits of polls for room among those bodies (limits.poll_body_bytes).
    poll_body_waits: IntCounter = counter("poll_body_waits_total");
    /// Memory of histories.
    history_bytes: IntGauge = gauge("history_bytes");
    /// Unfollowed snapshots dropped for limits.snapshot_bytes.
    snapshot_evictions: IntCounter = counter("snapshot_evictions_total");
    /// Bodies and events compressed, each once for all clients that take that coding.
    compressions: IntCounter = counter("compressions_total");
    /// Bytes that compression made.
    compressed_bytes: IntCounter = counter("compressed_bytes_total");
    /// Reloads of the configuration, by result: applied, unchanged, invalid, refused.
    reloads: IntCounterVec = counters("reloads_total", &["result"]);
    /// Number of the configuration that counts: 1 from the start, one more for each that a reload applied, and for each time
    /// that an operator switched routes off or on.
    config_generation: IntGauge = gauge("config_generation");
    /// Routes that an operator has switched off: all their requests pass through until the next reload.
    routes_off: IntGauge = gauge("routes_off");
    /// Whether the last reload, or the start, was successful: 1 or 0.
    config_last_reload_successful: IntGauge = gauge("config_last_reload_successful");
    /// When a configuration was last applied.
    config_last_reload_success: IntGauge = gauge("config_last_reload_success_timestamp_seconds");
    /// Spans that ended, by outcome: exported, failed, dropped.
    otlp_spans: IntCounterVec = counters("otlp_spans_total", &["outcome"]);
    /// Tasks that have not ended.
    tasks: IntGaugeVec = gauges("tasks", &["runtime"]);
    /// The running version.
    build: GaugeVec = float_gauges("build_info", &["version"]);
}

/// The outcome of a request with a header that may choose the content.
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
        let metrics = Metrics::registered(Registry::new())?;
        metrics.make().register(Ok(log_loss::collector()))?;
        metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        metrics.make_closed();
        Ok(metrics)
    }

    fn make(&self) -> Make<'_> {
        Make {
            registry: &self.registry,
            routes: &self.routes,
            upstreams: &self.upstreams,
            described: &self.described,
        }
    }

    /// Bounds the routes that have series of their own (`limits.metric_routes`); the others share one.
    pub fn bound_routes(&self, routes_max: usize) {
        self.routes.bound(routes_max);
    }

    /// Forgets the series of all routes but these: a reload has removed them.
    pub fn keep_routes<'a>(&self, paths: impl Iterator<Item = &'a str>) {
        self.routes.keep(&paths.collect());
    }

    /// Returns the metrics of pollcast itself, those without a series included, by name.
    pub fn described(&self) -> Vec<Described> {
        self.described.lock().clone()
    }

    /// Shows how many tasks these runtimes have, by name, from now on. Only the first call counts.
    pub fn watch_tasks(&self, runtimes: Vec<(&'static str, Handle)>) {
        let _ = self.runtimes.set(runtimes);
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.gather(), &mut text)?;
        Ok(text)
    }

    /// OpenMetrics text, version 1.0.0.
    pub fn encode_openmetrics(&self) -> String {
        let exemplars = self.exemplars.lock().clone();
        openmetrics::write(&self.gather(), |family, metric, bucket| {
            let upstream = metric.get_label().iter().find(|label| label.name() == UPSTREAM)?;
            let of_polls = family == "pollcast_poll_duration_seconds";
            exemplars.get(upstream.value()).filter(|_| of_polls)?.text(bucket)
        })
    }

    fn gather(&self) -> Vec<MetricFamily> {
        for (name, runtime) in self.runtimes.get().into_iter().flatten() {
            let alive = i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX);
            self.tasks.with_label_values(&[name]).set(alive);
        }
        self.registry.gather()
    }

    /// The metrics of the polls of one resource, looked up once.
    pub fn polling(&self, upstream: &str, route: &str) -> PollMetrics {
        PollMetrics {
            seconds: self.poll_seconds.with_label_values(&[upstream]),
            exemplars: self.exemplars.lock().entry(upstream.to_owned()).or_default().clone(),
            head_bytes: self.upstream_bytes.with_label_values(&[upstream, "head"]),
            body_bytes: self.upstream_bytes.with_label_values(&[upstream, "body"]),
            saved_requests: self.saved_requests.with_label_values(&[route]),
            saved_bytes: self.saved_bytes.with_label_values(&[route]),
        }
    }

    /// Counts a limit or a rule that refused something.
    pub fn refused(&self, reason: RefusalReason) {
        self.refusal(reason).inc();
    }

    /// Returns what counts such refusals: less to keep than all metrics.
    pub fn refusal(&self, reason: RefusalReason) -> IntCounter {
        self.refusals.with_label_values(&[reason.word()])
    }

    /// How often requests passed through or were refused since the start, by route and reason. `passed`: those that
    /// passed through.
    pub fn reasons(&self, passed: bool) -> Vec<(String, String, u64)> {
        per_route::reasons(&self.requests.all().collect(), passed)
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
    /// Polls of the upstream that are in traces.
    pub exemplars: Arc<Exemplars>,
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
