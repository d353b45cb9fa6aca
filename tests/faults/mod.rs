//! Whatever goes wrong, every client is told each state at most once in a row, never an older one, and the last one in
//! the end; the upstream is asked at most once an interval; nothing is left behind.
//!
//! | module | what it is |
//! |---|---|
//! | `script` | what the upstream does: states, numbered polls, wrong answers |
//! | `door` | what stands between it and pollcast: connections that fail |
//! | `record` | what a client notes, and what it may never be told |
//! | `client`, `following` | the clients, by how they ask |
//! | `listeners` | clients whose connections may break |
//! | `world` | one run: a seed makes all of them, and then it is judged |
//! | `feeds` | lists under the same faults: every item once |
//! | `nodes` | three nodes of a cluster: the same, while nodes and the engine are killed, stopped and cut off |
//! | `killed` | a process that is killed, stands still and is started again under a thousand clients |
//! | `soak` | clients that come and go for long: memory, descriptors and tasks end where they began |
//! | `names` | servers whose names do not resolve |
//!
//! One run again: `FAULTS_SEED=7 cargo test --test pollcast faults`; more runs: `FAULTS_RUNS=200`. A soak of some
//! minutes: `POLLCAST_SOAK=10m cargo test --release --test pollcast soak -- --ignored --nocapture`.

mod client;
mod door;
mod feeds;
mod following;
mod killed;
mod listeners;
mod names;
mod nodes;
mod record;
mod script;
mod soak;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use record::Journal;
use tokio::task::JoinSet;

/// Runs at the same time: as many as a small machine can do without delays that look like faults.
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

/// Each run has a runtime and a thread of its own, so that it can be told which one failed. What happened in all.
fn run_all<F>(what: &str, runs: u64, run: fn(u64) -> F) -> Arc<Journal>
where
    F: Future<Output = Arc<Journal>> + 'static,
{
    let _ = rlimit::increase_nofile_limit(16 << 10);
    let seeds: Vec<u64> = match number("FAULTS_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("FAULTS_RUNS").unwrap_or(runs)).rev().collect(),
    };
    let (began, total, runs) = (Instant::now(), Arc::new(Journal::default()), seeds.len());
    let seeds = Arc::new(Mutex::new(seeds));
    let work = |total: Arc<Journal>, seeds: Arc<Mutex<Vec<u64>>>| {
        move || {
            loop {
                let Some(seed) = seeds.lock().pop() else { return };
                let _named = Seed(seed);
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                total.add(runtime.block_on(run(seed)).as_ref());
            }
        }
    };
    let threads: Vec<_> =
        (0..AT_ONCE).map(|_| std::thread::spawn(work(total.clone(), seeds.clone()))).collect();
    let failed = threads.into_iter().map(|thread| thread.join()).filter(Result::is_err).count();
    report(what, &total, runs, began.elapsed());
    assert_eq!(failed, 0, "runs failed; their seeds are above");
    total
}

#[test]
fn no_client_loses_repeats_or_goes_back_whatever_happens() {
    let total = run_all("states", 12, world::run);
    assert!(total.counted("fault: ") > 0 && total.counted("events") > 0);
}

#[test]
fn every_item_comes_once_and_in_order_whatever_happens() {
    let total = run_all("items", 4, feeds::run);
    assert!(total.counted("fault: ") > 0 && total.counted("items") > 0);
}

fn report(what: &str, total: &Journal, runs: usize, took: Duration) {
    println!(
        "{what}: {runs} runs in {took:.1?}: {} faults, {} connections of clients, {} events and {} items checked, \
         {} polls",
        total.counted("fault: "),
        total.counted("connections"),
        total.counted("events"),
        total.counted("items"),
        total.counted("polls"),
    );
    for (what, n) in total.counts() {
        println!("  {n:7} {what}");
    }
}

/// Waits for all; one that fails, fails the test at once.
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
