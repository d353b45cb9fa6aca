//! Performs a scene: each exchange directly and through what stands in front of the API, both at the same moment.
//!
//! It ends with the first thing that differs and is not documented. Must not know: what is documented (`allowed`), how
//! answers are compared (`judge`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pollcast::app::App;
use serde_json::Value;

use super::allowed;
use super::api::Api;
use super::exchange::{Client, Enough, Request};
use super::explained;
use super::follower::Follower;
use super::judge::{self, Difference, Exchange, What};
use super::lane::{Lane, memory_key};
use super::scene::*;
use crate::support::legacy::Legacy;

/// What stands between clients and the API; it ends when dropped.
pub trait Front {
    fn address(&self) -> SocketAddr;

    /// What can be asked what becomes of a request; `None` if nothing can.
    fn explains(&self) -> Option<&App> {
        None
    }
}

/// How long a state of the API may take until it is seen, with a busy machine in mind.
const NEW_WAIT_MAX: Duration = Duration::from_secs(6);

/// Request fields that count where a route is public (contract §11).
const MEANS_SOMETHING_TO_ALL: &[&str] = &[
    "host",
    "accept",
    "accept-encoding",
    "accept-language",
    "user-agent",
    "origin",
    "x-requested-with",
    "if-none-match",
    "if-modified-since",
    "range",
];

/// What happened in a scene.
#[derive(Default)]
pub struct Played {
    pub differences: Vec<Difference>,
    pub exchanges: usize,
    /// Requests whose explanation was held against what they got.
    pub explained: usize,
    /// What was explained otherwise than it came.
    pub misjudged: Vec<String>,
}

struct Stage<'a> {
    scene: &'a Scene,
    front: &'a dyn Front,
    direct: Lane,
    through: Lane,
    /// The oldest state that a client may still get, and whether it saw it in an answer that passed through.
    floors: HashMap<(Who, String), (usize, bool)>,
    follower: Option<Follower>,
    played: Played,
}

/// Plays the scene behind the front that `put` makes for an API at an address.
pub async fn play(scene: &Scene, put: &dyn Fn(Setting, SocketAddr) -> Box<dyn Front>) -> Played {
    let may_act = scene.setting.passes() && !scene.is_followed();
    let lane = |address: Option<SocketAddr>, api, legacy: Legacy| {
        let address = address.unwrap_or_else(|| legacy.address());
        Lane { api, address, legacy, clients: HashMap::new(), remembered: HashMap::new() }
    };
    let (api, legacy) = Api::start(&scene.places, may_act);
    let direct = lane(None, api, legacy);
    let (api, legacy) = Api::start(&scene.places, may_act);
    let front = put(scene.setting, legacy.address());
    let through = lane(Some(front.address()), api, legacy);
    let follower = match scene.followed {
        true => Some(Follower::start(front.address(), scene.places[0].path).await),
        false => None,
    };
    let mut stage = Stage {
        scene,
        front: &*front,
        direct,
        through,
        floors: HashMap::new(),
        follower,
        played: Played::default(),
    };
    for (number, step) in scene.steps.iter().enumerate() {
        stage.step(number, step).await;
        if !stage.played.differences.is_empty() {
            break;
        }
    }
    if let Some(follower) = stage.follower.take() {
        let found = follower.end();
        let found = found.into_iter().map(|what| Difference::beside(scene, what));
        stage.played.differences.extend(found);
    }
    stage.played
}

