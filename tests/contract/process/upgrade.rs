//! A new process takes the listening sockets of the old one, and no client notices: two real processes.

mod clients;
mod refused;

use std::fs;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::client::{Http, Response, Sse, SseItem};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::{Folder, Process};
use crate::support::wire::{GUARD, within};

const ROOM: &str = "/rooms/1";

const STATE: &str = "/states/1";

/// A configuration with a feed, a state and pass-through. `top`: more keys of the file.
fn yaml(legacy: &Legacy, top: &str) -> String {
    format!(
        "listeners: [{{address: PUBLIC_ADDRESS}}]\n\
         admin: {{address: ADMIN_ADDRESS}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         drain: {{delay: 5m, window: 8s, retry: [100ms, 300ms]}}\n\
         log: {{access: false}}\n\
         defaults: {{poll: {{interval: 100ms}}}}\n\
         routes:\n\
         - {{path: '/rooms/{{room}}', upstream: legacy, feed: {{items: /messages, id: /id, replay: 1}}}}\n\
         - {{path: '/states/{{state}}', upstream: legacy}}\n\
         {top}\n",
        legacy.address()
    )
}

fn upgradable(legacy: &Legacy, place: &Place, timeout: &str) -> String {
    yaml(legacy, &place.top(timeout))
}

/// A directory that is closed to others, and the socket in it.
struct Place {
    folder: Folder,
    socket: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = Folder::new();
        set_mode(&folder.path, 0o700);
        let socket = folder.path.join("upgrade.sock");
        Place { folder, socket }
    }

    fn top(&self, timeout: &str) -> String {
        format!("upgrade: {{socket: '{}', timeout: {timeout}}}", self.socket.display())
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

/// Everything changes all the time: an item each 25 ms, a state each 10 ms.
fn restless() -> Legacy {
    let legacy = Legacy::start();
    let began = Instant::now();
    let told = move |each: u128| (began.elapsed().as_millis() / each) as u64 + 1;
    legacy.answer_with(ROOM, move |_| {
        let newest = told(25);
        let items = (newest.saturating_sub(799).max(1)..=newest).rev();
        Reply::json(
            json!({ "messages": items.map(|id| json!({ "id": id })).collect::<Vec<_>>() }).to_string(),
        )
    });
    legacy.answer_with(STATE, move |_| Reply::json(told(10).to_string()));
    legacy.set("/x", Reply::text("x"));
    legacy
}

/// Clients that go on until they are told to stop, and fail the test when anything is not as they want it.
struct Crowd {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    /// How often each had what it wanted.
    rounds: Vec<(&'static str, Arc<AtomicU64>)>,
    clients: JoinSet<()>,
}

/// A client of the crowd.
struct Client {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
}

impl Client {
    /// Had what it wanted once more. Whether it goes on.
    fn goes_on(&self) -> bool {
        self.rounds.fetch_add(1, Ordering::SeqCst);
        !self.over.load(Ordering::SeqCst)
    }
}

impl Crowd {
    fn new(address: SocketAddr) -> Crowd {
        Crowd { address, over: Arc::default(), rounds: Vec::new(), clients: JoinSet::new() }
    }

    fn add<F: Future<Output = ()> + Send + 'static>(&mut self, name: &'static str, drive: fn(Client) -> F) {
        let rounds = Arc::new(AtomicU64::new(0));
        self.rounds.push((name, rounds.clone()));
        self.clients.spawn(drive(Client { address: self.address, over: self.over.clone(), rounds }));
    }

    /// Waits until each had what it wanted this many times more.
    async fn go_on(&mut self, more: u64) {
        let wanted = self.rounds.iter().map(|(_, rounds)| rounds.load(Ordering::SeqCst) + more);
        let wanted: Vec<u64> = wanted.collect();
        let until = Instant::now() + 2 * GUARD;
        for ((name, rounds), wanted) in self.rounds.iter().zip(wanted) {
            while rounds.load(Ordering::SeqCst) < wanted {
                if let Some(ended) = self.clients.try_join_next() {
                    ended.expect("a client did not get what it wanted");
                }
                assert!(Instant::now() < until, "{name} does not go on: {rounds:?} of {wanted}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn leave(mut self) {
        self.over.store(true, Ordering::SeqCst);
        let all = async {
            while let Some(ended) = self.clients.join_next().await {
                ended.expect("a client did not get what it wanted");
            }
        };
        within("the clients to end", all).await;
    }
}

fn closes(answer: &Response) -> bool {
    answer.names("connection", "close")
}

/// A new connection for every request.
async fn connects(client: Client) {
    while client.goes_on() {
        let mut http = Http::connect(client.address).await;
        let answer = http.get("/x", &[("connection", "close")]).await.expect(200);
        assert_eq!(answer.text(), "x");
    }
}

/// One connection for as long as the answers let it.
async fn stays(client: Client) {
    let mut http = Http::connect(client.address).await;
    while client.goes_on() {
        let path = if client.rounds.load(Ordering::SeqCst).is_multiple_of(2) { "/x" } else { STATE };
        let answer = http.get(path, &[]).await.expect(200);
        if closes(&answer) {
            http = Http::connect(client.address).await;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Reads events until `bye`, then comes back as it was told. `next` gets each event's id and data; whether to go on.
async fn event_source(client: &Client, path: &str, mut next: impl FnMut(&str, &str) -> bool) {
    let mut last = String::new();
    loop {
        let position = [("last-event-id", last.as_str())];
        let headers = if last.is_empty() { &position[..0] } else { &position[..] };
        let mut sse = Sse::open(client.address, path, headers).await;
        let wait = loop {
            match sse.next_item().await {
                SseItem::Event { event, data, .. } if event == "bye" => {
                    let bye: Value = serde_json::from_str(&data).expect("JSON");
                    assert_eq!((&bye["reason"], &bye["reconnect"]), (&json!("drain"), &json!(true)));
                    break bye["retry_ms"].as_u64().expect("a time");
                }
                SseItem::Event { id, event, data } => {
                    assert!(["message", "item"].contains(&event.as_str()), "{event}: {data}");
                    last = id.expect("an id");
                    if !next(&last, &data) {
                        return;
                    }
                }
                SseItem::Comment(_) | SseItem::Retry(_) => {}
            }
        };
        sse.expect_end().await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

/// Every item, exactly once and in order.
async fn follows_the_room(client: Client) {
    let mut last = None;
    let next = |id: &str, _: &str| {
        let id: u64 = id.parse().expect("a number");
        if let Some(last) = last.replace(id) {
            assert_eq!(id, last + 1, "the item after {last}");
        }
        client.goes_on()
    };
    event_source(&client, ROOM, next).await;
}

async fn is_ready(process: &Process) -> bool {
    Http::connect(process.admin).await.get("/ready", &[("connection", "close")]).await.status == 200
}

/// The new process says that it waits, then the old one is told.
async fn change(old: &Process, new: &Process) {
    new.wait_stderr("waiting for the sockets").await;
    old.signal("QUIT");
    new.wait_stderr("the old process drains").await;
    old.wait_stderr("draining").await;
}
