//! Contract §4: held long-polls, end to end.

mod connections;
mod versions;

use std::time::{Duration, Instant};

use crate::contract::{FAST, FAST_FAILING, ONCE, Stand, TlsStand};
use crate::support::client::{Http, Response, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::Reply;

const A: &str = r#"{"price":1}"#;

const B: &str = r#"{"price":2}"#;

const LONG: Duration = Duration::from_secs(30);

const UNKNOWN: &str = "\"AAAAAAAAAAAAAAAAAAAAAA\"";

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    stand.legacy.set("/prices/A", Reply::json(A));
    stand
}

/// The ETag of the state now.
async fn tag(http: &mut Http) -> String {
    http.get("/prices/A", &[]).await.expect(200).etag().to_owned()
}

/// Sends a held poll and waits until it is held.
async fn hold(stand: &Stand, http: &mut Http, tag: &str) {
    let headers = [("prefer", "wait=30"), ("if-none-match", tag)];
    http.send("GET", "/prices/A", &headers, b"").await;
    stand.clients("long_poll", 1).await;
}

fn expect_change(answer: Response, body: &str, before: &str) -> String {
    let answer = answer.expect(200);
    assert_eq!(answer.text(), body);
    assert_ne!(answer.etag(), before);
    assert_eq!(answer.header("preference-applied"), Some("wait=30"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    answer.etag().to_owned()
}

#[tokio::test]
async fn without_a_version_the_state_comes_at_once() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    for _ in 0..2 {
        let answer = long_poll(&mut http, "/prices/A", None, LONG).await.expect(200);
        assert_eq!(answer.text(), A);
        assert!(answer.etag().len() == 24);
    }
}

#[tokio::test]
async fn the_current_version_is_held_until_a_change() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    http.expect_silence(Duration::from_millis(250)).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    let after = expect_change(http.read_response().await, B, &before);
    assert_eq!(tag(&mut http).await, after);
    stand.metric_becomes("pollcast_ends_total", "answered", 1.0).await;
}

#[tokio::test]
async fn without_a_change_it_ends_with_304_and_the_same_version() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let full = http.get("/prices/A", &[]).await.expect(200);
    let before = full.etag().to_owned();
    let began = Instant::now();
    let answer = long_poll(&mut http, "/prices/A", Some(&before), Duration::from_secs(2)).await;
    let held = began.elapsed();
    let answer = answer.expect(304);
    for name in ["etag", "cache-control", "vary", "link"] {
        assert_eq!(answer.headers(name), full.headers(name), "{name}");
    }
    assert_eq!(answer.header("preference-applied"), Some("wait=2"));
    // Minus up to a sixteenth, plus a tick of the timers.
    assert!(held >= Duration::from_millis(1870), "{held:?}");
    assert!(held <= Duration::from_millis(2600), "{held:?}");
    assert_eq!(tag(&mut http).await, before);
}

#[tokio::test]
async fn the_aliases_hold_too_and_can_be_switched_off() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    let condition = ("if-none-match", before.as_str());
    for (path, headers) in [
        ("/prices/A", vec![("wait", "1"), condition]),
        ("/prices/A?_wait=1", vec![condition]),
        ("/prices/A?_wait=1s", vec![condition]),
    ] {
        let began = Instant::now();
        let answer = http.get(path, &headers).await.expect(304);
        assert!(began.elapsed() >= Duration::from_millis(900), "{path}");
        assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    }
    assert!(stand.legacy.all_seen().iter().all(|seen| seen.target == "/prices/A"));

    let off = Stand::start("poll: {interval: 100ms}, switches: {wait_header: off}");
    off.legacy.set("/prices/A", Reply::json(A));
    let mut http = off.http().await;
    let before = tag(&mut http).await;
    let headers = [("wait", "30"), ("if-none-match", before.as_str())];
    // Then it is a field of the API's own.
    let passed = http.get("/prices/A", &headers).await.expect(200);
    assert_eq!(passed.header("cache-status"), Some("pollcast; fwd=bypass; detail=header"));
}

