//! Hub and relay under a paused clock, driven by a seed: clients come, leave and come back while
//! the upstream changes, fails and recovers. Every promise that holds for any order is checked.
//!
//! One seed again: `SIMULATION_SEED=7 cargo test --lib simulation`.

mod cases;
mod cluster;
mod engine;
mod legacy;
mod nodes;
mod promises;

use std::collections::HashMap;
use std::sync::Arc;

use legacy::{Legacy, POLL, Record};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{Relay, Services, Source};
use crate::config::Route;
use crate::frame::State;
use crate::hub::tests::route;
use crate::hub::tests::route::key;
use crate::hub::{Attend, Attendance, Bell, Delivery, Hub, Subscription, Topic};
use crate::metrics::Metrics;
use crate::resource::Version;

/// The one shard: which topics have rung and were not looked at.
#[derive(Default)]
struct Shard(Mutex<HashMap<u64, Arc<Topic>>>);

impl Bell for Shard {
    fn ring(&self, topic: &Arc<Topic>) {
        self.0.lock().insert(topic.id(), topic.clone());
    }
}

/// Hub and relay over a scripted upstream.
struct Stage {
    hub: Arc<Hub>,
    relay: Relay,
    route: Arc<Route>,
    shard: Arc<Shard>,
    legacy: Arc<Legacy>,
}

impl Stage {
    fn new(legacy: Arc<Legacy>, change: impl FnOnce(&mut Route), seed: u64) -> Stage {
        let mut route = route::route();
        change(&mut route);
        let config = route::config(route);
        let shard = Arc::new(Shard::default());
        let hub = Hub::new(vec![shard.clone()], config.limits.resources, config.limits.history_bytes);
        let source: Arc<dyn Source> = legacy.clone();
        let sources = HashMap::from([("legacy".to_owned(), source)]);
        let metrics = Metrics::new().expect("metrics register");
        let services = Services::new(hub.clone(), &config, metrics, sources, seed);
        Stage {
            hub,
            relay: Relay::new(Arc::new(services), Handle::current()),
            route: config.routes[0].clone(),
            shard,
            legacy,
        }
    }

    /// True if it was not polled before.
    fn attend(&self, path: &str, kind: Attend) -> (Attendance, bool) {
        let mut started = false;
        let attendance = self
            .hub
            .attend(&key(path), &self.route, kind, |publisher| {
                started = true;
                self.relay.start(publisher);
            })
            .expect("room in the hub");
        (attendance, started)
    }

    fn metrics(&self) -> &Metrics {
        &self.relay.services().metrics
    }

    fn assert_empty(&self) {
        assert!(self.hub.is_empty(), "topics are left");
        assert_eq!(self.metrics().resources.get(), 0);
        assert_eq!(self.hub.snapshot_bytes(), 0);
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "tasks are left");
    }
}

/// Why a poll may come before its interval is over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reason {
    NewTopic,
    Visit,
    Resume,
}

#[derive(Debug, Clone)]
struct Asked {
    path: &'static str,
    at: Instant,
    reason: Reason,
}

const PATHS: [&str; 3] = ["/a", "/b", "/c"];

const TEXTS: [&str; 3] = ["A", "B", "C"];

/// A client that remembers what it was told.
struct Client {
    path: &'static str,
    subscription: Option<Subscription>,
    joined: Instant,
    /// What it has: the version and its text.
    held: Option<(Version, String)>,
    earlier: Vec<(Version, String)>,
    last_poll: Option<u64>,
    /// Nothing was delivered since it joined.
    first: bool,
    /// It came back with a version that was never held here.
    unknown: bool,
    /// `stale` or `gone` was the last condition.
    trouble: Option<&'static str>,
}

impl Client {
    fn new(path: &'static str) -> Client {
        Client {
            path,
            subscription: None,
            joined: Instant::now(),
            held: None,
            earlier: Vec::new(),
            last_poll: None,
            first: true,
            unknown: false,
            trouble: None,
        }
    }

    /// Takes everything that is there.
    fn look(&mut self, legacy: &Legacy) {
        let Some(mut subscription) = self.subscription.take() else {
            return;
        };
        let view = subscription.topic().view();
        while let Some(delivery) = subscription.next(&view) {
            match delivery {
                Delivery::Closing(_) => return,
                Delivery::Condition(condition) => self.condition(&condition.state),
                Delivery::Presence(_) | Delivery::Patches(_) | Delivery::Items(_) | Delivery::Reset(_) => {
                    panic!("no follower here reads patches, items or presence")
                }
                Delivery::Frame(frame) => {
                    let snapshot = &frame.snapshot;
                    let poll = snapshot.headers[POLL].to_str().ok().and_then(|n| n.parse().ok());
                    let text = String::from_utf8_lossy(&snapshot.body).into_owned();
                    self.content(frame.version(), text, poll, legacy);
                }
            }
        }
        self.subscription = Some(subscription);
    }

    fn condition(&mut self, state: &State) {
        let next = match state {
            State::Fresh => None,
            State::Stale { .. } => Some("stale"),
            State::Gone { .. } => Some("gone"),
        };
        assert!(next != self.trouble, "told twice: {next:?}");
        if next == Some("gone") {
            // It is told the state again afterwards.
            self.earlier.extend(self.held.take());
        }
        self.trouble = next;
    }

    fn content(&mut self, version: Version, text: String, poll: Option<u64>, legacy: &Legacy) {
        assert_ne!(self.trouble, Some("gone"), "content of what is gone");
        assert!(poll.is_some());
        // A client that came back with something else gets once more what it had.
        let newer = poll > self.last_poll || (self.first && poll == self.last_poll);
        assert!(newer, "poll {poll:?} after poll {:?}", self.last_poll);
        self.last_poll = poll;
        self.first = false;
        let held = self.held.as_ref().map(|(version, _)| *version);
        assert_ne!(held, Some(version), "the same state twice");
        if self.unknown {
            let confirms = |record: &Record| {
                record.path == self.path
                    && record.started >= self.joined
                    && record.ended.is_some()
                    && record.is_data()
            };
            assert!(legacy.records().iter().any(confirms), "an unknown version was answered unconfirmed");
            self.unknown = false;
        }
        self.earlier.extend(self.held.replace((version, text)));
    }
}
