//! What clients notice of a change of the process: nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{
    Client, Crowd, Place, ROOM, STATE, change, closes, connects, event_source, follows_the_room, is_ready,
    restless, stays, upgradable,
};
use crate::support::client::{Http, Sse, Ws};
use crate::support::frames::{CLOSE, TEXT};
use crate::support::h2::{H2, H2Body};
use crate::support::ports::unused_address;
use crate::support::process::Process;
use crate::support::tls::{Authority, Identity};
use crate::support::wire::within;

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

#[tokio::test]
async fn no_client_notices_the_change() {
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

/// The next item, which must be the one after `last`. Returns `None` if the client is told to come back.
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
