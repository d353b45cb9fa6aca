//! Contract §2 and §3: ordinary polls of a covered URL, end to end.

use std::time::{Duration, Instant};

use crate::contract::{FAST, FAST_FAILING, ONCE, Stand, TlsStand};
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
async fn a_known_version_is_304_however_the_condition_is_written() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let full = http.get("/prices/A", &[]).await.expect(200);
    let tag = full.etag().to_owned();
    let bare = tag.trim_matches('"').to_owned();
    let conditions = [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        format!("{tag},\"other\""),
        format!("\"{bare}-gzip\""),
        format!("W/\"{bare}-br\""),
        "*".to_owned(),
    ];
    for condition in conditions {
        // Of a connection that comes back at once one request would try the API's own pace.
        let mut http = stand.http().await;
        let answer = http.get("/prices/A", &[("if-none-match", &condition)]).await;
        assert_eq!(answer.status, 304, "{condition}");
        for name in ["etag", "vary", "cache-control", "link"] {
            assert_eq!(answer.headers(name), full.headers(name), "{name} with {condition}");
        }
        assert_eq!(answer.header("content-length"), None);
        assert_eq!(answer.header("content-type"), None);
    }
    for condition in ["\"other\"", "", "\"AAAAAAAAAAAAAAAAAAAAAA\""] {
        let answer = http.get("/prices/A", &[("if-none-match", condition)]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, A), "{condition}");
    }
}

