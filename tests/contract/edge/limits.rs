//! Claims about limits: what bites, what the peer is told, and that it is counted.
//!
//! `storms` has the limits of clients, `http2` what one HTTP/2 connection may cost.

mod deadlines;
mod sizes;

use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::contract::{FAST, Stand};
use crate::support::app;
use crate::support::client::Response;
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::sse::{Sse, SseItem};
use crate::support::wire::within;
use crate::support::ws::Ws;

const A: &str = r#"{"price":1}"#;

const BROWSER: [(&str, &str); 2] = [("accept", "text/event-stream"), ("user-agent", "Mozilla/5.0")];

/// Every path and query has a price.
fn stand(route: &str, top: &str) -> Stand {
    let legacy = Legacy::start();
    let yaml = crate::contract::config(&legacy, route, top);
    let yaml = yaml.replace(
        "'127.0.0.1:0'}]",
        "'127.0.0.1:0', client_address: forwarded, trusted_proxies: [127.0.0.1]}]",
    );
    let stand = Stand { legacy, app: app::start(&yaml) };
    for symbol in 'A'..='H' {
        stand.legacy.answer_with(&format!("/prices/{symbol}"), |_: &Seen| Reply::json(A));
    }
    stand
}

async fn refusals(stand: &Stand, reason: &str) -> f64 {
    stand.metric("pollcast_refusals_total", &format!("reason=\"{reason}\"")).await
}

/// Counted as a connection ends: its client may know it before.
async fn refusals_become(stand: &Stand, reason: &str, wanted: f64) {
    stand.metric_becomes("pollcast_refusals_total", &format!("reason=\"{reason}\""), wanted).await;
}

fn expect_refused(response: &Response, status: u16) {
    assert_eq!(response.status, status);
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let after: u64 = response.header("retry-after").expect("when to come back").parse().expect("seconds");
    assert!((1..=60).contains(&after), "{after}");
}

/// Whether the answer came out of a shared poll.
fn is_shared(response: &Response) -> bool {
    response.header("cache-status").is_some_and(|status| !status.contains("fwd=bypass"))
}

// --- Resources ---

#[tokio::test]
async fn a_resource_has_a_limit_of_clients() {
    let stand = stand("poll: {interval: 100ms}, max_clients_per_resource: 1", "");
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    first.next_event().await;
    let refused = Sse::try_open(stand.address(), "/prices/A", &[]).await.err().expect("a refusal");
    expect_refused(&refused, 503);
    let refused = Ws::try_open(stand.address(), "/prices/A", &[]).await.err().expect("a refusal");
    expect_refused(&refused, 503);
    let mut http = stand.http().await;
    expect_refused(&http.get("/prices/A", &[("prefer", "wait=5")]).await, 503);
    let mut soft = Sse::open(stand.address(), "/prices/A", &BROWSER).await;
    assert!(matches!(soft.next_item().await, SseItem::Retry(5000..=60_000)));
    assert!(soft.next_named("bye").await.data.contains("\"reason\":\"resource-clients\""));
    refusals_become(&stand, "resource-clients", 4.0).await;
    // Others and ordinary polls are welcome.
    Sse::open(stand.address(), "/prices/B", &[]).await.next_event().await;
    assert!(is_shared(&http.get("/prices/A", &[]).await.expect(200)));
    drop(first);
    stand.clients("sse", 0).await;
    Sse::open(stand.address(), "/prices/A", &[]).await.next_event().await;
}

