//! Memory and work have an owner (contract §10, §12): snapshots, requests in progress, bodies and messages that wait.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::{Extra, process_yaml};
use crate::contract::{FAST, Stand};
use crate::support::client::Http;
use crate::support::legacy::{Gate, Legacy, Reply};
use crate::support::process::Process;
use crate::support::sse::Sse;
use crate::support::wire::within;
use crate::support::ws::Ws;

const EVENTS: &str = "/-/pollcast/events";

/// Larger than a third of the smallest `limits.snapshot_bytes`, with what its events take.
fn large(name: &str) -> String {
    json!({ "name": name, "rows": "x".repeat(250_000) }).to_string()
}

fn stand(limits: &str) -> Stand {
    let legacy = Legacy::start();
    let yaml = crate::contract::config(&legacy, FAST, limits);
    let yaml = yaml.replace("'127.0.0.1:0'}]", "'127.0.0.1:0', client_address: peer}]");
    Stand { legacy, app: crate::support::app::start(&yaml) }
}

async fn refusals(stand: &Stand, reason: &str) -> f64 {
    stand.metric("pollcast_refusals_total", &format!("\"{reason}\"")).await
}

#[tokio::test]
async fn when_snapshots_are_full_new_followers_get_503_and_plain_requests_pass_through() {
    let stand = stand("limits: {snapshot_bytes: 1MiB}");
    for n in 0..6 {
        stand.legacy.set(&format!("/prices/{n}"), Reply::json(large(&n.to_string())));
    }
    let mut kept = Vec::new();
    let refused = loop {
        let path = format!("/prices/{}", kept.len());
        match Sse::try_open(stand.address(), &path, &[]).await {
            Ok(mut sse) => {
                assert!(sse.next_event().await.data.contains("xxx"), "{path}");
                kept.push(sse);
            }
            Err(refused) => break refused,
        }
        assert!(kept.len() < 5, "nothing bounds what is followed");
    };
    assert_eq!((refused.status, kept.is_empty()), (503, false));
    assert!(refusals(&stand, "snapshot-bytes").await > 0.0);
    let mut http = stand.http().await;
    let plain = http.get("/prices/5", &[]).await.expect(200);
    assert_eq!(plain.text(), large("5"), "what it asks for is the API's to give");
    // What is held is still given, and followed by others.
    http.get("/prices/0", &[]).await.expect(200);
    kept.clear();
    stand.clients("sse", 0).await;
    // After a refusal it is not looked again at once for what may go.
    let again = async {
        loop {
            if let Ok(sse) = Sse::try_open(stand.address(), "/prices/5", &[]).await {
                return sse;
            }
            tokio::task::yield_now().await;
        }
    };
    let mut again = within("room for one more", again).await;
    assert!(again.next_event().await.data.contains("xxx"), "there is room again");
}

#[tokio::test]
async fn what_is_followed_stays_within_its_bound_with_all_forms_of_it() {
    const NAMES: usize = 16;
    let stand = stand("limits: {snapshot_bytes: 1MiB}");
    for n in 0..NAMES {
        stand.legacy.set(&format!("/prices/{n}"), Reply::json(large(&n.to_string())));
    }
    let names: Vec<String> = (0..NAMES).map(|n| format!("resource=/prices/{n}")).collect();
    let mut sse = Sse::open(stand.address(), &format!("{EVENTS}?{}", names.join("&")), &[]).await;
    let (mut let_in, mut refused) = (Vec::new(), 0);
    while let_in.len() + refused < NAMES {
        let event = sse.next_event().await;
        match event.event.as_str() {
            "error" => refused += 1,
            path if event.data.contains("xxx") => let_in.push(path.to_owned()),
            _ => {}
        }
    }
    assert!(!let_in.is_empty() && refused > 0, "{let_in:?}");
    let held = stand.metric("pollcast_snapshot_bytes", "").await;
    assert!((250_000.0 * 2.0..=1024.0 * 1024.0).contains(&held), "{held} for {}", let_in.len());
    // The event of a stream of its own would be one more form of it.
    let other = Sse::try_open(stand.address(), &let_in[0], &[]).await;
    assert_eq!(other.err().map(|refused| refused.status), Some(503));
    assert!(refusals(&stand, "snapshot-bytes").await > 0.0);
    stand.http().await.get(&let_in[0], &[]).await.expect(200);
}

