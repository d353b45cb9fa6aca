//! The results as a table for people and as JSON for machines.
//! Must not know: how anything was measured.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::edge::{Gone, Stalled};
use crate::rounds::{Load, Sample, Subject};
use crate::wire::Wire;

/// Everything one run found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub load: Load,
    pub rounds: usize,
    /// The floor that pollcast is compared with: as many threads as this.
    pub floor_threads: usize,
    pub samples: Vec<Sample>,
    pub summary: Vec<Summary>,
    pub gone: Option<Gone>,
    pub stalled: Option<Stalled>,
}

/// The medians of one subject's rounds.
#[derive(Debug, Serialize)]
pub struct Summary {
    subject: Subject,
    wire: Wire,
    bytes_per_client: f64,
    connect_us: f64,
    idle_cpu_percent: f64,
    delivery_us: f64,
    delivery_us_range: (f64, f64),
    delivery_user_us: Option<f64>,
    /// CPU a delivery, divided by the floor's.
    ratio: Option<f64>,
    lag_p50_ms: f64,
    lag_p99_ms: f64,
    polls_per_interval: Option<f64>,
    /// Sums over all rounds; all must be 0.
    missed: u64,
    duplicated: u64,
    out_of_order: u64,
    closed: u64,
}

impl Report {
    pub fn new(load: Load, rounds: usize, floor_threads: usize) -> Self {
        Self {
            load,
            rounds,
            floor_threads,
            samples: Vec::new(),
            summary: Vec::new(),
            gone: None,
            stalled: None,
        }
    }

    /// Fills the summary from the samples, in the order in which subjects were first measured.
    pub fn summarize(&mut self) {
        let mut seen: Vec<(Wire, Subject)> = Vec::new();
        for sample in &self.samples {
            if !seen.contains(&(sample.wire, sample.subject)) {
                seen.push((sample.wire, sample.subject));
            }
        }
        self.summary = seen.into_iter().map(|(wire, subject)| self.summary_of(wire, subject)).collect();
    }

    fn summary_of(&self, wire: Wire, subject: Subject) -> Summary {
        let of = |subject| self.samples.iter().filter(move |s| s.wire == wire && s.subject == subject);
        let sum = |field: fn(&Sample) -> u64| of(subject).map(field).sum();
        let values = |subject, field: fn(&Sample) -> f64| of(subject).map(field).collect::<Vec<_>>();
        let median = |field| median_of(values(subject, field)).unwrap_or(0.0);
        let delivery: fn(&Sample) -> f64 = |sample| sample.delivery_us;
        let floor = median_of(values(Subject::Floor(self.floor_threads), delivery));
        let spread = values(subject, delivery);
        Summary {
            subject,
            wire,
            bytes_per_client: median(|sample| sample.bytes_per_client),
            connect_us: median(|sample| sample.connect_us),
            idle_cpu_percent: median(|sample| sample.idle_cpu_percent),
            delivery_us: median(delivery),
            delivery_us_range: (
                spread.iter().copied().fold(f64::INFINITY, f64::min),
                spread.iter().copied().fold(0.0, f64::max),
            ),
            delivery_user_us: median_of(of(subject).filter_map(|sample| sample.delivery_user_us).collect()),
            ratio: floor.map(|floor| median(delivery) / floor),
            lag_p50_ms: median(|sample| sample.lag_p50_ms),
            lag_p99_ms: median(|sample| sample.lag_p99_ms),
            polls_per_interval: median_of(
                of(subject).filter_map(|sample| sample.polls_per_interval).collect(),
            ),
            missed: sum(|sample| sample.tally.missed),
            duplicated: sum(|sample| sample.tally.duplicated),
            out_of_order: sum(|sample| sample.tally.out_of_order),
            closed: sum(|sample| sample.tally.closed),
        }
    }

    pub fn print(&self) {
        let Load { clients, events, size, .. } = self.load;
        println!("\n{clients} clients, {events} changes of {size} bytes, medians of {} rounds", self.rounds);
        println!(
            "{:<10} {:<9} {:>8} {:>8} {:>6} {:>8} {:>13} {:>6} {:>6} {:>8} {:>8} {:>6}  \
             missed/dup/order/closed",
            "wire",
            "server",
            "B/client",
            "connect",
            "idle",
            "delivery",
            "(range)",
            "user",
            "ratio",
            "p50",
            "p99",
            "polls"
        );
        println!(
            "{:<10} {:<9} {:>8} {:>8} {:>6} {:>8} {:>13} {:>6} {:>6} {:>8} {:>8} {:>6}",
            "", "", "", "µs", "% core", "µs", "µs", "µs", "×floor", "ms", "ms", "×due"
        );
        for row in &self.summary {
            let server = match row.subject {
                Subject::Pollcast => "pollcast".to_owned(),
                Subject::Floor(threads) => format!("floor ×{threads}"),
            };
            let (low, high) = row.delivery_us_range;
            println!(
                "{:<10} {:<9} {:>8.0} {:>8.1} {:>6.2} {:>8.2} {:>13} {:>6} {:>6} {:>8.1} {:>8.1} {:>6}  \
                 {}/{}/{}/{}",
                row.wire.name(),
                server,
                row.bytes_per_client,
                row.connect_us,
                row.idle_cpu_percent,
                row.delivery_us,
                format!("{low:.2}–{high:.2}"),
                or_dash(row.delivery_user_us),
                or_dash(row.ratio),
                row.lag_p50_ms,
                row.lag_p99_ms,
                or_dash(row.polls_per_interval),
                row.missed,
                row.duplicated,
                row.out_of_order,
                row.closed,
            );
        }
        if let Some(gone) = &self.gone {
            println!("gone clients: {} noticed in {:.0} ms", gone.clients, gone.noticed_ms);
        }
        if let Some(stalled) = &self.stalled {
            println!(
                "stalled client: {} B in the server's send queue, {} B readable in all, \
                 {} of {} changes of {} B, {}",
                stalled.send_queue_bytes,
                stalled.readable_bytes,
                stalled.received_changes,
                stalled.changes,
                stalled.body_bytes,
                if stalled.caught_up { "then the newest" } else { "but NOT the newest" },
            );
        }
        let control: u64 = self.samples.iter().map(|sample| sample.tally.control).sum();
        if control > 0 {
            println!("{control} events without a state (stale, fresh, …) came between the changes");
        }
        let failures = self.samples.iter().filter_map(|sample| sample.tally.first_failure.as_ref());
        failures.for_each(|why| println!("a client failed: {why}"));
    }

    /// Writes `target/fanout.json`, one line.
    pub fn write(&self) -> Result<PathBuf, String> {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = temporary.parent().unwrap_or(temporary).join("fanout.json");
        let line = serde_json::to_string(self).map_err(|e| format!("{}: {e}", path.display()))?;
        std::fs::write(&path, line + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// Whether every client of every round got every change once and in order.
    pub fn is_clean(&self) -> bool {
        self.samples.iter().all(|sample| sample.tally.is_clean())
            && self.stalled.as_ref().is_none_or(|stalled| stalled.caught_up)
    }
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

/// None of no values.
fn median_of(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}