#[tokio::test]
async fn a_route_has_a_limit_of_resources() {
    let stand = stand("poll: {interval: 100ms}, max_resources: 2", "");
    let mut a = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut b = Sse::open(stand.address(), "/prices/B", &[]).await;
    a.next_event().await;
    b.next_event().await;
    let refused = Sse::try_open(stand.address(), "/prices/C", &[]).await.err().expect("a refusal");
    expect_refused(&refused, 503);
    let many = Ws::try_open(stand.address(), "/prices/A", &[("sec-websocket-protocol", "pollcast.v1")]);
    let Ok(mut many) = many.await else { panic!("no WebSocket") };
    many.next_text().await;
    many.send_text(r#"{"op":"subscribe","resource":"/prices/C"}"#).await;
    let error = many.next_text().await;
    assert!(error.contains("503") && error.contains("max_resources"), "{error}");
    refusals_become(&stand, "route-resources", 2.0).await;
    // An ordinary poll gets its answer all the same.
    let mut http = stand.http().await;
    let plain = http.get("/prices/C", &[]).await.expect(200);
    assert!(!is_shared(&plain));
    assert_eq!(plain.text(), A);
}

#[tokio::test]
async fn invented_queries_make_way_for_each_other_and_not_for_followed_resources() {
    let stand = stand(FAST, "limits: {resources: 3}");
    let mut follower = Sse::open(stand.address(), "/prices/A", &[]).await;
    follower.next_event().await;
    let mut http = stand.http().await;
    for number in 0..40 {
        // Twice, so that it would be polled for a while.
        for _ in 0..2 {
            let answer = http.get(&format!("/prices/B?invented={number}"), &[]).await.expect(200);
            assert!(is_shared(&answer));
        }
    }
    assert!(stand.metric("pollcast_resources", "").await <= 3.0);
    let polled = |stand: &Stand| stand.legacy.seen("/prices/B").len();
    // Two are left, each polled ten times a second.
    let before = polled(&stand);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let more = polled(&stand) - before;
    assert!(more <= 2 * 8, "{more} polls of what nobody asks for any more");
    assert_eq!(refusals(&stand, "").await, 0.0);
    stand.legacy.set("/prices/A", Reply::json(r#"{"price":2}"#));
    assert_eq!(follower.next_event().await.data, r#"{"price":2}"#);
}

#[tokio::test]
async fn an_address_keeps_so_many_resources_alive_and_others_are_not_touched() {
    let stand = stand(FAST, "limits: {resources_per_address: 2}");
    let of = |address| [("x-forwarded-for", address)];
    let greedy = of("192.0.2.1");
    let mut streams = Vec::new();
    for path in ["/prices/A", "/prices/B"] {
        let mut sse = Sse::open(stand.address(), path, &greedy).await;
        sse.next_event().await;
        streams.push(sse);
    }
    let refused = Sse::try_open(stand.address(), "/prices/C", &greedy).await.err().expect("a refusal");
    expect_refused(&refused, 429);
    let mut http = stand.http().await;
    assert!(!is_shared(&http.get("/prices/C", &greedy).await.expect(200)));
    let browser = [BROWSER[0], BROWSER[1], greedy[0]];
    let mut soft = Sse::open(stand.address(), "/prices/C", &browser).await;
    assert!(soft.next_named("bye").await.data.contains("\"reason\":\"address-resources\""));
    refusals_become(&stand, "address-resources", 3.0).await;
    // Another one pays for C; then it costs the first one nothing.
    let mut other = Sse::open(stand.address(), "/prices/C", &of("192.0.2.2")).await;
    other.next_event().await;
    Sse::open(stand.address(), "/prices/C", &greedy).await.next_event().await;
    // What it has left makes room.
    streams.clear();
    stand.clients("sse", 1).await;
    Sse::open(stand.address(), "/prices/D", &greedy).await.next_event().await;
}

async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset is an end, too.
    let _ = within("the connection's end", stream.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn an_upstream_has_so_many_requests_in_flight() {
    let legacy = Legacy::start();
    let route = "poll: {interval: 100ms}, websocket: {send: {path: /messages, errors: true}}";
    let yaml = crate::contract::config(&legacy, route, "").replace("']}}\n", "'], max_requests: 2}}\n");
    let stand = Stand { legacy, app: app::start(&yaml) };
    stand.legacy.set("/slow", Reply::text("x").delay(Duration::from_secs(2)));
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut http = stand.http().await;
        http.send("GET", "/slow", &[], b"").await;
        busy.push(http);
    }
    stand.legacy.wait_in_flight("/slow", 2).await;
    let mut http = stand.http().await;
    let refused = http.get("/slow", &[]).await;
    expect_refused(&refused, 503);
    assert!(refused.text().contains("max_requests"), "{}", refused.text());
    refusals_become(&stand, "upstream-requests", 1.0).await;
    stand.legacy.wait_count("/slow", 2).await;
    assert_eq!(stand.legacy.count("/slow"), 2);
    // A message of a WebSocket would be one more.
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    ws.send_text("hello").await;
    let error = ws.next_text().await;
    assert!(error.contains("max_requests"), "{error}");
    assert_eq!(stand.legacy.count("/messages"), 0);
    // Polls have their own budget.
    http.get("/prices/A", &[]).await.expect(200);
    Sse::open(stand.address(), "/prices/A", &[]).await.next_event().await;
    for http in &mut busy {
        http.read_response().await.expect(200);
    }
    stand.legacy.set("/slow", Reply::text("x"));
    http.get("/slow", &[]).await.expect(200);
}

// --- WebSockets ---

#[tokio::test]
async fn a_websocket_client_sends_so_many_frames_a_second() {
    let stand = Stand::with("poll: {interval: 100ms}, websocket: {frame_rate: 20/s, max_fragments: 4}", "");
    stand.legacy.set("/prices/A", Reply::json(A));
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    let message = [0x81, 0x80, 0, 0, 0, 0];
    let pong = [0x8a, 0x80, 0, 0, 0, 0];
    for (kind, protocol) in [(ping, None), (message, None), (pong, None), (ping, Some("pollcast.v1"))] {
        let headers: Vec<_> = protocol.map(|name| ("sec-websocket-protocol", name)).into_iter().collect();
        let mut ws = Ws::open(stand.address(), "/prices/A", &headers).await;
        ws.next_text().await;
        // Of many resources nothing is configured by route: the default counts.
        let most = if protocol.is_some() { 200 } else { 20 };
        ws.send_raw_frame(&kind.repeat(most - 1)).await;
        stand.legacy.set("/prices/A", Reply::json(format!(r#"{{"price":{}}}"#, fastrand::u32(..))));
        ws.next_text().await;
        ws.send_raw_frame(&kind.repeat(2 * most)).await;
        assert_eq!(ws.next_close().await.0, 4429);
    }
    stand.metric_becomes("pollcast_ends_total", "frame-rate", 4.0).await;
    // A client within the rate is not cut.
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    for _ in 0..3 {
        ws.send_raw_frame(&ping.repeat(15)).await;
        tokio::time::sleep(Duration::from_millis(1050)).await;
    }
    let pieces = [&[0x01, 0x80, 0, 0, 0, 0][..], &[0x00, 0x80, 0, 0, 0, 0].repeat(4)].concat();
    ws.send_raw_frame(&pieces).await;
    assert_eq!(ws.next_close().await.0, 1008);
    stand.metric_becomes("pollcast_ends_total", "fragments", 1.0).await;
}
