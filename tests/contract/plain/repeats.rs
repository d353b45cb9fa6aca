//! Requests that repeat the last one of their connection are answered without Pingora: no client can tell,
//! but for the time it takes.

use std::time::Duration;

use crate::contract::{FAST, ONCE, Stand, TlsStand};
use crate::support::client::{Http, Response, connect};
use crate::support::legacy::Reply;

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    stand.legacy.set("/prices/A", Reply::json("{\"n\":0}").header("x-total", "7"));
    stand.legacy.set("/prices/B", Reply::json("{\"b\":1}"));
    stand
}

/// Asks until the connection lives in a shard.
async fn settled(stand: &Stand, path: &str, headers: &[(&str, &str)]) -> (Http, Response) {
    let mut http = Http::connect(stand.address()).await;
    let first = http.get(path, headers).await;
    for _ in 0..2 {
        http.get(path, headers).await;
    }
    (http, first)
}

async fn in_shards(stand: &Stand) -> f64 {
    stand.metric("pollcast_subscribers", "transport=\"poll\"").await
}

/// An answer without what changes from second to second.
fn lasting(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let moving = ["age", "date", "cache-status", "connection"];
    let mut fields: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !moving.contains(&name.as_str()))
        .collect();
    fields.sort();
    (response.status, fields, response.text())
}

#[tokio::test]
async fn a_held_poll_that_was_answered_at_once_again_and_again_is_held_when_there_is_nothing_new() {
    let stand = stand(ONCE);
    let wait = ("prefer", "wait=2");
    let (mut http, first) = settled(&stand, "/prices/A", &[wait]).await;
    let began = std::time::Instant::now();
    http.get("/prices/A", &[wait, ("if-none-match", first.etag())]).await.expect(304);
    assert!(began.elapsed() > Duration::from_millis(1_800), "held for {:?}", began.elapsed());
}

/// Of a connection that comes back at once, three times in a row, one request would try the API's own pace.
async fn unhurried() {
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
}

#[tokio::test]
async fn what_repeats_is_answered_as_before_and_what_does_not_too() {
    let stand = stand(ONCE);
    let (mut http, first) = settled(&stand, "/prices/A", &[]).await;
    assert_eq!(in_shards(&stand).await, 1.0);
    let third = http.get("/prices/A", &[]).await;
    assert_eq!(lasting(&third), lasting(&first));
    assert!(third.header("cache-status").is_some_and(|status| status.starts_with("pollcast; hit; ttl=")));
    unhurried().await;
    let same = http.get("/prices/A", &[("if-none-match", first.etag())]).await.expect(304);
    assert_eq!(same.header("etag"), first.header("etag"));
    http.get("/prices/A", &[("if-none-match", "\"other\"")]).await.expect(200);
    assert_eq!(in_shards(&stand).await, 1.0);
    unhurried().await;
    // Another request is Pingora's again, whatever it is.
    assert_eq!(http.get("/prices/B", &[]).await.expect(200).text(), "{\"b\":1}");
    assert_eq!(in_shards(&stand).await, 0.0);
    assert_eq!(http.get("/prices/A", &[("accept", "text/plain")]).await.expect(200).text(), "{\"n\":0}");
    assert_eq!(http.get("/elsewhere", &[]).await.status, 404);
    assert_eq!(lasting(&http.get("/prices/A", &[]).await), lasting(&first));
    assert_eq!(stand.legacy.count("/prices/A"), 2, "one poll, and one that passed through");
}

#[tokio::test]
async fn a_repeat_that_names_a_state_from_elsewhere_is_confirmed_first() {
    let stand = stand("poll: {interval: 1s}");
    let (mut http, first) = settled(&stand, "/prices/A", &[]).await;
    assert_eq!(in_shards(&stand).await, 1.0);
    stand.legacy.set("/prices/A", Reply::json("{\"n\":1}"));
    unhurried().await;
    let known = http.get("/prices/A", &[("if-none-match", first.etag())]).await;
    assert_eq!(known.status, 304, "the state is young: {known:?}");
    unhurried().await;
    // A client that has seen something newer elsewhere is not sent back in time.
    let unknown = [("if-none-match", "\"AAAAAAAAAAAAAAAAAAAAAA\"")];
    assert_eq!(http.get("/prices/A", &unknown).await.expect(200).text(), "{\"n\":1}");
}

