//! What one configuration changes in another: route by route, upstream by upstream, and which keys need a restart.
//!
//! It is what a reload does, and what `check --diff` says of one. Values decide, not how a file spells them. Must not
//! know: what is running.

mod access;
mod keys;
mod poll_credentials;
mod process;
mod routes;
mod upstreams;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Config, Route, Upstream};
use keys::{Keys, Reach};

/// What becomes of a route or an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing of it changes.
    Same,
    /// Its schedule, its limits or who is let in change; its resources and their streams stay.
    Settings,
    /// Its resources are other resources: their streams end as `reconfigured` and come back.
    Meaning,
    /// It is not there any more.
    Removed,
    /// It was not there before.
    Added,
}

impl Effect {
    fn of(keys: &Keys) -> Effect {
        match keys.reach() {
            None => Effect::Same,
            Some(Reach::Settings) => Effect::Settings,
            Some(Reach::Meaning | Reach::Restart) => Effect::Meaning,
        }
    }

    /// Its word in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Effect::Same => "same",
            Effect::Settings => "settings",
            Effect::Meaning => "meaning",
            Effect::Removed => "removed",
            Effect::Added => "added",
        }
    }
}

/// What becomes of one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDifference {
    /// Its pattern.
    pub path: String,
    /// The hosts that it counts for, in the configuration that has it last; empty: for all.
    pub hosts: Vec<String>,
    /// Its place among the routes of the old configuration. `None` if it is added.
    pub old: Option<usize>,
    /// Its place among those of the new one. `None` if it is removed.
    pub new: Option<usize>,
    /// What becomes of it.
    pub effect: Effect,
    /// The keys that differ.
    pub keys: Vec<&'static str>,
}

/// What becomes of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamDifference {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub effect: Effect,
    /// The keys that differ.
    pub keys: Vec<&'static str>,
}

/// What a new configuration changes in an old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The routes of the new configuration in their order; then those of the old one that are removed.
    pub routes: Vec<RouteDifference>,
    /// The upstreams, in the same manner.
    pub upstreams: Vec<UpstreamDifference>,
    /// Keys of the process that differ and count at once.
    pub process: Vec<&'static str>,
    /// Keys that differ and need a restart.
    pub restart: Vec<&'static str>,
}

impl Difference {
    /// What `new` changes in `old`.
    #[must_use]
    pub fn of(old: &Config, new: &Config) -> Difference {
        let mut keys = Keys::default();
        process::process(old, new, &mut keys);
        let upstreams = upstreams(&old.upstreams, &new.upstreams);
        Difference {
            routes: routes(&old.routes, &new.routes),
            upstreams,
            process: keys.of(Reach::Settings),
            restart: keys.of(Reach::Restart),
        }
    }

    /// Whether the two mean the same in everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.iter().all(|route| route.effect == Effect::Same)
            && self.upstreams.iter().all(|upstream| upstream.effect == Effect::Same)
            && self.process.is_empty()
            && self.restart.is_empty()
    }

    /// Whether nothing differs but what needs a restart.
    #[must_use]
    pub fn changes_nothing_now(&self) -> bool {
        Difference { restart: Vec::new(), ..self.clone() }.is_empty()
    }

    /// The place in the old configuration of the route whose resources those of this route of the new one are. Returns
    /// `None` if they are other resources.
    #[must_use]
    pub fn same_route(&self, new: usize) -> Option<usize> {
        let route = self.routes.iter().find(|route| route.new == Some(new))?;
        route.old.filter(|_| matches!(route.effect, Effect::Same | Effect::Settings))
    }

    /// Whether this route of the old configuration is in the new one no more, whatever it means there.
    #[must_use]
    pub fn is_removed(&self, old: usize) -> bool {
        self.routes.iter().any(|route| route.old == Some(old) && route.effect == Effect::Removed)
    }

    /// What a reload does, line by line, for people: routes, upstreams, keys of the process. What stays is not said.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let routes = self.routes.iter().filter_map(RouteDifference::line);
        let upstreams = self.upstreams.iter().filter_map(UpstreamDifference::line);
        let listed =
            |title: &str, keys: &[&str]| (!keys.is_empty()).then(|| format!("{title}: {}", keys.join(", ")));
        let process = listed("changes at once", &self.process);
        let restart = listed("needs a restart, stays as it is until then", &self.restart);
        routes.chain(upstreams).chain(process).chain(restart).collect()
    }

    /// All lines, and how many routes stay.
    #[must_use]
    pub fn text(&self) -> String {
        let lines: String = self.lines().into_iter().map(|line| line + "\n").collect();
        let stays = match self.count(Effect::Same) {
            1 => "1 route stays".to_owned(),
            same => format!("{same} routes stay"),
        };
        match lines.is_empty() {
            true => format!("a reload changes nothing: {stays}\n"),
            false => format!("{lines}{stays}\n"),
        }
    }

    /// How many routes there are of each kind.
    #[must_use]
    pub fn count(&self, effect: Effect) -> usize {
        self.routes.iter().filter(|route| route.effect == effect).count()
    }

    /// The same for programs. Routes and upstreams that stay are there, too.
    #[must_use]
    pub fn json(&self) -> Value {
        let routes = self.routes.iter().map(|route| {
            json!({ "path": route.path, "hosts": route.hosts, "change": route.effect.word(), "keys": route.keys })
        });
        let upstreams = self.upstreams.iter().map(|upstream| {
            json!({ "name": upstream.name, "change": upstream.effect.word(), "keys": upstream.keys })
        });
        json!({
            "routes": routes.collect::<Vec<_>>(),
            "upstreams": upstreams.collect::<Vec<_>>(),
            "process": self.process,
            "restart": self.restart,
        })
    }
}

