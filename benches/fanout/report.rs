//! The results as a table for people and as JSON for machines.
//! Must not know: how anything was measured.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::crowds::{Churn, Idle, Storm};
use crate::edge::{Gone, Stalled};
use crate::polls::PollCost;
use crate::rounds::Sample;
use crate::rows::{MOST_IDLE_PERCENT, MOST_LAST_RATIO, MOST_START_MS, ROWS, Row};
use crate::scale::Scale;
use crate::stage::Subject;
use crate::start::Start;

/// Everything one run found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub rounds: usize,
    /// The floor that pollcast is compared with: as many threads as this.
    pub floor_threads: usize,
    pub summary: Vec<Summary>,
    pub storms: Vec<Storm>,
    pub churns: Vec<Churn>,
    pub idle: Option<Idle>,
    pub polls: Vec<PollCost>,
    pub gone: Option<Gone>,
    pub stalled: Option<Stalled>,
    pub scales: Vec<Scale>,
    pub start: Option<Start>,
    pub samples: Vec<Sample>,
}

/// The medians of one subject's rounds.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub row: Row,
    pub clients: usize,
    pub subject: Subject,
    pub events: u64,
    pub tick_ms: u64,
    pub bytes_per_client: f64,
    pub connect_us: f64,
    pub idle_cpu_percent: f64,
    pub delivery_us: f64,
    /// Without what as long an idle time costs.
    pub net_delivery_us: f64,
    pub delivery_us_range: (f64, f64),
    pub user_share: Option<f64>,
    /// CPU a delivery, divided by the floor's.
    pub ratio: Option<f64>,
    pub lag_p50_ms: f64,
    pub lag_p99_ms: f64,
    /// When the last client had a change: the median of all changes, and their 99th percentile.
    pub last_p50_ms: f64,
    pub last_p99_ms: f64,
    /// The latter, divided by the floor's.
    pub last_ratio: Option<f64>,
    pub polls_per_interval: Option<f64>,
    /// Sums over all rounds; all must be 0.
    pub missed: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub closed: u64,
}

impl Report {
    pub fn new(rounds: usize, floor_threads: usize) -> Self {
        Self {
            rounds,
            floor_threads,
            summary: Vec::new(),
            storms: Vec::new(),
            churns: Vec::new(),
            idle: None,
            polls: Vec::new(),
            gone: None,
            stalled: None,
            scales: Vec::new(),
            start: None,
            samples: Vec::new(),
        }
    }

    /// Fills the summary from the samples, in the order of the table.
    pub fn summarize(&mut self) {
        let mut clients: Vec<_> = self.samples.iter().map(|sample| sample.load.clients).collect();
        clients.sort_unstable();
        clients.dedup();
        let mut summary = Vec::new();
        for row in ROWS {
            for clients in &clients {
                for subject in [Subject::Pollcast, Subject::Floor(self.floor_threads)] {
                    summary.extend(self.summary_of(row, *clients, subject));
                }
            }
        }
        self.summary = summary;
    }

    /// Returns `None` if it was not measured.
    fn summary_of(&self, row: Row, clients: usize, subject: Subject) -> Option<Summary> {
        let of = |subject| {
            let is_meant = move |sample: &&Sample| {
                sample.row == row.name && sample.load.clients == clients && sample.subject == subject
            };
            self.samples.iter().filter(is_meant)
        };
        let floor = Subject::Floor(self.floor_threads);
        let first = of(subject).next()?;
        let sum = |field: fn(&Sample) -> u64| of(subject).map(field).sum();
        let median = |field: fn(&Sample) -> f64| quantile(of(subject).map(field).collect(), 0.5);
        let deliveries =
            |subject| of(subject).flat_map(|s| s.delivery_us.iter().copied()).collect::<Vec<_>>();
        let delivery_us = quantile(deliveries(subject), 0.5)?;
        let last = |subject, share| quantile(of(subject).flat_map(|s| s.last_ms.clone()).collect(), share);
        let last_p99_ms = last(subject, 0.99)?;
        Some(Summary {
            row,
            clients,
            subject,
            events: first.load.events,
            tick_ms: first.load.tick.as_millis() as u64,
            bytes_per_client: median(|sample| sample.bytes_per_client)?,
            connect_us: median(|sample| sample.connect_us)?,
            idle_cpu_percent: median(|sample| sample.idle_cpu_percent)?,
            delivery_us,
            delivery_us_range: (quantile(deliveries(subject), 0.0)?, quantile(deliveries(subject), 1.0)?),
            net_delivery_us: quantile(of(subject).flat_map(|s| s.net_delivery_us.clone()).collect(), 0.5)?,
            user_share: quantile(of(subject).filter_map(|sample| sample.user_share).collect(), 0.5),
            ratio: quantile(deliveries(floor), 0.5).map(|floor| delivery_us / floor),
            lag_p50_ms: median(|sample| sample.lag_p50_ms)?,
            lag_p99_ms: median(|sample| sample.lag_p99_ms)?,
            last_p50_ms: last(subject, 0.5)?,
            last_p99_ms,
            last_ratio: last(floor, 0.99).map(|floor| last_p99_ms / floor),
            polls_per_interval: quantile(
                of(subject).filter_map(|sample| sample.polls_per_interval).collect(),
                0.5,
            ),
            missed: sum(|sample| sample.tally.missed),
            duplicated: sum(|sample| sample.tally.duplicated),
            out_of_order: sum(|sample| sample.tally.out_of_order),
            closed: sum(|sample| sample.tally.closed),
        })
    }

