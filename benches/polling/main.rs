//! The polling bench: what an upstream has to bear, and how old what clients see is, when clients
//! poll for themselves and when they follow through pollcast.
//!
//! `cargo bench --bench polling` measures 1,000 clients of 100 resources in three phases and prints
//! a table. The upstream is this executable in the role `legacy`; it counts at its own sockets.
//! Nothing here is a test: it fails only if a client loses its connection.
//!
//! All share one machine: compare the lines of one run with each other.

#![allow(clippy::disallowed_methods, reason = "a bench drives processes: it sleeps while it measures")]

mod clients;
#[path = "../fanout/http2.rs"]
#[allow(dead_code, reason = "these clients speak HTTP/1")]
mod http2;
#[path = "../fanout/lag.rs"]
#[allow(dead_code, reason = "the other bench adds histograms up")]
mod lag;
mod legacy;
#[path = "../fanout/link.rs"]
#[allow(dead_code, reason = "a name for what HTTP/2 needs")]
mod link;
#[path = "../fanout/measure.rs"]
#[allow(dead_code, reason = "the other bench measures memory too")]
mod measure;
#[path = "../process/profile.rs"]
mod profile;
#[path = "../fanout/reader.rs"]
#[allow(dead_code, reason = "the other bench answers pings")]
mod reader;
#[path = "../fanout/server.rs"]
mod server;
#[path = "../fanout/wire.rs"]
#[allow(dead_code, reason = "the other bench writes what servers write")]
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clients::{Habit, Seen, Tally, client};
use crate::legacy::{Counts, Legacy};
use crate::measure::Cpu;
use crate::server::Pollcast;

/// How often clients poll for themselves, and pollcast at a fixed interval.
const EVERY: Duration = Duration::from_secs(2);

/// Longest wait for the first state of every client.
const CONNECTING: Duration = Duration::from_secs(60);

/// What an upstream has to bear with and without pollcast.
#[derive(Debug, Parser)]
#[command(name = "polling")]
struct Options {
    #[arg(long, default_value_t = 1_000)]
    clients: usize,
    #[arg(long, default_value_t = 100)]
    resources: usize,
    /// Measured seconds of each phase.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Seconds before that, after every client has its first state: an adaptive schedule settles.
    #[arg(long, default_value_t = 30.0)]
    settle: f64,
    /// Seconds between two changes of a resource, on average.
    #[arg(long, default_value_t = 20.0)]
    change: f64,
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
    let outcome = match words.as_slice() {
        ["role", "legacy", resources, mean] => play(resources, mean),
        _ if !words.contains(&"--bench") => {
            // `cargo test` starts benches too.
            println!("polling measures; run it with: cargo bench --bench polling");
            Ok(())
        }
        _ => bench(&Options::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("polling: {why}");
            ExitCode::FAILURE
        }
    }
}

fn play(resources: &str, mean: &str) -> Result<(), String> {
    let resources = resources.parse().map_err(|e| format!("{resources}: {e}"))?;
    let mean = mean.parse().map_err(|e| format!("{mean}: {e}"))?;
    legacy::run(resources, Duration::from_secs_f64(mean))
}

