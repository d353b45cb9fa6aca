//! The last hour in numbers, sampled every few seconds and kept in memory, for the plots of the dashboard.
//!
//! Must not know: which metrics are plotted together.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use serde_json::{Value, json};

use super::clock::Clock;
use crate::metrics::Metrics;

/// The time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Samples that are kept: an hour.
const SAMPLES_MAX: usize = 720;

/// Reasons to refuse, or to pass through, that are plotted apart; the rarest are one.
const REASONS_MAX: usize = 6;

/// The series that are counters, and are plotted as rates a second.
const RATES: [&str; 8] = [
    "events",
    "bytes_out",
    "polls",
    "polls_failed",
    "requests",
    "passthrough",
    "saved_requests",
    "saved_bytes",
];

/// Numbers by the word for a reason.
type Reasons = BTreeMap<String, f64>;

/// What the metrics say at one moment.
struct Reading {
    followers: f64,
    /// By the order of [`RATES`].
    counters: [f64; RATES.len()],
    /// Refusals by reason.
    refusals: Reasons,
    /// Requests that passed through, by reason.
    bypasses: Reasons,
    /// Cumulative counts of deliveries by the upper bounds of their lag in seconds.
    lag: Vec<(f64, f64)>,
}

/// What was plotted for one moment.
struct Sample {
    unix_ms: u64,
    followers: f64,
    rates: [f64; RATES.len()],
    /// A second; those that did not happen left out.
    refusals: Reasons,
    bypasses: Reasons,
    /// Milliseconds below which half of the deliveries are, and 99 of 100. `None` if there were none.
    lag_ms: Option<(f64, f64)>,
}

/// The samples of the last hour, and the clock that they are stamped with.
pub(super) struct Hour {
    history: Mutex<History>,
    pub(super) clock: Clock,
}

impl Hour {
    pub(super) fn new() -> Hour {
        Hour { history: Mutex::new(History::new()), clock: Clock::new() }
    }

    /// Samples the metrics, for as long as it is polled.
    pub(super) async fn sample(&self, metrics: &Metrics) {
        let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let reading = read(metrics);
            self.history.lock().push(self.clock.now_ms(), reading);
        }
    }

    /// Returns the samples that are newer than `after`, as lists side by side. Returns `None` if there are none.
    pub(super) fn since(&self, after: u64) -> Option<Value> {
        self.history.lock().since(after)
    }
}

struct History {
    samples: VecDeque<Sample>,
    last: Option<(u64, Reading)>,
}

impl History {
    fn new() -> History {
        History { samples: VecDeque::new(), last: None }
    }

    /// Adds what was read now; the first reading is what the next is compared with.
    fn push(&mut self, unix_ms: u64, now: Reading) {
        if let Some((before_ms, before)) = &self.last {
            let seconds = (unix_ms.saturating_sub(*before_ms) as f64 / 1000.0).max(0.001);
            let rate = |now: f64, before: f64| ((now - before).max(0.0) / seconds * 100.0).round() / 100.0;
            let mut rates = [0.0; RATES.len()];
            for (at, value) in rates.iter_mut().enumerate() {
                *value = rate(now.counters[at], before.counters[at]);
            }
            let by_reason = |now: &Reasons, before: &Reasons| -> Reasons {
                let rates = now.iter().map(|(reason, count)| {
                    (reason.clone(), rate(*count, before.get(reason).copied().unwrap_or_default()))
                });
                rates.filter(|(_, rate)| *rate > 0.0).collect()
            };
            let refusals = by_reason(&now.refusals, &before.refusals);
            let bypasses = by_reason(&now.bypasses, &before.bypasses);
            let lag_ms = quantile(&now.lag, &before.lag, 0.5).zip(quantile(&now.lag, &before.lag, 0.99));
            let followers = now.followers;
            self.samples.push_back(Sample { unix_ms, followers, rates, refusals, bypasses, lag_ms });
            if self.samples.len() > SAMPLES_MAX {
                self.samples.pop_front();
            }
        }
        self.last = Some((unix_ms, now));
    }

