//! The bench beside others: the same work by pollcast, by nginx with nchan, by haproxy, varnish, pushpin and a
//! bare Pingora proxy, in one run, by the operating system's own accounts of all their processes.
//!
//! `benches/peers/run` installs what is needed and starts this. The peers are private instances with
//! folders and ports of their own; the clients are this executable in another role, and the API
//! behind all of them is a thread of this process. A peer that does not work is left out, and the
//! table says so; the run fails only if pollcast does, and then, too, prints what it has.
//!
//! All share one machine: compare the columns of one run with each other.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench drives processes: it sleeps between readings, and its children exit"
)]

mod bare;
mod clients;
mod crowd;
mod family;
mod folder;
mod habit;
mod haproxy;
mod intervals;
#[path = "../fanout/measure.rs"]
#[allow(dead_code, reason = "the other bench asks for more")]
mod measure;
mod nginx;
mod pollers;
#[path = "../process/profile.rs"]
mod profile;
mod push;
mod pushpin;
mod requests;
#[path = "../fanout/server.rs"]
mod server;
mod speech;
mod subject;
mod table;
mod upstream;
mod varnish;
mod visits;
#[path = "../fanout/wire.rs"]
#[allow(dead_code, reason = "the other bench writes what servers write")]
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::nginx::{Nginx, Purpose};
use crate::push::Load;
use crate::speech::Speech;
use crate::subject::{Server, Start, Subject};
use crate::table::{Figure, Table};
use crate::upstream::Upstream;