impl RouteDifference {
    fn line(&self) -> Option<String> {
        let hosts = match self.hosts.is_empty() {
            true => String::new(),
            false => format!(" ({})", self.hosts.join(", ")),
        };
        let (place, keys) = (format!("{}{hosts}", self.path), self.keys.join(", "));
        match self.effect {
            Effect::Same => None,
            Effect::Settings => Some(format!("route {place}: changes in place, its streams stay: {keys}")),
            Effect::Meaning => {
                Some(format!("route {place}: means something else, its streams end and come back: {keys}"))
            }
            Effect::Removed => Some(format!("route {place}: is removed, its streams end")),
            Effect::Added => Some(format!("route {place}: is new")),
        }
    }
}

impl UpstreamDifference {
    fn line(&self) -> Option<String> {
        let (name, keys) = (&self.name, self.keys.join(", "));
        match self.effect {
            Effect::Same => None,
            Effect::Settings => Some(format!("upstream {name}: is reached or asked otherwise: {keys}")),
            Effect::Meaning => Some(format!("upstream {name}: is another one for its routes: {keys}")),
            Effect::Removed => Some(format!("upstream {name}: is removed")),
            Effect::Added => Some(format!("upstream {name}: is new")),
        }
    }
}

impl Config {
    /// This configuration with the values of a running one in all keys that need a restart.
    #[must_use]
    pub fn with_restart_keys_of(self, running: &Config) -> Config {
        process::with_restart_keys(self, running)
    }
}

fn routes(old: &[Arc<Route>], new: &[Arc<Route>]) -> Vec<RouteDifference> {
    let before = counterparts(old, new);
    let mut found: Vec<_> = (new.iter().enumerate().zip(&before))
        .map(|((place, route), before)| RouteDifference {
            path: route.path.clone(),
            hosts: route.hosts.clone(),
            old: *before,
            new: Some(place),
            ..compared(before.and_then(|place| old.get(place)), route)
        })
        .collect();
    let removed = old.iter().enumerate().filter(|(place, _)| !before.contains(&Some(*place)));
    found.extend(removed.map(|(place, route)| RouteDifference {
        path: route.path.clone(),
        hosts: route.hosts.clone(),
        old: Some(place),
        new: None,
        effect: Effect::Removed,
        keys: Vec::new(),
    }));
    found
}

/// The effect and the keys of a route; the rest is the caller's.
fn compared(old: Option<&Arc<Route>>, new: &Route) -> RouteDifference {
    let mut keys = Keys::default();
    let effect = match old {
        None => Effect::Added,
        Some(old) => {
            keys.note(hosts(old) == hosts(new), Reach::Meaning, "hosts");
            asked(&old.upstream, &new.upstream, &mut keys);
            routes::route(old, new, &mut keys);
            Effect::of(&keys)
        }
    };
    RouteDifference { path: String::new(), hosts: Vec::new(), old: None, new: None, effect, keys: keys.all() }
}

/// Notes whether a route's upstream is another one.
fn asked(old: &Upstream, new: &Upstream, route: &mut Keys) {
    let mut keys = Keys::default();
    keys.note(old.name == new.name, Reach::Meaning, "upstream");
    upstreams::upstream(old, new, &mut keys);
    if let Some(reach) = keys.reach() {
        route.note(false, reach, "upstream");
    }
}

/// For each new route the place of the old one that it is another form of: with the same path and hosts, else with
/// the same path.
fn counterparts(old: &[Arc<Route>], new: &[Arc<Route>]) -> Vec<Option<usize>> {
    let exact = |route: &'_ Arc<Route>| (route.path.as_str().to_owned(), hosts(route));
    let mut places: HashMap<_, usize> =
        old.iter().enumerate().map(|(place, route)| (exact(route), place)).collect();
    let mut found: Vec<Option<usize>> = new.iter().map(|route| places.remove(&exact(route))).collect();
    let mut left: Vec<usize> = places.into_values().collect();
    left.sort_unstable();
    for (route, found) in new.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        let same_path = left.iter().position(|place| old[*place].path == route.path);
        *found = same_path.map(|at| left.remove(at));
    }
    found
}

fn hosts(route: &Route) -> Vec<String> {
    let mut hosts = route.hosts.clone();
    hosts.sort_unstable();
    hosts
}

fn upstreams(old: &[Arc<Upstream>], new: &[Arc<Upstream>]) -> Vec<UpstreamDifference> {
    let named = |list: &[Arc<Upstream>], name: &str| list.iter().find(|known| known.name == name).cloned();
    let found = new.iter().map(|upstream| {
        let mut keys = Keys::default();
        let effect = match named(old, &upstream.name) {
            None => Effect::Added,
            Some(old) => {
                upstreams::upstream(&old, upstream, &mut keys);
                Effect::of(&keys)
            }
        };
        UpstreamDifference { name: upstream.name.clone(), effect, keys: keys.all() }
    });
    let removed = old.iter().filter(|upstream| named(new, &upstream.name).is_none()).map(|upstream| {
        UpstreamDifference { name: upstream.name.clone(), effect: Effect::Removed, keys: Vec::new() }
    });
    found.chain(removed).collect()
}
