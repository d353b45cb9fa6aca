//! Contract §9: a write that passes through is followed by a poll, and nothing older than it is said
//! to be current. The interval is an hour: only a write can be the cause of a poll.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::contract::{ONCE, Stand};
use crate::support::client::{Http, Sse, Ws};
use crate::support::legacy::{Gate, Reply};

const A: &str = r#"{"price":1}"#;
const B: &str = r#"{"price":2}"#;
const UNCONFIRMED: &str = "pollcast; fwd=stale; detail=unconfirmed";

fn stand(route: &str) -> Stand {
    let stand = Stand::start(&format!("{ONCE}, {route}"));
    stand.legacy.set("/prices/A", Reply::json(A));
    stand
}

async fn follow(stand: &Stand, path: &str, body: &str) -> Sse {
    let mut sse = Sse::open(stand.address(), path, &[]).await;
    assert_eq!(sse.next_event().await.data, body);
    sse
}

/// `path` is A before a request that is no GET, and B from then on; `write` is the answer to it.
fn changes_by_write(stand: &Stand, path: &str, write: Reply) {
    let written = Arc::new(Mutex::new(false));
    stand.legacy.answer_with(path, move |seen| {
        let mut written = written.lock();
        if seen.method != "GET" {
            *written = true;
            return write.clone();
        }
        Reply::json(if *written { B } else { A }).with_etag()
    });
}

async fn post(http: &mut Http, path: &str, status: u16) {
    http.request("POST", path, &[], b"x").await.expect(status);
}

#[tokio::test]
async fn a_write_reaches_a_follower_and_a_get_after_it() {
    let stand = stand("share: public");
    changes_by_write(&stand, "/prices/A", Reply::empty(204));
    let mut sse = follow(&stand, "/prices/A", A).await;
    let mut http = stand.http().await;
    let before = http.get("/prices/A", &[]).await.expect(200).etag().to_owned();
    post(&mut http, "/prices/A", 204).await;
    // The old tag is not confirmed any more.
    let answer = http.get("/prices/A", &[("if-none-match", &before)]).await.expect(200);
    assert_eq!(answer.text(), B);
    assert_eq!(sse.next_event().await.data, B);
    let polls = stand.legacy.seen("/prices/A");
    let last = polls.last().expect("a poll");
    assert_eq!(last.header("cache-control"), Some("no-cache"));
    assert_eq!(polls.len(), 3, "two polls and the write");
    assert_eq!(stand.metric("pollcast_touches_total", "write").await, 1.0);
    assert_eq!(stand.metric("pollcast_repolls_total", "").await, 1.0);
}