/// The clients that poll.
enum Phase {
    Clients,
    /// With this `poll` in its route.
    Pollcast(&'static str),
}

/// What one phase came to.
struct Line {
    name: &'static str,
    counts: Counts,
    tally: Tally,
    /// Milliseconds of CPU; pollcast's none where there is none.
    upstream_cpu: f64,
    pollcast_cpu: Option<f64>,
    seconds: f64,
}

const PHASES: [(&str, Phase); 3] = [
    ("clients poll every 2 s, half of them conditionally", Phase::Clients),
    ("pollcast, `interval: 2s`", Phase::Pollcast("interval: 2s")),
    ("pollcast, `interval: { min: 1s, max: 16s }`", Phase::Pollcast("interval: { min: 1s, max: 16s }")),
];

fn bench(options: &Options) -> Result<(), String> {
    profile::check(&options.pollcast)?;
    let needed = options.clients * 2 + options.resources + 100;
    let limit = measure::open_files_limit()?;
    if limit < needed {
        return Err(format!("{needed} open files are needed, {limit} are allowed: raise `ulimit -n`"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("a runtime: {e}"))?;
    let mut lines = Vec::new();
    for (name, phase) in PHASES {
        eprintln!("{name}");
        if let Some(why) = refusal(&phase, options)? {
            println!("left out: {name}: this pollcast refuses it: {why}");
            continue;
        }
        lines.push(runtime.block_on(measure(name, &phase, options)).map_err(|why| format!("{name}: {why}"))?);
    }
    print(&lines, options);
    Ok(())
}

/// Why pollcast does not take the configuration of this phase.
fn refusal(phase: &Phase, options: &Options) -> Result<Option<String>, String> {
    let Phase::Pollcast(poll) = phase else { return Ok(None) };
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("polling-check.yaml");
    std::fs::write(&file, configuration(poll, 1, 2, 3)).map_err(|e| format!("{}: {e}", file.display()))?;
    let check = std::process::Command::new(&options.pollcast)
        .args(["check".as_ref(), "-c".as_ref(), file.as_os_str()])
        .output()
        .map_err(|e| format!("{}: {e}", options.pollcast.display()))?;
    Ok((!check.status.success()).then(|| String::from_utf8_lossy(&check.stderr).trim().to_owned()))
}

fn configuration(poll: &str, port: u16, admin: u16, legacy: u16) -> String {
    format!(
        "listeners:\n  - address: 127.0.0.1:{port}\n\
         admin:\n  address: 127.0.0.1:{admin}\n\
         upstreams:\n  legacy:\n    servers: [\"127.0.0.1:{legacy}\"]\n\
         routes:\n  - path: \"/r/{{n}}\"\n    upstream: legacy\n    poll: {{ {poll} }}\n\
         log:\n  access: false\n"
    )
}

async fn measure(name: &'static str, phase: &Phase, options: &Options) -> Result<Line, String> {
    let mut legacy = Legacy::start(options.resources, Duration::from_secs_f64(options.change))?;
    let port = legacy.port;
    let pollcast = match phase {
        Phase::Clients => None,
        Phase::Pollcast(poll) => Some(Pollcast::start(&options.pollcast, "polling", |public, admin| {
            configuration(poll, public, admin, port)
        })?),
    };
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        let habit = match phase {
            // By turns within every resource, so that both kinds see the same changes.
            Phase::Clients => {
                Habit::Poll { every: EVERY, conditional: (number / options.resources).is_multiple_of(2) }
            }
            Phase::Pollcast(_) => Habit::Follow,
        };
        let port = pollcast.as_ref().map_or(port, |pollcast| pollcast.port);
        clients.spawn(client(port, number % options.resources, habit, seen.clone()));
    }
    let primed = async {
        while seen.primed() < options.clients {
            sleep(Duration::from_millis(20)).await;
        }
    };
    watched(&mut clients, timeout(CONNECTING, primed)).await?.map_err(|_| {
        format!("{} of {} clients had a first state within {CONNECTING:?}", seen.primed(), options.clients)
    })?;
    watched(&mut clients, sleep(Duration::from_secs_f64(options.settle))).await?;

    let cpu = |pid: Option<u32>| pid.map(Cpu::of).transpose();
    let pollcast_pid = pollcast.as_ref().map(Pollcast::pid);
    let before = (legacy.counts()?, Cpu::of(legacy.pid())?, cpu(pollcast_pid)?);
    let began = Instant::now();
    seen.counting.store(true, Ordering::Relaxed);
    watched(&mut clients, sleep(Duration::from_secs_f64(options.seconds))).await?;
    seen.counting.store(false, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let after = (legacy.counts()?, Cpu::of(legacy.pid())?, cpu(pollcast_pid)?);
    let tally = seen.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Line {
        name,
        counts: after.0.since(before.0),
        tally,
        upstream_cpu: after.1.since(before.1).0 / 1000.0,
        pollcast_cpu: after.2.zip(before.2).map(|(after, before)| after.since(before).0 / 1000.0),
        seconds,
    })
}

/// Waits, but not if a client ends: then the numbers would mean nothing.
async fn watched<T>(clients: &mut JoinSet<String>, wait: impl Future<Output = T>) -> Result<T, String> {
    tokio::select! {
        done = wait => Ok(done),
        Some(ended) = clients.join_next() => Err(format!("a client: {}", ended.unwrap_or_else(|e| e.to_string()))),
    }
}

fn print(lines: &[Line], options: &Options) {
    println!(
        "\n{} clients of {} resources, each changing every {} s on average; measured for {} s a phase, \
         bytes of HTTP at the upstream's sockets\n",
        options.clients, options.resources, options.change, options.seconds
    );
    println!(
        "| who polls | requests/min | of them 304 | bytes in/min | bytes out/min | age of a change, median | \
         p95 | changes a client saw/min | skipped | upstream CPU | pollcast CPU |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for line in lines {
        let Line { name, counts, tally, .. } = line;
        let minute = |count: u64| (count as f64 * 60.0 / line.seconds).round() as u64;
        let percent = |milliseconds: f64| format!("{:.1} %", milliseconds / line.seconds / 10.0);
        println!(
            "| {name} | {} | {} | {} | {} | {:.2} s | {:.2} s | {:.1} | {} | {} | {} |",
            minute(counts.requests),
            minute(counts.not_modified),
            bytes(minute(counts.bytes_in)),
            bytes(minute(counts.bytes_out)),
            tally.age.quantile_ms(0.5) / 1000.0,
            tally.age.quantile_ms(0.95) / 1000.0,
            tally.arrived as f64 * 60.0 / line.seconds / options.clients as f64,
            tally.skipped,
            percent(line.upstream_cpu),
            line.pollcast_cpu.map_or("".to_owned(), percent),
        );
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.0} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}
