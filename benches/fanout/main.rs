//! The fan-out bench: what a push client costs in pollcast, beside a bare epoll loop that writes
//! the same bytes (the floor), in one run and by the operating system's own accounts.
//!
//! `cargo bench --bench fanout -- --quick` is the smoke test; without options the whole takes
//! about twenty minutes. It ends with 1 if any client missed a change, got one twice or out
//! of order, or lost its connection. The processes are this executable in other roles:
//!
//! - `origin`: a tiny API that knows only polling, which pollcast polls;
//! - `floor`: the least a server can do;
//! - `clients`: many connections that check every sequence number;
//! - and this one, which starts them, reads `/proc` and reports.
//!
//! All share one machine: compare numbers of one run with each other, not with other machines'.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench drives processes: it sleeps between readings, and its children exit"
)]

mod clients;
mod crowds;
mod edge;
mod floor;
mod http2;
mod lag;
mod link;
mod measure;
mod origin;
mod peer;
mod plot;
mod polls;
mod process;
#[path = "../process/profile.rs"]
mod profile;
mod reader;
mod report;
mod rounds;
mod rows;
mod scale;
mod server;
mod stage;
mod start;
mod tally;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::process::{Reply, say};
use crate::report::Report;
use crate::rounds::Load;
use crate::rows::{OTHERS, ROWS, Row};
use crate::stage::Subject;

/// What pollcast's push clients cost, beside a bare epoll loop.
#[derive(Debug, Parser)]
#[command(name = "fanout")]
struct Options {
    /// Numbers of clients; most rows are measured with the first alone [default: 10000,19000; for a
    /// plot 1000,5000,10000,19000].
    #[arg(long, value_delimiter = ',')]
    clients: Vec<usize>,
    /// Changes published in each measurement.
    #[arg(long, default_value_t = 20)]
    events: u64,
    /// How often each measurement is repeated, with other servers.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Rows to measure, of the fan-out (sse, websocket, sse-4k, websocket-4k, long-poll, tls, h2, h2-10,
    /// resources, last) and others (storm, churn, churn-tls, idle, polls, gone, stalled, scale, start) [default: all].
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often all clients leave and come in the churn rows.
    #[arg(long, default_value_t = 10)]
    churn: usize,
    /// Threads of the floor.
    #[arg(long, default_value_t = 2)]
    floor_threads: usize,
    /// Draw memory and CPU of the rows by the number of clients, as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// A smoke test: 500 clients, 5 changes.
    #[arg(long)]
    quick: bool,
    /// Another build of pollcast.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_pollcast"))]
    pollcast: PathBuf,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["role", role, rule] = words[..] {
        return play(role, rule);
    }
    if !words.contains(&"--bench") {
        // `cargo test` starts benches too.
        println!("fanout measures; run it with: cargo bench --bench fanout -- --quick");
        return ExitCode::SUCCESS;
    }
    match bench(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("fanout: changes were lost, doubled or disordered, or connections ended");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("fanout: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this process in one of its roles.
fn play(role: &str, rule: &str) -> ExitCode {
    let outcome = match role {
        "origin" => rule_of(rule).and_then(origin::run),
        "floor" => rule_of(rule).and_then(floor::run),
        "clients" => rule_of(rule).and_then(clients::run),
        _ => Err("no such role".to_owned()),
    };
    if let Err(why) = outcome {
        say(&Reply::Failed(format!("{role}: {why}")));
    }
    ExitCode::FAILURE
}

fn rule_of<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("{text}: {e}"))
}

impl Options {
    fn is_wanted(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == name)
    }

