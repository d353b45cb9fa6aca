//! Contract §3: what an answer of the API is, and what of it a client gets.

mod cors;
mod fields;
mod taken;

use crate::contract::{FAST, FAST_FAILING, Stand};
use crate::support::client::{Http, Response};
use crate::support::legacy::{Gate, Reply};
use crate::support::sse::Sse;

const SHARED: &str = "poll: {interval: 1h}, share: public";

fn cache_status(answer: &Response) -> &str {
    answer.header("cache-status").unwrap_or_default()
}

/// Waits until a poll has seen what is set now.
async fn polled_again(stand: &Stand, path: &str) {
    stand.legacy.wait_count(path, stand.legacy.count(path) + 2).await;
}

#[tokio::test]
async fn every_complete_2xx_but_206_is_data_with_its_status() {
    let stand = Stand::start(SHARED);
    let mut http = stand.http().await;
    for status in [200, 201, 202, 203, 207, 226, 299] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::json("{\"n\":1}").status(status).header("retry-after", "7"));
        for expected in ["fwd=miss", "hit"] {
            let answer = http.get(&path, &[]).await.expect(status);
            assert_eq!(answer.text(), "{\"n\":1}");
            assert!(cache_status(&answer).contains(expected), "{status}: {answer:?}");
            let waits = answer.header("retry-after");
            assert_eq!(waits, (status == 202).then_some("7"), "{status}");
        }
        assert_eq!(stand.legacy.count(&path), 1, "{status}");
        let mut sse = Sse::open(stand.address(), &path, &[]).await;
        assert_eq!(sse.next_event().await.data, "{\"n\":1}", "{status}");
    }
    stand.legacy.set("/prices/206", Reply::json("{\"n\":1}").status(206));
    let part = http.get("/prices/206", &[]).await.expect(206);
    assert!(!cache_status(&part).contains("hit") && part.text() == "{\"n\":1}", "{part:?}");
    for status in [204, 205] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::empty(status));
        assert!(http.get(&path, &[]).await.expect(status).text().is_empty());
    }
}

#[tokio::test]
async fn the_status_is_part_of_the_version() {
    let stand = Stand::start(FAST);
    let mut http = stand.http().await;
    stand.legacy.set("/prices/A", Reply::json("{}").status(202));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let pending = sse.next_event().await.id;
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let done = sse.next_event().await.id;
    assert_ne!(pending, done, "202 and 200 are two states");
    http.get("/prices/A", &[]).await.expect(200);
}

#[tokio::test]
async fn a_202_is_not_asked_about_before_its_retry_after() {
    let stand = Stand::start(FAST);
    stand.legacy.set("/prices/A", Reply::json("{}").status(202).header("retry-after", "1"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.wait_count("/prices/A", 2).await;
    let seen = stand.legacy.seen("/prices/A");
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= std::time::Duration::from_millis(950), "{waited:?}");
}

#[tokio::test]
async fn access_that_is_withdrawn_is_withdrawn_at_once() {
    for (status, passes) in
        [(301, false), (302, false), (400, false), (401, true), (403, true), (404, false), (410, false)]
    {
        let stand = Stand::start(FAST_FAILING);
        stand.legacy.set("/prices/A", Reply::json("{\"secret\":1}"));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        sse.next_event().await;
        stand.http().await.get("/prices/A", &[]).await.expect(200);
        let no =
            Reply::text("no").status(status).header("location", "/login").header("x-ratelimit-limit", "9");
        stand.legacy.set("/prices/A", no);
        polled_again(&stand, "/prices/A").await;
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(status);
        assert_eq!(answer.text(), "no", "{status}");
        assert_eq!(answer.header("location"), Some("/login"), "{status}");
        assert_eq!(answer.header("x-ratelimit-limit"), Some("9"), "{status}: all its fields");
        assert_eq!(cache_status(&answer).contains("fwd=bypass"), passes, "{status}: {answer:?}");
        let event = sse.next_event().await;
        assert_eq!(event.event, if matches!(status, 404 | 410) { "gone" } else { "stale" }, "{status}");
        // What was withdrawn does not come back because something else fails.
        stand.legacy.set("/prices/A", Reply::text("down").status(503));
        polled_again(&stand, "/prices/A").await;
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(503);
        assert_eq!(answer.text(), "down", "{status}");
    }
}

#[tokio::test]
async fn a_cold_failure_is_relayed_whole_once_for_all_and_remembered() {
    for reply in [
        Reply::text("broken").status(500).header("cache-control", "no-store"),
        Reply::text("busy").status(503).header("retry-after", "30").header("x-request-id", "7"),
        Reply::text("slow down").status(429).header("x-ratelimit-remaining", "0").etag("\"theirs\""),
        Reply::new("application/json", ")]}'\n{}").etag("\"theirs\"").header("x-total-count", "7"),
        Reply::new("application/json", ""),
    ] {
        let stand = Stand::start("poll: {interval: 1h}");
        let gate = Gate::closed();
        stand.legacy.set("/prices/A", reply.clone().behind(&gate));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let mut http = stand.http().await;
            clients.spawn(async move { http.get("/prices/A", &[]).await });
        }
        stand.legacy.wait_count("/prices/A", 1).await;
        gate.open();
        let mut answers = clients.join_all().await;
        answers.push(stand.http().await.get("/prices/A", &[]).await);
        stand.legacy.set("/prices/B", reply);
        let direct = Http::connect(stand.legacy.address()).await.get("/prices/B", &[]).await;
        for answer in answers {
            assert_eq!((answer.status, &answer.body), (direct.status, &direct.body));
            for (name, value) in &direct.headers {
                assert_eq!(answer.header(name), Some(value.as_str()), "{name}: {answer:?}");
            }
        }
        assert_eq!(stand.legacy.count("/prices/A"), 1);
    }
}

#[tokio::test]
async fn a_failure_that_begins_a_session_is_each_clients_own() {
    let stand = Stand::start("poll: {interval: 1h}");
    stand.legacy.set("/prices/A", Reply::text("broken").status(500).header("set-cookie", "id=1"));
    for _ in 0..2 {
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(500);
        assert_eq!(answer.header("set-cookie"), Some("id=1"));
        assert!(cache_status(&answer).contains("fwd=bypass"), "{answer:?}");
    }
}
