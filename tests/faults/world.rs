//! One run: a resource with a plot, its faults, the clients, and what the upstream was asked.
//!
//! Must not know: what clients check.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pollcast::app::App;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::all_end;
use super::client::{Client, Ground, HOST};
use super::door::Door;
use super::record::Journal;
use super::script::{Plot, Poll, Script};
use crate::support::app;
use crate::support::client::{Http, connect};
use crate::support::legacy::Legacy;

/// How long anything may go wrong.
const STORMY: Duration = Duration::from_secs(5);

/// From the calm to the last client with the final state.
const SETTLED: Duration = Duration::from_secs(20);

const CLIENTS: usize = 24;
const INTERVAL: Duration = Duration::from_millis(150);
const PATH: &str = "/states/1";

/// What the threads of a busy machine may take from an interval.
const UNEVEN: Duration = Duration::from_millis(25);

/// The configuration of a run, in which failures are short. `state`: more keys of the route of states.
pub fn config(server: &str, listener: &str, admin: &str, versions: u64, state: &str) -> String {
    format!(
        "listeners: [{{address: '{listener}', http2: true}}]\n\
         admin: {{address: '{admin}'}}\n\
         upstreams:\n  legacy:\n    servers: ['{server}']\n    host: api.example\n\
         \x20   first_byte_timeout: 400ms\n    keepalive: 1s\n    breaker: {{failures: 10, wait: 100ms}}\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         passthrough: legacy\n\
         defaults:\n\
         \x20 poll: {{interval: 150ms, timeout: 2s, linger: 1s, \
                     backoff: {{min: 100ms, max: 300ms, retry_after_max: 1s}}}}\n\
         \x20 stale_if_error: 1s\n  history: {{versions: {versions}}}\n\
         \x20 write_wait: 500ms\n\
         routes:\n\
         - {{path: '/states/{{state}}', upstream: legacy, change: {{ignore: [/poll]}}, {state}}}\n\
         - {{path: '/rooms/{{room}}', upstream: legacy, stale_after: 0s, feed: {{items: /messages, id: /id, replay: 1}}}}\n"
    )
}

/// The whole life of one run; what happened in it.
pub async fn run(seed: u64) -> Arc<Journal> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let journal = Arc::new(Journal::default());
    let legacy = Legacy::start();
    let plot = [Plot::Counting, Plot::Recurring, Plot::Flapping][seed as usize % 3];
    let script = Script::play(&legacy, PATH, plot, rng.u64(..), &journal);
    let has_door = seed % 4 == 1;
    let door = Door::before(legacy.address(), rng.u64(..), journal.clone()).await;
    let server = match seed % 4 {
        // By name, of which one address may be dead.
        0 => format!("localhost:{}", legacy.address().port()),
        1 => door.address.to_string(),
        _ => legacy.address().to_string(),
    };
    // Without strays every version is known, and nothing is ever asked sooner than after an interval.
    let strays = rng.u8(..3) > 0;
    let versions = if strays { [1, 3, 64][rng.usize(..3)] } else { 64 };
    let stale_after = ["stale_after: 0s", "stale_after: 10s"][rng.usize(..2)];
    let hold = ["", ", hold_not_modified: 300ms"][usize::from(rng.u8(..4) == 0)];
    let yaml = config(&server, "127.0.0.1:0", "127.0.0.1:0", versions, &format!("{stale_after}{hold}"));
    // States that recur would tell a roaming client nothing of a node that is behind: versions have no order.
    let roaming = plot == Plot::Counting && seed % 2 == 1;
    let nodes: Vec<App> = (0..1 + usize::from(roaming)).map(|_| app::start(&yaml)).collect();
    let ground = Arc::new(Ground {
        nodes: nodes.iter().map(|node| node.addresses()[0]).collect(),
        path: PATH.to_owned(),
        journal: journal.clone(),
        strays,
        writes: seed % 4 == 2,
        calm: watch::Sender::new(false),
    });
    if has_door {
        for node in &ground.nodes {
            is_known(*node).await;
        }
        door.storm();
    }
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        journal.count("clients");
        let client = Client::new(format!("client {n} of run {seed}"), &ground, rng.fork());
        clients.spawn(client.live());
    }
    let began = Instant::now();
    let stops = weather(&legacy, &mut clients, &mut rng, seed % 4 == 3, &journal).await;
    door.calm();
    script.calm();
    ground.calm.send_replace(true);
    all_end(&mut clients, SETTLED, &format!("run {seed} ({plot:?})")).await;
    let at_once = journal.counted("fault: cut") + stops;
    let allowed = Allowed { confirmations: journal.counted("position: "), at_once };
    if roaming {
        journal.count("runs of two nodes");
        return journal;
    }
    judge(&script, &allowed, began.elapsed());
    if ground.writes || has_door {
        return journal;
    }
    // What hangs is left by pollcast before it asks again. The server may notice that after the next poll came, and
    // what was cut off later than that.
    let at_once = 1 + usize::from(journal.counted("fault: hangs") > 0);
    let most = legacy.max_in_flight(PATH);
    assert!(stops > 0 || most <= at_once, "{most} polls at once");
    journal
}

