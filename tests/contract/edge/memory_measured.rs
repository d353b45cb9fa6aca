//! Contract §12: what a stranger can have held for what it sends. All of it is printed as one table:
//! `cargo test --test pollcast memory_measured -- --nocapture`.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::{Extra, process_yaml};
use crate::support::client::{Http, connect};
use crate::support::legacy::{Gate, Legacy, Reply};
use crate::support::process::Process;
use crate::support::sse::Sse;
use crate::support::wire::within;
use crate::support::ws::Ws;

const EVENTS: &str = "/-/pollcast/events";
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Connections of one stranger, and what it opens on each.
const CONNECTIONS: usize = 10;
const STREAMS: u32 = 100;

/// Streams that are let in while none of a connection has a window.
const LET_IN: usize = 4;

/// One line of the table.
struct Line {
    what: &'static str,
    sent: usize,
    held: usize,
    /// What it is spread over: streams, requests, connections.
    pieces: usize,
    /// Most bytes that a piece may hold.
    most: usize,
}

/// What the process holds more once `arrived` says that all is there; the least of several looks, as what it took to
/// read is given back.
async fn grown(process: &Process, before: usize) -> usize {
    let mut least = usize::MAX;
    for _ in 0..10 {
        least = least.min(process.memory().saturating_sub(before));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    least
}

async fn start(legacy: &Legacy, listener: &str, top: &str) -> Process {
    let extra = Extra { listener, top, route: ", poll: {interval: 1h}", ..Extra::default() };
    let process = Process::start(&process_yaml(legacy, extra)).await;
    legacy.set("/warm", Reply::text("x"));
    for _ in 0..20 {
        Http::connect(process.address).await.get("/warm", &[]).await.expect(200);
    }
    process
}

async fn snapshots() -> Line {
    const NAMES: usize = 64;
    let legacy = Legacy::start();
    for n in 0..NAMES {
        let rows = "x".repeat(250_000);
        legacy.set(&format!("/r/{n}"), Reply::json(json!({ "n": n, "rows": rows }).to_string()));
    }
    let process = start(&legacy, "", "limits: {snapshot_bytes: 4MiB, poll_body_bytes: 4MiB}").await;
    let before = process.memory();
    let query: Vec<String> = (0..NAMES).map(|n| format!("resource=/r/{n}")).collect();
    let target = format!("{EVENTS}?{}", query.join("&"));
    let mut sse = Sse::open(process.address, &target, &[]).await;
    for _ in 0..NAMES {
        sse.next_event().await;
    }
    let held = grown(&process, before).await;
    Line { what: "followed snapshots", sent: target.len(), held, pieces: NAMES, most: 32 * MIB / NAMES }
}

async fn requests() -> Line {
    const REQUESTS: usize = 200;
    let legacy = Legacy::start();
    let gate = Gate::closed();
    legacy.set("/slow", Reply::text("x").behind(&gate));
    let process = start(&legacy, "", "").await;
    let before = process.memory();
    let request = format!("GET /slow HTTP/1.1\r\nHost: {}\r\n\r\n", process.address);
    let mut clients = Vec::new();
    for _ in 0..REQUESTS {
        let mut client = connect(process.address).await;
        client.write_all(request.as_bytes()).await.expect("a client that is heard");
        clients.push(client);
    }
    legacy.wait_in_flight("/slow", REQUESTS).await;
    let held = grown(&process, before).await;
    gate.open();
    let sent = request.len() * REQUESTS;
    Line { what: "requests in progress", sent, held, pieces: REQUESTS, most: 128 * KIB }
}

async fn bodies() -> Line {
    const BODIES: usize = 200;
    let legacy = Legacy::start();
    let process = start(&legacy, "", "").await;
    let before = process.memory();
    let head =
        format!("POST {EVENTS} HTTP/1.1\r\nHost: {}\r\nContent-Length: 60000\r\n\r\n", process.address);
    let body = vec![b'['; 30_000];
    let mut clients = Vec::new();
    for _ in 0..BODIES {
        let mut client = connect(process.address).await;
        client.write_all(head.as_bytes()).await.expect("a client that is heard");
        client.write_all(&body).await.expect("a client that is heard");
        clients.push(client);
    }
    let held = grown(&process, before).await;
    let sent = (head.len() + body.len()) * BODIES;
    Line { what: "bodies that wait", sent, held, pieces: BODIES, most: 256 * KIB }
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `fields`: tiny ones of each head, one byte each from the second stream on. `window`: bytes that each may send.
async fn streams(what: &'static str, fields: usize, window: u32) -> Line {
    let legacy = Legacy::start();
    legacy.set("/", Reply::text("x".repeat(1000)));
    let process = start(&legacy, ", http2: true", "").await;
    let before = process.memory();
    let none = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    let mut said = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &none)].concat();
    for n in 0..STREAMS {
        let first: &[u8] = if n == 0 { b"\x41\x06a.test\x40\x01a\x00" } else { b"\xbf" };
        let head = [&[0x82, 0x86, 0x84][..], first, &vec![0xbe; fields]].concat();
        said.extend(frame(1, 5, 2 * n + 1, &head));
    }
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = connect(process.address).await;
        client.write_all(&said).await.expect("a client that is heard");
        clients.push(client);
    }
    legacy.wait_count("/", LET_IN * CONNECTIONS).await;
    let held = grown(&process, before).await;
    let came = legacy.count("/");
    // One more each second, of a connection whose streams are all blocked.
    assert!(came < 2 * STREAMS as usize, "{what}: {came} requests came");
    let pieces = CONNECTIONS * STREAMS as usize;
    Line { what, sent: said.len() * CONNECTIONS, held, pieces, most: 4 * KIB }
}