#[tokio::test]
async fn no_poll_is_held_longer_than_max_wait() {
    let stand = stand("poll: {interval: 100ms}, max_wait: 1s");
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    let began = Instant::now();
    let answer = long_poll(&mut http, "/prices/A", Some(&before), Duration::from_secs(3600)).await;
    assert_eq!(answer.expect(304).header("preference-applied"), Some("wait=1"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_wait_and_other_forms_are_never_held() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    let condition = ("if-none-match", before.as_str());
    let wait = ("prefer", "wait=30");
    http.get("/prices/A", &[condition, ("prefer", "wait=0")]).await.expect(304);
    // Another preference may choose the answer: it is the API's.
    let other = http.get("/prices/A", &[condition, ("prefer", "respond-async")]).await.expect(200);
    assert_eq!(other.header("cache-status"), Some("pollcast; fwd=bypass; detail=header"));
    http.get("/prices/A?_push=poll", &[condition, wait]).await.expect(304);
    http.request("HEAD", "/prices/A", &[condition, wait], b"").await.expect(304);
    let without = Stand::start("poll: {interval: 100ms}, transports: [poll]");
    without.legacy.set("/prices/A", Reply::json(A));
    let mut http = without.http().await;
    let before = tag(&mut http).await;
    http.get("/prices/A", &[wait, ("if-none-match", &before)]).await.expect(304);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_is_freed() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    let began = Instant::now();
    drop(http);
    stand.clients("long_poll", 0).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn cold_with_the_upstream_down_it_is_an_ordinary_failure() {
    let stand = stand(&format!("{FAST_FAILING}, first_answer: 300ms"));
    stand.legacy.stop().await;
    let mut http = stand.http().await;
    let began = Instant::now();
    let answer = long_poll(&mut http, "/prices/A", Some(UNKNOWN), LONG).await;
    assert!(matches!(answer.status, 502 | 504), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(began.elapsed() < Duration::from_secs(2));
    stand.legacy.set("/prices/404", Reply::text("no").status(404));
    stand.legacy.start_again();
    assert_eq!(long_poll(&mut http, "/prices/404", None, LONG).await.status, 404);
}

#[tokio::test]
async fn failures_while_held_end_nothing() {
    let stand = stand(FAST_FAILING);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    let polls = stand.legacy.count("/prices/A");
    stand.legacy.set("/prices/A", Reply::text("oops").status(500));
    stand.legacy.wait_count("/prices/A", polls + 3).await;
    http.expect_silence(Duration::from_millis(50)).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    expect_change(http.read_response().await, B, &before);
}

#[tokio::test]
async fn a_resource_that_goes_while_held_is_404() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    stand.legacy.set("/prices/A", Reply::text("no").status(404));
    http.read_response().await.expect(404);
    // The connection lives on.
    http.get("/prices/A", &[]).await.expect(404);
}

#[tokio::test]
async fn a_drain_ends_with_304_and_closes() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    let ended = async {
        let answer = http.read_response().await.expect(304);
        assert!(answer.names("connection", "close"), "{answer:?}");
        http.expect_eof().await;
    };
    tokio::join!(ended, stand.app.drain());
}

#[tokio::test]
async fn an_accept_that_does_not_admit_the_type_passes_through() {
    let stand = stand(FAST);
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("accept") {
        Some("text/csv") => Reply::new("text/csv", "price\n1\n"),
        _ => Reply::json(A),
    });
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    let headers = [("accept", "text/csv"), ("prefer", "wait=30"), ("if-none-match", before.as_str())];
    let answer = http.get("/prices/A", &headers).await.expect(200);
    assert_eq!(answer.text(), "price\n1\n");
}

#[tokio::test]
async fn a_large_answer_reaches_a_held_client_whole() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    let big = format!("\"{}\"", "x".repeat(900_000));
    stand.legacy.set("/prices/A", Reply::json(big.clone()));
    expect_change(http.read_response().await, &big, &before);
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), big);
}

#[tokio::test]
async fn over_tls_the_connection_lives_on_too() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    tls.stand.legacy.set("/elsewhere", Reply::text("through"));
    let mut http = Http::over(tls.connect(&[]).await, "localhost");
    let mut version = tag(&mut http).await;
    for body in [B, A, B] {
        hold(&tls.stand, &mut http, &version).await;
        http.send("GET", "/elsewhere", &[], b"").await;
        tls.stand.legacy.set("/prices/A", Reply::json(body));
        version = expect_change(http.read_response().await, body, &version);
        assert_eq!(http.read_response().await.expect(200).text(), "through");
    }
    hold(&tls.stand, &mut http, &version).await;
    drop(http);
    tls.stand.clients("long_poll", 0).await;
}

#[tokio::test]
async fn over_http2_held_polls_share_a_connection() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let before = h2.get("/prices/A", &[("prefer", "wait=30")]).await.expect(200).etag().to_owned();
    let short = [("prefer", "wait=1"), ("if-none-match", before.as_str())];
    let answer = h2.get("/prices/A", &short).await.expect(304);
    assert_eq!(answer.etag(), before);
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    let long = [("prefer", "wait=30"), ("if-none-match", before.as_str())];
    let change = async {
        tls.stand.clients("long_poll", 1).await;
        tls.stand.legacy.set("/prices/A", Reply::json(B));
    };
    let (answer, ()) = tokio::join!(h2.get("/prices/A", &long), change);
    expect_change(answer, B, &before);
    tls.stand.clients("long_poll", 0).await;
    // A stream that is reset and a connection that is cut are noticed.
    let tag = h2.get("/prices/A", &[]).await.etag().to_owned();
    let long = [("prefer", "wait=30"), ("if-none-match", tag.as_str())];
    let left = tokio::time::timeout(Duration::from_millis(300), h2.get("/prices/A", &long)).await;
    assert!(left.is_err(), "{left:?}");
    tls.stand.clients("long_poll", 0).await;
}