#[tokio::test]
async fn a_lagging_replica_is_asked_again_and_a_get_waits_for_it_once_that_was_seen() {
    let stand = stand("share: public, write_wait: 30s");
    // Two polls after a write do not know of it yet.
    let state = Arc::new(Mutex::new((0_u32, 0_u32)));
    stand.legacy.answer_with("/prices/A", move |seen| {
        let mut state = state.lock();
        let (writes, polls) = &mut *state;
        if seen.method == "POST" {
            (*writes, *polls) = (*writes + 1, 0);
            return Reply::empty(204);
        }
        *polls += 1;
        let known = if *polls > 2 { *writes } else { writes.saturating_sub(1) };
        Reply::json(format!(r#"{{"price":{known}}}"#)).with_etag()
    });
    let mut sse = follow(&stand, "/prices/A", r#"{"price":0}"#).await;
    let mut http = stand.http().await;
    post(&mut http, "/prices/A", 204).await;
    assert_eq!(sse.next_event().await.data, r#"{"price":1}"#);
    post(&mut http, "/prices/A", 204).await;
    let answer = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(answer.text(), r#"{"price":2}"#, "{answer:?}");
    assert_eq!(sse.next_event().await.data, r#"{"price":2}"#);
    assert_eq!(stand.legacy.max_in_flight("/prices/A"), 1);
}

#[tokio::test]
async fn a_get_after_a_write_without_effect_waits_for_one_poll_alone() {
    let stand = stand("share: public, write_wait: 30s");
    let mut sse = follow(&stand, "/prices/A", A).await;
    let mut http = stand.http().await;
    stand.legacy.once("/prices/A", Reply::empty(204));
    stand.legacy.once("/prices/A", Reply::json(A));
    // A reader that waits for a repeat waits for ever.
    stand.legacy.set("/prices/A", Reply::silence());
    post(&mut http, "/prices/A", 204).await;
    let answer = http.get("/prices/A", &[]).await.expect(200);
    assert_ne!(answer.header("cache-status"), Some(UNCONFIRMED), "{answer:?}");
    stand.legacy.wait_count("/prices/A", 4).await;
    let answer = http.get("/prices/A", &[]).await.expect(200);
    assert_ne!(answer.header("cache-status"), Some(UNCONFIRMED), "{answer:?}");
    sse.expect_no_event(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn what_is_written_all_the_time_is_unconfirmed_at_once() {
    let stand = stand("share: public, write_wait: 30s");
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    for _ in 0..6 {
        stand.legacy.once("/prices/A", Reply::empty(204));
        post(&mut http, "/prices/A", 204).await;
    }
    stand.legacy.set("/prices/A", Reply::silence());
    let answer = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.header("cache-status")), (A, Some(UNCONFIRMED)));
}

#[tokio::test]
async fn a_poll_that_started_before_the_write_does_not_confirm() {
    let stand = stand("share: public");
    let gate = Gate::closed();
    stand.legacy.once("/prices/A", Reply::json(A).behind(&gate));
    let address = stand.address();
    let opening = tokio::spawn(async move { Sse::open(address, "/prices/A", &[]).await });
    stand.legacy.wait_in_flight("/prices/A", 1).await;
    stand.legacy.once("/prices/A", Reply::empty(204));
    let mut http = stand.http().await;
    post(&mut http, "/prices/A", 204).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    gate.open();
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), B);
    let mut sse = opening.await.expect("a stream");
    let first = sse.next_event().await.data;
    if first != B {
        assert_eq!(sse.next_event().await.data, B);
    }
}

#[tokio::test]
async fn a_failed_write_and_a_safe_request_touch_nothing() {
    let stand = stand("share: public");
    let _sse = follow(&stand, "/prices/A", A).await;
    let mut http = stand.http().await;
    for status in [400, 409, 500] {
        stand.legacy.once("/prices/A", Reply::empty(status));
        post(&mut http, "/prices/A", status).await;
    }
    stand.legacy.once("/prices/A", Reply::empty(204));
    http.request("OPTIONS", "/prices/A", &[], b"").await.expect(204);
    let answer = http.get("/prices/A", &[]).await.expect(200);
    assert!(answer.header("cache-status").is_some_and(|s| s.starts_with("pollcast; hit")), "{answer:?}");
    assert_eq!(stand.metric("pollcast_touches_total", "").await, 0.0);
}

#[tokio::test]
async fn the_resource_named_by_content_location_is_touched() {
    let stand = stand("share: public");
    let mut sse = follow(&stand, "/prices/A", A).await;
    let mut http = stand.http().await;
    for (location, is_own) in [("http://elsewhere.test/prices/A", false), ("../prices/A?x=1", true)] {
        stand.legacy.set("/drafts/1", Reply::empty(200).header("Content-Location", location));
        stand.legacy.set("/prices/A", Reply::json(B));
        http.request("PUT", "/drafts/1", &[], b"x").await.expect(200);
        assert_eq!(stand.metric("pollcast_touches_total", "write").await, f64::from(u8::from(is_own)));
    }
    assert_eq!(sse.next_event().await.data, B);
}

#[tokio::test]
async fn refreshes_bind_the_parameters_they_share() {
    let more = "routes: [{path: '/rooms/{room}/say', upstream: legacy, share: public, poll: {interval: 1h}, \
                refreshes: ['/rooms/{room}/log', '/prices/{any}']}, \
                {path: '/rooms/{id}/log', upstream: legacy, share: public, poll: {interval: 1h}}, \
                {path: '/prices/{symbol}', upstream: legacy, share: public, poll: {interval: 1h}}]";
    let legacy = crate::support::legacy::Legacy::start();
    let yaml = crate::contract::config(&legacy, "", "");
    let head: Vec<&str> = yaml.lines().filter(|line| !line.starts_with("routes:")).collect();
    let app = crate::support::app::start(&format!("{}\n{more}\n", head.join("\n")));
    let stand = Stand { legacy, app };
    let paths = ["/rooms/1/log", "/rooms/2/log", "/prices/A", "/prices/B"];
    let mut streams = Vec::new();
    for path in paths {
        stand.legacy.set(path, Reply::json(A));
        streams.push(follow(&stand, path, A).await);
        stand.legacy.set(path, Reply::json(B));
    }
    stand.legacy.set("/rooms/1/say", Reply::empty(201));
    post(&mut stand.http().await, "/rooms/1/say", 201).await;
    for (path, sse) in paths.iter().zip(&mut streams) {
        if *path == "/rooms/2/log" {
            sse.expect_no_event(Duration::from_millis(200)).await;
        } else {
            assert_eq!(sse.next_event().await.data, B, "{path}");
        }
    }
    assert_eq!(stand.metric("pollcast_touches_total", "refresh").await, 3.0);
}

#[tokio::test]
async fn every_class_and_every_query_is_touched() {
    let stand = stand("share: {by: [x-user]}");
    let written = Arc::new(Mutex::new(false));
    for path in ["/prices/A", "/prices/A?x=1"] {
        let written = written.clone();
        stand.legacy.answer_with(path, move |seen| {
            *written.lock() |= seen.method == "POST";
            match (seen.method.as_str(), *written.lock()) {
                ("POST", _) => Reply::empty(204),
                (_, written) => Reply::json(if written { B } else { A }),
            }
        });
    }
    let mut streams = Vec::new();
    for user in ["ann", "bob"] {
        let mut sse = Sse::open(stand.address(), "/prices/A", &[("x-user", user)]).await;
        assert_eq!(sse.next_event().await.data, A);
        streams.push(sse);
    }
    streams.push(follow(&stand, "/prices/A?x=1", A).await);
    let mut http = stand.http().await;
    post(&mut http, "/prices/A", 204).await;
    assert_eq!(stand.metric("pollcast_touches_total", "write").await, 3.0);
    for mut sse in streams {
        assert_eq!(sse.next_event().await.data, B);
    }
}

#[tokio::test]
async fn an_operator_says_that_a_write_was_made_elsewhere() {
    let stand = stand("share: public");
    let mut sse = follow(&stand, "/prices/A", A).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    let mut admin = Http::connect(stand.app.admin_address().expect("the admin listener")).await;
    let url = format!("/-/poll?url=http%3A%2F%2F{}%2Fprices%2FA%3Fx=1", stand.address());
    let answer = admin.request("POST", &url, &[], b"").await.expect(200);
    assert_eq!(answer.json(), serde_json::json!({"touched": 1}));
    assert_eq!(sse.next_event().await.data, B);
    stand.legacy.set("/prices/A", Reply::json(A));
    admin.request("POST", "/-/poll?url=/prices/A", &[], b"").await.expect(200);
    assert_eq!(sse.next_event().await.data, A);
    for (method, target, status) in [
        ("POST", "/-/poll?url=/prices/Z", 404),
        ("POST", "/-/poll?url=http://elsewhere.test/prices/A", 404),
        ("POST", "/-/poll?url=prices", 400),
        ("POST", "/-/poll", 400),
        ("GET", "/-/poll?url=/prices/A", 405),
        ("POST", "/metrics", 405),
    ] {
        admin.request(method, target, &[], b"").await.expect(status);
    }
    assert_eq!(stand.metric("pollcast_touches_total", "admin").await, 2.0);
}

#[tokio::test]
async fn an_answer_says_that_it_is_unconfirmed_when_the_upstream_hangs() {
    let stand = stand("share: public, write_wait: 200ms");
    let mut http = stand.http().await;
    let tag = http.get("/prices/A", &[]).await.expect(200).etag().to_owned();
    stand.legacy.once("/prices/A", Reply::empty(204));
    post(&mut http, "/prices/A", 204).await;
    stand.legacy.set("/prices/A", Reply::silence());
    let began = Instant::now();
    let answer = http.get("/prices/A", &[]).await.expect(200);
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!((answer.text().as_str(), answer.header("cache-status")), (A, Some(UNCONFIRMED)));
    let answer = http.get("/prices/A", &[("if-none-match", &tag)]).await.expect(304);
    assert_eq!(answer.header("cache-status"), Some(UNCONFIRMED));
    let answer = http.get("/prices/A", &[("cache-control", "only-if-cached")]).await;
    answer.expect(504);
    assert_eq!(stand.metric("pollcast_unconfirmed_answers_total", "").await, 2.0);
}

#[tokio::test]
async fn what_no_client_follows_is_not_polled_for_a_write() {
    let stand = stand("share: public");
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    stand.legacy.once("/prices/A", Reply::empty(204));
    post(&mut http, "/prices/A", 204).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stand.legacy.count("/prices/A"), 2, "the first poll and the write");
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), B);
}

#[tokio::test]
async fn a_message_of_a_websocket_is_a_write() {
    let stand = stand("share: public, websocket: {send: {method: POST, path: '/orders/{symbol}'}}");
    stand.legacy.set("/orders/A", Reply::empty(202));
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(ws.next_text().await, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    ws.send_text("buy").await;
    assert_eq!(ws.next_text().await, B);
    assert_eq!(stand.metric("pollcast_touches_total", "send").await, 1.0);
}