    /// `is_quick`: too small to be held against the targets.
    pub fn print(&self, is_quick: bool) {
        println!(
            "\n{} round(s), each with a fresh server; CPU of a delivery: median of five blocks of changes in \
             each, of the server's process, and net of what idle clients and \
             polls cost; floor: {} threads; last: when the last client had a change, \
             after it left the API",
            self.rounds, self.floor_threads
        );
        let heads = [
            "row",
            "clients",
            "server",
            "changes",
            "every ms",
            "B/client",
            "connect µs",
            "idle %",
            "delivery µs",
            "(range)",
            "net µs",
            "user %",
            "×floor",
            "p50 ms",
            "p99 ms",
            "last p50",
            "last p99",
            "×floor",
            "polls",
            "missed/dup/order/closed",
        ];
        let mut table = vec![heads.map(str::to_owned)];
        table.extend(self.summary.iter().map(Summary::cells));
        print_table(&table);
        self.print_others();
        if !is_quick {
            self.print_targets();
        }
        let control: u64 = self.samples.iter().map(|sample| sample.tally.control).sum();
        if control > 0 {
            println!("{control} events without a state (stale, fresh, …) came between the changes");
        }
        let failures = self.samples.iter().filter_map(|sample| sample.tally.first_failure.as_ref());
        failures.for_each(|why| println!("a client failed: {why}"));
    }