#[tokio::test]
async fn if_modified_since_counts_on_equality_and_only_alone() {
    let stand = stand(ONCE);
    stand.legacy.set("/prices/A", Reply::json(A).last_modified(DATE));
    let mut http = stand.http().await;
    let full = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(full.header("last-modified"), Some(DATE));
    http.get("/prices/A", &[("if-modified-since", DATE)]).await.expect(304);
    let later = "Wed, 02 Jul 2025 10:00:00 GMT";
    http.get("/prices/A", &[("if-modified-since", later)]).await.expect(200);
    let both = [("if-modified-since", DATE), ("if-none-match", "\"other\"")];
    http.get("/prices/A", &both).await.expect(200);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let get = http.get("/prices/A", &[]).await.expect(200);
    let head = http.request("HEAD", "/prices/A", &[("prefer", "wait=5")], b"").await.expect(200);
    for name in ["etag", "content-length", "content-type", "vary", "cache-control", "link"] {
        assert_eq!(head.headers(name), get.headers(name), "{name}");
    }
    // The connection is in order.
    assert_eq!(http.get("/prices/A", &[]).await.text(), A);
    let cold = http.request("HEAD", "/prices/A?cold", &[], b"").await.expect(200);
    assert_eq!(cold.header("content-length"), Some("11"));
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
async fn cold_refusals_are_relayed_once_and_remembered() {
    let stand = stand("poll: {interval: 10s}");
    let mut http = stand.http().await;
    for status in [301, 400, 401, 403, 404, 410, 418, 429] {
        let path = format!("/prices/{status}");
        let reply = Reply::text("no").status(status).header("location", "/x").header("retry-after", "3");
        stand.legacy.set(&path, reply);
        for _ in 0..3 {
            let answer = http.get(&path, &[]).await;
            assert_eq!((answer.status, answer.text().as_str()), (status, "no"));
            assert_eq!(answer.header("location"), Some("/x"));
            assert_eq!(answer.header("retry-after"), Some("3"));
            assert_eq!(answer.header("etag"), None);
        }
        assert_eq!(stand.legacy.count(&path), 1, "{status}");
    }
}

#[tokio::test]
async fn a_cold_failure_is_a_problem_that_names_the_upstream() {
    let stand = stand("poll: {interval: 100ms, timeout: 300ms}");
    let mut http = stand.http().await;
    let bad = [
        ("reset", Reply::reset(), 502),
        ("garbage", Reply::garbage(), 502),
        ("cut", Reply::json(A).cut_after(3), 502),
        ("silence", Reply::silence(), 504),
    ];
    for (name, reply, status) in bad {
        let path = format!("/prices/{name}");
        stand.legacy.set(&path, reply);
        let answer = http.get(&path, &[]).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].to_string().contains("legacy"), "{problem}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn an_unreachable_upstream_is_502() {
    let stand = stand(FAST);
    stand.legacy.stop().await;
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(502);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn a_failing_upstream_leaves_the_last_good_answer_until_stale_if_error() {
    let stand = stand(&format!("{FAST_FAILING}, stale_if_error: 1s"));
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    let good_until = Instant::now() + Duration::from_secs(1);
    stand.legacy.set("/prices/A", Reply::text("oops").status(500));
    let mut stale = 0;
    loop {
        // Of a connection that comes back at once one request would try the API's own pace.
        let answer = stand.http().await.get("/prices/A", &[]).await;
        match answer.status {
            200 => {
                assert_eq!(answer.text(), A);
                assert!(Instant::now() < good_until + Duration::from_millis(500));
                stale += u32::from(cache_status(&answer) == "pollcast; fwd=stale");
            }
            500 => {
                assert_eq!(answer.text(), "oops");
                break;
            }
            status => panic!("{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stale > 3, "{stale}");
    stand.legacy.set("/prices/A", Reply::json(B));
    loop {
        let answer = http.get("/prices/A", &[]).await;
        if answer.status == 200 {
            assert_eq!(answer.text(), B);
            break;
        }
    }
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
async fn switches_and_noise_never_reach_the_upstream() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let target = "/prices/A?b=2&_push=poll&_wait=3&_delta=json-patch&a=%7e&utm_source=m&_=1699999999999";
    http.get(target, &[]).await.expect(200);
    assert_eq!(stand.legacy.seen("/prices/A")[0].target, "/prices/A?b=2&a=~");
    // The same resource under another spelling.
    let same = http.get("/prices/%41?%62=2&a=~&_ts=0.123", &[]).await.expect(200);
    assert!(cache_status(&same).starts_with("pollcast; hit"), "{same:?}");
    // What is no time and no chance is the API's.
    for (target, asked) in
        [("/prices/B?_=2", "/prices/B?_=2"), ("/prices/C?lastEventId=y", "/prices/C?lastEventId=y")]
    {
        http.get(target, &[]).await;
        assert_eq!(stand.legacy.seen(&target[..9])[0].target, asked);
    }
    // What passes through loses only the switches.
    let post = http.request("POST", "/prices/A?a=%7e&_push=sse&_=9", &[], b"x").await.expect(200);
    assert_eq!(post.text(), A);
    assert_eq!(stand.legacy.seen("/prices/A")[1].target, "/prices/A?a=%7e&_=9");
}

#[tokio::test]
async fn a_renamed_switch_is_the_only_switch() {
    let stand = stand("poll: {interval: 1h}, switches: {push: stream, wait: off}");
    let mut http = stand.http().await;
    http.get("/prices/A?stream=poll&_push=1&_wait=2", &[]).await.expect(200);
    assert_eq!(stand.legacy.seen("/prices/A")[0].target, "/prices/A?_push=1&_wait=2");
}

#[tokio::test]
async fn named_parameters_make_the_resource_and_the_rest_is_dropped_or_rejected() {
    let dropping = stand("poll: {interval: 1h}, query: [currency]");
    let mut http = dropping.http().await;
    http.get("/prices/A?x=1&currency=EUR", &[]).await.expect(200);
    let hit = http.get("/prices/A?currency=EUR&x=2", &[]).await.expect(200);
    assert!(cache_status(&hit).contains("hit"), "{hit:?}");
    assert_eq!(dropping.legacy.seen("/prices/A")[0].target, "/prices/A?currency=EUR");

    let strict = stand("poll: {interval: 1h}, query: [currency], unknown_query: reject");
    let mut http = strict.http().await;
    http.get("/prices/A?currency=EUR", &[]).await.expect(200);
    let refused = http.get("/prices/A?curency=EUR", &[]).await.expect(400);
    assert!(refused.text().contains("curency"), "{refused:?}");
    assert_eq!(strict.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn the_order_of_parameters_matters_unless_the_route_says_otherwise() {
    let stand = stand("poll: {interval: 1h}, query_order: any");
    let mut http = stand.http().await;
    http.get("/prices/A?b=2&a=1", &[]).await.expect(200);
    http.get("/prices/A?a=1&b=2", &[]).await.expect(200);
    assert_eq!(stand.legacy.count("/prices/A"), 1);
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
async fn requests_with_credentials_and_no_share_pass_through() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    for headers in [[("authorization", "Bearer x")], [("cookie", "session=1")], [("x-api-key", "k")]] {
        let answer = http.get("/prices/A", &headers).await.expect(200);
        assert_eq!(
            answer.header("cache-status"),
            Some("pollcast; fwd=bypass; detail=credentials"),
            "{headers:?}"
        );
    }
    assert_eq!(stand.legacy.count("/prices/A"), 3);
    // A cookie that says nothing about identity shares.
    let answer = http.get("/prices/A", &[("cookie", "_ga=1; AWSALB=2")]).await.expect(200);
    assert_eq!(cache_status(&answer), "pollcast; fwd=miss");
}

#[tokio::test]
async fn a_class_is_private_and_never_meets_another() {
    let stand = stand("poll: {interval: 1h}, share: {by: [authorization]}");
    stand.legacy.answer_with("/prices/A", |seen| {
        Reply::json(format!("{{\"for\":\"{}\"}}", seen.header("authorization").unwrap_or("nobody")))
    });
    let mut http = stand.http().await;
    for user in ["a", "b", "a", "b"] {
        let answer = http.get("/prices/A", &[("authorization", user)]).await.expect(200);
        assert_eq!(answer.text(), format!("{{\"for\":\"{user}\"}}"));
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        assert!(answer.names("vary", "authorization"), "{answer:?}");
    }
    assert_eq!(stand.legacy.count("/prices/A"), 2);
}

#[tokio::test]
async fn what_the_upstream_varies_by_is_told_and_kept_apart() {
    let stand = stand(ONCE);
    stand.legacy.answer_with("/prices/A", |seen| {
        let language = seen.header("accept-language").unwrap_or("none");
        Reply::json(format!("{{\"in\":\"{language}\"}}")).header("vary", "Accept-Language")
    });
    let mut http = stand.http().await;
    for language in ["de", "en", "de"] {
        let answer = http.get("/prices/A", &[("accept-language", language)]).await.expect(200);
        assert_eq!(answer.text(), format!("{{\"in\":\"{language}\"}}"));
        assert!(answer.names("vary", "accept-language"), "{answer:?}");
    }
    let plain = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(plain.text(), "{\"in\":\"none\"}");
    assert!(plain.names("vary", "accept-language"), "{plain:?}");
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
