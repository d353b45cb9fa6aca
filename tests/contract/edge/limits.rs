//! Claims about limits: what bites, what the peer is told, and that it is counted.
//!
//! `storms` has the limits of clients, `http2` what one HTTP/2 connection may cost.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::contract::{FAST, Stand, TlsStand};
use crate::support::app;
use crate::support::client::{Response, connect, long_poll};
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
async fn invented_queries_make_way_for_each_other_and_not_for_who_is_there() {
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

// --- Heads ---

async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset is an end, too.
    let _ = within("the connection's end", stream.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// Writes a byte at a time until the other side has enough.
async fn trickle(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> String {
    let (mut read, mut write) = stream.split();
    let write = async {
        for byte in bytes.iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        said = rest(&mut read) => said,
        () = write => unreachable!("it waits for ever"),
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_with_408() {
    let stand = Stand::with(FAST, "limits: {header_timeout: 400ms, idle_timeout: 30s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    // The first head of a connection, and a later one.
    for requests in [0, 2] {
        let mut stream = connect(stand.address()).await;
        for _ in 0..requests {
            stream.write_all(b"GET /prices/A HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
            let mut said = Vec::new();
            while !said.ends_with(A.as_bytes()) {
                within("an answer", stream.read_buf(&mut said)).await.expect("an answer");
            }
        }
        let began = Instant::now();
        stream.write_all(b"GET /slow HTTP/1.1\r\nx: ").await.expect("written");
        let said = trickle(&mut stream, b"x", Duration::from_millis(30)).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said:?}");
        assert!(said.to_ascii_lowercase().contains("connection: close"), "{said:?}");
        assert!(said.contains("limits.header_timeout"), "{said:?}");
        let took = began.elapsed();
        assert!((400..3000).contains(&took.as_millis()), "{took:?}");
    }
    refusals_become(&stand, "header-timeout", 2.0).await;
    assert_eq!(stand.legacy.count("/slow"), 0);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let stand = Stand::with(FAST, "limits: {first_byte_timeout: 300ms}");
    let began = Instant::now();
    assert_eq!(rest(&mut connect(stand.address()).await).await, "");
    assert!(began.elapsed() >= Duration::from_millis(300));
    refusals_become(&stand, "first-byte", 1.0).await;
    let tls = TlsStand::with(FAST, "limits: {first_byte_timeout: 300ms}");
    for alpn in ["http/1.1", "h2"] {
        rest(&mut tls.connect(&[alpn]).await).await;
    }
    refusals_become(&tls.stand, "first-byte", 2.0).await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_kept_for_idle_timeout() {
    let stand = Stand::with(FAST, "limits: {idle_timeout: 500ms, header_timeout: 30s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    stand.legacy.set("/slow", Reply::text("x").delay(Duration::from_millis(900)));
    let mut http = stand.http().await;
    for _ in 0..3 {
        http.get("/prices/A", &[]).await.expect(200);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // Who is held is not idle, nor who is served.
    let tag = http.get("/prices/A", &[]).await.etag().to_owned();
    long_poll(&mut http, "/prices/A", Some(&tag), Duration::from_secs(1)).await.expect(304);
    http.get("/slow", &[]).await.expect(200);
    let began = Instant::now();
    http.expect_eof().await;
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    assert_eq!(refusals(&stand, "").await, 0.0);
}

#[tokio::test]
async fn an_upload_may_be_slower_than_a_head() {
    let stand =
        Stand::with(FAST, "limits: {header_timeout: 200ms, idle_timeout: 200ms, first_byte_timeout: 200ms}");
    stand.legacy.set("/upload", Reply::text("done"));
    let mut http = stand.http().await;
    http.send_raw(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n").await;
    for byte in *b"slow" {
        tokio::time::sleep(Duration::from_millis(150)).await;
        http.send_raw(&[byte]).await;
    }
    assert_eq!(http.read_response().await.expect(200).text(), "done");
}

#[tokio::test]
async fn an_upload_that_stops_is_cut_with_408() {
    let stand = Stand::with(FAST, "limits: {body_timeout: 300ms}");
    stand.legacy.set("/upload", Reply::text("done"));
    stand.legacy.set("/prices/A", Reply::text("done"));
    for (path, framing, piece) in [
        ("/upload", "content-length: 400", "some"),
        ("/upload", "content-length: 4", ""),
        ("/upload", "transfer-encoding: chunked", "4\r\nsome\r\n"),
        ("/prices/A", "content-length: 400", "some"),
    ] {
        let began = Instant::now();
        let mut http = stand.http().await;
        http.send_raw(format!("POST {path} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n{piece}").as_bytes())
            .await;
        let refused = http.read_response().await.expect(408);
        assert!(refused.text().contains("limits.body_timeout"), "{framing}: {}", refused.text());
        http.expect_closed().await;
        let took = began.elapsed();
        assert!((300..3000).contains(&took.as_millis()), "{framing}: {took:?}");
    }
    stand.metric_becomes("pollcast_refusals_total", "body-timeout", 4.0).await;
    // A body that comes on, however slowly, and an upstream that takes its time.
    stand.legacy.set("/upload", Reply::text("done").delay(Duration::from_millis(700)));
    let mut http = stand.http().await;
    http.send_raw(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n").await;
    for byte in *b"slow" {
        tokio::time::sleep(Duration::from_millis(150)).await;
        http.send_raw(&[byte]).await;
    }
    assert_eq!(http.read_response().await.expect(200).text(), "done");
    refusals_become(&stand, "body-timeout", 4.0).await;
}

// --- Requests ---

#[tokio::test]
async fn a_request_may_be_so_large_and_no_larger() {
    let top = "limits: {header_bytes: 4KiB, header_fields: 20, url_bytes: 1KiB, query_parameters: 5}";
    let stand = Stand::with(FAST, top);
    for path in ["/prices/A", "/elsewhere"] {
        stand.legacy.answer_with(path, |_: &Seen| Reply::json(A));
        let mut http = stand.http().await;
        let long = format!("{path}?{}", "a".repeat(1024));
        assert_eq!(
            http.get(&long, &[]).await.expect(414).header("content-type"),
            Some("application/problem+json")
        );
        // It names no resource, and is the API's.
        let many = format!("{path}?a&b&c&d&e&f");
        http.get(&many, &[]).await.expect(200);
        assert_eq!(stand.legacy.seen(path).last().expect("it came").target, many);
        let many: Vec<(String, String)> = (0..20).map(|n| (format!("x-{n}"), "1".into())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        http.get(path, &many).await.expect(431);
        // The connection is none the worse for it.
        http.get(path, &[]).await.expect(200);
        let huge = "x".repeat(3000);
        http.get(path, &[("x-1", &huge), ("x-2", &huge)]).await.expect(431);
        http.expect_closed().await;
    }
    for (reason, wanted) in [("url-bytes", 2.0), ("header-fields", 2.0), ("header-bytes", 2.0)] {
        assert_eq!(refusals(&stand, reason).await, wanted, "{reason}");
    }
}

#[tokio::test]
async fn a_query_too_long_for_a_key_lets_nobody_in() {
    let guard = "authenticate: {keys: {header: x-key, clients: {ann: hunter2hunter2hunter2}}}";
    let stand = Stand::with(&format!("{FAST}, {guard}"), "limits: {query_parameters: 5}");
    let mut http = stand.http().await;
    for path in ["/prices/A", "/prices//A", "/prices/A/"] {
        let key = [("x-key", "hunter2hunter2hunter2")];
        http.get(&format!("{path}?a&b&c&d&e&f"), &key).await.expect(400);
    }
    assert_eq!(stand.legacy.all_seen().len(), 0);
    assert_eq!(refusals(&stand, "query-parameters").await, 1.0);
}

#[tokio::test]
async fn a_head_without_an_end_is_cut_at_its_limit() {
    let stand = Stand::with(FAST, "limits: {header_bytes: 4KiB}");
    let mut stream = connect(stand.address()).await;
    let (mut read, mut write) = stream.split();
    let endless = async {
        let mut written = write.write_all(b"GET / HTTP/1.1\r\nx: ").await;
        let mut bytes = 0;
        while written.is_ok() && bytes < 64 << 20 {
            written = write.write_all(&[b'x'; 16 * 1024]).await;
            bytes += 16 * 1024;
        }
        std::future::pending::<()>().await;
    };
    let said = tokio::select! {
        said = rest(&mut read) => said,
        () = endless => unreachable!("it waits for ever"),
    };
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said:?}");
    refusals_become(&stand, "header-bytes", 1.0).await;
    // One that stops hears why.
    let mut stream = connect(stand.address()).await;
    stream.write_all(format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(8000)).as_bytes()).await.expect("written");
    let said = rest(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 431 ") && said.contains("limits.header_bytes"), "{said:?}");
}

#[tokio::test]
async fn a_body_that_passes_through_has_a_limit() {
    let stand = Stand::with(FAST, "limits: {request_body: 10KiB}");
    stand.legacy.set("/upload", Reply::text("done"));
    let mut http = stand.http().await;
    http.request("POST", "/upload", &[], &[0; 10 * 1024]).await.expect(200);
    // It says so itself: nobody hears of it.
    let refused = http.request("POST", "/upload", &[], &vec![0; 10 * 1024 + 1]).await.expect(413);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(stand.legacy.count("/upload"), 1);
    // It does not: it is cut where it is too long.
    let mut http = stand.http().await;
    http.send_raw(b"POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..11 {
        http.send_raw(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes()).await;
    }
    http.read_response().await.expect(413);
    http.expect_closed().await;
    refusals_become(&stand, "request-body", 2.0).await;
    let mut http = stand.http().await;
    http.send_raw(
        b"POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    http.read_response().await.expect(200);
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
    // Whoever takes its time is let.
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

// --- Answers ---

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_closed() {
    let stand = Stand::with(FAST, "limits: {send_timeout: 1s}");
    stand.legacy.set("/download", Reply::text("x".repeat(32 << 20)));
    let request = b"GET /download HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut stuck = crate::contract::narrow(stand.address()).await;
    stuck.write_all(request).await.expect("written");
    // A slow one takes some from time to time: more than the kernel keeps for it.
    let mut slow = crate::contract::narrow(stand.address()).await;
    slow.write_all(request).await.expect("written");
    let mut taken = vec![0; 4 << 20];
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        within("more", slow.read_exact(&mut taken)).await.expect("more");
    }
    stand.metric_becomes("pollcast_refusals_total", "send-timeout", 1.0).await;
    within("more", slow.read_exact(&mut taken)).await.expect("more");
}
