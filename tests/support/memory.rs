//! What a legacy API was told to answer, and what it has been asked.
//!
//! Must not know: sockets. Shared between the test's handle (`legacy`) and its connections (`serving`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::legacy::{Expectation, Seen};
use super::reply::{Kind, Reply};

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) scripts: HashMap<String, Script>,
    pub(super) expectations: HashMap<String, Expectation>,
    pub(super) seen: Vec<Seen>,
    /// Now and at most, per path.
    in_flight: HashMap<String, (usize, usize)>,
    pub(super) connections: u64,
    pub(super) malformed: usize,
}

#[derive(Default)]
pub(super) struct Script {
    pub(super) once: VecDeque<Reply>,
    pub(super) current: Option<Answer>,
}

#[derive(Clone)]
pub(super) enum Answer {
    Fixed(Reply),
    Computed(Arc<dyn Fn(&Seen) -> Reply + Send + Sync>),
}

pub(super) fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// A name with a query means that very target; without, the path with any query.
pub(super) fn is_named(name: &str, target: &str) -> bool {
    name == target || (!name.contains('?') && name == path_of(target))
}

impl State {
    pub(super) fn count(&self, path: &str) -> usize {
        self.seen.iter().filter(|s| is_named(path, &s.target)).count()
    }

    pub(super) fn in_flight(&self, path: &str) -> (usize, usize) {
        self.in_flight.get(path).copied().unwrap_or_default()
    }

    /// The very target first, then its path, then `*`.
    fn script(&mut self, target: &str) -> Option<&mut Script> {
        let has_answer =
            |name: &&str| self.scripts.get(*name).is_some_and(|s| s.current.is_some() || !s.once.is_empty());
        let name = [target, path_of(target), "*"].into_iter().find(has_answer)?;
        self.scripts.get_mut(name)
    }

    pub(super) fn answer(&mut self, target: &str) -> Answer {
        let missing = || Answer::Fixed(Reply::text(format!("nothing is set for {target}\n")).status(404));
        let Some(script) = self.script(target) else {
            return missing();
        };
        match script.once.pop_front() {
            Some(reply) => Answer::Fixed(reply),
            None => script.current.clone().unwrap_or_else(missing),
        }
    }

    /// Whether the next answer wants the connection with the body unread.
    pub(super) fn takes_connection(&mut self, target: &str) -> bool {
        let Some(script) = self.script(target) else {
            return false;
        };
        let next = script.once.front().or(match &script.current {
            Some(Answer::Fixed(reply)) => Some(reply),
            _ => None,
        });
        next.is_some_and(|reply| matches!(reply.kind, Kind::Take { .. } | Kind::WebSocketEcho))
    }

    pub(super) fn expectation(&self, target: &str) -> Expectation {
        let named = self.expectations.get(target).or_else(|| self.expectations.get(path_of(target)));
        named.cloned().unwrap_or(Expectation::Continue)
    }
}

impl Shared {
    pub(super) fn change<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        let result = edit(&mut self.state.lock());
        self.changed.send_replace(());
        result
    }
}

/// A request being answered, from its head to the end of its answer.
pub(super) struct Flight {
    shared: Arc<Shared>,
    path: String,
}

impl Flight {
    pub(super) fn begin(shared: &Arc<Shared>, target: &str) -> Flight {
        let path = path_of(target).to_owned();
        shared.change(|state| {
            let (now, most) = state.in_flight.entry(path.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        });
        Flight { shared: shared.clone(), path }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.change(|state| {
            if let Some((now, _)) = state.in_flight.get_mut(&self.path) {
                *now -= 1;
            }
        });
    }
}