    /// Returns the samples that are newer than `after`, as lists side by side.
    fn since(&self, after: u64) -> Option<Value> {
        let samples: Vec<&Sample> = self.samples.iter().filter(|sample| sample.unix_ms > after).collect();
        if samples.is_empty() {
            return None;
        }
        let mut series = serde_json::Map::new();
        let mut put = |name: &str, value: &dyn Fn(&Sample) -> Option<f64>| {
            series.insert(name.to_owned(), samples.iter().map(|sample| json!(value(sample))).collect());
        };
        put("followers", &|sample| Some(sample.followers));
        for (at, name) in RATES.iter().enumerate() {
            put(name, &|sample| Some(sample.rates[at]));
        }
        put("lag_p50_ms", &|sample| sample.lag_ms.map(|lag| lag.0));
        put("lag_p99_ms", &|sample| sample.lag_ms.map(|lag| lag.1));
        let at: Vec<u64> = samples.iter().map(|sample| sample.unix_ms).collect();
        Some(json!({
            "at": at,
            "series": series,
            "refusals": self.by_reason(&samples, |sample| &sample.refusals),
            "bypasses": self.by_reason(&samples, |sample| &sample.bypasses),
        }))
    }

    /// The rates by reason, of the most frequent reasons of the hour and of all others together.
    fn by_reason(&self, samples: &[&Sample], group: impl Fn(&Sample) -> &Reasons) -> Value {
        let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
        for (reason, rate) in self.samples.iter().flat_map(&group) {
            *totals.entry(reason.as_str()).or_default() += rate;
        }
        let mut reasons: Vec<(&str, f64)> = totals.into_iter().collect();
        reasons.sort_by(|one, other| other.1.total_cmp(&one.1));
        let (shown, others) = reasons.split_at(reasons.len().min(REASONS_MAX));
        let of = |names: &[(&str, f64)]| -> Vec<f64> {
            let rate = |sample: &&Sample| names.iter().filter_map(|(name, _)| group(sample).get(*name)).sum();
            samples.iter().map(rate).collect()
        };
        let mut series: serde_json::Map<String, Value> =
            shown.iter().map(|reason| (reason.0.to_owned(), json!(of(&[*reason])))).collect();
        if !others.is_empty() {
            series.insert("other".to_owned(), json!(of(others)));
        }
        series.into()
    }
}

/// Reads the metrics. It costs the time of adding up the series of some of them.
fn read(metrics: &Metrics) -> Reading {
    let polls = metrics.polls.all().collect();
    let requests = metrics.requests.all().collect();
    let counters = [
        sum(&metrics.events.all().collect(), None),
        sum(&metrics.bytes_out.all().collect(), None),
        sum(&polls, None),
        sum(&polls, Some(("outcome", "failed"))),
        sum(&requests, None),
        sum(&requests, Some(("answer", "passthrough"))),
        sum(&metrics.saved_requests.all().collect(), None),
        sum(&metrics.saved_bytes.all().collect(), None),
    ];
    let refusals = reasons(&metrics.refusals.collect(), None);
    let bypasses = reasons(&requests, Some(("answer", "passthrough")));
    let followers = metrics.subscribers.all().collect();
    let followers =
        followers.iter().flat_map(MetricFamily::get_metric).map(|it| it.get_gauge().get_value()).sum();
    Reading { followers, counters, refusals, bypasses, lag: lag(metrics) }
}

/// The series with a value of a label, or all of them.
fn series<'a>(
    families: &'a [MetricFamily],
    only: Option<(&'a str, &'a str)>,
) -> impl Iterator<Item = &'a Metric> {
    let is_it = move |metric: &&Metric| only.is_none_or(|(name, value)| label(metric, name) == Some(value));
    families.iter().flat_map(MetricFamily::get_metric).filter(is_it)
}

fn label<'a>(metric: &'a Metric, name: &str) -> Option<&'a str> {
    metric.get_label().iter().find(|label| label.name() == name).map(|label| label.value())
}

