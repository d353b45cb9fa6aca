//! Claims about HTTP/2: which protocol a cleartext connection speaks, and what one client may cost.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::contract::{FAST, Stand, TlsStand};
use crate::support::app;
use crate::support::client::Http;
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;
use crate::support::wire::within;

const A: &str = r#"{"price":1}"#;
const B: &str = r#"{"price":2}"#;
const STREAM: [(&str, &str); 1] = [("accept", "text/event-stream")];

/// What a client of HTTP/2 says first, with settings that change nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// pollcast with cleartext HTTP/2.
fn stand(top: &str) -> Stand {
    let legacy = Legacy::start();
    let yaml = crate::contract::config(&legacy, FAST, top)
        .replace("'127.0.0.1:0'}]", "'127.0.0.1:0', http2: true}]");
    let stand = Stand { legacy, app: app::start(&yaml) };
    stand.legacy.set("/prices/A", Reply::json(A));
    stand
}

async fn connect(stand: &Stand) -> TcpStream {
    within("a connection", TcpStream::connect(stand.address())).await.expect("a connection")
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The whole of `GET /elsewhere`.
fn get(stream: u32) -> Vec<u8> {
    // Method and scheme by their place in the static table; path and authority with their text.
    let fields = [&[0x82, 0x86, 0x04, 10][..], b"/elsewhere", &[0x01, 9], b"localhost"].concat();
    frame(1, 0x5, stream, &fields)
}

/// What comes until the connection ends, however it does.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end, too.
    let _ = within("the connection's end", stream.read_to_end(&mut all)).await;
    all
}

/// The error code of the GOAWAY among these frames.
fn goaway(mut frames: &[u8]) -> Option<u32> {
    while frames.len() >= 9 {
        let length = u32::from_be_bytes([0, frames[0], frames[1], frames[2]]) as usize;
        if frames[3] == 7 {
            let code = frames.get(13..17)?;
            return Some(u32::from_be_bytes(code.try_into().expect("four bytes")));
        }
        frames = frames.get(9 + length..)?;
    }
    None
}

#[tokio::test]
async fn one_listener_speaks_both() {
    let stand = stand("");
    let mut h2 = H2::over(connect(&stand).await, "localhost").await;
    assert_eq!(h2.get("/prices/A", &[]).await.text(), A);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.data, A);
    let mut http = stand.http().await;
    for _ in 0..3 {
        assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), A);
    }
    // Held, given back, and again.
    let tag = http.get("/prices/A", &[]).await.etag().to_owned();
    let held = crate::support::client::long_poll(&mut http, "/prices/A", Some(&tag), Duration::from_secs(9));
    let change = async { stand.legacy.set("/prices/A", Reply::json(B)) };
    assert_eq!(tokio::join!(held, change).0.text(), B);
    assert_eq!(http.get("/prices/A", &[]).await.text(), B);
}

