//! Waves of clients, resources and faults, one after the other, against one process: when all have left, its memory,
//! descriptors, threads and tasks are (about) where they were after the first ones.
//!
//! Some minutes of it: `POLLCAST_SOAK=10m cargo test --release --test pollcast soak -- --ignored --nocapture`.
//! Must not know: what is in the process.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::{Client, Ground};
use super::record::Journal;
use super::script::{Plot, Script};
use super::world::config;
use super::{all_end, report};
use crate::support::client::Http;
use crate::support::legacy::Legacy;
use crate::support::process::Process;

/// Resources of one wave. No client asks for them again after it.
const RESOURCES: usize = 4;
/// Clients of one wave at the same time.
const CLIENTS: usize = 60;
/// How long a wave is stormy.
const WAVE: Duration = Duration::from_millis(2_500);

/// What a process holds.
#[derive(Debug, Clone, PartialEq)]
struct Holdings {
    /// Bytes in RAM that are its own: anonymous Pss.
    memory: u64,
    descriptors: usize,
    threads: usize,
    /// Tasks of the runtimes.
    tasks: u64,
    subscribers: u64,
    resources: u64,
    passing: u64,
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holdings { descriptors, threads, tasks, subscribers, resources, passing, .. } = self;
        let memory = self.memory as f64 / f64::from(1 << 20);
        write!(
            f,
            "{memory:.1} MiB, {descriptors} descriptors, {threads} threads, {tasks} tasks, \
             {subscribers} subscribers, {resources} resources, {passing} passing through"
        )
    }
}

impl Holdings {
    async fn of(process: &Process) -> Holdings {
        // Open until all is counted, so that it counts every time.
        let mut asking = Http::connect(process.admin).await;
        let text = asking.get("/metrics", &[]).await.text();
        let sum = |name: &str| {
            let series = text
                .lines()
                .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
            series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
        };
        let place = |name: &str| format!("/proc/{}/{name}", process.id());
        let count = |name: &str| fs::read_dir(place(name)).expect("a running process").count();
        let rollup = fs::read_to_string(place("smaps_rollup")).expect("a running process");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).expect("Pss_Anon");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("kilobytes");
        assert!(sum("pollcast_tasks") > 0, "{text}");
        Holdings {
            memory: kib << 10,
            descriptors: count("fd"),
            threads: count("task"),
            tasks: sum("pollcast_tasks"),
            subscribers: sum("pollcast_subscribers"),
            resources: sum("pollcast_resources"),
            passing: sum("pollcast_passthrough_active"),
        }
    }

    /// But for memory, which is never the same twice.
    fn counted(&self) -> [u64; 6] {
        let Holdings { descriptors, threads, tasks, subscribers, resources, passing, .. } = *self;
        [descriptors as u64, threads as u64, tasks, subscribers, resources, passing]
    }
}

/// Waits until no client is left and nothing has changed for a while, and returns what the process holds then.
async fn quiet(process: &Process) -> Holdings {
    let limit = Instant::now() + Duration::from_secs(40);
    let (mut last, mut same) = (Holdings::of(process).await, 0);
    // Idle threads and connections to the upstream go after some time; nothing tells when.
    while same < 12 {
        sleep(Duration::from_millis(250)).await;
        let now = Holdings::of(process).await;
        let is_empty = now.subscribers == 0 && now.resources == 0 && now.passing == 0;
        same = if is_empty && now.counted() == last.counted() { same + 1 } else { 0 };
        last = now;
        assert!(Instant::now() < limit, "it does not come to rest: {last}");
    }
    last
}

/// One wave: everybody comes, meets faults, is told the last state, and leaves.
async fn wave(process: &Process, legacy: &Legacy, number: usize, journal: &Arc<Journal>) {
    let plots = [Plot::Counting, Plot::Recurring, Plot::Flapping];
    let (mut grounds, mut scripts, mut clients) = (Vec::new(), Vec::new(), JoinSet::new());
    for n in 0..RESOURCES {
        let path = format!("/states/{number}-{n}");
        let plot = plots[n % plots.len()];
        // Versions are the same in all waves, and mean the same.
        let script = Script::play(legacy, &path, plot, fastrand::u64(..), journal);
        grounds.push(Arc::new(Ground {
            nodes: vec![process.address],
            path,
            journal: journal.clone(),
            strays: true,
            writes: n == 0,
            calm: watch::Sender::new(false),
        }));
        scripts.push(script);
    }
    for n in 0..CLIENTS {
        journal.count("clients");
        let who = format!("client {n} of wave {number}");
        clients.spawn(Client::new(who, &grounds[n % RESOURCES], fastrand::Rng::new()).live());
    }
    sleep(WAVE / 2).await;
    legacy.stop().await;
    journal.count("fault: connections refused");
    sleep(Duration::from_millis(300)).await;
    legacy.start_again();
    sleep(WAVE / 2).await;
    scripts.iter().for_each(Script::calm);
    for ground in &grounds {
        ground.calm.send_replace(true);
    }
    all_end(&mut clients, Duration::from_secs(30), &format!("wave {number}")).await;
    legacy.forget();
}

/// `warm`: until the process has made what it makes once. `long`: after that.
async fn soak(warm: Duration, long: Duration) {
    let _ = rlimit::increase_nofile_limit(16 << 10);
    let (legacy, journal) = (Legacy::start(), Arc::new(Journal::default()));
    let yaml =
        config(&legacy.address().to_string(), "PUBLIC_ADDRESS", "ADMIN_ADDRESS", 16, "stale_after: 0s");
    let process = Process::start(&yaml).await;
    let fresh = Holdings::of(&process).await;
    let (began, mut waves) = (Instant::now(), 0);
    let mut until = async |end: Duration| {
        let begin = Instant::now();
        while begin.elapsed() < end {
            wave(&process, &legacy, waves, &journal).await;
            waves += 1;
        }
        quiet(&process).await
    };
    let before = until(warm).await;
    let after = until(long).await;
    report("soak", &journal, waves, began.elapsed());
    println!("  fresh:  {fresh}\n  before: {before}\n  after:  {after}");
    let few = |before: usize| before + 2 + before / 20;
    assert!(after.descriptors <= few(before.descriptors), "descriptors: {before}; then {after}");
    assert!(after.threads <= few(before.threads), "threads: {before}; then {after}");
    assert!(after.tasks as usize <= few(before.tasks as usize), "tasks: {before}; then {after}");
    // An allocator keeps pieces; what leaks goes on to grow.
    assert!(after.memory <= before.memory + before.memory / 4 + (4 << 20), "memory: {before}; then {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_and_goes_leaves_nothing_behind() {
    soak(Duration::from_secs(3), Duration::from_secs(7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes the minutes of POLLCAST_SOAK"]
async fn soak_for_minutes() {
    let long = std::env::var("POLLCAST_SOAK").unwrap_or_else(|_| "5m".to_owned());
    let long = humantime::parse_duration(&long).unwrap_or_else(|e| panic!("POLLCAST_SOAK {long:?}: {e}"));
    soak(Duration::from_secs(20).min(long / 2), long).await;
}
