//! Whatever goes wrong, every client is told each state at most once in a row, never an older one, and the last one in
//! the end; the upstream is asked at most once an interval; nothing is left behind.
//!
//! | module | what it is |
//! |---|---|
//! | `script` | what the upstream does: states, numbered polls, wrong answers |
//! | `door` | what stands between it and pollcast: connections that fail |
//! | `record` | what a client notes, and what it may never be told |
//! | `client`, `following` | the clients, by how they ask |
//! | `world` | one run: a seed makes all of them, and then it is judged |
//! | `feeds` | lists under the same faults: every item once |
//! | `killed` | a process that is killed, stopped and started again under a thousand clients |
//! | `soak` | clients that come and go for long: memory, descriptors and tasks end where they began |
//! | `names` | servers whose names do not resolve |
//!
//! One run again: `FAULTS_SEED=7 cargo test --test pollcast faults`; more runs: `FAULTS_RUNS=200`.

mod client;
mod door;
mod following;
mod record;
mod script;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use record::Journal;
use tokio::task::JoinSet;

/// Runs at the same time: what a small machine can do without delays that are no one's fault.
const AT_ONCE: usize = 4;

/// Prints the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was FAULTS_SEED={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

/// Each run has a runtime and a thread of its own, so that it can be told which one failed.
fn run(seed: u64, total: &Journal) {
    let _named = Seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { total.add(world::run(seed).await.as_ref()) });
}

#[test]
fn no_client_loses_repeats_or_goes_back_whatever_happens() {
    let _ = rlimit::increase_nofile_limit(16 << 10);
    let seeds: Vec<u64> = match number("FAULTS_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("FAULTS_RUNS").unwrap_or(12)).collect(),
    };
    let (began, total, runs) = (Instant::now(), Arc::new(Journal::default()), seeds.len());
    let seeds = Arc::new(parking_lot::Mutex::new(seeds));
    let threads: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (seeds, total) = (seeds.clone(), total.clone());
            std::thread::spawn(move || {
                loop {
                    let Some(seed) = seeds.lock().pop() else { return };
                    run(seed, &total);
                }
            })
        })
        .collect();
    let failed = threads.into_iter().map(|thread| thread.join()).filter(Result::is_err).count();
    report(&total, runs, began.elapsed());
    assert_eq!(failed, 0, "runs failed; their seeds are above");
}

fn report(total: &Journal, runs: usize, took: Duration) {
    println!(
        "faults: {runs} runs in {took:.1?}: {} faults, {} connections of clients, {} events checked, {} polls",
        total.counted("fault: "),
        total.counted("connections"),
        total.counted("events"),
        total.counted("polls"),
    );
    for (what, n) in total.counts() {
        println!("  {n:7} {what}");
    }
}

/// Waits for all; whoever fails, fails the test at once.
async fn all_end<T: 'static>(clients: &mut JoinSet<T>, limit: Duration, what: &str) {
    let all = async {
        while let Some(ended) = clients.join_next().await {
            if let Err(error) = ended {
                panic!("{what}: {error}");
            }
        }
    };
    if tokio::time::timeout(limit, all).await.is_err() {
        panic!("{what}: {} clients were not told the last state within {limit:?}", clients.len());
    }
}
