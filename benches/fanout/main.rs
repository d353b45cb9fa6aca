//! The fan-out bench: what a push client costs in pollcast, beside a bare epoll loop that writes
//! the same bytes (the floor), in one run and by the operating system's own accounts.
//!
//! `cargo bench --bench fanout -- --quick` is the smoke test; without options the whole takes
//! about a quarter of an hour. It ends with 1 if any client missed a change, got one twice or out
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
mod edge;
mod floor;
mod lag;
mod measure;
mod origin;
mod process;
mod reader;
mod report;
mod rounds;
mod server;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::process::{Reply, say};
use crate::report::Report;
use crate::rounds::{Load, Subject};
use crate::wire::{SMALLEST_BODY, Wire};

/// What pollcast's push clients cost, beside a bare epoll loop.
#[derive(Debug, Parser)]
#[command(name = "fanout")]
struct Options {
    /// Connections of each measurement.
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Changes published in each measurement.
    #[arg(long, default_value_t = 25)]
    events: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bytes of one body.
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Milliseconds between two changes [default: by wire and number of clients, at least 400].
    #[arg(long)]
    tick_ms: Option<u64>,
    /// Of: sse, websocket, long_poll, floor, gone, stalled. `floor` alone: without pollcast.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Threads of the floor that pollcast is compared with.
    #[arg(long, default_value_t = 2)]
    floor_threads: usize,
    /// A smoke test: 500 clients, 5 changes, 1 round.
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
    if let ["role", role @ ..] = words.as_slice() {
        return play(role);
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
fn play(role: &[&str]) -> ExitCode {
    let number = |word: &str| word.parse::<usize>().map_err(|e| format!("{word}: {e}"));
    let wire = |word: &str| Wire::named(word).ok_or_else(|| format!("no wire {word}"));
    let outcome = match role {
        ["origin", size] => number(size).and_then(origin::run),
        ["floor", name, threads, size] => {
            wire(name).and_then(|wire| floor::run(wire, number(threads)?, number(size)?))
        }
        ["clients", name, port, count] => wire(name).and_then(|wire| {
            let port = port.parse().map_err(|e| format!("{port}: {e}"))?;
            clients::run(wire, port, number(count)?)
        }),
        _ => Err(format!("no role {role:?}")),
    };
    if let Err(why) = outcome {
        say(&Reply::Failed(why));
    }
    ExitCode::FAILURE
}

/// What is to be measured, in order.
struct Plan {
    /// One round.
    pairs: Vec<(Subject, Wire)>,
    gone: bool,
    stalled: bool,
}

impl Plan {
    fn new(only: &[String], floor_threads: usize) -> Result<Self, String> {
        let known = |name: &&String| {
            Wire::named(name).is_some() || ["floor", "gone", "stalled"].contains(&name.as_str())
        };
        if let Some(name) = only.iter().find(|name| !known(name)) {
            return Err(format!("--only {name}: not one of sse, websocket, long_poll, floor, gone, stalled"));
        }
        let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
        let pollcast_wires = Wire::ALL.into_iter().filter(|wire| wanted(wire.name())).collect::<Vec<_>>();
        let floor_alone = only.iter().all(|name| name == "floor");
        let mut pairs = Vec::new();
        for wire in Wire::ALL {
            if pollcast_wires.contains(&wire) {
                pairs.push((Subject::Pollcast, wire));
            }
            if wanted("floor") && (floor_alone || pollcast_wires.contains(&wire)) {
                pairs.push((Subject::Floor(floor_threads), wire));
                if wire == Wire::Sse && floor_threads != 1 {
                    // For the eye only: what a second thread costs.
                    pairs.push((Subject::Floor(1), wire));
                }
            }
        }
        if floor_alone {
            pairs.retain(|(subject, _)| only.is_empty() || *subject != Subject::Pollcast);
        }
        Ok(Self { pairs, gone: wanted("gone"), stalled: wanted("stalled") })
    }
}

/// Runs the whole bench; false: some client did not get what it should have.
fn bench(options: Options) -> Result<bool, String> {
    const GONE_CLIENTS: usize = 1_000;
    let full = !options.quick;
    let load = Load {
        clients: if full { options.clients } else { 500 },
        events: if full { options.events } else { 5 },
        size: options.size.max(SMALLEST_BODY),
        tick: options.tick_ms.map(Duration::from_millis),
        idle: Duration::from_secs(if full { 5 } else { 1 }),
    };
    let rounds = if full { options.rounds } else { 1 };
    let plan = Plan::new(&options.only, options.floor_threads)?;
    rounds::check_limits(load.clients.max(if plan.gone { GONE_CLIENTS } else { 0 }))?;

    let mut report = Report::new(load, rounds, options.floor_threads);
    for round in 1..=rounds {
        for (subject, wire) in &plan.pairs {
            eprintln!("round {round} of {rounds}: {} {subject:?}", wire.name());
            let sample = rounds::measure(*subject, *wire, &report.load, &options.pollcast)
                .map_err(|why| format!("{} {subject:?}: {why}", wire.name()))?;
            report.samples.push(sample);
        }
    }
    if plan.gone {
        eprintln!("gone clients");
        report.gone = Some(edge::gone(&options.pollcast, GONE_CLIENTS)?);
    }
    if plan.stalled {
        eprintln!("stalled client");
        report.stalled = Some(edge::stalled(&options.pollcast)?);
    }
    report.summarize();
    report.print();
    println!("{}", report.write()?.display());
    Ok(report.is_clean())
}
