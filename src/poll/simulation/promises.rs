//! The world that a seed makes, and the promises that are checked in it after each step.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::legacy::{Legacy, Record, Reply};
use super::{Asked, Client, PATHS, Reason, Stage, TEXTS};
use crate::config::Route;
use crate::frame::{Coding, Format};
use crate::hub::tests::route::SECOND;
use crate::hub::{Attend, Attendance, Resume, Subscription, Topic};
use crate::resource::VersionNamer;

/// One run.
struct World {
    stage: Stage,
    rng: fastrand::Rng,
    clients: Vec<Client>,
    visits: Vec<JoinHandle<()>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    calm: Arc<AtomicBool>,
    truth: Arc<Mutex<HashMap<String, &'static str>>>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let calm = Arc::new(AtomicBool::new(false));
        let truth: Arc<Mutex<HashMap<String, &'static str>>> = Arc::default();
        let script = script(rng.fork(), calm.clone(), truth.clone());
        let small = rng.bool();
        let change = move |route: &mut Route| {
            route.stale_after = if small { Duration::ZERO } else { 3 * SECOND };
            route.history_versions = if small { 2 } else { 8 };
        };
        World {
            stage: Stage::new(Legacy::new(script), change, rng.u64(..)),
            clients: (0..8).map(|n| Client::new(PATHS[n % 3])).collect(),
            rng,
            visits: Vec::new(),
            asked: Arc::default(),
            calm,
            truth,
        }
    }

    fn ask(&self, path: &'static str, reason: Reason) {
        let at = Instant::now();
        self.asked.lock().push(Asked { path, at, reason });
    }

    fn attend(&self, path: &'static str, kind: Attend) -> Attendance {
        let (attendance, started) = self.stage.attend(path, kind);
        if started {
            self.ask(path, Reason::NewTopic);
        }
        attendance
    }

    async fn step(&mut self) {
        let who = self.rng.usize(..self.clients.len());
        match self.rng.u8(..20) {
            0..5 if self.clients[who].subscription.is_none() => self.join(who).await,
            5..8 => self.clients[who].subscription = None,
            8..11 => self.visit(),
            11 if !self.visits.is_empty() => {
                let visit = self.rng.usize(..self.visits.len());
                self.visits.swap_remove(visit).abort();
            }
            12 => drop(self.stage.hub.evict_oldest()),
            13 => drop(self.attend(self.clients[who].path, Attend::Follow)),
            14 => self.clients[who].look(&self.stage.legacy),
            15 => sleep(self.rng.u32(..30) * SECOND).await,
            // The machine was suspended: the clock jumps, and all that was due meanwhile is due at once.
            16 => tokio::time::advance(self.rng.u32(1..7200) * SECOND).await,
            _ => self.shard_looks(),
        }
        sleep(Duration::from_millis(self.rng.u64(..700))).await;
    }

    async fn join(&mut self, who: usize) {
        let path = self.clients[who].path;
        let attendance = self.attend(path, Attend::Follow);
        self.clients[who].joined = Instant::now();
        if self.rng.bool() {
            // As a request that waits for the first answer, and may be dropped meanwhile.
            let topic = attendance.topic().clone();
            let first = topic.wait_for(|view| view.ended > 0 || view.closing.is_some());
            let patience = Duration::from_millis(self.rng.u64(..2000));
            if timeout(patience, first).await.is_err() && self.rng.bool() {
                return;
            }
        }
        let client = &mut self.clients[who];
        let (resume, held) = match self.rng.u8(..5) {
            0 => (Resume::Start, None),
            1 => {
                let unknown = VersionNamer::new(None).name(9, None, &self.rng.u64(..).to_le_bytes());
                (Resume::From(unknown), Some((unknown, "?".to_owned())))
            }
            2 if !client.earlier.is_empty() => {
                let old = client.earlier[self.rng.usize(..client.earlier.len())].clone();
                (Resume::From(old.0), Some(old))
            }
            _ => match client.held.clone() {
                Some(held) => (Resume::From(held.0), Some(held)),
                None => (Resume::Start, None),
            },
        };
        if let Resume::From(version) = resume {
            client.unknown = !attendance.topic().has_held(version);
            self.asked.lock().push(Asked { path, at: Instant::now(), reason: Reason::Resume });
        } else {
            client.unknown = false;
        }
        client.first = true;
        client.held = held;
        client.trouble = None;
        let subscription = Subscription::new(attendance, Some(0), Format::Sse(Coding::Plain), resume);
        client.subscription = Some(subscription);
        client.look(&self.stage.legacy);
    }

    /// An ordinary poll as the front makes it.
    fn visit(&mut self) {
        let path = PATHS[self.rng.usize(..PATHS.len())];
        let attendance = self.attend(path, Attend::Visit);
        let asked = self.asked.clone();
        let connection = self.rng.u64(1..8);
        self.visits.push(tokio::spawn(async move {
            let topic = attendance.topic();
            topic.visited(connection);
            let view = topic.view();
            let age = view.confirmed_at().map(|at| at.elapsed());
            if age.is_some_and(|age| age < view.effective_interval) {
                return;
            }
            asked.lock().push(Asked { path, at: Instant::now(), reason: Reason::Visit });
            let number = topic.want_poll();
            let answered = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
            drop(timeout(20 * SECOND, answered).await);
        }));
    }

    fn shard_looks(&mut self) {
        let rung: HashMap<u64, Arc<Topic>> = std::mem::take(&mut *self.stage.shard.0.lock());
        for topic in rung.values() {
            topic.look(0);
            for client in &mut self.clients {
                if client.subscription.as_ref().is_some_and(|s| s.topic().id() == topic.id()) {
                    client.look(&self.stage.legacy);
                }
            }
        }
    }

    /// The upstream is well from now on: every client that is there gets its state.
    async fn calm_down(&mut self) {
        self.calm.store(true, Ordering::SeqCst);
        for _ in 0..100 {
            sleep(SECOND).await;
            self.shard_looks();
        }
        let truth = self.truth.lock();
        for client in self.clients.iter().filter(|c| c.subscription.is_some()) {
            let held = client.held.as_ref().map(|(_, text)| text.as_str());
            assert_eq!(held, truth.get(client.path).copied(), "{}", client.path);
            assert_eq!(client.trouble, None, "{}", client.path);
        }
    }

    async fn everybody_leaves(&mut self) {
        for client in &mut self.clients {
            client.subscription = None;
        }
        for visit in self.visits.drain(..) {
            visit.await.ok();
        }
        let linger = self.stage.route.poll.linger;
        sleep(linger + 2 * SECOND).await;
        let polls = self.stage.legacy.count();
        sleep(self.stage.route.stale_if_error + SECOND).await;
        assert_eq!(self.stage.legacy.count(), polls, "polls after the linger");
        self.stage.shard.0.lock().clear();
        self.stage.assert_empty();
    }

    /// Looks at the record of all polls.
    fn judge_polls(&self) {
        let overlaps = self.stage.legacy.overlaps();
        assert!(overlaps.is_empty(), "two polls in flight: {overlaps:?}");
        let asked = self.asked.lock();
        let interval = self.stage.route.poll.interval;
        for path in PATHS {
            let records = self.stage.legacy.records();
            let records: Vec<Record> = records.into_iter().filter(|r| r.path == path).collect();
            for pair in records.windows(2) {
                let (before, this) = (&pair[0], &pair[1]);
                let ended = before.ended.expect("one after the other");
                let reasons: HashSet<u8> = asked
                    .iter()
                    .filter(|a| a.path == path && (before.started..=this.started).contains(&a.at))
                    .map(|a| a.reason as u8)
                    .collect();
                let has = |reason: Reason| reasons.contains(&(reason as u8));
                let gap = this.started - before.started;
                let rest = this.started - ended;
                let told = format!("{path}: {before:?}, then {this:?}");
                if before.is_failure() {
                    assert!(rest >= interval, "through the backoff: {told}");
                } else if before.is_relayed() && !has(Reason::NewTopic) {
                    assert!(rest >= interval.min(5 * SECOND), "not remembered: {told}");
                } else if has(Reason::NewTopic) || has(Reason::Visit) {
                    // At once.
                } else if has(Reason::Resume) {
                    assert!(gap >= interval / 2, "confirmations too close: {told}");
                } else {
                    assert!(gap >= interval.mul_f64(0.899), "too close: {told}");
                }
            }
        }
    }
}

