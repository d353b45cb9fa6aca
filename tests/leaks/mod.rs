//! Two users and an anonymous client in front of a legacy API that gives each of them other rows of the same URL: no
//! byte that one receives, by whatever way, is another's (contract §11).
//!
//! | module | |
//! |---|---|
//! | `people` | who they are, and where they say so |
//! | `upstream` | the legacy API, in all its styles |
//! | `world` | what stands around pollcast, certificates among it |
//! | `matrix` | the configurations |
//! | `acts` | what everybody does, all at once |
//! | `over_http2` | the same on one HTTP/2 connection |
//! | `recorder` | every byte that came, and what it says |
//! | `case` | one configuration, and what must not be seen of it |
//! | `logs` | what the process writes about it |
//! | `found` | the leaks that were found, each by name |
//!
//! `LEAKS_SECONDS` (40) says how long cases are begun; `LEAKS_SEED` repeats the choices of a run, which
//! prints its own.

mod acts;
mod case;
mod found;
mod logs;
mod matrix;
mod over_http2;
mod people;
mod recorder;
mod upstream;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use matrix::{Case, SETTINGS, SHARINGS, Sharing};
use people::{PLACES, Place};
use upstream::{STYLES, Style};
use world::World;

/// Cases at a time.
const AT_ONCE: usize = 8;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Every setting, place and style with every way to share, then pairs at random.
fn cases(rng: &mut fastrand::Rng) -> impl Iterator<Item = Case> {
    let mut every = Vec::new();
    for sharing in SHARINGS {
        let (mut places, mut styles) = (PLACES, STYLES);
        rng.shuffle(&mut places);
        rng.shuffle(&mut styles);
        for (n, setting) in SETTINGS.into_iter().enumerate() {
            let (place, style) = (places[n % places.len()], styles[n % styles.len()]);
            every.push(Case { sharing, place, setting, style, http2: n % 3 == 0, tls: n % 4 == 1 }.sound());
        }
    }
    rng.shuffle(&mut every);
    let mut rng = rng.fork();
    let more = std::iter::repeat_with(move || {
        let case = Case {
            sharing: SHARINGS[rng.usize(..SHARINGS.len())],
            place: PLACES[rng.usize(..PLACES.len())],
            setting: SETTINGS[rng.usize(..SETTINGS.len())],
            style: STYLES[rng.usize(..STYLES.len())],
            http2: rng.bool(),
            tls: rng.usize(..4) == 0,
        };
        case.sound()
    });
    every.into_iter().chain(more)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_gets_a_byte_of_anothers() {
    let seed = number("LEAKS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let limit = Duration::from_secs(number("LEAKS_SECONDS").unwrap_or(40));
    println!("LEAKS_SEED={seed}");
    let began = Instant::now();
    let (mut tasks, mut rng) = (tokio::task::JoinSet::new(), fastrand::Rng::with_seed(seed));
    let (mut ran, mut recordings, mut own) = (0, 0, 0);
    let (mut refused, mut problems) = (BTreeSet::new(), Vec::new());
    let (mut choices, mut begun) = (rng.fork(), 0);
    let mut left = cases(&mut rng);
    loop {
        while tasks.len() < AT_ONCE && began.elapsed() < limit {
            let Some(case) = left.next() else { break };
            let seed = choices.u64(..);
            begun += 1;
            tasks.spawn(async move { (case, case::run(&case, seed).await) });
        }
        let Some(done) = tasks.join_next().await else { break };
        let (case, outcome) = done.expect("a case runs to its end");
        let Some(outcome) = outcome else {
            refused.insert(format!("{:?} × {}", case.sharing, case.setting.name));
            continue;
        };
        ran += 1;
        recordings += outcome.recordings;
        own += outcome.own[0] + outcome.own[1];
        problems.extend(outcome.problems);
    }
    let connections = recorder::CONNECTIONS.load(Ordering::Relaxed);
    println!(
        "{ran} cases, {} of {} that have to be, {connections} connections, {recordings} recordings, {own} of them with rows of one's own, \
         in {:?}; refused by the configuration: {refused:?}",
        begun.min(SHARINGS.len() * SETTINGS.len()),
        SHARINGS.len() * SETTINGS.len(),
        began.elapsed()
    );
    let known = |what: &&String| what.ends_with(" × batch") || *what == "Authorize × feed with a cursor";
    assert_eq!(refused.iter().find(|what| !known(what)), None, "a configuration that nobody can have");
    assert!(ran >= 10, "only {ran} cases ran");
    assert!(problems.is_empty(), "LEAKS_SEED={seed}: {} problems:\n{}", problems.len(), shown(&problems));
}

fn shown(problems: &[String]) -> String {
    problems.iter().take(20).cloned().collect::<Vec<_>>().join("\n\n")
}

/// The suite can fail: a route that says everybody may have what Alice gets is caught by every act.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_is_seen_whatever_carries_it() {
    sees_every_leak(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_is_seen_under_tls() {
    sees_every_leak(true).await;
}

async fn sees_every_leak(tls: bool) {
    let (setting, style) = (SETTINGS[0], Style::Silent);
    let case = Case { sharing: Sharing::Public, place: Place::Bearer, setting, style, http2: true, tls };
    let world = Arc::new(World::of(&case));
    let yaml = case
        .yaml(&world)
        .replace(", interval: 100ms", &format!(", interval: 100ms{}", case.poller_is_alice()));
    let (mut flagged, mut problems) = (BTreeSet::new(), Vec::new());
    let noticed = |problems: &[String]| problems.iter().any(|said| said.contains("a poll with credentials"));
    // Acts listen for a fixed time, in which a busy machine may have nothing for some of them: they are done again.
    for _ in 0..LOOKS_MAX {
        let outcome = case::run_with(&world, &yaml, &case, None).await.expect("a good configuration");
        let of_nobody = outcome.flagged.into_iter().filter(|(who, _)| *who == "nobody");
        flagged.extend(of_nobody.map(|(_, act)| act));
        problems.extend(outcome.problems);
        if noticed(&problems) && ACTS.iter().all(|act| flagged.contains(act)) {
            return;
        }
    }
    let unnoticed: Vec<&&str> = ACTS.iter().filter(|act| !flagged.contains(**act)).collect();
    assert!(unnoticed.is_empty(), "what nobody got went unnoticed by {unnoticed:?}; noticed: {flagged:?}");
    assert!(noticed(&problems), "polls by Alice went unnoticed");
}

/// Most times that all acts are done until each has had something to notice.
const LOOKS_MAX: usize = 20;

/// All acts by which no person gets what all may have.
const ACTS: [&str; 32] = [
    "first get",
    "first stream",
    "get",
    "pipelined",
    "head",
    "compressed get",
    "long poll",
    "long poll without tag",
    "long poll by query",
    "HTTP/1.0",
    "other query",
    "post, then get",
    "stream",
    "compressed stream",
    "resumed stream",
    "stream resumed by query",
    "patch stream",
    "stream by query",
    "socket",
    "compressed socket",
    "envelope",
    "envelope on a resource",
    "many resources",
    "many resources again",
    "forged subject",
    "shared connection",
    "shared and pipelined",
    "get over HTTP/2",
    "stream over HTTP/2",
    "compressed over HTTP/2",
    "long poll over HTTP/2",
    "many over HTTP/2",
];

/// Bodies that are no text are seen, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_in_base64_is_seen() {
    let setting = SETTINGS.into_iter().find(|setting| setting.name == "base64").expect("it is there");
    let case = Case {
        sharing: Sharing::Public,
        place: Place::ApiKey,
        setting,
        style: Style::Bytes,
        http2: false,
        tls: false,
    };
    let world = Arc::new(World::of(&case));
    let yaml = case
        .yaml(&world)
        .replace(", interval: 100ms", &format!(", interval: 100ms{}", case.poller_is_alice()));
    let mut flagged = BTreeSet::new();
    for _ in 0..LOOKS_MAX {
        let outcome = case::run_with(&world, &yaml, &case, None).await.expect("a good configuration");
        flagged.extend(outcome.flagged);
        if flagged.contains(&("robert", "stream")) {
            return;
        }
    }
    panic!("what Robert got by a stream went unnoticed; noticed: {flagged:?}");
}