fn sum(families: &[MetricFamily], only: Option<(&str, &str)>) -> f64 {
    series(families, only).map(|metric| metric.get_counter().get_value()).sum()
}

/// Adds up counters by their label `reason`.
fn reasons(families: &[MetricFamily], only: Option<(&str, &str)>) -> Reasons {
    let mut reasons = Reasons::new();
    for metric in series(families, only) {
        let value = metric.get_counter().get_value();
        if let Some(reason) = label(metric, "reason").filter(|_| value > 0.0) {
            *reasons.entry(reason.to_owned()).or_default() += value;
        }
    }
    reasons
}

fn lag(metrics: &Metrics) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, f64)> = Vec::new();
    for metric in metrics.lag_seconds.collect().iter().flat_map(MetricFamily::get_metric) {
        let histogram = metric.get_histogram();
        let buckets =
            histogram.get_bucket().iter().map(|it| (it.upper_bound(), it.cumulative_count() as f64));
        let whole = [(f64::INFINITY, histogram.get_sample_count() as f64)];
        for (at, (bound, count)) in buckets.chain(whole).enumerate() {
            match all.get_mut(at) {
                Some(held) => held.1 += count,
                None => all.push((bound, count)),
            }
        }
    }
    all
}

/// Milliseconds below which a part of the deliveries between two readings are, as Prometheus estimates it: evenly within a
/// bucket. Returns `None` if there were none.
fn quantile(now: &[(f64, f64)], before: &[(f64, f64)], part: f64) -> Option<f64> {
    let counts = now
        .iter()
        .enumerate()
        .map(|(at, (bound, count))| (*bound, count - before.get(at).map_or(0.0, |(_, before)| *before)));
    let counts: Vec<(f64, f64)> = counts.collect();
    let wanted = counts.last().map(|(_, all)| all * part).filter(|wanted| *wanted > 0.0)?;
    let at = counts.iter().position(|(_, count)| *count >= wanted)?;
    let (below, counted) = if at == 0 { (0.0, 0.0) } else { counts[at - 1] };
    let (bound, count) = counts[at];
    if bound.is_infinite() {
        return Some(below * 1000.0);
    }
    let seconds = below + (bound - below) * (wanted - counted) / (count - counted).max(f64::MIN_POSITIVE);
    Some((seconds * 100_000.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_become_rates_and_an_hour_is_kept() {
        let metrics = Metrics::new().unwrap();
        let mut history = History::new();
        for sample in 0..SAMPLES_MAX as u64 + 10 {
            metrics.events.with_label_values(&["sse", "/a"]).inc_by(50);
            metrics.refusals.with_label_values(&["clients"]).inc_by(5);
            metrics.requests.with_label_values(&["/a", "passthrough", "method"]).inc_by(10);
            metrics.requests.with_label_values(&["/b", "passthrough", "method"]).inc_by(5);
            metrics.requests.with_label_values(&["/b", "hit", ""]).inc_by(50);
            metrics.lag_seconds.with_label_values(&["sse"]).observe(0.002);
            history.push(1000 + sample * 5000, read(&metrics));
        }
        let all = history.since(0).unwrap();
        assert_eq!(all["at"].as_array().unwrap().len(), SAMPLES_MAX);
        assert_eq!(all["series"]["events"][0], json!(10.0));
        assert_eq!(all["refusals"]["clients"][5], json!(1.0));
        assert_eq!(all["bypasses"], json!({ "method": vec![3.0; SAMPLES_MAX] }));
        let lag = all["series"]["lag_p50_ms"][9].as_f64().unwrap();
        assert!((1.0..=2.5).contains(&lag), "{lag}");
        let last = all["at"][SAMPLES_MAX - 1].as_u64().unwrap();
        assert!(history.since(last).is_none());
        assert_eq!(history.since(last - 1).unwrap()["at"].as_array().unwrap().len(), 1);
    }
}