/// The upstream of a run.
fn script(
    mut rng: fastrand::Rng,
    calm: Arc<AtomicBool>,
    truth: Arc<Mutex<HashMap<String, &'static str>>>,
) -> impl FnMut(&crate::upstream::Ask) -> (Duration, Reply) + Send {
    let mut bad_until = Instant::now();
    move |ask| {
        let mut truth = truth.lock();
        let text = truth.entry(ask.path_and_query.clone()).or_insert(TEXTS[0]);
        if calm.load(Ordering::SeqCst) {
            return (Duration::from_millis(rng.u64(..50)), Reply::Content(text));
        }
        if rng.u8(..3) == 0 {
            *text = TEXTS[rng.usize(..TEXTS.len())];
        }
        if rng.u8(..30) == 0 {
            bad_until = Instant::now() + rng.u32(1..20) * SECOND;
        }
        let latency = Duration::from_millis(match rng.u8(..10) {
            0 => rng.u64(1000..12_000),
            1..4 => rng.u64(100..900),
            _ => rng.u64(..100),
        });
        let bad = Instant::now() < bad_until || rng.u8(..8) == 0;
        let reply = match rng.u8(..9) {
            _ if !bad => Reply::Content(text),
            0 => Reply::Status(404),
            1 => Reply::Status(403),
            2 => Reply::Status(500),
            3 => Reply::Status(304),
            4 => Reply::Timeout,
            5 => Reply::Broken,
            6 if rng.u8(..4) == 0 => Reply::TooLarge,
            7 if rng.bool() => Reply::Panic,
            _ => Reply::Status(404),
        };
        (latency, reply)
    }
}

/// Prints the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was SIMULATION_SEED={}", self.0);
        }
    }
}

fn run(seed: u64) {
    let _named = Seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..world.rng.usize(20..250) {
            world.step().await;
        }
        world.calm_down().await;
        world.everybody_leaves().await;
        world.judge_polls();
    });
}

#[test]
fn every_promise_holds_whatever_happens() {
    match std::env::var("SIMULATION_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => run(seed),
        None => (0..200).for_each(run),
    }
}