#[tokio::test]
async fn equal_contents_are_charged_once() {
    let stand = stand("limits: {snapshot_bytes: 1MiB}");
    stand.legacy.set("/prices/A", Reply::json(large("A")));
    let names: Vec<String> = (0..40).map(|n| format!("resource=/prices/A%3Fx={n}")).collect();
    let mut sse = Sse::open(stand.address(), &format!("{EVENTS}?{}", names.join("&")), &[]).await;
    let mut had = 0;
    while had < names.len() {
        let event = sse.next_event().await;
        assert_ne!(event.event, "error", "{}", event.data);
        had += usize::from(event.data.contains("xxx"));
    }
    assert_eq!(refusals(&stand, "snapshot-bytes").await, 0.0);
    let held = stand.metric("pollcast_snapshot_bytes", "").await;
    assert!((250_000.0..1_000_000.0).contains(&held), "{held}");
}

#[tokio::test]
async fn many_spellings_of_one_large_answer_take_its_memory_once() {
    const SPELLINGS: usize = 100;
    const BYTES: usize = 900_000;
    let legacy = Legacy::start();
    legacy.set("/r/A", Reply::json(json!({ "rows": "x".repeat(BYTES) }).to_string()));
    legacy.set("/r/first", Reply::json(json!({ "rows": "x".repeat(BYTES) }).to_string()));
    let yaml = process_yaml(&legacy, Extra { route: ", poll: {interval: 1h}", ..Extra::default() });
    let process = Process::start(&yaml).await;
    Http::connect(process.address).await.get("/r/first", &[]).await.expect(200);
    let before = process.memory();
    let names: Vec<String> = (0..SPELLINGS).map(|n| format!("resource=/r/A%3Fx={n}")).collect();
    let mut sse = Sse::open(process.address, &format!("{EVENTS}?{}", names.join("&")), &[]).await;
    let mut had = 0;
    while had < SPELLINGS {
        had += usize::from(sse.next_event().await.data.contains("xxx"));
    }
    let grown = process.memory().saturating_sub(before);
    assert!(grown < SPELLINGS * BYTES / 3, "{} MiB more", grown >> 20);
}

#[tokio::test]
async fn one_request_for_many_resources_that_leaves_costs_one_poll_each() {
    let stand = Stand::start("poll: {interval: 5s, linger: 30s}");
    let names: Vec<String> = (0..200).map(|n| format!("/prices/{n}")).collect();
    for name in &names {
        stand.legacy.set(name, Reply::json(json!({ "of": name }).to_string()));
    }
    let mut http = stand.http().await;
    http.send("POST", EVENTS, &[], json!(names).to_string().as_bytes()).await;
    assert_eq!(http.read_head().await.status, 200);
    drop(http);
    stand.clients("sse_many", 0).await;
    // The time of the next poll comes and goes.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let polls: usize = names.iter().map(|name| stand.legacy.count(name)).sum();
    assert!(polls <= 200, "{polls} requests for one that left");
}