/// pollcast beside its peers.
#[derive(Debug, Parser)]
#[command(name = "peers")]
struct Options {
    /// Connections of each measurement of streams and held long-polls.
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Connections when pushpin is measured.
    #[arg(long, default_value_t = 5_000)]
    pushpin_clients: usize,
    /// Changes published in each measurement.
    #[arg(long, default_value_t = 10)]
    events: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement by wrk.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Processes of nginx: a number, or `auto` for the number of cores.
    #[arg(long, default_value = "auto")]
    workers: String,
    /// Connections of each measurement of clients that poll at intervals.
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,19000")]
    pollers: Vec<usize>,
    /// Of: sse, pushpin, held, polls, intervals, passthrough.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// A smoke test: 500 clients, 1,000 that poll at intervals, 3 changes, 1 round, 1 second.
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
    let outcome = match words.as_slice() {
        ["role", role @ ..] => play(role).inspect_err(|why| clients::fail(why.clone())),
        _ if !words.contains(&"--bench") => {
            // `cargo test` starts benches too.
            println!("peers measures; run it with: benches/peers/run");
            Ok(())
        }
        _ => bench(Options::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("peers: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this process in one of its roles.
fn play(role: &[&str]) -> Result<(), String> {
    fn number<T: std::str::FromStr<Err: std::fmt::Display>>(word: &str) -> Result<T, String> {
        word.parse().map_err(|e| format!("{word}: {e}"))
    }
    match role {
        ["clients", speech, port, path, count] => {
            let speech = Speech::named(speech).ok_or_else(|| format!("no speech {speech}"))?;
            clients::run(speech, number(port)?, path, number(count)?)
        }
        ["pollers", port, count] => pollers::run(number(port)?, number(count)?),
        ["bare", port, upstream, threads] => bare::run(number(port)?, number(upstream)?, number(threads)?),
        _ => Err(format!("no role {role:?}")),
    }
}

const WORKS: [&str; 6] = ["sse", "pushpin", "held", "polls", "intervals", "passthrough"];

fn bench(mut options: Options) -> Result<(), String> {
    profile::check(&options.pollcast)?;
    if let Some(name) = options.only.iter().find(|name| !WORKS.contains(&name.as_str())) {
        return Err(format!("--only {name}: not one of {}", WORKS.join(", ")));
    }
    if options.quick {
        options = Options {
            clients: 500,
            pushpin_clients: 500,
            pollers: vec![1_000],
            events: 3,
            rounds: 1,
            seconds: 1,
            ..options
        };
    }
    // Sockets of a server besides its clients', and those of its own to an upstream.
    const SPARE_FILES: usize = 1_000;
    let (needed, limit) = (most_connections(&options) + SPARE_FILES, measure::open_files_limit()?);
    if needed > limit {
        return Err(format!("{needed} open files are needed, `ulimit -n` is {limit}"));
    }
    end_children_on_signals()?;
    let mut table = Table::default();
    for round in 1..=options.rounds {
        for work in WORKS {
            if options.only.is_empty() || options.only.iter().any(|name| name == work) {
                eprintln!("round {round} of {}: {work}", options.rounds);
                measure_work(work, &options, &mut table);
            }
        }
    }
    table.print();
    println!("\n{}", table.write()?.display());
    let failed = table.failures.iter().filter(|(subject, _)| *subject == Subject::Pollcast).count();
    if failed > 0 { Err(format!("{failed} measurements of pollcast failed")) } else { Ok(()) }
}

/// The most clients that one server has at a time.
fn most_connections(options: &Options) -> usize {
    let is_asked = |work: &str| options.only.is_empty() || options.only.iter().any(|name| name == work);
    let pushed = if is_asked("sse") || is_asked("held") { options.clients } else { 0 };
    let polling = options.pollers.iter().copied().filter(|_| is_asked("intervals"));
    polling.max().unwrap_or(0).max(pushed)
}

/// Without this an interrupted bench would leave servers behind.
fn end_children_on_signals() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("signals: {e}"))?;
    let context = runtime.enter();
    let listen = |kind| signal(kind).map_err(|e| format!("signals: {e}"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    drop(context);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        let [_, children @ ..] = &family::processes_below(std::process::id())[..] else { return };
        family::end(children, Duration::from_secs(1));
        folder::Folder::remove_all();
        std::process::exit(130)
    });
    Ok(())
}

/// Measures one kind of work of every server that does it, one after the other, so that a slow
/// minute of the machine meets all of them.
fn measure_work(work: &str, options: &Options, table: &mut Table) {
    use Subject::{Haproxy, Nginx, Pingora, Pollcast, Pushpin, Varnish};
    let subjects: &[Subject] = match work {
        "pushpin" => &[Pollcast, Pushpin],
        "polls" | "intervals" => &[Pollcast, Nginx, Haproxy, Varnish],
        "passthrough" => &[Pollcast, Pingora, Nginx, Haproxy, Varnish],
        _ => &[Pollcast, Nginx],
    };
    for subject in subjects {
        match measure_one(work, *subject, options) {
            Ok(figures) => table.add(*subject, figures),
            Err(why) => table.failures.push((*subject, format!("{work}: {why}"))),
        }
    }
}

fn measure_one(work: &str, subject: Subject, options: &Options) -> Result<Vec<Figure>, String> {
    let start = Start { pollcast: &options.pollcast, workers: &options.workers };
    let load = Load { clients: options.clients, events: options.events, size: 200 };
    let upstream = Upstream::start()?;
    match work {
        "sse" | "held" => {
            let server = Server::pushing(subject, &start, &upstream)?;
            push::measure(&server, &upstream, work == "held", work == "sse", load)
        }
        "pushpin" => {
            let server = Server::pushing(subject, &start, &upstream)?;
            // A client of pushpin that comes back is its backend's matter.
            push::measure(&server, &upstream, false, false, Load { clients: options.pushpin_clients, ..load })
        }
        "polls" => {
            let server = Server::caching(subject, &start, upstream.port)?;
            let (pid, port) = (server.pid(), server.port());
            let measure = |path, is_conditional, title| {
                requests::measure(pid, port, path, is_conditional, options.seconds, title)
            };
            let mut figures = measure("/r/200", false, "poll, 200 B")?;
            figures.extend(measure("/r/4096", false, "poll, 4 KB")?);
            figures.extend(measure("/r/4096", true, "poll, 304")?);
            figures.extend(visits::measure(pid, port, "/r/200", "first request of a connection, 200 B")?);
            Ok(figures)
        }
        "intervals" => at_intervals(subject, &start, upstream.port, options),
        _ => passing(subject, &start, options.seconds),
    }
}

/// Each number of clients has a server of its own.
fn at_intervals(
    subject: Subject,
    start: &Start<'_>,
    upstream: u16,
    options: &Options,
) -> Result<Vec<Figure>, String> {
    let time = Duration::from_secs(if options.quick { 2 } else { 10 });
    let mut figures = Vec::new();
    for clients in &options.pollers {
        let server = Server::caching(subject, start, upstream)?;
        let load =
            intervals::Load { clients: *clients, habits: intervals::Load::habits(options.quick), time };
        figures.extend(intervals::measure(&server, &load)?);
    }
    Ok(figures)
}

/// Bodies of three sizes, and the smallest once more with an access log.
fn passing(subject: Subject, start: &Start<'_>, seconds: u64) -> Result<Vec<Figure>, String> {
    let answers = Nginx::start(&Purpose::Answers, "1")?;
    // Too short a time ends while large answers are on their way, which cost and do not count.
    const LARGE_SECONDS_MIN: u64 = 4;
    let measure = |path: &str, is_logged, title: &str| {
        let seconds = if path == "/5242880" { seconds.max(LARGE_SECONDS_MIN) } else { seconds };
        let server = Server::passing(subject, start, answers.port, is_logged)?;
        requests::measure(server.pid(), server.port(), path, false, seconds, title)
    };
    let mut figures = measure("/other", false, "pass-through, 200 B")?;
    figures.extend(measure("/65536", false, "pass-through, 64 KB")?);
    figures.extend(measure("/5242880", false, "pass-through, 5 MB")?);
    if matches!(subject, Subject::Pollcast | Subject::Nginx) {
        figures.extend(measure("/other", true, "pass-through, 200 B, access log")?);
    }
    Ok(figures)
}