impl Stage<'_> {
    async fn step(&mut self, number: usize, step: &Step) {
        let both = [&self.direct.api, &self.through.api];
        match step {
            Step::Move => both.into_iter().for_each(|api| api.go_on(None)),
            Step::Become(status) => both.into_iter().for_each(|api| api.go_on(Some(*status))),
            Step::Pause => tokio::time::sleep(Duration::from_millis(INTERVAL_MS * 3 / 2)).await,
            Step::Ask(ask) => self.ask(number, ask).await,
            Step::Follow(ask, how) => self.follow(number, ask, *how).await,
        }
    }

    async fn ask(&mut self, number: usize, ask: &Ask) {
        let began = Instant::now();
        loop {
            let seen = self.ask_once(number, ask).await;
            let newest = self.direct.api.newest();
            let is_failing = matches!(self.direct.api.state(newest).status, 429 | 500..);
            if !ask.until_new || !self.played.differences.is_empty() || seen == Some(newest) || is_failing {
                return;
            }
            if began.elapsed() > NEW_WAIT_MAX {
                let what = What::NeverNew;
                self.played.differences.push(Difference::beside(self.scene, what));
                return;
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }

    /// Asks both ways, notes what differs and returns the state that the answer shows.
    async fn ask_once(&mut self, number: usize, ask: &Ask) -> Option<usize> {
        let before = [self.direct.seen(true).len(), self.through.seen(self.counts_polls()).len()];
        let (a, b) = (self.direct.request(self.scene, ask), self.through.request(self.scene, ask));
        let before_it = self.foreseen(&b).await;
        let (direct, through) = tokio::join!(self.direct.ask(ask.who, &a), self.through.ask(ask.who, &b));
        self.played.exchanges += 1;
        if let Some((before_it, after_it)) = before_it.zip(self.foreseen(&b).await) {
            self.played.explained += 1;
            self.played.misjudged.extend(explained::difference(&before_it, &after_it, &b, &through));
        }
        let key = memory_key(self.scene, ask);
        let mut exchange = Exchange {
            scene: self.scene,
            step: number,
            ask,
            request: b.clone(),
            direct,
            through,
            remembered: [
                self.direct.remembered.get(&key).cloned(),
                self.through.remembered.get(&key).cloned(),
            ],
            state: self.direct.api.newest(),
            newest: self.direct.api.newest(),
        };
        let mut a = a;
        if self.scene.setting.is_public() && exchange.is_here() {
            // The operator's word: what a client shows of itself means nothing.
            let vary =
                exchange.direct.as_ref().ok().and_then(|answer| answer.line("vary")).unwrap_or_default();
            for_everybody(&mut a.fields, &vary);
            // On a connection that belongs to no user.
            exchange.direct = Client::new(self.direct.address).ask(&a).await;
        }
        let mut found = undocumented(exchange.differences());
        if b.is_read() && !found.is_empty() && !self.scene.setting.passes() {
            found = self.older(&a, &mut exchange, found).await;
        }
        let at = (ask.who, a.target.clone());
        let (floor, passed) = self.floors.get(&at).copied().unwrap_or_default();
        if found.is_empty() && exchange.state < floor && b.is_read() && !exchange.is_unconfirmed() {
            let what = What::WentBack { floor, got: exchange.state, passed };
            found.extend(undocumented(vec![Difference::of(&exchange, what)]));
        }
        if self.direct.api.newest() != self.through.api.newest() {
            let writes = [self.direct.api.newest(), self.through.api.newest()];
            found.push(Difference::of(&exchange, What::Writes(writes)));
        }
        if self.scene.setting.passes() && exchange.through.is_ok() && exchange.direct.is_ok() {
            let seen = [self.direct.seen(true), self.through.seen(self.counts_polls())];
            let more = judge::what_the_api_saw(&exchange, &seen[0][before[0]..], &seen[1][before[1]..]);
            found.extend(undocumented(more));
        }
        if found.is_empty() {
            self.note(ask, &a, &exchange);
            let [direct, through] = [&exchange.direct, &exchange.through].map(|o| o.as_ref().ok().cloned());
            direct.iter().for_each(|answer| self.direct.remember(&key, answer));
            through.iter().for_each(|answer| self.through.remember(&key, answer));
        }
        self.played.differences.extend(found);
        Some(exchange.state)
    }

    /// What is foreseen of a request, where that can be asked.
    async fn foreseen(&self, request: &Request) -> Option<Value> {
        Some(explained::foreseen(self.front.explains()?, request).await)
    }

    /// Whether no poll has any reason, so that the API may see none.
    fn counts_polls(&self) -> bool {
        self.scene.setting.passes() && !self.scene.is_followed()
    }

    /// What differs from the state that fits best, the newest of them; it becomes the exchange's.
    async fn older(
        &mut self,
        request: &Request,
        exchange: &mut Exchange<'_>,
        mut least: Vec<Difference>,
    ) -> Vec<Difference> {
        let newest = exchange.direct.clone();
        let mut best = (exchange.state, newest);
        for state in (0..exchange.newest).rev() {
            self.direct.api.show(Some(state));
            exchange.direct = self.direct.ask(exchange.ask.who, request).await;
            exchange.state = state;
            let found = undocumented(exchange.differences());
            if found.len() < least.len() {
                (least, best) = (found, (state, exchange.direct.clone()));
            }
            if least.is_empty() {
                break;
            }
        }
        self.direct.api.show(None);
        (exchange.state, exchange.direct) = best;
        least
    }

    /// What a client has seen and done, it never sees undone.
    fn note(&mut self, ask: &Ask, request: &Request, exchange: &Exchange<'_>) {
        let newest = self.direct.api.newest();
        if request.is_read() {
            let floor = self.floors.entry((ask.who, request.target.clone())).or_default();
            if exchange.state >= floor.0 {
                *floor = (exchange.state, !exchange.is_here());
            }
            return;
        }
        let was_done =
            exchange.through.as_ref().is_ok_and(|answer| answer.status < 400 && answer.status != 207);
        let is_write = !matches!(ask.method, "OPTIONS" | "PROPFIND" | "REPORT" | "QUERY");
        if !was_done || !is_write {
            return;
        }
        let path = self.scene.place(ask).path;
        let targets: Vec<String> = self.scene.steps.iter().filter_map(|step| self.target_of(step)).collect();
        for target in targets {
            if is_reached(path, target.split('?').next().unwrap_or_default()) {
                self.floors.insert((ask.who, target), (newest, false));
            }
        }
    }

    fn target_of(&self, step: &Step) -> Option<String> {
        match step {
            Step::Ask(ask) => Some(self.scene.target(ask)),
            _ => None,
        }
    }

    async fn follow(&mut self, number: usize, ask: &Ask, how: Following) {
        let direct = self.direct.request(self.scene, ask);
        let mut through = self.through.request(self.scene, ask);
        match how {
            Following::Stream => {
                through.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("accept"));
                through.fields.push(("Accept".into(), "text/event-stream".into()));
                if through.enough == Enough::All {
                    through.enough = Enough::Event;
                }
            }
            Following::Held => {
                through.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("prefer"));
                through.fields.push(("Prefer".into(), "wait=1".into()));
            }
        }
        let mut asked_alike = direct.clone();
        asked_alike.fields.clone_from(&through.fields);
        if self.scene.setting.is_public() {
            // What is followed there is everybody's, and so is what the API refuses.
            for_everybody(&mut asked_alike.fields, "");
        }
        let fresh = [self.direct.address, self.direct.address, self.through.address];
        let [mut first, mut second, mut third] = fresh.map(Client::new);
        let (plain, alike, got) =
            tokio::join!(first.ask(&direct), second.ask(&asked_alike), third.ask(&through));
        self.played.exchanges += 1;
        let exchange = Exchange {
            scene: self.scene,
            step: number,
            ask,
            request: through,
            direct: alike,
            through: got,
            remembered: [None, None],
            state: 0,
            newest: self.direct.api.newest(),
        };
        let found = undocumented(judge::following(&exchange, how, &plain));
        self.played.differences.extend(found);
    }
}

/// Keeps what chooses an answer of a public route: what a client shows of itself means nothing there.
fn for_everybody(fields: &mut Vec<(String, String)>, vary: &str) {
    fields.retain(|(name, _)| {
        MEANS_SOMETHING_TO_ALL.contains(&name.to_ascii_lowercase().as_str())
            || vary.split(',').any(|named| named.trim().eq_ignore_ascii_case(name))
    });
}

/// Without what is documented.
fn undocumented(mut found: Vec<Difference>) -> Vec<Difference> {
    found.retain(|difference| allowed::entry(difference).is_none());
    found
}

/// Whether a write to `written` is seen at `path` at once: the URL, what is above it and what is below it, but for
/// the root (contract §9).
fn is_reached(written: &str, path: &str) -> bool {
    let below = |a: &str, b: &str| {
        a.strip_prefix(b.trim_end_matches('/')).is_some_and(|r| r.is_empty() || r.starts_with('/'))
    };
    if written == "/" || path == "/" {
        return written == path;
    }
    below(written, path) || below(path, written)
}