#[tokio::test]
async fn a_connection_that_asks_this_and_that_stays_where_it_is() {
    let stand = stand(ONCE);
    let mut http = Http::connect(stand.address()).await;
    for _ in 0..5 {
        http.get("/prices/A", &[]).await.expect(200);
        http.get("/prices/B", &[]).await.expect(200);
    }
    assert_eq!(in_shards(&stand).await, 0.0);
}

#[tokio::test]
async fn each_of_many_connections_stays_from_its_second_request_on() {
    const CONNECTIONS: usize = 1_500;
    let stand = stand(ONCE);
    stand.http().await.get("/prices/A", &[]).await.expect(200);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut http = Http::connect(stand.address()).await;
        http.get("/prices/A", &[]).await.expect(200);
        clients.push(http);
    }
    assert_eq!(in_shards(&stand).await, 0.0);
    for http in &mut clients {
        http.get("/prices/A", &[]).await.expect(200);
    }
    assert_eq!(in_shards(&stand).await, CONNECTIONS as f64);
}

#[tokio::test]
async fn requests_behind_each_other_are_answered_in_order() {
    let stand = stand(ONCE);
    let (mut http, _) = settled(&stand, "/prices/A", &[]).await;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", stand.address());
    // Of the very form that `Http` sends, so that it repeats.
    let mut order = vec!["/prices/A"; 40];
    order[25] = "/prices/B";
    let all: String = order.iter().map(|path| ask(path)).collect();
    let (head, rest) = all.as_bytes().split_at(30);
    http.send_raw(head).await;
    http.send_raw(rest).await;
    for path in order {
        let wanted = if path == "/prices/A" { "{\"n\":0}" } else { "{\"b\":1}" };
        assert_eq!(http.read_response().await.expect(200).text(), wanted);
    }
}

#[tokio::test]
async fn a_new_state_and_a_write_are_seen_at_once() {
    let stand = stand(FAST);
    let mut sse = crate::support::sse::Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    let (mut http, _) = settled(&stand, "/prices/A", &[]).await;
    stand.legacy.set("/prices/A", Reply::json("{\"n\":1}"));
    assert_eq!(sse.next_event().await.data, "{\"n\":1}");
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), "{\"n\":1}");

    let written = Stand::start(ONCE);
    written.legacy.set("/prices/A", Reply::json("{\"n\":0}"));
    let (mut http, _) = settled(&written, "/prices/A", &[]).await;
    assert_eq!(in_shards(&written).await, 1.0);
    written.legacy.set("/prices/A", Reply::json("{\"n\":2}"));
    written.http().await.request("POST", "/prices/A", &[], b"").await.expect(200);
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), "{\"n\":2}");
}

#[tokio::test]
async fn a_held_poll_is_held_again_and_again() {
    let stand = stand(FAST);
    let mut http = Http::connect(stand.address()).await;
    let mut etag = http.get("/prices/A", &[]).await.etag().to_owned();
    for n in 1..6 {
        http.send("GET", "/prices/A", &[("prefer", "wait=30"), ("if-none-match", &etag)], b"").await;
        stand.metric_becomes("pollcast_subscribers", "transport=\"long_poll\"", 1.0).await;
        stand.legacy.set("/prices/A", Reply::json(format!("{{\"n\":{n}}}")));
        let answer = http.read_response().await.expect(200);
        assert_eq!(answer.text(), format!("{{\"n\":{n}}}"));
        assert_eq!(answer.header("preference-applied"), Some("wait=30"));
        etag = answer.etag().to_owned();
        stand.metric_becomes("pollcast_subscribers", "transport=\"long_poll\"", 0.0).await;
    }
    // Pingora has seen the first one only.
    assert_eq!(stand.metric("pollcast_requests_total", "answer=\"long_poll\"").await, 1.0);
    assert_eq!(stand.metric("pollcast_ends_total", "reason=\"answered\"").await, 5.0);
    // What it has is older: at once the newest.
    stand.legacy.set("/prices/A", Reply::json("{\"n\":6}"));
    let mut other = crate::support::sse::Sse::open(stand.address(), "/prices/A", &[]).await;
    while other.next_event().await.data != "{\"n\":6}" {}
    let newest = http.get("/prices/A", &[("prefer", "wait=30"), ("if-none-match", &etag)]).await.expect(200);
    assert_eq!(newest.text(), "{\"n\":6}");
    // An unknown version is Pingora's: it is confirmed first.
    let strange = [("prefer", "wait=30"), ("if-none-match", "\"AAAAAAAAAAAAAAAAAAAAAA\"")];
    assert_eq!(http.get("/prices/A", &strange).await.expect(200).text(), "{\"n\":6}");
    assert_eq!(http.get("/prices/B", &[]).await.expect(200).text(), "{\"b\":1}");
}

