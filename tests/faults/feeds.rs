//! Lists under the same faults: everybody is told every item, once and in order, over all its connections.
//!
//! Must not know: states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::all_end;
use super::client::HOST;
use super::record::{Items, Journal};
use super::script::Luck;
use super::world::config;
use crate::support::app;
use crate::support::client::{Http, connect};
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::sse::Sse;

pub const ROOM: &str = "/rooms/1";

/// Items that the upstream shows.
const PAGE: u64 = 400;

const STORMY: Duration = Duration::from_secs(5);
const CLIENTS: usize = 24;

/// A list that grows while it is asked for.
pub struct Room {
    /// With the newest item.
    told: Mutex<(Luck, u64)>,
    /// What its readers have, where they say so: it keeps what the slowest of them still has to read on its page.
    readers: Mutex<BTreeMap<usize, u64>>,
}

impl Room {
    pub fn play(legacy: &Legacy, path: &str, seed: u64, journal: &Arc<Journal>) -> Arc<Room> {
        let told = Mutex::new((Luck::new(seed), 1));
        let room = Arc::new(Room { told, readers: Mutex::default() });
        let (player, journal) = (room.clone(), journal.clone());
        legacy.answer_with(path, move |seen| player.answer(seen, &journal));
        room
    }

    fn answer(&self, seen: &Seen, journal: &Journal) -> Reply {
        let mut told = self.told.lock();
        let (luck, newest) = &mut *told;
        if !luck.calm {
            let grown = *newest + luck.rng.u64(..6);
            *newest = grown.min(self.limit()).max(*newest);
        }
        let fault = luck.fault(seen);
        let page = |newest: u64| {
            let items = (newest.saturating_sub(PAGE - 1).max(1)..=newest).rev();
            json!({ "messages": items.map(|id| json!({ "id": id })).collect::<Vec<_>>() })
        };
        let tag = format!("\"{newest}\"");
        luck.answer(seen, fault, (&tag, page(*newest).to_string()), &page(1_000_000), journal)
    }

    /// A reader has this item. From its first item on the room does not leave it behind.
    pub fn is_read(&self, reader: usize, item: u64) {
        self.readers.lock().insert(reader, item);
    }

    /// The item beyond which nothing comes before the slowest reader has more.
    fn limit(&self) -> u64 {
        self.readers.lock().values().min().map_or(u64::MAX, |slowest| slowest + PAGE / 2)
    }

    /// Nothing is wrong from now on, and nothing new comes after the item that is given.
    pub fn calm(&self) -> u64 {
        let mut told = self.told.lock();
        told.0.calm = true;
        told.1 += 1;
        told.1
    }
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a room with items to {} and {:?} between readers", self.told.lock().1, {
            let readers = self.readers.lock();
            readers.values().min().copied().zip(readers.values().max().copied())
        })
    }
}

struct Reader {
    address: std::net::SocketAddr,
    rng: fastrand::Rng,
    items: Items,
    /// The last item of all, once it is known.
    end: watch::Receiver<Option<u64>>,
    journal: Arc<Journal>,
}

impl Reader {
    fn is_over(&self) -> bool {
        self.end.borrow().is_some_and(|end| self.items.last() == Some(end))
    }

    fn is_calm(&self) -> bool {
        self.end.borrow().is_some()
    }

    async fn live(mut self) {
        while !self.is_over() {
            self.items.begin();
            match self.rng.u8(..3) {
                0 if self.items.last().is_some() => self.long_polls().await,
                _ => self.stream().await,
            }
            sleep(Duration::from_millis(self.rng.u64(..100))).await;
        }
    }

    async fn stream(&mut self) {
        let position = self.items.last().map(|id| id.to_string());
        let headers: Vec<_> = position.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let mut sse = match Sse::over(connect(self.address).await, HOST, "HTTP/1.1", ROOM, &headers).await {
            Ok(sse) => sse,
            Err(head) => {
                assert!(matches!(head.status, 302 | 404), "{head:?}");
                return;
            }
        };
        let until = Instant::now() + Duration::from_millis(self.rng.u64(50..1_500));
        while !self.is_over() {
            let event = match timeout_at(until, sse.next_event()).await {
                Ok(event) => event,
                Err(_) if self.is_calm() => sse.next_event().await,
                Err(_) => return,
            };
            match (event.event.as_str(), event.id) {
                ("item", Some(id)) => self.items.told(&id),
                ("stale" | "fresh" | "gone", None) => self.journal.count(format!("event: {}", event.event)),
                (name, id) => panic!("an unexpected event {name} with id {id:?}: {}", event.data),
            }
        }
    }

    async fn long_polls(&mut self) {
        let mut http = Http::over(connect(self.address).await, HOST);
        for _ in 0..self.rng.u8(1..6) {
            let Some(last) = self.items.last() else { return };
            let last = last.to_string();
            let headers = [("prefer", "wait=1"), ("last-event-id", last.as_str())];
            let answer = http.get(ROOM, &headers).await;
            let is_items = answer.status == 200 && answer.header("content-type") == Some("application/json");
            if is_items && let Value::Array(items) = answer.json() {
                for item in items {
                    self.items.told(&item["id"].to_string());
                }
            } else {
                self.journal.count(format!("answer: {}", answer.status));
                assert!([200, 302, 404, 429, 500, 502, 503, 504].contains(&answer.status), "{answer:?}");
            }
            if self.is_over() || answer.names("connection", "close") {
                return;
            }
        }
    }
}

/// The whole life of one run; what happened in it.
pub async fn run(seed: u64) -> Arc<Journal> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let journal = Arc::new(Journal::default());
    let legacy = Legacy::start();
    let room = Room::play(&legacy, ROOM, rng.u64(..), &journal);
    let yaml = config(&legacy.address().to_string(), "127.0.0.1:0", "127.0.0.1:0", 64, "stale_after: 0s");
    let app = app::start(&yaml);
    let end = watch::Sender::new(None);
    let mut readers = JoinSet::new();
    for n in 0..CLIENTS {
        journal.count("clients");
        let reader = Reader {
            address: app.addresses()[0],
            rng: rng.fork(),
            items: Items::new(format!("reader {n} of run {seed}"), journal.clone()),
            end: end.subscribe(),
            journal: journal.clone(),
        };
        readers.spawn(reader.live());
    }
    let over = Instant::now() + STORMY;
    while let Ok(Some(ended)) = timeout_at(over, readers.join_next()).await {
        ended.expect("a reader was told what it should not be told");
    }
    end.send_replace(Some(room.calm()));
    all_end(&mut readers, Duration::from_secs(20), &format!("the room of run {seed}")).await;
    journal
}
