//! Contract §2 and §3: ordinary polls of a covered URL, end to end.

mod conditions;
mod failures;
mod keys;
mod sharing;

use std::time::Duration;

use crate::contract::{FAST, ONCE, Stand, TlsStand};
use crate::support::client::{Http, Response};
use crate::support::h2::H2;
use crate::support::legacy::{Gate, Reply};

const A: &str = r#"{"price":1}"#;

const B: &str = r#"{"price":2}"#;

const DATE: &str = "Tue, 01 Jul 2025 10:00:00 GMT";

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    stand.legacy.set("/prices/A", Reply::json(A));
    stand
}

fn cache_status(answer: &Response) -> &str {
    answer.header("cache-status").unwrap_or("none")
}

#[tokio::test]
async fn the_first_poll_is_a_miss_and_the_next_a_hit() {
    let stand = stand("poll: {interval: 10s}");
    let mut http = stand.http().await;
    let miss = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!((miss.text().as_str(), cache_status(&miss)), (A, "pollcast; fwd=miss"));
    let hit = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(hit.text(), A);
    let ttl: u64 = cache_status(&hit)
        .strip_prefix("pollcast; hit; ttl=")
        .and_then(|ttl| ttl.parse().ok())
        .unwrap_or_else(|| panic!("{hit:?}"));
    assert!((8..=10).contains(&ttl), "{ttl}");
    assert_eq!(hit.etag(), miss.etag());
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn an_answer_carries_the_fields_of_the_contract() {
    let stand = stand(ONCE);
    let reply =
        Reply::json(A).header("link", "</next>; rel=\"next\"").header("x-own", "kept").header("age", "7");
    stand.legacy.set("/prices/A", reply);
    let answer = stand.http().await.get("/prices/A?x=1", &[]).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert_eq!(answer.header("content-length"), Some("11"));
    assert_eq!(answer.header("age"), Some("7"));
    assert!(answer.header("date").is_some());
    assert!(answer.names("vary", "accept") && answer.names("vary", "prefer"));
    assert!(!answer.etag().starts_with("W/"));
    assert_eq!(answer.headers("link"), ["</next>; rel=\"next\""]);
}

#[tokio::test]
async fn a_link_to_the_stream_is_there_only_where_the_route_says_so() {
    let stand = stand("poll: {interval: 1h}, link: true");
    let answer = stand.http().await.get("/prices/A?x=1", &[]).await.expect(200);
    assert_eq!(answer.headers("link"), ["</prices/A?x=1>; rel=\"alternate\"; type=\"text/event-stream\""]);
}

#[tokio::test]
async fn what_never_belongs_to_a_snapshot_is_not_in_it() {
    let stand = stand("poll: {interval: 1h}, share: public");
    let names = [
        "set-cookie",
        "clear-site-data",
        "www-authenticate",
        "alt-svc",
        "x-request-id",
        "x-runtime",
        "server-timing",
        "ratelimit-remaining",
        "x-ratelimit-limit",
        "retry-after",
        "accept-ranges",
        "keep-alive",
        "proxy-authenticate",
    ];
    let mut reply = Reply::json(A).header("connection", "x-hop").header("x-hop", "1");
    for name in names {
        reply = reply.header(name, "1");
    }
    stand.legacy.set("/prices/A", reply.etag("\"theirs\"").header("date", DATE));
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
    for name in names.iter().chain(&["x-hop"]) {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_ne!(answer.etag(), "\"theirs\"");
    assert_ne!(answer.header("date"), Some(DATE));
}

#[tokio::test]
async fn a_coded_body_is_served_decoded_and_without_its_digests() {
    use std::io::Write;
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    coder.write_all(A.as_bytes()).expect("in memory");
    let coded = coder.finish().expect("in memory");
    let stand = stand(ONCE);
    let reply = Reply::new("application/json", coded)
        .header("content-encoding", "gzip")
        .header("content-md5", "x")
        .header("digest", "x")
        .header("repr-digest", "x");
    stand.legacy.set("/prices/A", reply);
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(answer.text(), A);
    for name in ["content-encoding", "content-md5", "digest", "repr-digest"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn fifty_cold_requests_are_one_poll() {
    let stand = stand(ONCE);
    let gate = Gate::closed();
    stand.legacy.set("/prices/A", Reply::json(A).behind(&gate));
    let address = stand.address();
    let requests: Vec<_> = (0..50)
        .map(|_| tokio::spawn(async move { Http::connect(address).await.get("/prices/A", &[]).await }))
        .collect();
    stand.legacy.wait_in_flight("/prices/A", 1).await;
    gate.open();
    for request in requests {
        assert_eq!(request.await.expect("an answer").expect(200).text(), A);
    }
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn the_polls_of_one_connection_start_no_background_polling() {
    let stand = stand("poll: {interval: 200ms}");
    let mut http = stand.http().await;
    for _ in 0..3 {
        http.get("/prices/A", &[]).await.expect(200);
    }
    // Silence is the claim: there is nothing to wait for.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn an_old_snapshot_is_polled_again_before_it_is_served() {
    let stand = stand("poll: {interval: 100ms, linger: 0s}");
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    let answer = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!((answer.text().as_str(), cache_status(&answer)), (B, "pollcast; fwd=miss"));
}

#[tokio::test]
async fn an_accept_that_does_not_admit_the_type_passes_through() {
    let stand = stand(ONCE);
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("accept") {
        Some("text/csv") => Reply::new("text/csv", "price\n1\n"),
        _ => Reply::json(A),
    });
    let mut http = stand.http().await;
    let answer = http.get("/prices/A", &[("accept", "text/csv")]).await.expect(200);
    assert_eq!(answer.text(), "price\n1\n");
    assert_eq!(answer.header("cache-status"), Some("pollcast; fwd=bypass; detail=accept"));
    let wide = http.get("/prices/A", &[("accept", "text/csv;q=0.5, application/*")]).await.expect(200);
    assert_eq!(wide.text(), A);
    let never = http.get("/prices/A", &[("accept", "*/*, application/json;q=0")]).await.expect(200);
    assert_eq!(never.header("cache-status"), Some("pollcast; fwd=bypass; detail=accept"));
}

#[tokio::test]
async fn what_is_too_large_for_a_snapshot_streams_through() {
    let stand = stand("poll: {interval: 100ms, max_body: 1KiB}");
    let body = format!("\"{}\"", "x".repeat(200_000));
    stand.legacy.set("/prices/A", Reply::json(body.clone()));
    let mut http = stand.http().await;
    for _ in 0..2 {
        let answer = http.get("/prices/A", &[]).await.expect(200);
        assert_eq!(answer.text(), body);
        assert_eq!(answer.header("cache-status"), Some("pollcast; fwd=bypass; detail=uncoverable"));
    }
    // One poll found out; after that every request goes through by itself.
    assert_eq!(stand.legacy.count("/prices/A"), 3);
}

#[tokio::test]
async fn an_upstreams_own_event_stream_streams_through() {
    let stand = stand(FAST);
    stand.legacy.once("/prices/A", Reply::new("text/event-stream", "data: 0\n\n"));
    let (reply, feed) = Reply::stream("text/event-stream");
    stand.legacy.set("/prices/A", reply);
    let mut http = stand.http().await;
    http.send("GET", "/prices/A", &[], b"").await;
    let head = http.read_head().await.expect(200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    feed.send("data: 1\n\n").await;
    assert_eq!(http.wire.chunk().await.expect("a chunk").as_deref(), Some(&b"data: 1\n\n"[..]));
    feed.end();
    assert_eq!(http.wire.chunk().await.expect("the end"), None);
}

#[tokio::test]
async fn no_cache_of_a_client_is_ignored() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    let reload = [("cache-control", "no-cache, max-age=0"), ("pragma", "no-cache")];
    let answer = http.get("/prices/A", &reload).await.expect(200);
    assert!(cache_status(&answer).contains("hit"), "{answer:?}");
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn only_if_cached_never_polls() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let only = [("cache-control", "only-if-cached")];
    http.get("/prices/A", &only).await.expect(504);
    assert_eq!(stand.legacy.count("/prices/A"), 0);
    http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(http.get("/prices/A", &only).await.expect(200).text(), A);
    let condition = http.get("/prices/A", &[]).await.etag().to_owned();
    let both = [("cache-control", "max-stale=5, Only-If-Cached"), ("if-none-match", condition.as_str())];
    http.get("/prices/A", &both).await.expect(304);
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn cache_control_can_be_overridden_and_no_store_is_kept() {
    let own = stand("poll: {interval: 1h}, downstream_cache: 'max-age=1'");
    let answer = own.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("max-age=1"));
    let public = stand("poll: {interval: 1h}, share: public");
    public.legacy.set("/prices/A", Reply::json(A).header("cache-control", "no-store"));
    let answer = public.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn an_empty_resource_is_204_and_has_a_version() {
    let stand = stand(ONCE);
    stand.legacy.set("/prices/A", Reply::empty(204));
    let mut http = stand.http().await;
    let answer = http.get("/prices/A", &[]).await.expect(204);
    assert_eq!(answer.header("content-length"), None);
    let tag = answer.etag().to_owned();
    http.get("/prices/A", &[("if-none-match", &tag)]).await.expect(304);
}

#[tokio::test]
async fn an_unknown_upgrade_is_ignored() {
    let stand = stand(ONCE);
    let upgrade = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "x")];
    let answer = stand.http().await.get("/prices/A", &upgrade).await.expect(200);
    assert_eq!(cache_status(&answer), "pollcast; fwd=miss");
}

#[tokio::test]
async fn pipelined_polls_are_answered_in_order() {
    let stand = stand(ONCE);
    stand.legacy.set("/prices/B", Reply::json(B));
    let mut http = stand.http().await;
    http.send("GET", "/prices/A", &[], b"").await;
    http.send("GET", "/prices/B", &[], b"").await;
    http.send("GET", "/prices/A", &[], b"").await;
    for body in [A, B, A] {
        assert_eq!(http.read_response().await.expect(200).text(), body);
    }
}

#[tokio::test]
async fn http10_gets_a_length_and_a_close() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    http.send_raw(b"GET /prices/A HTTP/1.0\r\n\r\n").await;
    let answer = http.read_response().await.expect(200);
    assert_eq!(answer.text(), A);
    assert_eq!(answer.header("content-length"), Some("11"));
    http.expect_eof().await;
}

#[tokio::test]
async fn polls_over_http2_are_answered_alike() {
    let tls = TlsStand::start(ONCE);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let miss = h2.get("/prices/A", &[]).await.expect(200);
    assert_eq!((miss.text().as_str(), cache_status(&miss)), (A, "pollcast; fwd=miss"));
    let tag = miss.etag().to_owned();
    let answer = h2.get("/prices/A", &[("if-none-match", &tag)]).await.expect(304);
    assert_eq!(answer.etag(), tag);
    let (head, _) = h2.open("HEAD", "/prices/A", &[]).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("11")));
    assert_eq!(h2.get("/prices/404", &[]).await.status, 404);
    assert_eq!(h2.get("/elsewhere", &[]).await.status, 404);
}