    fn print_others(&self) {
        for Storm { subject, clients, connect_us, seconds, polls, refused, repeated, .. } in &self.storms {
            let polls = polls.map_or_else(|| "–".to_owned(), |polls| polls.to_string());
            println!(
                "storm, {}: {clients} clients came again in {seconds:.2} s, {connect_us:.1} µs of CPU each; {polls} \
                 polls, {refused} refused, {repeated} states repeated",
                name_of(*subject)
            );
        }
        for churn in &self.churns {
            let bytes: Vec<_> = churn.bytes.iter().map(|bytes| format!("{bytes:.0}")).collect();
            println!(
                "{}: {} clients, B a client at first {:.0}, after each of {} rounds {}",
                churn.row,
                churn.clients,
                churn.first_bytes,
                churn.rounds,
                bytes.join(" ")
            );
        }
        if let Some(Idle { clients, seconds, cpu_percent, alone_percent }) = &self.idle {
            println!(
                "idle: {clients} clients for {seconds:.0} s cost {cpu_percent:.2} % of a core with heartbeats and a \
                 poll a second; one client {alone_percent:.2} %"
            );
        }
        for PollCost { kind, polls, us, bare_us } in &self.polls {
            let (name, _) = kind.told();
            println!(
                "poll, {name}: {us:.1} µs of CPU each ({polls} polls); a bare keep-alive GET {bare_us:.1} µs"
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
        for Scale { processes, clients, bytes, net_delivery_us, idle_percent, shares, .. } in &self.scales {
            println!(
                "scale: {clients} clients on {processes} process(es) {shares:?}: {bytes:.0} B each, \
                 {net_delivery_us:.2} µs a delivery, {idle_percent:.2} % of a core while nothing changes"
            );
        }
        if let Some(start) = &self.start {
            println!(
                "start: the first answer after {:.1} ms with {} routes, median of {}",
                start.median_ms(),
                start.routes,
                start.ms.len()
            );
        }
    }

    fn print_targets(&self) {
        let mut table = vec![["target", "", "wanted", "measured", ""].map(str::to_owned)];
        let mut add = |row: &str, what: &str, most: f64, measured: Option<f64>| {
            if let Some(measured) = measured {
                let verdict = if measured <= most { "met" } else { "MISSED" };
                let shown =
                    |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
                let wanted = format!("≤ {}", shown(most));
                table.push([row.to_owned(), what.to_owned(), wanted, shown(measured), verdict.to_owned()]);
            }
        };
        for summary in self.summary.iter().filter(|summary| summary.subject == Subject::Pollcast) {
            let name = format!("{} × {}", summary.row.name, summary.clients);
            if let Some(most) = summary.row.most_bytes {
                add(&name, "B an idle client", most, Some(summary.bytes_per_client));
            }
            if let Some(most) = summary.row.most_ratio {
                add(&name, "CPU a delivery, ×floor", most, summary.ratio);
            }
            if summary.row.is_of_last {
                add(&name, "last client, p99, ×floor", MOST_LAST_RATIO, summary.last_ratio);
            }
        }
        for storm in self.storms.iter().filter(|storm| storm.subject == Subject::Pollcast) {
            add("storm", "polls", 0.0, storm.polls.map(|polls| polls as f64));
            add("storm", "refused clients", 0.0, Some(storm.refused as f64));
        }
        for churn in &self.churns {
            add(churn.row, "B a client, last ÷ first round", 1.05, churn.growth());
        }
        let idle = self.idle.as_ref().map(|idle| idle.cpu_percent);
        add("idle", "% of a core", MOST_IDLE_PERCENT, idle);
        for poll in &self.polls {
            let (name, most) = poll.kind.told();
            add("polls", &format!("µs of CPU, {name}"), most, Some(poll.us));
        }
        let start = self.start.as_ref().map(Start::median_ms);
        add("start", "ms to the first answer", MOST_START_MS, start);
        print_table(&table);
    }

    /// Writes `target/fanout.json`, one line.
    pub fn write(&self) -> Result<PathBuf, String> {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = temporary.parent().unwrap_or(temporary).join("fanout.json");
        let line = serde_json::to_string(self).map_err(|e| format!("{}: {e}", path.display()))?;
        std::fs::write(&path, line + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// Whether every client of every round got every change once and in order, and none was refused.
    pub fn is_clean(&self) -> bool {
        self.samples.iter().all(|sample| sample.tally.is_clean())
            && self.storms.iter().all(|storm| storm.refused + storm.repeated == 0)
            && self.scales.iter().all(|scale| scale.is_clean)
            && self.stalled.as_ref().is_none_or(|stalled| stalled.caught_up)
    }
}

impl Summary {
    fn cells(&self) -> [String; 20] {
        let (low, high) = self.delivery_us_range;
        let or_dash =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
        // Changes of many resources come when each was asked: there is no last client of all.
        let of_one = |shown: String| if self.row.resources == 1 { shown } else { "–".to_owned() };
        [
            self.row.name.to_owned(),
            self.clients.to_string(),
            name_of(self.subject),
            self.events.to_string(),
            self.tick_ms.to_string(),
            format!("{:.0}", self.bytes_per_client),
            format!("{:.1}", self.connect_us),
            format!("{:.2}", self.idle_cpu_percent),
            format!("{:.2}", self.delivery_us),
            format!("{low:.2}–{high:.2}"),
            format!("{:.2}", self.net_delivery_us),
            self.user_share.map_or_else(|| "–".to_owned(), |share| format!("{:.0}", share * 100.0)),
            or_dash(self.ratio),
            format!("{:.1}", self.lag_p50_ms),
            format!("{:.1}", self.lag_p99_ms),
            of_one(format!("{:.1}", self.last_p50_ms)),
            of_one(format!("{:.1}", self.last_p99_ms)),
            of_one(or_dash(self.last_ratio)),
            or_dash(self.polls_per_interval),
            format!("{}/{}/{}/{}", self.missed, self.duplicated, self.out_of_order, self.closed),
        ]
    }
}

pub fn name_of(subject: Subject) -> String {
    match subject {
        Subject::Pollcast => "pollcast".to_owned(),
        Subject::Floor(_) => "floor".to_owned(),
    }
}

/// The first line is the head; the first column is aligned to the left.
fn print_table<const N: usize>(table: &[[String; N]]) {
    if table.len() < 2 {
        return;
    }
    let width = |column: usize| table.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    println!();
    for line in table {
        let cells: Vec<_> = (0..N)
            .map(|column| match column {
                0 => format!("{:<width$}", line[column], width = widths[column]),
                _ => format!("{:>width$}", line[column], width = widths[column]),
            })
            .collect();
        println!("{}", cells.join("  "));
    }
    println!();
}

/// The value that this share (0 to 1) does not exceed; between two, their middle. None of no values.
fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = values.len().checked_sub(1)? as f64 * share;
    let (low, high) = (values.get(place.floor() as usize)?, values.get(place.ceil() as usize)?);
    Some((low + high) / 2.0)
}
