//! A new process takes the listening sockets of the old one, and nobody notices: two real processes.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::client::{Http, Response, Sse, SseItem, Ws};
use crate::support::frames::{CLOSE, TEXT};
use crate::support::h2::{H2, H2Body};
use crate::support::legacy::{Legacy, Reply};
use crate::support::ports::unused_address;
use crate::support::process::{Folder, Process};
use crate::support::tls::{Authority, Identity};
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

/// Long-polls, on one connection for as long as the answers let it.
async fn long_polls(client: Client) {
    let mut http = Http::connect(client.address).await;
    let (mut etag, mut last) = (String::new(), 0);
    while client.goes_on() {
        let mut headers = vec![("prefer", "wait=5")];
        headers.extend((!etag.is_empty()).then_some(("if-none-match", etag.as_str())));
        let answer = http.get(STATE, &headers).await;
        if answer.status == 200 {
            let state: u64 = answer.text().parse().expect("a number");
            assert!(state > last, "{state} after {last}");
            (last, etag) = (state, answer.etag().to_owned());
        } else {
            assert_eq!((answer.status, closes(&answer)), (304, true), "a restless state: {answer:?}");
        }
        if closes(&answer) {
            http = Http::connect(client.address).await;
        }
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

/// States newer and newer; what is skipped was replaced between two polls.
async fn follows_the_state(client: Client) {
    let mut last = 0;
    let next = |_: &str, data: &str| {
        let state: u64 = data.parse().expect("a number");
        assert!(state > last, "{state} after {last}");
        last = state;
        client.goes_on()
    };
    event_source(&client, STATE, next).await;
}

/// The same on WebSockets.
async fn listens(client: Client) {
    loop {
        // It comes back without a position: the new process may not have seen yet what the old one told.
        let mut last = 0;
        let mut ws = Ws::open(client.address, STATE, &[]).await;
        loop {
            let frame = ws.next_frame().await;
            if frame.opcode == CLOSE {
                assert_eq!(frame.payload[..2], 1001_u16.to_be_bytes());
                break;
            }
            assert_eq!(frame.opcode, TEXT, "{frame:?}");
            let text = String::from_utf8(frame.payload).expect("UTF-8");
            let state: u64 = text.parse().expect("a number");
            assert!(state > last, "{state} after {last}");
            last = state;
            if !client.goes_on() {
                return;
            }
        }
    }
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

#[tokio::test]
async fn nobody_notices_the_change() {
    let (legacy, place) = (restless(), Place::new());
    let config = upgradable(&legacy, &place, "20s");
    let old = Process::start(&config).await;
    let mut crowd = Crowd::new(old.address);
    for _ in 0..3 {
        crowd.add("connects", connects);
        crowd.add("stays", stays);
        crowd.add("long-polls", long_polls);
        crowd.add("listens", listens);
    }
    for _ in 0..8 {
        crowd.add("follows the room", follows_the_room);
        crowd.add("follows the state", follows_the_state);
    }
    crowd.go_on(5).await;
    let mut idle = Http::connect(old.address).await;
    assert!(!closes(&idle.get("/x", &[]).await.expect(200)));
    let mut silent = Http::connect(old.address).await;
    let mut repeaters = Vec::new();
    for _ in 0..8 {
        let mut http = Http::connect(old.address).await;
        for _ in 0..3 {
            assert!(!closes(&http.get(STATE, &[]).await.expect(200)));
        }
        repeaters.push(http);
    }

    let new = old.successor(&config);
    change(&old, &new).await;
    // Neither of them has asked anything of late, and both find an open door.
    for http in [&mut idle, &mut silent] {
        let answer = http.get("/x", &[]).await.expect(200);
        assert!(closes(&answer), "{answer:?}");
    }
    assert!(is_ready(&new).await, "the admin listener went over, too");
    // Late, but within the window of 8 s: most of the streams have their end by now.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    for http in &mut repeaters {
        let answer = http.get(STATE, &[]).await.expect(200);
        assert!(closes(&answer), "{answer:?}");
    }
    assert_eq!(old.wait_exit().await.code(), Some(0), "{}", old.stderr());
    assert!(!place.socket.exists());

    crowd.go_on(5).await;
    crowd.leave().await;
    assert!(is_ready(&new).await);
    new.signal("TERM");
    new.wait_stderr("draining").await;
    new.signal("TERM");
    assert_eq!(new.wait_exit().await.code(), Some(0), "{}", new.stderr());
    let panicked = [&old, &new].map(|process| process.stderr().contains("panicked"));
    assert_eq!(panicked, [false, false]);
}

#[tokio::test]
async fn clients_of_tls_and_http2_go_on_too() {
    let (legacy, place) = (restless(), Place::new());
    let authority = Arc::new(Authority::new());
    let Identity { cert_pem, key_pem } = authority.certify(&["localhost"]);
    let cert = place.folder.write("cert.pem", &cert_pem);
    let key = place.folder.write("key.pem", &key_pem);
    let tls = format!("tls: {{certificates: [{{cert: '{}', key: '{}'}}]}}", cert.display(), key.display());
    let config = upgradable(&legacy, &place, "20s")
        .replace("{address: PUBLIC_ADDRESS}", &format!("{{address: PUBLIC_ADDRESS, {tls}}}"));
    let old = Process::start(&config).await;
    let (address, over) = (old.address, Arc::new(AtomicBool::new(false)));
    let (trusted, ends) = (authority.clone(), over.clone());
    let connecting = tokio::spawn(async move {
        let mut served = 0;
        while !ends.load(Ordering::SeqCst) {
            let stream = trusted.connect(address, "localhost", &["http/1.1"]).await;
            let mut http = Http::over(stream, "localhost");
            http.get("/x", &[("connection", "close")]).await.expect(200);
            served += 1;
        }
        served
    });
    let mut h2 = H2::over(authority.connect(address, "localhost", &["h2"]).await, "localhost").await;
    let (_, mut stream) = h2.open("GET", ROOM, &[("accept", "text/event-stream")]).await;
    let mut last = stream.next_event().await.id.expect("an id");
    let new = old.successor(&config);
    change(&old, &new).await;
    while let Some(item) = item_after(&last, &mut stream).await {
        last = item;
    }
    stream.expect_end().await;
    let mut h2 = H2::over(authority.connect(address, "localhost", &["h2"]).await, "localhost").await;
    let headers = [("accept", "text/event-stream"), ("last-event-id", last.as_str())];
    let (_, mut stream) = h2.open("GET", ROOM, &headers).await;
    for _ in 0..20 {
        last = item_after(&last, &mut stream).await.expect("an item");
    }
    assert_eq!(old.wait_exit().await.code(), Some(0), "{}", old.stderr());
    over.store(true, Ordering::SeqCst);
    assert!(within("the last connection", connecting).await.expect("every connection is served") > 10);
}

#[tokio::test]
async fn the_old_process_may_be_told_first() {
    let (legacy, place) = (restless(), Place::new());
    let config = upgradable(&legacy, &place, "20s");
    let old = Process::start(&config).await;
    let mut crowd = Crowd::new(old.address);
    crowd.add("connects", connects);
    crowd.add("follows the room", follows_the_room);
    old.signal("QUIT");
    old.wait_stderr("SIGQUIT").await;
    let new = old.successor(&config);
    new.wait_stderr("the old process drains").await;
    assert_eq!(old.wait_exit().await.code(), Some(0), "{}", old.stderr());
    crowd.go_on(5).await;
    crowd.leave().await;
    assert_eq!(new.exited(), None);
}

#[tokio::test]
async fn addresses_come_and_go_and_free_ports_stay() {
    let (legacy, place) = (restless(), Place::new());
    let [dropped, added] = [unused_address(), unused_address()];
    let with = |listeners: &str| {
        let any = "{address: '127.0.0.1:0'}";
        upgradable(&legacy, &place, "20s").replace(
            "listeners: [{address: PUBLIC_ADDRESS}]",
            &format!("listeners: [{any}, {listeners}, {{address: PUBLIC_ADDRESS}}, {any}]"),
        )
    };
    let old = Process::start(&with(&format!("{{address: '{dropped}'}}"))).await;
    let mut stays = Sse::open(dropped, STATE, &[]).await;
    let new = old.successor(&with(&format!("{{address: '{added}', http2: true}}")));
    change(&old, &new).await;
    let refused = async { while tokio::net::TcpStream::connect(dropped).await.is_ok() {} };
    within("an address to close that is no longer configured", refused).await;
    assert_eq!(old.exited(), None, "it serves whom it has");
    while stays.next_event().await.event != "bye" {}
    assert_eq!(old.wait_exit().await.code(), Some(0), "{}", old.stderr());
    let (before, after) = (listening(&old), listening(&new));
    assert_eq!((before.len(), before[1], after[1]), (4, dropped, added));
    assert_eq!([before[0], before[2], before[3]], [after[0], after[2], after[3]]);
    for address in after {
        Http::connect(address).await.get("/x", &[]).await.expect(200);
    }
    assert!(new.stderr().contains(&format!("address={dropped}")), "{}", new.stderr());
}

/// The next item, which must be the one after `last`; none: the client is told to come back.
async fn item_after(last: &str, stream: &mut H2Body) -> Option<String> {
    let event = stream.next_event().await;
    if event.event == "bye" {
        return None;
    }
    let (id, last) = (event.id.expect("an id"), last.parse::<u64>().expect("a number"));
    assert_eq!((event.event.as_str(), id.parse()), ("item", Ok(last + 1)));
    Some(id)
}

/// The addresses of a process's listeners, from its log.
fn listening(process: &Process) -> Vec<SocketAddr> {
    let log = process.stderr();
    let lines = log.lines().filter(|line| line.contains("listening address="));
    let addresses =
        lines.map(|line| line.rsplit('=').next().expect("an address").parse().expect("an address"));
    addresses.collect()
}

#[tokio::test]
async fn without_a_new_process_the_old_one_serves_on() {
    let (legacy, place) = (restless(), Place::new());
    let old = Process::start(&upgradable(&legacy, &place, "1s")).await;
    let mut crowd = Crowd::new(old.address);
    crowd.add("stays", stays);
    crowd.add("follows the room", follows_the_room);
    old.signal("QUIT");
    old.wait_stderr("this process goes on").await;
    assert!(old.stderr().contains("no new process took the sockets"), "{}", old.stderr());
    assert!(is_ready(&old).await);
    crowd.go_on(5).await;
    crowd.leave().await;
    assert_eq!(old.exited(), None);
}

#[tokio::test]
async fn a_new_process_that_cannot_start_changes_nothing() {
    let (legacy, place) = (restless(), Place::new());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = (taken.local_addr().expect("bound"), taken);
    let config = upgradable(&legacy, &place, "20s");
    let old = Process::start(&config).await;
    let mut crowd = Crowd::new(old.address);
    crowd.add("connects", connects);
    crowd.add("follows the room", follows_the_room);
    let more = format!("PUBLIC_ADDRESS}}, {{address: '{}'}}]", taken.0);
    let broken = old.successor(&config.replace("PUBLIC_ADDRESS}]", &more));
    broken.wait_stderr("waiting for the sockets").await;
    old.signal("QUIT");
    assert_eq!(broken.wait_exit().await.code(), Some(1), "{}", broken.stderr());
    assert!(broken.stderr().contains(&format!("cannot listen on {}", taken.0)), "{}", broken.stderr());
    old.wait_stderr("this process goes on").await;
    assert!(old.stderr().contains("ended before it accepted connections"), "{}", old.stderr());
    crowd.go_on(5).await;
    // The next try may succeed.
    let new = old.successor(&config);
    change(&old, &new).await;
    assert_eq!(old.wait_exit().await.code(), Some(0));
    crowd.go_on(5).await;
    crowd.leave().await;
}

#[tokio::test]
async fn a_new_process_that_nobody_answers_says_so_and_ends() {
    let (legacy, place) = (restless(), Place::new());
    let config = upgradable(&legacy, &place, "1s");
    let old = Process::start(&config).await;
    let new = old.successor(&config);
    assert_eq!(new.wait_exit().await.code(), Some(1), "{}", new.stderr());
    let said = new.stderr();
    let wanted = format!("upgrade.socket {}: no process handed", place.socket.display());
    assert!(said.contains(&wanted) && said.contains("within 1s"), "{said}");
    assert!(!place.socket.exists() && !said.contains("panicked"));
    assert!(is_ready(&old).await);
}

#[tokio::test]
async fn without_a_place_there_is_no_upgrade() {
    let legacy = restless();
    let old = Process::start(&yaml(&legacy, "")).await;
    let new = old.successor(&yaml(&legacy, ""));
    assert_eq!(new.wait_exit().await.code(), Some(1));
    assert!(new.stderr().contains("has no upgrade.socket"), "{}", new.stderr());
    old.signal("QUIT");
    old.wait_stderr("has no upgrade.socket").await;
    assert!(is_ready(&old).await);
}

#[tokio::test]
async fn a_place_that_others_can_enter_or_that_holds_something_else_is_refused() {
    let (legacy, place) = (restless(), Place::new());
    let config = upgradable(&legacy, &place, "5s");
    fs::write(&place.socket, "precious").expect("a file");
    let old = Process::start(&config).await;
    assert!(old.stderr().contains("an upgrade would fail"), "said at the start: {}", old.stderr());
    let refused = async |word: &str, times: usize| {
        let new = old.successor(&config);
        assert_eq!(new.wait_exit().await.code(), Some(1), "{}", new.stderr());
        old.signal("QUIT");
        let told = within("the refusal", async {
            while old.stderr().matches("this process goes on").count() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            old.stderr()
        })
        .await;
        for said in [new.stderr(), told] {
            assert!(said.contains(word) && !said.contains("panicked"), "{said}");
        }
    };
    refused("is there already, and is no socket", 1).await;
    assert_eq!(fs::read_to_string(&place.socket).expect("still there"), "precious");
    fs::remove_file(&place.socket).expect("removed");
    set_mode(&place.folder.path, 0o755);
    refused("open to others (mode 755)", 2).await;
    assert!(is_ready(&old).await);
}

#[tokio::test]
async fn a_supervisor_is_told_who_serves() {
    let (legacy, place) = (restless(), Place::new());
    let config = upgradable(&legacy, &place, "20s");
    let notify = place.folder.path.join("notify.sock");
    let supervisor = tokio::net::UnixDatagram::bind(&notify).expect("a socket");
    let told = async || {
        let mut message = [0; 200];
        let length = within("word from the process", supervisor.recv(&mut message)).await.expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let environment = [("NOTIFY_SOCKET", notify.as_path())];
    let old = Process::start_told(&config, &environment).await;
    assert_eq!(told().await, format!("READY=1\nMAINPID={}\n", old.id()));
    let new = old.successor_told(&config, &environment);
    change(&old, &new).await;
    assert_eq!(told().await, format!("READY=1\nMAINPID={}\n", new.id()));
    assert_eq!(old.wait_exit().await.code(), Some(0), "{}", old.stderr());
}