#[tokio::test]
async fn a_drain_says_nothing_to_a_client_that_has_asked_for_nothing() {
    let stand = stand(FAST);
    let (mut plain, first) = settled(&stand, "/prices/A", &[]).await;
    let mut held = Http::connect(stand.address()).await;
    let wait = [("prefer", "wait=1"), ("if-none-match", first.etag())];
    held.get("/prices/A", &wait).await.expect(304);
    let drained = stand.app.drain();
    let ends = async {
        plain.expect_eof().await;
        held.expect_eof().await;
    };
    tokio::join!(drained, ends);
}

#[tokio::test]
async fn what_is_one_users_is_decided_anew_each_time() {
    let stand = stand(&format!("{ONCE}, share: {{by: [authorization]}}"));
    let (mut http, _) = settled(&stand, "/prices/A", &[("authorization", "Bearer a")]).await;
    assert_eq!(in_shards(&stand).await, 0.0);
    http.get("/prices/A", &[("authorization", "Bearer b")]).await.expect(200);
    assert_eq!(stand.legacy.count("/prices/A"), 2);
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let tls = TlsStand::with(ONCE, "");
    tls.stand.legacy.set("/prices/A", Reply::json("{\"n\":0}"));
    let mut http = Http::over(tls.connect(&[]).await, "localhost");
    for _ in 0..3 {
        assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), "{\"n\":0}");
    }
    assert_eq!(in_shards(&tls.stand).await, 1.0);
    assert_eq!(http.get("/elsewhere", &[]).await.status, 404);
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), "{\"n\":0}");
}

