//! Compression, made once for everybody: event streams, answers, WebSockets, each read by a strict
//! decoder at whatever moment it joined.

use std::io::Read;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::DeflateEncoder;
use serde_json::{Value, json};

use crate::contract::{FAST, ONCE, Stand, TlsStand};
use crate::support::client::Response;
use crate::support::frames::{Frame, TEXT};
use crate::support::h2::H2;
use crate::support::legacy::Reply;
use crate::support::sse::{Event, Sse, SseItem};
use crate::support::ws::Ws;

const GZIP: (&str, &str) = ("accept-encoding", "gzip, deflate, br");
const DELTA: (&str, &str) = ("accept", "text/event-stream;delta=json-patch");
const DEFLATE: (&str, &str) = ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits");
const LONG: Duration = Duration::from_millis(300);

/// A price list of a few KiB in which one price is `price`.
fn list(price: u64) -> String {
    let row =
        |n: u64| json!({"symbol": format!("S{n}"), "price": if n == 7 { price } else { n * 7919 % 1000 }});
    json!({ "currency": "EUR", "rows": (0..100).map(row).collect::<Vec<Value>>() }).to_string()
}

fn set(stand: &Stand, price: u64) {
    stand.legacy.set("/prices/A", Reply::json(list(price)));
}

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    set(&stand, 0);
    stand
}

/// As `Sse::next_event`, with the whole list told.
async fn price(sse: &mut Sse) -> u64 {
    told(&sse.next_event().await.data)
}

fn told(body: &str) -> u64 {
    let value: Value = serde_json::from_str(body).expect("JSON");
    let price = value["rows"][7]["price"].as_u64().expect("a price");
    assert_eq!(body, list(price));
    price
}

#[tokio::test]
async fn a_compressed_stream_is_read_event_by_event_whenever_it_joined() {
    let stand = stand(FAST);
    let mut first = Sse::open(stand.address(), "/prices/A", &[GZIP]).await;
    assert_eq!(first.head.header("content-encoding"), Some("gzip"));
    assert!(first.head.names("vary", "accept-encoding"), "{:?}", first.head);
    assert_eq!(price(&mut first).await, 0);
    let mut others = Vec::new();
    for n in 1..6 {
        set(&stand, n);
        assert_eq!(price(&mut first).await, n);
        for other in &mut others {
            assert_eq!(price(other).await, n);
        }
        let mut other = Sse::open(stand.address(), "/prices/A", &[GZIP]).await;
        assert_eq!(price(&mut other).await, n);
        others.push(other);
    }
    let before = first.received;
    set(&stand, 6);
    assert_eq!(price(&mut first).await, 6);
    for other in &mut others {
        assert_eq!(price(other).await, 6);
    }
    assert!(first.received - before < 200, "{} bytes for a small change", first.received - before);
    // A proper end has a proper trailer, which the reader checks.
    let drained = stand.app.drain();
    let ends = async {
        for sse in std::iter::once(&mut first).chain(&mut others) {
            assert_eq!(sse.next_named("bye").await.id, None);
            sse.expect_end().await;
        }
    };
    tokio::join!(drained, ends);
}

#[tokio::test]
async fn a_change_is_compressed_once_whatever_the_number_of_clients() {
    let stand = stand(FAST);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Sse::open(stand.address(), "/prices/A", &[GZIP]).await);
    }
    for sse in &mut clients {
        assert_eq!(price(sse).await, 0);
    }
    let mut plain = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(plain.head.header("content-encoding"), None);
    assert_eq!(price(&mut plain).await, 0);
    // Nor for a poll that brings nothing new.
    stand.legacy.wait_count("/prices/A", stand.legacy.count("/prices/A") + 5).await;
    assert_eq!(stand.metric("pollcast_compressions_total", "").await, 1.0);
    for n in 1..4 {
        set(&stand, n);
        for sse in clients.iter_mut().chain([&mut plain]) {
            assert_eq!(price(sse).await, n);
        }
    }
    assert_eq!(stand.metric("pollcast_compressions_total", "").await, 4.0);
}

