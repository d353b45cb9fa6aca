//! Clients of all transports that go from node to node with what they have, and what none of them may ever be told.
//!
//! The API holds each state until every client has seen it, so that every client is told every state: none is lost, none
//! comes twice, none comes back. Must not know: what fails meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::fleet::{Fleet, HOST};
use crate::support::client::Response;
use crate::support::legacy::{Legacy, Reply};
use crate::support::roaming::{Listener, Transport, visit};

/// The routes of what the crowd follows. Nothing becomes stale in the time of a test: a client that is told so was told
/// of the engine's failure.
pub const ROUTES: &str = "routes:
  - { path: '/crowd/state', upstream: legacy, share: public, plain: share, stale_after: 10m, poll: { interval: 200ms } }
  - { path: '/crowd/feed', upstream: legacy, share: public, stale_after: 10m, poll: { interval: 200ms },
      feed: { items: /items, id: /id, replay: 1 } }
";

const STATE: &str = "/crowd/state";
const FEED: &str = "/crowd/feed";

/// Items that the API shows.
const PAGE_ITEMS: u64 = 50;

/// A busy machine with nodes that stand still meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

/// Clients of each transport.
const EACH: usize = 2;

/// The clients of a fleet.
pub struct Crowd {
    number: Arc<AtomicU64>,
    seen: Vec<(String, Arc<AtomicU64>)>,
    clients: JoinSet<()>,
}

impl Crowd {
    /// Clients of all transports that go around among the nodes of a fleet, each with a first state.
    pub async fn gather(fleet: &Fleet) -> Crowd {
        let number = Arc::new(AtomicU64::new(1));
        answer(&fleet.legacy, &number);
        let nodes: Arc<[SocketAddr]> = fleet.nodes.iter().map(|node| node.address).collect();
        let (mut seen, mut clients) = (Vec::new(), JoinSet::new());
        for (path, transports) in [(STATE, &Transport::OF_STATES[..]), (FEED, &Transport::OF_ITEMS)] {
            for (transport, place) in
                transports.iter().flat_map(|transport| (0..EACH).map(move |n| (*transport, n)))
            {
                let who = format!("{transport:?} {place} of {path}");
                let last = Arc::new(AtomicU64::new(0));
                let client =
                    Client { who: who.clone(), path, last: last.clone(), has: None, trail: Mutex::default() };
                clients.spawn(roam(client, transport, nodes.clone()));
                seen.push((who, last));
            }
        }
        let mut crowd = Crowd { number, seen, clients };
        crowd.all_see(1, "in the beginning").await;
        crowd
    }

    /// The API has so many further states, one after another; each is seen by all before the next one comes.
    pub async fn sees(&mut self, states: u64, when: &str) {
        for _ in 0..states {
            let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
            self.all_see(number, when).await;
        }
    }

    async fn all_see(&mut self, number: u64, when: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.clients.try_join_next() {
                panic!("{when}: {}", ended.expect_err("a client goes on until the end"));
            }
            let has = |(_, last): &&(String, Arc<AtomicU64>)| last.load(Ordering::SeqCst) < number;
            let behind: Vec<&str> = self.seen.iter().filter(has).map(|(who, _)| who.as_str()).collect();
            if behind.is_empty() {
                return;
            }
            assert!(
                Instant::now() < until,
                "{when}: state {number} was not told to {behind:?} within {PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The API's state and its list, both as of this number.
fn answer(legacy: &Legacy, number: &Arc<AtomicU64>) {
    let (of_state, of_feed) = (number.clone(), number.clone());
    legacy.answer_with(STATE, move |_| {
        Reply::json(json!({ "n": of_state.load(Ordering::SeqCst) }).to_string())
    });
    legacy.answer_with(FEED, move |_| {
        let newest = of_feed.load(Ordering::SeqCst);
        let items = (newest.saturating_sub(PAGE_ITEMS).max(1)..=newest).rev().map(|id| json!({ "id": id }));
        Reply::json(json!({ "items": items.collect::<Vec<_>>() }).to_string())
    });
}

/// Goes from node to node for ever.
async fn roam(mut client: Client, transport: Transport, nodes: Arc<[SocketAddr]>) {
    loop {
        let node = fastrand::usize(..nodes.len());
        // The first position in a feed comes with its first item.
        let transport =
            if client.has.is_none() && client.is_of_items() { Transport::Stream } else { transport };
        client.note(format!("goes to node {node}"));
        let stay = Duration::from_millis(fastrand::u64(100..1_500));
        // A connection that breaks and one that is left are the same to it: it goes elsewhere.
        let _ = tokio::time::timeout(stay, visit(nodes[node], HOST, transport, &mut client)).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..50))).await;
    }
}

struct Client {
    who: String,
    path: &'static str,
    last: Arc<AtomicU64>,
    has: Option<String>,
    /// The last that happened, for messages.
    trail: Mutex<Vec<String>>,
}

impl Client {
    fn note(&self, what: String) {
        let mut trail = self.trail.lock();
        let excess = (trail.len() + 1).saturating_sub(12);
        trail.drain(..excess);
        trail.push(what);
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (has {:?}; {:?})", self.who, self.last, self.trail.lock())
    }
}

impl Listener for Client {
    fn path(&self) -> &str {
        self.path
    }

    fn is_of_items(&self) -> bool {
        self.path == FEED
    }

    fn position(&self) -> Option<String> {
        self.has.clone()
    }

    fn begin(&mut self, position: Option<&str>) {
        self.note(format!("says that it has {position:?}"));
    }

    fn told(&mut self, event: &str, id: Option<String>, data: &str) {
        self.note(format!("{event} {id:?}: {data}"));
        let number = match (event, &id) {
            ("message", Some(_)) => {
                let content: Value = serde_json::from_str(data).unwrap_or_else(|e| panic!("{self}: {e}"));
                content["n"].as_u64()
            }
            ("item", Some(id)) => id.parse().ok(),
            _ => panic!("{self}: an event that it should not be told"),
        };
        let number = number.unwrap_or_else(|| panic!("{self}: no number"));
        let last = self.last.load(Ordering::SeqCst);
        assert!(last == 0 || number == last + 1, "{self}: {number} after {last}");
        self.has = id;
        self.last.store(number, Ordering::SeqCst);
    }

    fn refused(&mut self, head: &Response) {
        panic!("{self}: refused: {head:?}");
    }

    fn is_over(&self) -> bool {
        false
    }
}