#[tokio::test]
async fn a_request_shorter_than_the_preface_is_answered() {
    let stand = stand("");
    stand.legacy.set("/", Reply::text("home"));
    // The second one is a method that begins as the preface does, the third comes byte by byte.
    for (request, pause) in [
        (&b"GET / HTTP/1.0\r\n\r\n"[..], false),
        (b"PRI / HTTP/1.0\r\n\r\n", false),
        (b"GET / HTTP/1.0\r\n\r\n", true),
    ] {
        let mut stream = connect(&stand).await;
        stream.set_nodelay(true).expect("TCP_NODELAY");
        for piece in request.chunks(if pause { 1 } else { request.len() }) {
            stream.write_all(piece).await.expect("written");
            if pause {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let answer = String::from_utf8(rest(&mut stream).await).expect("text");
        assert!(answer.starts_with("HTTP/1."), "{answer:?}");
        assert!(request[0] == b'P' || answer.ends_with("home"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_is_closed_after_first_byte_timeout() {
    let stand = stand("limits: {first_byte_timeout: 300ms}");
    let began = Instant::now();
    let (mut silent, mut half) = (connect(&stand).await, connect(&stand).await);
    half.write_all(&PREFACE[..10]).await.expect("written");
    assert!(rest(&mut silent).await.is_empty());
    assert!(rest(&mut half).await.is_empty());
    assert!(began.elapsed() >= Duration::from_millis(300));
    // Counted as it is closed.
    stand.metric_becomes("pollcast_refusals_total", "first-byte", 2.0).await;
}

#[tokio::test]
async fn a_peer_that_agreed_on_http2_and_is_silent_is_closed() {
    let tls = TlsStand::with(FAST, "limits: {first_byte_timeout: 300ms}");
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut silent = tls.connect(&["h2"]).await;
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    rest(&mut silent).await;
    // A client that has sent something may be silent for longer.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(h2.get("/prices/A", &[]).await.text(), A);
}

#[tokio::test]
async fn a_client_that_resets_its_streams_at_once_loses_its_connection_alone() {
    let stand = stand("");
    stand.legacy.set("/elsewhere", Reply::text("x").delay(Duration::from_secs(5)));
    let mut others = Vec::new();
    for _ in 0..5 {
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        sse.next_event().await;
        others.push(sse);
    }
    let (mut read, mut write) = connect(&stand).await.into_split();
    let attack = tokio::spawn(async move {
        let mut storm = PREFACE.to_vec();
        for number in 0..10_000_u32 {
            let stream = 2 * number + 1;
            storm.extend_from_slice(&get(stream));
            storm.extend_from_slice(&frame(3, 0, stream, &8_u32.to_be_bytes()));
        }
        // It may be thrown out before all is said.
        let _ = write.write_all(&storm).await;
        write
    });
    let said = rest(&mut read).await;
    const ENHANCE_YOUR_CALM: u32 = 0xb;
    assert_eq!(goaway(&said), Some(ENHANCE_YOUR_CALM));
    stand.metric_becomes("pollcast_refusals_total", "http2-flood", 1.0).await;
    drop(attack.await);
    assert!(stand.legacy.count("/elsewhere") < 200, "{} passed through", stand.legacy.count("/elsewhere"));
    stand.legacy.set("/prices/A", Reply::json(B));
    for sse in &mut others {
        assert_eq!(sse.next_event().await.data, B);
    }
    let mut h2 = H2::over(connect(&stand).await, "localhost").await;
    assert_eq!(h2.get("/prices/A", &[]).await.text(), B);
}

/// What a client hears that says all this, whether it is taken or not.
async fn flood(stand: &Stand, bytes: Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = connect(stand).await.into_split();
    let attack = tokio::spawn(async move {
        // It may be thrown out before all is said.
        let _ = write.write_all(&[PREFACE, &bytes].concat()).await;
        write
    });
    let said = rest(&mut read).await;
    drop(attack.await);
    said
}

#[tokio::test]
async fn frames_that_carry_nothing_have_a_rate() {
    let stand = stand("limits: {http2_control_rate: 100/s}");
    let mut other = Sse::open(stand.address(), "/prices/A", &[]).await;
    other.next_event().await;
    // A stream whose body is never whole.
    let open = [get(1)[..4].to_vec(), vec![0x4], get(1)[5..].to_vec()].concat();
    let floods = [
        ("pings", Vec::new(), frame(6, 0, 0, &[0; 8])),
        ("settings", Vec::new(), frame(4, 0, 0, &[])),
        ("settings that mean something", Vec::new(), frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("priorities", Vec::new(), frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        ("empty pieces of a body", open.clone(), frame(0, 0, 1, &[])),
        ("of no known kind", Vec::new(), frame(99, 0, 0, b"x")),
    ];
    for (index, (name, beginning, frame)) in floods.into_iter().enumerate() {
        let said = flood(&stand, [beginning, frame.repeat(100_000)].concat()).await;
        let code = goaway(&said);
        assert!(matches!(code, None | Some(0xb)), "{name}: {code:?}");
        let counted = stand.metric("pollcast_refusals_total", "http2-control").await;
        assert_eq!(counted, (index + 1) as f64, "{name}");
    }
    // No other client noticed, and a moderate client is served.
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(other.next_event().await.data, B);
    let mut moderate = connect(&stand).await;
    let pings = frame(6, 0, 0, &[0; 8]).repeat(90);
    moderate.write_all(&[PREFACE, &pings].concat()).await.expect("written");
    let mut answered = Vec::new();
    while answered.len() < pings.len() {
        within("pongs", moderate.read_buf(&mut answered)).await.expect("pongs");
    }
}

#[tokio::test]
async fn a_head_in_endless_pieces_is_no_head() {
    let stand = stand("limits: {header_bytes: 16KiB}");
    // Without END_HEADERS: one field that the peer does not have to remember.
    let beginning = frame(1, 0, 1, &[0x82, 0x86, 0x04, 1, b'/']);
    let field = [&[0x00, 1, b'x', 0x7f, 0xed, 0x01][..], &[b'y'; 364]].concat();
    for (name, piece) in [
        ("full", frame(9, 0, 1, &field.repeat(40))),
        ("small", frame(9, 0, 1, &field)),
        ("empty", frame(9, 0, 1, &[])),
    ] {
        // It does not wait for what may never come.
        let said = flood(&stand, [beginning.clone(), piece.repeat(20_000)].concat()).await;
        assert!(!said.is_empty(), "{name}");
    }
    // Those that say nothing at all are too many before they are too long.
    stand.metric_becomes("pollcast_refusals_total", "http2-flood", 2.0).await;
    stand.metric_becomes("pollcast_refusals_total", "http2-control", 1.0).await;
    assert_eq!(stand.legacy.count("/"), 0);
    let mut h2 = H2::over(connect(&stand).await, "localhost").await;
    assert_eq!(h2.get("/prices/A", &[]).await.text(), A);
    // One that is whole and too large ends its stream alone.
    let large = "y".repeat(20 * 1024);
    h2.get("/prices/A", &[("x-large", &large)]).await.expect(431);
    assert_eq!(h2.get("/prices/A", &[]).await.text(), A);
}

#[tokio::test]
async fn a_request_over_http2_has_the_limits_of_any_other() {
    let stand =
        stand("limits: {url_bytes: 1KiB, header_fields: 20, query_parameters: 3, request_body: 1KiB}");
    let mut h2 = H2::over(connect(&stand).await, "localhost").await;
    h2.get(&format!("/prices/A?{}", "a".repeat(1024)), &[]).await.expect(414);
    h2.get("/prices/A?a&b&c&d", &[]).await.expect(200);
    let many: Vec<(String, String)> = (0..21).map(|n| (format!("x-{n}"), "1".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    h2.get("/prices/A", &many).await.expect(431);
    h2.get("/prices/A", &[]).await.expect(200);
    // A body of no announced length, cut where it is too long.
    stand.legacy.set("/elsewhere", Reply::silence());
    let fields = [&[0x83, 0x86, 0x04, 10][..], b"/elsewhere", &[0x01, 9], b"localhost"].concat();
    let upload = [frame(1, 0x4, 1, &fields), frame(0, 0, 1, &[0; 2000])].concat();
    let mut client = connect(&stand).await;
    client.write_all(&[PREFACE, &upload].concat()).await.expect("written");
    stand.metric_becomes("pollcast_refusals_total", "request-body", 1.0).await;
}

#[tokio::test]
async fn streams_that_the_client_makes_us_reset_are_few() {
    let stand = stand("");
    stand.legacy.set("/elsewhere", Reply::silence());
    // A field that HTTP/2 does not have is an error of its stream (RFC 9113 §8.2.2).
    let malformed =
        [&[0x82, 0x86, 0x04, 10][..], b"/elsewhere", &[0, 10], b"connection", &[1, b'x']].concat();
    let storm: Vec<u8> =
        (0..20_000_u32).flat_map(|number| frame(1, 0x5, 2 * number + 1, &malformed)).collect();
    let said = flood(&stand, storm).await;
    assert!(!said.is_empty());
    stand.metric_becomes("pollcast_refusals_total", "http2-flood", 1.0).await;
    // A window update of nothing ends the connection at once.
    let storm: Vec<u8> = (0..20_000_u32)
        .flat_map(|number| [get(2 * number + 1), frame(8, 0, 2 * number + 1, &[0; 4])].concat())
        .collect();
    let said = flood(&stand, storm).await;
    assert!(!said.is_empty());
    stand.metric_becomes("pollcast_refusals_total", "http2-protocol", 1.0).await;
    assert!(stand.legacy.count("/elsewhere") < 2000, "{} passed through", stand.legacy.count("/elsewhere"));
    let mut h2 = H2::over(connect(&stand).await, "localhost").await;
    assert_eq!(h2.get("/prices/A", &[]).await.text(), A);
}

#[tokio::test]
async fn a_stream_without_a_window_ends_after_send_timeout() {
    let stand = stand("limits: {send_timeout: 1s}");
    stand.legacy.set("/elsewhere", Reply::text("x".repeat(1 << 20)));
    let mut client = connect(&stand).await;
    let no_window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let covered = [&[0x82, 0x86, 0x04, 9][..], b"/prices/A", &[0x01, 9], b"localhost"].concat();
    let asked = [PREFACE, &no_window, &get(1), &frame(1, 0x5, 3, &covered)].concat();
    client.write_all(&asked).await.expect("written");
    stand.metric_becomes("pollcast_refusals_total", "send-timeout", 2.0).await;
    // The connection has done nothing wrong.
    client.write_all(&frame(6, 0, 0, b"are you?")).await.expect("written");
    let mut said = Vec::new();
    while !said.ends_with(b"are you?") {
        let read = within("a pong", client.read_buf(&mut said)).await.expect("a pong");
        assert_ne!(read, 0, "the connection ended");
    }
}

#[tokio::test]
async fn a_connection_has_at_most_http2_streams_open() {
    let stand = stand("limits: {http2_streams: 3}");
    let mut h2 = H2::over(connect(&stand).await, "localhost").await;
    // Once its settings are known.
    h2.get("/prices/A", &[]).await.expect(200);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(h2.open("GET", "/prices/A", &STREAM).await.1);
    }
    stand.clients("sse", 3).await;
    let fourth = tokio::time::timeout(Duration::from_millis(300), h2.get("/prices/A", &[])).await;
    assert!(fourth.is_err(), "a fourth stream waits until one of the three ends");
    drop(open.pop());
    assert_eq!(h2.get("/prices/A", &[]).await.text(), A);
    // A client that opens them all the same is told so, stream by stream.
    let mut rude = connect(&stand).await;
    let eleven: Vec<u8> = (0..11).flat_map(|number| get(2 * number + 1)).collect();
    stand.legacy.set("/elsewhere", Reply::silence());
    rude.write_all(&[PREFACE, &eleven].concat()).await.expect("written");
    stand.legacy.wait_count("/elsewhere", 3).await;
    assert_eq!(stand.legacy.max_in_flight("/elsewhere"), 3);
}

#[tokio::test]
async fn many_streams_of_one_connection_each_get_every_change() {
    let stand = stand("");
    let mut h2 = H2::over(connect(&stand).await, "localhost").await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(h2.open("GET", "/prices/A", &STREAM).await.1);
    }
    let firsts = join_all(streams.iter_mut().map(|stream| stream.next_event())).await;
    assert!(firsts.iter().all(|event| event.data == A));
    stand.legacy.set("/prices/A", Reply::json(B));
    let seconds = join_all(streams.iter_mut().map(|stream| stream.next_event())).await;
    assert!(seconds.iter().all(|event| event.data == B));
}

#[tokio::test]
async fn without_http2_a_preface_is_no_request() {
    let stand = Stand::start(FAST);
    let mut stream = connect(&stand).await;
    stream.write_all(PREFACE).await.expect("written");
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    Http::connect(stand.address()).await.get("/prices/404", &[]).await.expect(404);
}

#[tokio::test]
async fn connections_that_break_the_protocol_are_counted_and_others_are_not() {
    let stand = stand("");
    // A body of no stream.
    let said = flood(&stand, frame(0, 0, 0, b"x")).await;
    assert_eq!(goaway(&said), Some(1));
    stand.metric_becomes("pollcast_refusals_total", "http2-protocol", 1.0).await;
    let mut h2 = H2::over(connect(&stand).await, "localhost").await;
    assert_eq!(h2.get("/prices/A", &[]).await.text(), A);
    drop(h2);
    stand.metric_becomes("pollcast_refusals_total", "http2-protocol", 1.0).await;
    assert_eq!(stand.metric("pollcast_refusals_total", "http2-flood").await, 0.0);
}

#[tokio::test]
async fn a_connection_may_send_so_many_malformed_requests() {
    let stand = stand("");
    // The frames name no client.
    let fields = [&[0x82, 0x86, 0x04, 10][..], b"/elsewhere"].concat();
    let malformed =
        |count: u32| (0..count).flat_map(|n| frame(1, 0x5, 2 * n + 1, &fields)).collect::<Vec<_>>();
    flood(&stand, malformed(100)).await;
    stand.metric_becomes("pollcast_refusals_total", "http2-malformed", 1.0).await;
    assert_eq!(stand.legacy.all_seen().len(), 0);
    // As many as may be do not end it: a request behind them is answered.
    let mut stream = connect(&stand).await;
    let last = [malformed(32), frame(1, 0x5, 65, &get(65)[9..])].concat();
    stream.write_all(&[PREFACE, &last].concat()).await.expect("written");
    stand.legacy.wait_count("/elsewhere", 1).await;
    assert_eq!(stand.metric("pollcast_refusals_total", "http2-malformed").await, 1.0);
}
