//! A covered URL never works worse than an uncovered one: generated exchanges with a generated API, each sent to it
//! directly and through pollcast, compared as a user would compare them.
//!
//! | module | what it is |
//! |---|---|
//! | `scene` | what happens, as data that can be printed: configuration, places of the API, steps |
//! | `traits`, `agents` | what is odd about an API; the kinds of clients |
//! | `generate` | how scenes are made and made smaller |
//! | `api`, `body` | the API itself |
//! | `exchange`, `follower` | the clients |
//! | `explained` | what `/-/explain` foresees of the requests |
//! | `lane` | one of the two ways to the API |
//! | `play` | performs a scene both ways |
//! | `judge` | what differs |
//! | `allowed` | the one list of what may differ, each entry with its section of the contract |
//! | `broken` | proxies that are wrong on purpose, which the comparison has to catch |
//!
//! A seed makes one scene; the configuration is chosen by it, too. A scene that fails is reduced and printed.
//!
//! One scene again: `DIFFERENTIAL_SEED=17 cargo test --test pollcast differential`. A long run:
//! `DIFFERENTIAL_RUNS=5000 cargo test --test pollcast differential::covered -- --nocapture`; it begins at
//! `DIFFERENTIAL_FIRST` (0). Each kind of divergence is reduced once, at most `DIFFERENTIAL_SHOWN` (6) kinds.

mod agents;
mod allowed;
mod api;
mod body;
mod broken;
mod exchange;
mod explained;
mod follower;
mod generate;
mod judge;
mod lane;
mod play;
mod scene;
mod traits;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use broken::{Fault, Proxy};
use judge::{Difference, What};
use parking_lot::Mutex;
use play::{Front, Played, play};
use pollcast::app::App;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use scene::{SETTINGS, Scene, Setting};
use traits::{Framing, Trait};

use crate::support::app;

/// Scenes at the same time: as many as two cores do without delays that look like faults.
const AT_ONCE: usize = 4;

/// Tries to make a failing scene smaller.
const REDUCTIONS_MAX: usize = 80;

/// The scenes of an ordinary run.
const SCENES: u64 = 150;

impl Front for App {
    fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    fn explains(&self) -> Option<&App> {
        Some(self)
    }
}

type Put = dyn Fn(Setting, SocketAddr) -> Box<dyn Front> + Sync;

fn pollcast(setting: Setting, api: SocketAddr) -> Box<dyn Front> {
    Box::new(app::start(&setting.yaml(&api.to_string())))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

/// What a scene showed.
fn shown(scene: &Scene, put: &Put) -> Played {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(play(scene, put))
}

/// The same, for what a busy machine may cause: it counts only if it is found again and again.
fn confirmed(scene: &Scene, put: &Put) -> Played {
    let mut played = shown(scene, put);
    let found = &mut played.differences;
    for _ in 0..2 {
        let depends_on_time = |d: &Difference| {
            matches!(d.what, What::Slow(_) | What::NeverNew | What::Failed | What::WentBack { .. })
        };
        if found.iter().any(depends_on_time) {
            let again = shown(scene, put).differences;
            found.retain(|d| !depends_on_time(d) || again.iter().any(|other| other.class() == d.class()));
        }
    }
    played
}

/// The scene of a seed and how to reduce it.
fn tree(seed: u64) -> impl ValueTree<Value = Scene> {
    let setting = SETTINGS[usize::try_from(seed).unwrap_or(0) % SETTINGS.len()];
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    generate::scene(setting).new_tree(&mut runner).expect("the strategies refuse nothing")
}

/// The smallest scene that was found to show this kind of divergence, and what it shows.
fn reduced(seed: u64, class: &str, put: &Put) -> String {
    let mut tree = tree(seed);
    let mut smallest = (tree.current(), None);
    for _ in 0..REDUCTIONS_MAX {
        let scene = tree.current();
        let found =
            confirmed(&scene, put).differences.into_iter().find(|difference| difference.class() == class);
        let goes_on = match found {
            Some(difference) => {
                smallest = (scene, Some(difference));
                tree.simplify()
            }
            None => tree.complicate(),
        };
        if !goes_on {
            break;
        }
    }
    let (scene, difference) = smallest;
    let told = difference.map_or_else(|| "  it was not seen again".to_owned(), |d| d.told());
    format!("DIFFERENTIAL_SEED={seed}: {class}\n{scene}{told}")
}

/// What a run of many scenes showed.
#[derive(Default)]
struct Report {
    exchanges: AtomicUsize,
    /// Seeds by the kind of divergence.
    found: Mutex<BTreeMap<String, Vec<u64>>>,
    explained: AtomicUsize,
    /// What was explained otherwise than it came, with its seed.
    misjudged: Mutex<Vec<String>>,
}

fn run(seeds: impl Iterator<Item = u64>, put: &Put) -> Report {
    let report = Report::default();
    let mut seeds: Vec<u64> = seeds.collect();
    seeds.reverse();
    let left = Mutex::new(seeds);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(seed) = left.lock().pop() else { return };
                    let played = confirmed(&tree(seed).current(), put);
                    report.exchanges.fetch_add(played.exchanges, Ordering::Relaxed);
                    report.explained.fetch_add(played.explained, Ordering::Relaxed);
                    let misjudged = played.misjudged.into_iter().map(|told| format!("seed {seed}: {told}"));
                    report.misjudged.lock().extend(misjudged);
                    let found = played.differences;
                    let mut all = report.found.lock();
                    for class in found.iter().map(Difference::class) {
                        let seeds = all.entry(class).or_default();
                        if seeds.last() != Some(&seed) {
                            seeds.push(seed);
                        }
                    }
                }
            });
        }
    });
    report
}