#[tokio::test]
async fn heartbeats_and_control_events_stand_between_compressed_events() {
    let route = "poll: {interval: 100ms, backoff: {min: 100ms, max: 100ms}}, stale_after: 0s, heartbeat: 1s";
    let stand = stand(route);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[GZIP]).await;
    assert_eq!(price(&mut sse).await, 0);
    stand.legacy.set("/prices/A", Reply::empty(500));
    assert_eq!(sse.next_event().await.event, "stale");
    set(&stand, 1);
    let mut events = Vec::new();
    while events.len() < 2 {
        events.push(sse.next_event().await);
    }
    events.sort_by(|a, b| a.event.cmp(&b.event));
    let [fresh, Event { data, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((fresh.event.as_str(), told(data)), ("fresh", 1));
    // The opening's comment came before the first event; the next one is a heartbeat.
    sse.passed.clear();
    assert_eq!(sse.next_item().await, SseItem::Comment(String::new()));
    set(&stand, 2);
    assert_eq!(price(&mut sse).await, 2);
}

#[tokio::test]
async fn patches_and_items_are_compressed_too() {
    let stand = stand(FAST);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[GZIP, DELTA]).await;
    assert_eq!(sse.next_named("snapshot").await.data, list(0));
    for n in 1..4 {
        set(&stand, n);
        let patch: Value = serde_json::from_str(&sse.next_named("patch").await.data).expect("JSON");
        assert_eq!(patch, json!([{"op": "replace", "path": "/rows/7/price", "value": n}]));
    }
    let had = sse.last_event_id().to_owned();
    drop(sse);
    for n in 4..6 {
        let plain = Sse::open(stand.address(), "/prices/A", &[]).await;
        set(&stand, n);
        let mut plain = plain;
        while price(&mut plain).await != n {}
    }
    // What it missed comes in one piece that was not compressed before.
    let mut back = Sse::open(stand.address(), "/prices/A", &[GZIP, DELTA, ("last-event-id", &had)]).await;
    for n in 4..6 {
        assert!(back.next_named("patch").await.data.ends_with(&format!("\"value\":{n}}}]")));
    }

    let feed = Stand::start(&format!("{FAST}, feed: {{items: /rows, id: /id}}"));
    let items = |ids: &[u64]| {
        let rows: Vec<Value> = ids.iter().map(|id| json!({"id": id, "text": "x".repeat(300)})).collect();
        feed.legacy.set("/prices/A", Reply::json(json!({ "rows": rows }).to_string()));
    };
    items(&[1]);
    let mut sse = Sse::open(feed.address(), "/prices/A", &[GZIP]).await;
    let mut ws = Ws::open(feed.address(), "/prices/A", &[DEFLATE]).await;
    feed.legacy.wait_count("/prices/A", 2).await;
    items(&[2, 1]);
    for id in ["2", "3"] {
        assert_eq!(sse.next_named("item").await.id.as_deref(), Some(id));
        assert!(ws.next_text().await.starts_with(&format!("{{\"id\":{id},")));
        items(&[3, 2, 1]);
    }
    assert_eq!(ws.compressed, 2);
}

#[tokio::test]
async fn http_1_0_has_no_chunks_and_reads_the_same_bytes() {
    let stand = stand(FAST);
    let mut sse = Sse::open_http10(stand.address(), "/prices/A", &[GZIP]).await;
    assert_eq!(price(&mut sse).await, 0);
    set(&stand, 1);
    assert_eq!(price(&mut sse).await, 1);
}

#[tokio::test]
async fn a_stream_of_http_2_is_compressed_too() {
    let tls = TlsStand::with(FAST, "");
    tls.stand.legacy.set("/prices/A", Reply::json(list(0)));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let (head, mut body) = h2.open("GET", "/prices/A", &[GZIP, ("accept", "text/event-stream")]).await;
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    for n in 0..3 {
        assert_eq!(told(&body.next_event().await.data), n);
        tls.stand.legacy.set("/prices/A", Reply::json(list(n + 1)));
    }
}

fn gunzip(response: &Response) -> String {
    let mut text = String::new();
    GzDecoder::new(&response.body[..]).read_to_string(&mut text).expect("a gzip body");
    text
}

