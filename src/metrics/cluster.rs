//! The metrics of a cluster. Labels are closed sets: role, reason, kind, cause, direction.
//!
//! Must not know: engines, resources.

use std::time::Duration;

use prometheus::{Counter, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::Make;

/// What a node of a cluster counts.
#[derive(Clone)]
pub struct ClusterMetrics {
    /// Whether the engine can be had.
    pub connected: IntGauge,
    /// Nodes that live.
    pub members: IntGauge,
    /// Resources by role.
    pub seats: IntGaugeVec,
    /// Claims by cause.
    pub claims: IntCounterVec,
    /// Written contents by what became of them.
    pub writes: IntCounterVec,
    /// What the engine refused, by reason.
    pub refused: IntCounterVec,
    /// A message's way to another node.
    pub lag_seconds: Histogram,
    /// From a message of this node to its return.
    pub beat_seconds: Histogram,
    /// Records read, by cause.
    pub reads: IntCounterVec,
    /// Losses of the engine, by reason.
    pub losses: IntCounterVec,
    /// Time without the engine.
    pub alone_seconds: Counter,
    /// Older contents that were shown.
    pub regressions: IntCounter,
    /// Writes that the other nodes may not have heard of when they were answered.
    pub unconfirmed: IntCounter,
    /// What is not understood, by reason.
    pub undecodable: IntCounterVec,
    /// Bytes by direction.
    pub bytes: IntCounterVec,
    /// Tokens of budgets that the engine gave, by upstream.
    pub tokens: IntCounterVec,
    /// More was told than is kept.
    pub overflows: IntCounter,
    /// Commands of single resources that are on their way to the engine.
    pub commands: IntGauge,
    /// Commands that had to wait for their turn, by what they waited for.
    pub delayed: IntCounterVec,
}

/// Roles as labels of `cluster_seats`.
pub const ROLES: [&str; 4] = ["holder", "mirror", "alone", "waiting"];

/// Why the engine is lost, as labels of `cluster_losses_total`.
const LOSSES: [&str; 9] = [
    "connection",
    "timeout",
    "subscription",
    "memory",
    "credentials",
    "rights",
    "read_only",
    "overflow",
    "protocol",
];

/// Why a resource is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimCause {
    /// A client came.
    Attend,
    /// Its holder died.
    Died,
    /// Its holder gave it up.
    Free,
    /// This node is preferred for it.
    Preferred,
    /// The engine, or this node, is back.
    Back,
}

impl ClaimCause {
    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            ClaimCause::Attend => "attend",
            ClaimCause::Died => "died",
            ClaimCause::Free => "free",
            ClaimCause::Preferred => "preferred",
            ClaimCause::Back => "back",
        }
    }
}

impl Metrics {
    /// Registers the metrics of a cluster: a process without one shows none of them.
    ///
    /// # Errors
    /// They were registered before.
    pub fn cluster(&self) -> Result<ClusterMetrics, prometheus::Error> {
        let r = self.make();
        let (lag_seconds, beat_seconds) = lags(&r)?;
        let counts = |name: &str, label: &str, help: &str| r.counters(name, help, &[label]);
        let alone = Counter::new("pollcast_cluster_alone_seconds_total", "Seconds without the engine.");
        let metrics = ClusterMetrics {
            connected: r.gauge("cluster_connected", "Whether the engine of the cluster can be had.")?,
            members: r.gauge("cluster_members", "Nodes of the cluster that live, this one included.")?,
            seats: r.gauges("cluster_seats", "Resources by what this node is for them.", &["role"])?,
            claims: counts("cluster_claims_total", "cause", "Claims of resources, by what caused them.")?,
            writes: counts(
                "cluster_writes_total",
                "kind",
                "Contents written: accepted, refused, lost, too_large.",
            )?,
            refused: counts(
                "cluster_refused_total",
                "reason",
                "What the engine refused: fence, session, memory.",
            )?,
            lag_seconds,
            beat_seconds,
            reads: counts("cluster_reads_total", "cause", "Records that were read: resume, reconnect, gap.")?,
            losses: counts(
                "cluster_losses_total",
                "reason",
                "Times that the engine was lost, or could not be had.",
            )?,
            alone_seconds: r.register(alone)?,
            regressions: r.counter(
                "cluster_regressions_total",
                "Older contents shown since the engine lost the newer ones.",
            )?,
            unconfirmed: r.counter(
                "cluster_unconfirmed_total",
                "Writes answered without knowing that other nodes heard of them.",
            )?,
            undecodable: counts(
                "cluster_undecodable_total",
                "reason",
                "What is not understood: version, seal, form.",
            )?,
            bytes: counts("cluster_bytes_total", "direction", "Bytes of records and messages: in, out.")?,
            tokens: counts(
                "cluster_tokens_total",
                "upstream",
                "Polls that budgets of all nodes together allowed.",
            )?,
            overflows: r.counter("cluster_overflows_total", "Times that more was told than is kept.")?,
            commands: r
                .gauge("cluster_commands", "Commands of single resources on their way to the engine.")?,
            delayed: counts(
                "cluster_delayed_commands_total",
                "reason",
                "Commands that waited for their turn: behind max_commands others (commands), behind claims.",
            )?,
        };
        metrics.make_closed();
        Ok(metrics)
    }
}

/// Times of messages: to another node, and until they are back.
fn lags(r: &Make<'_>) -> Result<(Histogram, Histogram), prometheus::Error> {
    let buckets = vec![0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
    let histogram = |name: &str, help: &str| {
        let opts = HistogramOpts::new(format!("pollcast_{name}"), help).buckets(buckets.clone());
        r.register(Histogram::with_opts(opts))
    };
    let lag = histogram("cluster_lag_seconds", "A message's way to another node: half of its return.")?;
    Ok((lag, histogram("cluster_beat_seconds", "From a message of this node to its return.")?))
}

impl ClusterMetrics {
    /// Makes the series of all metrics whose labels are closed sets.
    fn make_closed(&self) {
        let sets: [(&IntCounterVec, &[&str]); 8] = [
            (&self.claims, &["attend", "died", "free", "preferred", "back"]),
            (&self.writes, &["accepted", "refused", "lost", "too_large"]),
            (&self.refused, &["fence", "session", "memory"]),
            (&self.reads, &["resume", "reconnect", "gap"]),
            (&self.losses, &LOSSES),
            (&self.undecodable, &["version", "seal", "form"]),
            (&self.bytes, &["in", "out"]),
            (&self.delayed, &["commands", "claims"]),
        ];
        for (metric, values) in sets {
            for value in values {
                metric.with_label_values(&[value]);
            }
        }
        for role in ROLES {
            self.seats.with_label_values(&[role]);
        }
    }

    /// Notes that a message of this node came back.
    pub fn returned(&self, took: Duration) {
        self.beat_seconds.observe(took.as_secs_f64());
        self.lag_seconds.observe(took.as_secs_f64() / 2.0);
    }
}