#[tokio::test]
async fn half_a_request_waits_for_its_rest() {
    let stand = stand(ONCE);
    let (http, _) = settled(&stand, "/prices/A", &[]).await;
    drop(http);
    let mut http = Http::over(connect(stand.address()).await, &stand.address().to_string());
    for _ in 0..3 {
        http.get("/prices/A", &[]).await.expect(200);
    }
    let text = format!("GET /prices/A HTTP/1.1\r\nHost: {}\r\n\r\n", stand.address());
    for piece in text.as_bytes().chunks(7) {
        http.send_raw(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(http.read_response_within(Duration::from_secs(5)).await.expect(200).text(), "{\"n\":0}");
}

/// The names that tracing gives each request differ, and mean nothing unless the route names them.
#[tokio::test]
async fn what_differs_in_its_trace_alone_repeats_where_nothing_reads_that() {
    let ask = async |http: &mut Http, n: usize| {
        let (trace, id) = (format!("00-{n:032x}-{n:016x}-01"), format!("request {n}"));
        http.get("/prices/A", &[("traceparent", &trace), ("x-request-id", &id)]).await.expect(200)
    };
    for (route, stays) in [(ONCE.to_owned(), true), (format!("{ONCE}, vary: [x-request-id]"), false)] {
        let stand = stand(&route);
        // The first answer of a resource is a poll's.
        stand.http().await.get("/prices/A", &[]).await.expect(200);
        let mut http = Http::connect(stand.address()).await;
        let first = ask(&mut http, 1).await;
        for n in 2..6 {
            unhurried().await;
            assert_eq!(lasting(&ask(&mut http, n).await), lasting(&first));
            assert_eq!(in_shards(&stand).await, f64::from(stays), "{route}, request {n}");
        }
    }
}

#[tokio::test]
async fn a_state_of_another_form_is_not_given_to_a_client_that_wants_the_old_one() {
    let stand = stand(FAST);
    let form =
        |form: &str, n: u32| Reply::new(&format!("application/json;odata={form}"), format!("{{\"n\":{n}}}"));
    stand.legacy.set("/prices/A", form("minimal", 0));
    let wants = [("accept", "application/json;odata=minimal")];
    let mut sse = crate::support::sse::Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    let (mut http, first) = settled(&stand, "/prices/A", &wants).await;
    assert!(first.header("cache-status").is_some_and(|status| status.contains("hit")), "{first:?}");
    stand.metric_becomes("pollcast_subscribers", "transport=\"poll\"", 1.0).await;
    stand.legacy.set("/prices/A", form("verbose", 1));
    while sse.next_event().await.data != "{\"n\":1}" {}
    // Only the API knows whether it has the other form, too.
    let answer = http.get("/prices/A", &wants).await.expect(200);
    let status = answer.header("cache-status").unwrap_or_default();
    assert!(!status.contains("hit"), "{status}");
}

/// Whatever is sent, a connection in a shard answers as one in Pingora does: the same request, changed at
/// random, to both.
#[tokio::test]
async fn whatever_is_sent_both_answer_alike() {
    let stand = stand(ONCE);
    let etag = stand.http().await.get("/prices/A", &[]).await.etag().to_owned();
    let mut random = fastrand::Rng::with_seed(4);
    let base = [
        "GET /prices/A HTTP/1.1".to_owned(),
        format!("Host: {}", stand.address()),
        "Priority: u=1".to_owned(),
    ];
    let lines = [
        format!("If-None-Match: {etag}"),
        format!("if-none-match:W/{etag}"),
        "If-None-Match: \"x\", *".to_owned(),
        "If-None-Match: \"nobody\"".to_owned(),
        format!("If-None-Match: {}\u{e9}", etag),
        format!(" {etag}"),
        format!("If-None-Match : {etag}"),
        "If-Modified-Since: Sat, 21 Nov 2026 07:31:55 GMT".to_owned(),
        "Accept: text/plain".to_owned(),
        "Accept: application/json".to_owned(),
        "Cookie: a=b".to_owned(),
        "Range: bytes=0-1".to_owned(),
        "Prefer: wait=0".to_owned(),
        "Content-Length: 0".to_owned(),
        "Transfer-Encoding: identity".to_owned(),
        "Connection: close".to_owned(),
        "Cache-Control: only-if-cached".to_owned(),
        "X-A: b".to_owned(),
        "X-A:c".to_owned(),
        String::new(),
    ];
    let mut repeated = 0;
    for turn in 0..300 {
        let mut head: Vec<String> = base.to_vec();
        for _ in 0..random.usize(0..3) {
            let at = random.usize(1..=head.len());
            head.insert(at, lines[random.usize(..lines.len())].clone());
        }
        if random.u8(..) < 20 {
            head.remove(random.usize(1..head.len()));
        }
        if random.u8(..) < 20 {
            let at = random.usize(..head.len());
            head[at] = head[at].to_uppercase();
        }
        let text = head.join("\r\n") + "\r\n\r\n";
        let mut settled = Http::connect(stand.address()).await;
        let ask = base.join("\r\n") + "\r\n\r\n";
        for _ in 0..2 {
            settled.send_raw(ask.as_bytes()).await;
            settled.read_response().await.expect(200);
        }
        repeated += usize::from(in_shards(&stand).await >= 1.0);
        let mut fresh = Http::connect(stand.address()).await;
        settled.send_raw(text.as_bytes()).await;
        fresh.send_raw(text.as_bytes()).await;
        let (one, other) = (settled.read_response().await, fresh.read_response().await);
        assert_eq!(lasting(&one), lasting(&other), "{turn}: {text}");
    }
    assert!(repeated > 290, "only {repeated} were in a shard");
}