#[tokio::test]
async fn ordinary_answers_are_compressed_for_clients_that_take_it() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let plain = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!((plain.text(), plain.header("content-encoding")), (list(0), None));
    assert!(plain.names("vary", "accept-encoding"));
    let coded = http.get("/prices/A", &[GZIP]).await.expect(200);
    assert_eq!((gunzip(&coded), coded.header("content-encoding")), (list(0), Some("gzip")));
    assert!(coded.body.len() * 2 < plain.body.len());
    assert_eq!(coded.header("etag"), Some(format!("W/{}", plain.etag()).as_str()));
    let head = http.request("HEAD", "/prices/A", &[GZIP], b"").await.expect(200);
    assert_eq!(head.header("content-length"), Some(coded.body.len().to_string().as_str()));
    let same = http.get("/prices/A", &[GZIP, ("if-none-match", coded.etag())]).await.expect(304);
    assert_eq!(same.header("etag"), coded.header("etag"));
    let wait = [GZIP, ("if-none-match", coded.etag()), ("prefer", "wait=1")];
    assert_eq!(http.get("/prices/A", &wait).await.expect(304).header("etag"), coded.header("etag"));
    http.get("/prices/A", &[("if-none-match", coded.etag())]).await.expect(304);
    let refused = http.get("/prices/A", &[("accept-encoding", "gzip;q=0, *")]).await.expect(200);
    assert_eq!(refused.header("content-encoding"), None);
    assert_eq!(stand.metric("pollcast_compressions_total", "").await, 1.0);
    stand.legacy.set("/prices/B", Reply::json("{\"small\":1}"));
    let small = http.get("/prices/B", &[GZIP]).await.expect(200);
    assert_eq!((small.text(), small.header("content-encoding")), ("{\"small\":1}".into(), None));
}

#[tokio::test]
async fn a_held_poll_is_answered_compressed() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let first = http.get("/prices/A", &[GZIP]).await.expect(200);
    http.send("GET", "/prices/A", &[GZIP, ("if-none-match", first.etag()), ("prefer", "wait=30")], b"").await;
    stand.clients("long_poll", 1).await;
    set(&stand, 1);
    let answer = http.read_response().await.expect(200);
    assert_eq!((gunzip(&answer), answer.header("content-encoding")), (list(1), Some("gzip")));
    assert_eq!(http.get("/prices/A", &[("if-none-match", answer.etag())]).await.status, 304);
}

#[tokio::test]
async fn what_is_one_users_is_not_compressed_unless_the_route_says_so() {
    for (route, coded) in [("", false), (", compress: on", true), (", compress: off", false)] {
        let stand = stand(&format!("{ONCE}, share: {{by: [authorization]}}{route}"));
        let user = ("authorization", "Bearer a");
        let answer = stand.http().await.get("/prices/A", &[GZIP, user]).await.expect(200);
        assert_eq!(answer.header("content-encoding").is_some(), coded, "{route}");
        assert_eq!(answer.names("vary", "accept-encoding"), coded, "{route}");
        let sse = Sse::open(stand.address(), "/prices/A", &[GZIP, user]).await;
        assert_eq!(sse.head.header("content-encoding").is_some(), coded, "{route}");
        let ws = Ws::open(stand.address(), "/prices/A", &[DEFLATE, user]).await;
        assert_eq!(ws.head.header("sec-websocket-extensions").is_some(), coded, "{route}");
    }
    let off = stand(&format!("{ONCE}, compress: off"));
    let answer = off.http().await.get("/prices/A", &[GZIP]).await.expect(200);
    assert_eq!(answer.header("content-encoding"), None);
}

