//! The cluster bench: three nodes of one cluster as processes, Debian's redis-server between them, an API that notes every
//! poll and clients on every node, all on one machine.
//!
//! `cargo bench --bench cluster` prints one table: how often the API is asked, for how long it is not while something
//! fails, what is lost (nothing may be), how late states are on other nodes, and what all that costs. Nothing here is a test.
//!
//! Numbers compare within one run.

#![allow(clippy::disallowed_methods, reason = "a bench drives processes: it sleeps while it measures")]

mod clients;
mod costs;
mod engine;
mod fleet;
#[path = "../fanout/lag.rs"]
#[allow(dead_code, reason = "the other bench adds histograms up")]
mod lag;
mod lags;
#[path = "../fanout/measure.rs"]
#[allow(dead_code, reason = "the other bench measures memory too")]
mod measure;
#[path = "../process/profile.rs"]
mod profile;
mod rhythm;
#[path = "../fanout/server.rs"]
mod server;
mod table;
mod upstream;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::rhythm::Failure;
use crate::table::Row;

/// What a cluster does and costs.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
struct Options {
    /// Only the measurements whose names begin like this: steady, killed, stopped, engine, lags, resume, mirror, many.
    #[arg(long)]
    only: Option<String>,
    /// Short, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Resources of the largest run.
    #[arg(long, default_value_t = 10_000)]
    resources: usize,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Each client of each node is a socket here and there.
    let _ = rlimit::increase_nofile_limit(16 << 10);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the bench failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), String> {
    profile::check(std::path::Path::new(env!("CARGO_BIN_EXE_pollcast")))?;
    let window = |seconds: u64| Duration::from_secs(if options.quick { seconds / 5 + 2 } else { seconds });
    let (second, two) = (Duration::from_secs(1), Duration::from_secs(2));
    table::print_head();
    let is_wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.starts_with(only.as_str()));
    if is_wanted("steady") {
        print(rhythm::steady(window(60)).await?);
    }
    if is_wanted("killed") {
        print(rhythm::failure(Failure::Node, two, second).await?);
        print(rhythm::failure(Failure::Node, second, Duration::from_millis(600)).await?);
    }
    if is_wanted("stopped") {
        print(rhythm::failure(Failure::NodeStops, two, second).await?);
    }
    if is_wanted("engine") {
        print(rhythm::failure(Failure::EngineHangs, two, second).await?);
        print(rhythm::failure(Failure::EngineKilled, two, second).await?);
    }
    if is_wanted("lags") {
        print(lags::added(1024, ["≤ 0.2 ms", "≤ 0.5 ms"], window(20)).await?);
        print(lags::added(50 * 1024, ["≤ 0.6 ms", "≤ 1 ms"], window(20)).await?);
    }
    if is_wanted("resume") {
        print(lags::resumed().await?);
    }
    if is_wanted("mirror") {
        print(costs::mirror(true, window(15)).await?);
        print(costs::mirror(false, window(15)).await?);
    }
    if is_wanted("many") {
        print(costs::many(options.resources, window(20)).await?);
    }
    Ok(())
}

fn print(rows: Vec<Row>) {
    rows.iter().for_each(Row::print);
}