    /// What there is to say before anything is measured.
    fn check(&mut self) -> Result<(), String> {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).chain(OTHERS).collect();
        if let Some(name) = self.only.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(format!("--only {name}: not one of {}", names.join(", ")));
        }
        if self.quick {
            (self.clients, self.events, self.churn) = (vec![500], 5, 2);
        }
        if self.clients.is_empty() {
            let numbers: &[usize] =
                if self.plot.is_some() { &[1_000, 5_000, 10_000, 19_000] } else { &[10_000, 19_000] };
            self.clients = numbers.to_vec();
        }
        stage::check_limits(self.clients.iter().copied().max().unwrap_or(0))
    }

    /// The numbers of clients that a row is measured with.
    fn clients_of(&self, row: &Row) -> Vec<usize> {
        let numbers = if row.is_scaled { &self.clients } else { &self.clients[..1] };
        numbers.iter().map(|clients| row.clients_max.unwrap_or(usize::MAX).min(*clients)).collect()
    }
}

/// Runs the whole bench; false: some client did not get what it should have.
fn bench(mut options: Options) -> Result<bool, String> {
    profile::check(&options.pollcast)?;
    options.check()?;
    link::make_certificate()?;
    let mut report = Report::new(options.rounds, options.floor_threads);
    for round in 1..=options.rounds {
        for row in ROWS.iter().filter(|row| options.is_wanted(row.name)) {
            if row.is_of_last && round > 1 {
                continue;
            }
            for clients in options.clients_of(row) {
                measure(&options, round, row, clients, &mut report)?;
            }
        }
    }
    others(&options, &mut report)?;
    report.summarize();
    report.print(options.quick);
    if let Some(file) = &options.plot {
        std::fs::write(file, plot::draw(&report)).map_err(|e| format!("{}: {e}", file.display()))?;
        println!("{}", file.display());
    }
    println!("{}", report.write()?.display());
    Ok(report.is_clean())
}

fn measure(
    options: &Options,
    round: usize,
    row: &Row,
    clients: usize,
    report: &mut Report,
) -> Result<(), String> {
    let events = if row.is_of_last && !options.quick { options.events.max(100) } else { options.events };
    // Long enough for pollcast to give back what the storm of connecting took.
    let idle = Duration::from_secs(if options.quick { 1 } else { 4 });
    let load = Load { clients, events, tick: row.tick(clients), idle };
    for subject in [Subject::Pollcast, Subject::Floor(options.floor_threads)] {
        eprintln!("round {round} of {}: {} × {clients} {subject:?}", options.rounds, row.name);
        let sample = rounds::measure(row, subject, load, &options.pollcast)
            .map_err(|why| format!("{} × {clients} {subject:?}: {why}", row.name))?;
        report.samples.push(sample);
    }
    Ok(())
}

/// What is no row of the fan-out.
fn others(options: &Options, report: &mut Report) -> Result<(), String> {
    let (program, clients) = (&options.pollcast, options.clients[0]);
    let wanted = |name: &str| {
        let wanted = options.is_wanted(name);
        if wanted {
            eprintln!("{name}");
        }
        wanted
    };
    if wanted("storm") {
        for subject in [Subject::Pollcast, Subject::Floor(options.floor_threads)] {
            report.storms.push(crowds::storm(program, subject, clients)?);
        }
    }
    for (name, is_tls) in [("churn", false), ("churn-tls", true)] {
        if wanted(name) {
            report.churns.push(crowds::churn(program, is_tls, clients, options.churn)?);
        }
    }
    if wanted("idle") {
        // Longer than a heartbeat's interval.
        let time = Duration::from_secs(if options.quick { 2 } else { 40 });
        report.idle = Some(crowds::idle(program, clients, time)?);
    }
    if wanted("polls") {
        report.polls = polls::measure(program, Duration::from_secs(if options.quick { 2 } else { 10 }))?;
    }
    if wanted("gone") {
        report.gone = Some(edge::gone(program, 1_000.min(clients))?);
    }
    if wanted("stalled") {
        report.stalled = Some(edge::stalled(program)?);
    }
    if wanted("scale") {
        let is_meant = |(_, clients): &(_, usize)| !options.quick || *clients == scale::CLIENTS_MIN;
        for step in scale::STEPS.into_iter().filter(is_meant) {
            report.scales.push(scale::measure(program, step, options.events)?);
        }
    }
    if wanted("start") {
        report.start = Some(start::first_answers(program, if options.quick { 3 } else { 15 })?);
    }
    Ok(())
}