#[tokio::test]
async fn websocket_messages_are_compressed_once_and_read_whenever_one_joined() {
    let stand = stand(FAST);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[DEFLATE]).await;
    let agreed = Some("permessage-deflate; client_no_context_takeover");
    assert_eq!(ws.head.header("sec-websocket-extensions"), agreed);
    assert_eq!(told(&ws.next_text().await), 0);
    let offers = [
        // Nothing is kept between messages.
        ("permessage-deflate; server_no_context_takeover", 1),
        // A window of 1 KiB holds none of these messages: they come as they are.
        ("permessage-deflate; server_max_window_bits=10", 0),
        ("x-unknown", 0),
    ];
    let mut others = Vec::new();
    for (offer, compressed) in offers {
        let other = Ws::open(stand.address(), "/prices/A", &[("sec-websocket-extensions", offer)]).await;
        others.push((other, compressed));
    }
    for (other, _) in &mut others {
        assert_eq!(told(&other.next_text().await), 0);
    }
    for n in 1..5 {
        set(&stand, n);
        let before = ws.compressed_bytes;
        assert_eq!(told(&ws.next_text().await), n);
        assert!(ws.compressed_bytes - before < 200, "{}", ws.compressed_bytes - before);
        for (other, compressed) in &mut others {
            let before = other.compressed;
            assert_eq!(told(&other.next_text().await), n);
            assert_eq!(other.compressed - before, *compressed);
        }
    }
    stand.legacy.set("/prices/A", Reply::json("{\"small\":1}"));
    let before = ws.compressed;
    assert_eq!((ws.next_text().await.as_str(), ws.compressed), ("{\"small\":1}", before));
    set(&stand, 9);
    assert_eq!(told(&ws.next_text().await), 9);
}

fn deflated(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.flush().expect("memory");
    let mut coded = encoder.get_ref().clone();
    coded.truncate(coded.len() - 4);
    coded
}

#[tokio::test]
async fn a_clients_compressed_messages_are_read_within_the_limit() {
    let stand =
        stand(&format!("{ONCE}, websocket: {{max_message: 1KiB, send: {{method: POST, path: '/said'}}}}"));
    stand.legacy.set("/said", Reply::empty(204));
    let mut ws = Ws::open(stand.address(), "/prices/A", &[DEFLATE]).await;
    assert_eq!(told(&ws.next_text().await), 0);
    let compressed = |text: &[u8]| Frame { rsv1: true, ..Frame::new(TEXT, deflated(text)) };
    for text in ["hello", "hello again"] {
        ws.send_frame(compressed(text.as_bytes())).await;
        let seen = stand.legacy.wait_seen("the message", |seen| seen.body == text.as_bytes()).await;
        assert_eq!(seen.method, "POST");
    }
    ws.send_frame(compressed(&[b' '; 100_000])).await;
    assert_eq!(ws.next_close().await.0, 1009, "a small frame that becomes large");
    let mut ws = Ws::open(stand.address(), "/prices/A", &[DEFLATE]).await;
    assert_eq!(told(&ws.next_text().await), 0);
    ws.send_frame(Frame { rsv1: true, ..Frame::new(TEXT, vec![7, 255, 255, 255]) }).await;
    assert_eq!(ws.next_close().await.0, 1007, "no deflate stream");
    let mut plain = Ws::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(told(&plain.next_text().await), 0);
    plain.send_frame(compressed(b"x")).await;
    assert_eq!(plain.next_close().await.0, 1002, "that was not agreed on");
}

#[tokio::test]
async fn a_client_that_misses_changes_reads_on_exactly() {
    // It stands still for as long as all the changes take on a busy machine.
    let stand = Stand::with(FAST, "limits: {stall_timeout: 120s}");
    set(&stand, 0);
    let mut steady = Sse::open(stand.address(), "/prices/A", &[GZIP]).await;
    assert_eq!(price(&mut steady).await, 0);
    // A reader that stands still while large states go by has its socket full, and skips some.
    let large = |n: usize| {
        let text: String = (0..4000).map(|i| format!("{:x}", (i * 7919 + n * 104_729) % 65_536)).collect();
        format!("{{\"n\":{n},\"text\":\"{text}\"}}")
    };
    let mut slow =
        Sse::over(crate::contract::narrow(stand.address()).await, "a", "HTTP/1.1", "/prices/A", &[GZIP])
            .await
            .expect("a stream");
    assert_eq!(price(&mut slow).await, 0);
    let last = 60;
    for n in 1..=last {
        stand.legacy.set("/prices/A", Reply::json(large(n)));
        while steady.next_event().await.data != large(n) {}
    }
    let mut read = 0;
    loop {
        let data = slow.next_event().await.data;
        read += 1;
        let n: Value = serde_json::from_str(&data).expect("JSON");
        let n = n["n"].as_u64().expect("a number") as usize;
        assert_eq!(data, large(n));
        if n == last {
            break;
        }
    }
    assert!(read < last, "{read} of {last}");
    steady.expect_no_event(LONG).await;
}