async fn messages() -> Line {
    const MESSAGES: usize = 40;
    let legacy = Legacy::start();
    let gate = Gate::closed();
    legacy.set("/r/A", Reply::json("{}"));
    legacy.set("/say", Reply::json("{}").behind(&gate));
    let extra = Extra {
        route: ", poll: {interval: 1h}, websocket: {send: {path: '/say', rate: 1000/s}, frame_rate: 10000/s}",
        ..Extra::default()
    };
    let process = Process::start(&process_yaml(&legacy, extra)).await;
    let before = process.memory();
    let message =
        json!({ "op": "send", "id": 1, "resource": "/r/A", "data": "x".repeat(40_000) }).to_string();
    let protocol = [("sec-websocket-protocol", "pollcast.v1")];
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut ws = Ws::open(process.address, "/r/A", &protocol).await;
        ws.next_text().await;
        clients.push(ws);
    }
    let sending = clients.iter_mut().map(|ws| async {
        for _ in 0..MESSAGES {
            ws.send_text(&message).await;
        }
    });
    // Of those that are not read the kernels take what they can.
    let all = futures_util::future::join_all(sending);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), all).await;
    legacy.wait_in_flight("/say", 2 * CONNECTIONS).await;
    let held = grown(&process, before).await;
    gate.open();
    let sent = message.len() * MESSAGES * CONNECTIONS;
    Line { what: "messages that wait", sent, held, pieces: CONNECTIONS, most: 512 * KIB }
}

#[tokio::test]
async fn what_a_stranger_has_held_is_bounded_by_what_owns_it() {
    let lines = [
        snapshots().await,
        requests().await,
        bodies().await,
        within("zero windows", streams("streams without a window", 0, 0)).await,
        within("windows of one byte", streams("streams with a window of one byte", 0, 1)).await,
        within("tiny fields", streams("the same with 90 tiny fields", 90, 1)).await,
        messages().await,
    ];
    println!("| what | sent, bytes | held, bytes | held for a byte | held for each |");
    println!("|---|---|---|---|---|");
    for Line { what, sent, held, pieces, .. } in &lines {
        let ratio = *held as f64 / *sent as f64;
        println!("| {what} | {sent} | {held} | {ratio:.1} | {} |", held / pieces);
    }
    for Line { what, held, pieces, most, .. } in &lines {
        assert!(held / pieces <= *most, "{what}: {} bytes each, at most {most}", held / pieces);
    }
}