#[tokio::test]
async fn new_resources_of_an_address_come_at_a_pace() {
    let stand = stand("limits: {new_resources_per_address: 1/s}");
    for n in 0..8 {
        stand.legacy.set(&format!("/prices/{n}"), Reply::json(json!({ "n": n }).to_string()));
    }
    let mut http = stand.http().await;
    http.get("/prices/0", &[]).await.expect(200);
    let passed = http.get("/prices/1", &[]).await.expect(200);
    assert!(passed.header("cache-status").is_some_and(|said| said.contains("detail=limit")), "{passed:?}");
    // One turn is to be had within first_answer, and not five.
    let paths: Vec<String> = (2..8).map(|n| format!("/prices/{n}")).collect();
    let attempts = paths.iter().map(|path| async {
        Sse::try_open(stand.address(), path, &[]).await.map(drop).map_err(|refused| refused.status)
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    let (followed, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(!followed.is_empty() && !refused.is_empty(), "{followed:?} {refused:?}");
    assert!(refused.iter().all(|status| *status == Err(503)), "{refused:?}");
    assert!(refusals(&stand, "address-new-resources").await > 0.0);
}

#[tokio::test]
async fn requests_in_progress_are_bounded_and_answers_that_flow_are_none() {
    let stand = stand("limits: {requests: 2, requests_per_address: 2}");
    let gate = Gate::closed();
    stand.legacy.set("/slow", Reply::text("x").behind(&gate));
    let (reply, feed) = Reply::stream("text/plain");
    stand.legacy.set("/download", reply);
    let mut download = stand.http().await;
    download.send("GET", "/download", &[], b"").await;
    feed.send("a").await;
    assert_eq!(download.read_head().await.status, 200);
    let mut slow = [stand.http().await, stand.http().await];
    for http in &mut slow {
        http.send("GET", "/slow", &[], b"").await;
    }
    stand.legacy.wait_in_flight("/slow", 2).await;
    let refused = stand.http().await.get("/prices/A", &[]).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    assert!(refusals(&stand, "requests").await + refusals(&stand, "address-requests").await > 0.0);
    gate.open();
    for http in &mut slow {
        http.read_response().await.expect(200);
    }
    stand.legacy.set("/prices/A", Reply::json("{}"));
    stand.http().await.get("/prices/A", &[]).await.expect(200);
    feed.end();
}

#[tokio::test]
async fn the_body_of_the_public_helper_has_an_end_and_a_seat() {
    let stand = stand("limits: {clients: 1, body_timeout: 3s}");
    let head = format!("POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[");
    let mut clients = [stand.http().await, stand.http().await];
    for client in &mut clients {
        client.send_raw(head.as_bytes()).await;
    }
    // The one that came first has the only seat from its head on, until its body has been silent for too long.
    let mut statuses = Vec::new();
    for client in &mut clients {
        let status = client.read_response().await.status;
        if status == 408 {
            client.expect_closed().await;
        }
        statuses.push(status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [408, 503]);
}

async fn say(ws: &mut Ws, message: Value) {
    ws.send_text(&message.to_string()).await;
}

#[tokio::test]
async fn a_client_of_many_is_not_read_while_its_messages_wait_and_none_is_lost() {
    const MESSAGES: usize = 40;
    let stand = Stand::start(
        "poll: {interval: 100ms}, websocket: {send: {path: '/say', rate: 1000/s}, frame_rate: 10000/s}",
    );
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let gate = Gate::closed();
    stand.legacy.set("/say", Reply::json("{}").behind(&gate));
    let protocol = [("sec-websocket-protocol", "pollcast.v1")];
    let mut ws = Ws::open(stand.address(), "/prices/A", &protocol).await;
    ws.next_text().await;
    for n in 0..MESSAGES {
        say(&mut ws, json!({ "op": "send", "id": n, "resource": "/prices/A", "data": "x".repeat(40_000) }))
            .await;
    }
    stand.legacy.wait_in_flight("/say", 2).await;
    while stand.metric("pollcast_message_pauses_total", "envelope").await == 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stand.legacy.in_flight("/say"), 2, "as many as 64 KiB have room for");
    gate.open();
    let mut replies = 0;
    while replies < MESSAGES {
        let said: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
        replies += usize::from(said["type"] == "reply" && said["status"] == 200);
        assert_ne!(said["type"], "error", "{said}");
    }
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test]
async fn streams_without_a_window_are_taken_one_by_one_and_all_are_answered_once_they_have_one() {
    // A few bytes, which are less than the answer, are as good as none.
    for window in [0, 1, 4] {
        streams_wait_for_a_window(window).await;
    }
}

async fn streams_wait_for_a_window(window: u32) {
    const STREAMS: u32 = 60;
    let legacy = Legacy::start();
    legacy.set("/elsewhere", Reply::text("hello"));
    let yaml =
        crate::contract::config(&legacy, FAST, "").replace("'127.0.0.1:0'}]", "'127.0.0.1:0', http2: true}]");
    let stand = Stand { legacy, app: crate::support::app::start(&yaml) };
    let mut client = TcpStream::connect(stand.address()).await.expect("a connection");
    let none = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    let mut said = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &none)].concat();
    let fields = [&[0x82, 0x86, 0x04, 10][..], b"/elsewhere", &[0x01, 9], b"localhost"].concat();
    for n in 0..STREAMS {
        said.extend(frame(1, 5, 2 * n + 1, &fields));
    }
    client.write_all(&said).await.expect("a client that is heard");
    stand.legacy.wait_count("/elsewhere", 4).await;
    // Those that come behind the first four wait for them.
    let parked = async {
        while stand.metric("pollcast_http2_parked_requests_total", "").await < 40.0 {
            tokio::task::yield_now().await;
        }
    };
    within("most to wait", parked).await;
    let seen = stand.legacy.count("/elsewhere");
    assert!(seen < 20, "{seen} of {STREAMS} streams are served although nothing may be sent on them");
    let some = [&4u16.to_be_bytes()[..], &65_535u32.to_be_bytes()].concat();
    client.write_all(&frame(4, 0, 0, &some)).await.expect("a client that is heard");
    let reading = async {
        let (mut read, mut ends) = (Vec::new(), 0);
        while ends < STREAMS {
            let mut piece = [0; 4096];
            let length = tokio::io::AsyncReadExt::read(&mut client, &mut piece).await.expect("an answer");
            assert_ne!(length, 0, "the connection ended");
            read.extend_from_slice(&piece[..length]);
            while read.len() >= 9 {
                let whole = 9 + u32::from_be_bytes([0, read[0], read[1], read[2]]) as usize;
                if read.len() < whole {
                    break;
                }
                ends += u32::from(read[3] == 0 && read[4] & 1 != 0);
                read.drain(..whole);
            }
        }
    };
    within("all answers", reading).await;
}

#[tokio::test]
async fn a_stream_without_a_window_from_the_start_is_given_up_after_a_tenth() {
    let legacy = Legacy::start();
    legacy.set("/elsewhere", Reply::text("hello"));
    let yaml = crate::contract::config(&legacy, FAST, "limits: {send_timeout: 2s}")
        .replace("'127.0.0.1:0'}]", "'127.0.0.1:0', http2: true}]");
    let stand = Stand { legacy, app: crate::support::app::start(&yaml) };
    let mut client = TcpStream::connect(stand.address()).await.expect("a connection");
    let none = [&4u16.to_be_bytes()[..], &0u32.to_be_bytes()].concat();
    let fields = [&[0x82, 0x86, 0x04, 10][..], b"/elsewhere", &[0x01, 9], b"localhost"].concat();
    let said =
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &none), &frame(1, 5, 1, &fields)].concat();
    client.write_all(&said).await.expect("a client that is heard");
    let reset = async {
        let mut read = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let length = tokio::io::AsyncReadExt::read(&mut client, &mut piece).await.expect("an answer");
            assert_ne!(length, 0, "the connection ended");
            read.extend_from_slice(&piece[..length]);
            while read.len() >= 9 {
                let whole = 9 + u32::from_be_bytes([0, read[0], read[1], read[2]]) as usize;
                if read.len() < whole {
                    break;
                }
                if read[3] == 3 {
                    return;
                }
                read.drain(..whole);
            }
        }
    };
    within("the stream's end", reset).await;
    let _ = Http::connect(stand.address()).await.get("/elsewhere", &[]).await.expect(200);
}