#[test]
fn covered_urls_work_as_they_do_without_pollcast() {
    let _ = rlimit::increase_nofile_limit(16 << 10);
    let first = number("DIFFERENTIAL_FIRST").unwrap_or(0);
    let seeds = match number("DIFFERENTIAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("DIFFERENTIAL_RUNS").unwrap_or(SCENES),
    };
    let (began, scenes) = (Instant::now(), seeds.end - seeds.start);
    let report = run(seeds, &pollcast);
    let (found, exchanges) = (report.found.into_inner(), report.exchanges.into_inner());
    println!("{scenes} scenes, {exchanges} exchanges in {:.1?}", began.elapsed());
    let (explained, misjudged) = (report.explained.into_inner(), report.misjudged.into_inner());
    println!("{explained} requests explained, {} otherwise than they came", misjudged.len());
    for (class, seeds) in &found {
        println!("  {:5} {class}, e.g. seeds {:?}", seeds.len(), &seeds[..seeds.len().min(4)]);
    }
    let kinds = usize::try_from(number("DIFFERENTIAL_SHOWN").unwrap_or(6)).unwrap_or(usize::MAX);
    for (class, seeds) in found.iter().take(kinds) {
        println!("\n{}", reduced(seeds[0], class, &pollcast));
    }
    assert!(
        found.is_empty(),
        "{} kinds of divergence that no section of the contract documents",
        found.len()
    );
    let shown: Vec<&String> = misjudged.iter().take(kinds).collect();
    assert!(misjudged.is_empty(), "{} explanations were wrong, e.g.\n{shown:#?}", misjudged.len());
}

/// Whether something of this kind is found of this proxy.
fn is_caught(fault: Fault, kinds: &[&str]) -> bool {
    let put = move |_, api| Box::new(Proxy::start(fault, api)) as Box<dyn Front>;
    (0..12).any(|round| {
        let found = run(round * 60..(round + 1) * 60, &put).found.into_inner();
        found.keys().any(|class| kinds.iter().any(|kind| class.contains(kind)))
    })
}

#[test]
fn a_proxy_that_leaks_between_users_is_caught() {
    assert!(is_caught(Fault::Leaks, &["LEAK"]));
}

#[test]
fn a_proxy_that_drops_a_field_is_caught() {
    assert!(is_caught(Fault::DropsField("X-Total-Count"), &["FieldLost(\"x-total-count\")"]));
}

#[test]
fn a_proxy_that_drops_a_charset_is_caught() {
    assert!(is_caught(Fault::DropsCharset, &["Type"]));
}

#[test]
fn a_proxy_that_serves_the_state_before_a_write_is_caught() {
    assert!(is_caught(Fault::StaleAfterWrite, &["went back", "NeverNew"]));
}

#[test]
fn a_proxy_that_is_right_is_left_alone() {
    let put = |_, api| Box::new(Proxy::start(Fault::Nothing, api)) as Box<dyn Front>;
    // It pushes nothing, and gathers an answer before it passes it on.
    let is_endless = |place: &scene::Place| place.traits.contains(&Trait::Framing(Framing::Endless));
    let is_for_it = |seed: &u64| {
        let scene = tree(*seed).current();
        !scene.is_followed() && !scene.places.iter().any(is_endless)
    };
    let found = run((0..200).filter(is_for_it), &put).found.into_inner();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_allowance_names_its_section() {
    for allowance in allowed::ALLOWED {
        assert!(allowance.section.starts_with('§'), "{}", allowance.why);
    }
}
