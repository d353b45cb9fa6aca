//! Contract §12: how the process ends, with real signals.

use std::time::{Duration, Instant};

use crate::contract::edge::support::{Extra, process_yaml};
use crate::support::client::{Http, Sse, Ws};
use crate::support::legacy::{Gate, Legacy, Reply};
use crate::support::process::Process;
use crate::support::wire::within;

async fn start(legacy: &Legacy, drain: &str) -> Process {
    let top = format!("drain: {drain}");
    let extra = Extra { top: &top, ..Extra::default() };
    Process::start(&process_yaml(legacy, extra)).await
}

async fn ready(process: &Process) -> u16 {
    Http::connect(process.admin).await.get("/ready", &[]).await.status
}

/// Signals, and waits until the drain has begun.
async fn drain(process: &Process, signal: &str) {
    process.signal(signal);
    process.wait_stderr("draining").await;
}

#[tokio::test]
async fn it_is_not_ready_at_once_but_serves_until_the_delay_is_over() {
    for signal in ["TERM", "INT"] {
        let legacy = Legacy::start();
        legacy.set("/r/a", Reply::json("1"));
        legacy.set("/x", Reply::text("x"));
        let process = start(&legacy, "{delay: 1s, window: 100ms}").await;
        assert_eq!(ready(&process).await, 200);
        let began = Instant::now();
        drain(&process, signal).await;
        assert_eq!(ready(&process).await, 503);
        // No client is connected; new ones still come, since load balancers need time to notice.
        let mut http = Http::connect(process.address).await;
        let answer = http.get("/x", &[]).await.expect(200);
        assert!(answer.names("connection", "close"), "{answer:?}");
        let answer = Http::connect(process.address).await.get("/r/a", &[]).await.expect(200);
        assert!(answer.names("connection", "close"), "{answer:?}");
        let mut late = Sse::open(process.address, "/r/a", &[]).await;
        assert_eq!(late.next_event().await.data, "1");
        let bye = late.next_named("bye").await;
        assert!(began.elapsed() >= Duration::from_millis(900), "the end came after {:?}", began.elapsed());
        assert!(bye.data.contains("drain"), "{bye:?}");
        late.expect_end().await;
        assert_eq!(process.wait_exit().await.code(), Some(0), "{}", process.stderr());
    }
}

#[tokio::test]
async fn every_transport_gets_its_own_end() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let process = start(&legacy, "{delay: 100ms, window: 300ms}").await;
    let mut chunked = Sse::open(process.address, "/r/a", &[]).await;
    let mut old = Sse::open_http10(process.address, "/r/a", &[]).await;
    let mut ws = Ws::open(process.address, "/r/a", &[]).await;
    let mut poller = Http::connect(process.address).await;
    let etag = poller.get("/r/a", &[]).await.etag().to_owned();
    poller.send("GET", "/r/a", &[("prefer", "wait=50"), ("if-none-match", &etag)], b"").await;
    for sse in [&mut chunked, &mut old] {
        assert_eq!(sse.next_event().await.data, "1");
    }
    assert_eq!(ws.next_text().await, "1");
    // The held poll is held: its bytes were read before the signal.
    poller.expect_silence(Duration::from_millis(200)).await;
    drain(&process, "TERM").await;
    for sse in [&mut chunked, &mut old] {
        let bye = sse.next_named("bye").await;
        let data: serde_json::Value = serde_json::from_str(&bye.data).expect("JSON");
        let retry = data["retry_ms"].as_u64().unwrap_or_default();
        assert!((2_000..=8_000).contains(&retry) && data["reconnect"] == true, "{data}");
        sse.expect_end().await;
        sse.expect_eof().await;
    }
    assert_eq!(ws.next_close().await.0, 1001);
    ws.expect_closed().await;
    let answer = poller.read_response().await.expect(304);
    assert_eq!((answer.etag(), answer.names("connection", "close")), (etag.as_str(), true), "{answer:?}");
    poller.expect_closed().await;
    assert_eq!(process.wait_exit().await.code(), Some(0), "{}", process.stderr());
}

#[tokio::test]
async fn the_ends_are_spread_over_the_window() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let process = start(&legacy, "{delay: 0s, window: 2s}").await;
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let mut sse = Sse::open(process.address, "/r/a", &[]).await;
        assert_eq!(sse.next_event().await.data, "1");
        streams.spawn(async move {
            sse.next_named("bye").await;
            sse.expect_end().await;
            Instant::now()
        });
    }
    drain(&process, "TERM").await;
    let ends = within("the ends of all streams", streams.join_all()).await;
    let (first, last) = (ends.iter().min().expect("40"), ends.iter().max().expect("40"));
    let spread = *last - *first;
    assert!(spread >= Duration::from_secs(1) && spread < Duration::from_secs(3), "spread over {spread:?}");
    assert_eq!(process.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn with_nothing_left_it_does_not_wait_for_the_window() {
    let legacy = Legacy::start();
    let process = start(&legacy, "{delay: 100ms, window: 10m}").await;
    process.signal("TERM");
    assert_eq!(process.wait_exit_within(Duration::from_secs(4)).await.code(), Some(0));
}

#[tokio::test]
async fn what_passes_through_is_finished() {
    let legacy = Legacy::start();
    let gate = Gate::closed();
    legacy.set("/x", Reply::text("late but whole").behind(&gate));
    let (reply, feed) = Reply::stream("text/plain");
    legacy.set("/down", reply);
    let process = start(&legacy, "{delay: 0s, window: 10s}").await;
    let mut waiting = Http::connect(process.address).await;
    waiting.send("GET", "/x", &[], b"").await;
    let mut down = Http::connect(process.address).await;
    down.send("GET", "/down", &[], b"").await;
    let head = down.read_head().await;
    legacy.wait_in_flight("/x", 1).await;
    drain(&process, "TERM").await;
    gate.open();
    let answer = waiting.read_response().await.expect(200);
    assert_eq!(answer.text(), "late but whole");
    feed.send("the ").await;
    feed.send("end").await;
    feed.end();
    assert_eq!(down.read_body(&head).await.expect("a whole body"), b"the end"[..]);
    assert_eq!(process.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let legacy = Legacy::start();
        legacy.set("/r/a", Reply::json("1"));
        let process = start(&legacy, "{delay: 10m, window: 10m}").await;
        let mut sse = Sse::open(process.address, "/r/a", &[]).await;
        sse.next_event().await;
        drain(&process, first).await;
        assert_eq!(process.exited(), None);
        process.signal(second);
        process.wait_exit_within(Duration::from_secs(3)).await;
    }
}

#[tokio::test]
async fn after_the_delay_no_new_client_is_let_in() {
    let legacy = Legacy::start();
    let (reply, _feed) = Reply::stream("text/plain");
    legacy.set("/down", reply);
    let process = start(&legacy, "{delay: 0s, window: 10m}").await;
    let mut held = Http::connect(process.address).await;
    held.send("GET", "/down", &[], b"").await;
    held.read_head().await;
    drain(&process, "TERM").await;
    let refused = async {
        while tokio::net::TcpStream::connect(process.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the listener to close", refused).await;
    // The admin listener lives as long as the process: probes see why.
    assert_eq!(ready(&process).await, 503);
}
