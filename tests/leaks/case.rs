//! One configuration, everybody in front of it, and what must never be seen of it.
//!
//! Must not know: which cases there are.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::acts::{Scene, tags};
use super::matrix::{Case, Sharing};
use super::over_http2;
use super::people::{EVERYBODY, Person, USERS, askers};
use super::recorder::{Recording, Step, find, leak, talk};
use super::world::World;
use crate::support::legacy::Seen;

/// What a case showed.
#[derive(Default)]
pub struct Outcome {
    /// What must not be, each with the case's title.
    pub problems: Vec<String>,
    /// Which person got another's rows, and by which act.
    pub flagged: BTreeSet<(&'static str, &'static str)>,
    /// Recordings with rows of their own, of Alice and of Robert.
    pub own: [usize; 2],
    pub recordings: usize,
}

/// Runs a case with acts chosen by this. Returns `None` if its configuration is refused.
pub async fn run(case: &Case, seed: u64) -> Option<Outcome> {
    let world = Arc::new(World::of(case));
    let yaml = case.yaml(&world);
    run_with(&world, &yaml, case, Some(seed)).await
}

/// The same with this configuration.
pub async fn run_with(
    world: &Arc<World>,
    yaml: &str,
    case: &Case,
    chosen_by: Option<u64>,
) -> Option<Outcome> {
    let config = pollcast::config::load_str(yaml, "case.yaml", Path::new(".")).ok()?;
    let app = pollcast::app::start(config).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    let mut scene = Scene {
        address: app.addresses()[0],
        place: case.place,
        world: world.clone(),
        beside: case.sharing == Sharing::ByBesideOthers,
        heard: Vec::new(),
        chosen_by,
    };
    let mut recordings: Vec<Recording> = Vec::new();
    // Alice is there first, so that there is something to take.
    for who in EVERYBODY {
        recordings.extend(scene.look_around(who).await);
    }
    let heard: BTreeSet<String> = recordings.iter().flat_map(|recording| tags(&recording.plain())).collect();
    scene.heard = heard.into_iter().filter(|tag| tag.len() <= 64 && tag.is_ascii()).collect();
    fastrand::shuffle(&mut scene.heard);
    let [alice, robert, nobody] = EVERYBODY.map(|who| scene.everything(who));
    let http2 = async {
        match case.http2 {
            true => over_http2::everybody(&scene).await,
            false => Vec::new(),
        }
    };
    let (alice, robert, nobody, shared, http2) =
        tokio::join!(alice, robert, nobody, scene.share_a_connection(), http2);
    recordings.extend([alice, robert, nobody, shared, http2].into_iter().flatten());
    let mut outcome = judged(&recordings, case);
    let reports = reports(app.admin_address().expect("an admin listener")).await;
    outcome.problems.extend(leak(Person::Nobody, &reports).map(|what| format!("a report tells {what}")));
    outcome.problems.extend(world.mixed_questions());
    let seen = world.legacy.all_seen();
    outcome.problems.extend(seen.iter().filter_map(|seen| mixed(seen, case)));
    for problem in &mut outcome.problems {
        *problem = format!("{}: {problem}", case.title());
    }
    Some(outcome)
}

/// What the operators see.
async fn reports(admin: SocketAddr) -> Vec<u8> {
    let mut got = Vec::new();
    for target in ["/metrics", "/resources", "/resources?details=1"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let steps = [Step::Send(request.into_bytes()), Step::Listen(Duration::from_secs(2))];
        got.extend(talk(admin, &steps).await.concat());
    }
    // Where each request carries something that may be a credential, none is polled for.
    assert!(find(&got, b"pollcast_build_info").is_some(), "no metrics: {}", String::from_utf8_lossy(&got));
    got
}

fn judged(recordings: &[Recording], case: &Case) -> Outcome {
    let mut outcome = Outcome { recordings: recordings.len(), ..Outcome::default() };
    for recording in recordings {
        let plain = recording.plain();
        for (person, own) in USERS.iter().zip(&mut outcome.own) {
            *own += usize::from(recording.who == *person && find(&plain, person.mark().as_bytes()).is_some());
        }
        if let Some(what) = leak(recording.who, &plain) {
            outcome.flagged.insert((recording.who.name(), recording.act));
            outcome.problems.push(format!("{:?} by {:?} got {what}", recording.who, recording.act));
        }
    }
    // Answers that pass through, and those that are shared by identity, have to come: a missing answer proves no
    // secrecy.
    let comes = !matches!(case.sharing, Sharing::Public | Sharing::ByAnother);
    if comes && outcome.own.contains(&0) && case.could_be_had() {
        outcome.problems.push(format!("nobody got their own rows: {:?}", outcome.own));
    }
    outcome
}

/// What is wrong with a request that the upstream got.
fn mixed(seen: &Seen, case: &Case) -> Option<String> {
    let head = String::from_utf8_lossy(&seen.head);
    let people = askers(seen);
    if people.len() > 1 {
        return Some(format!("a request with the credentials of two: {head}"));
    }
    let other = USERS.into_iter().find(|user| !people.contains(user) && head.contains(user.mark()));
    if let (Some(other), false) = (other, people.is_empty()) {
        return Some(format!("{people:?} asked with what {other:?} was given: {head}"));
    }
    let is_poll = seen.header("user-agent").is_some_and(|agent| agent.starts_with("pollcast/"));
    let given = USERS.into_iter().find(|user| head.contains(user.mark()));
    if let (Some(user), true, true) = (given, is_poll, people.is_empty()) {
        return Some(format!("everybody's poll carries what {user:?} was given: {head}"));
    }
    let without = matches!(case.sharing, Sharing::Unset | Sharing::Public | Sharing::ByAnother);
    (is_poll && without && !people.is_empty()).then(|| format!("a poll with credentials: {head}"))
}