/// Asks until the node has a snapshot: a first poll that is not served makes its URL the API's for a minute, faults
/// and all (contract §1).
async fn is_known(node: SocketAddr) {
    let mut http = Http::over(connect(node).await, HOST);
    while http.get(PATH, &[]).await.header("etag").is_none() {
        http = Http::over(connect(node).await, HOST);
    }
}

/// Waits until the faults are over. With `stops` the upstream goes away and comes back meanwhile; how often.
async fn weather(
    legacy: &Legacy,
    clients: &mut JoinSet<()>,
    rng: &mut fastrand::Rng,
    stops: bool,
    journal: &Journal,
) -> u64 {
    let (until, mut stopped) = (Instant::now() + STORMY, 0);
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(rng.u64(100..900))).await;
        if stops {
            legacy.stop().await;
            journal.count("fault: connections refused");
            stopped += 1;
            tokio::time::sleep(Duration::from_millis(rng.u64(50..600))).await;
            legacy.start_again();
        }
        // No client has the final state yet: one that has ended has failed.
        if let Some(ended) = clients.try_join_next() {
            ended.expect("a client was told what it should not be told");
        }
    }
    stopped
}

/// Polls that may come sooner than after an interval.
pub struct Allowed {
    /// After half of one: confirmations of versions that are not known.
    pub confirmations: u64,
    /// At once: what could be asked again since nothing was answered, the first poll of a new process.
    pub at_once: u64,
}

/// The upstream was asked once an interval, and for writes, and besides no more than is allowed. A poll that was held
/// up on its way by a busy machine is followed too soon by a punctual one: a few may be.
pub fn judge(script: &Script, allowed: &Allowed, took: Duration) {
    let (polls, writes) = (script.polls(), script.writes());
    let repeated = polls.iter().filter(|poll| poll.may_be_repeated()).count() as u64;
    let written = |two: &[Poll]| {
        writes.iter().any(|at| two[1].at >= *at && two[1].at < *at + Duration::from_millis(3_000))
    };
    let gap = |two: &[Poll]| two[1].at - two[0].at;
    let shorter_than = |least: Duration| {
        let short = polls.windows(2).filter(|two| !written(two) && gap(two) < least);
        short.map(|two| (gap(two), two[0].clone(), two[1].clone())).collect::<Vec<_>>()
    };
    let least = INTERVAL.mul_f64(0.9) - UNEVEN;
    // One that was held up came later after the one before it than any interval lasts, by as much as the next one seems
    // too soon.
    let was_held_up = |before: &Poll, after: &Poll| {
        let earlier = polls.iter().rfind(|poll| poll.at < before.at && !poll.may_be_repeated());
        let late = earlier.map(|earlier| (before.at - earlier.at).saturating_sub(INTERVAL.mul_f64(1.1)));
        late.is_some_and(|late| !late.is_zero() && after.at - before.at + late >= least)
    };
    let mut short = shorter_than(least);
    short.retain(|(_, before, after)| !was_held_up(before, after));
    let held_up = 2 + polls.len() as u64 / 20;
    let most = repeated + allowed.at_once + allowed.confirmations + held_up;
    assert!(short.len() as u64 <= most, "asked too soon, {most} times at most: {short:#?}");
    let short = shorter_than(INTERVAL.mul_f64(0.45) - UNEVEN);
    let short: Vec<_> = short.into_iter().filter(|(_, before, _)| !before.may_be_repeated()).collect();
    assert!(short.len() as u64 <= allowed.at_once + held_up, "asked at once: {short:#?}");
    let most = took.as_secs_f64() / INTERVAL.mul_f64(0.45).as_secs_f64();
    let most = most as u64 + repeated + allowed.at_once + 5 * writes.len() as u64 + 2;
    assert!(polls.len() as u64 <= most, "{} polls in {took:?}, {most} at most", polls.len());
}
