//! Contract §3: fields of CORS, those of the API and those of the route.

use super::cache_status;
use crate::contract::{ONCE, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

/// Answers CORS only if it is asked with Origin, and says no Vary.
fn cors_if_asked(seen: &crate::support::legacy::Seen) -> Reply {
    match seen.header("origin") {
        Some(origin) => Reply::json("{}")
            .header("access-control-allow-origin", origin)
            .header("access-control-expose-headers", "X-Total")
            .header("access-control-allow-credentials", "true"),
        None => Reply::json("{}"),
    }
}

#[tokio::test]
async fn cors_of_an_api_that_answers_it_only_when_asked_reaches_each_origin() {
    let stand = Stand::start("poll: {interval: 1h}");
    stand.legacy.answer_with("/prices/A", cors_if_asked);
    for origin in ["https://a.test", "https://b.test", "null"] {
        for _ in 0..2 {
            let answer = stand.http().await.get("/prices/A", &[("origin", origin)]).await.expect(200);
            assert!(!cache_status(&answer).contains("bypass"), "{answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.header("access-control-expose-headers"), Some("X-Total"));
            assert!(answer.names("vary", "origin"), "{answer:?}");
            let condition = [("origin", origin), ("if-none-match", answer.etag())];
            let same = stand.http().await.get("/prices/A", &condition).await.expect(304);
            assert_eq!(same.header("access-control-allow-origin"), Some(origin));
            let held = [&condition[..], &[("prefer", "wait=1")]].concat();
            let held = stand.http().await.get("/prices/A", &held).await.expect(304);
            assert_eq!(held.header("access-control-allow-origin"), Some(origin));
        }
        let sse = Sse::open(stand.address(), "/prices/A", &[("origin", origin)]).await;
        assert_eq!(sse.head.header("access-control-allow-origin"), Some(origin));
        assert_eq!(sse.head.header("access-control-allow-credentials"), Some("true"));
    }
    let none = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(none.header("access-control-allow-origin"), None);
    // A page of the API's own host is as one without an origin.
    let host = stand.address().to_string();
    let own = [("host", host.as_str()), ("origin", &*format!("http://{host}"))];
    let own = stand.http().await.get("/prices/A", &own).await.expect(200);
    assert!(cache_status(&own).contains("hit"), "{own:?}");
    let polls = stand.legacy.seen("/prices/A");
    let asked: std::collections::BTreeSet<Option<&str>> =
        polls.iter().map(|seen| seen.header("origin")).collect();
    assert_eq!(asked.len(), 4, "one for each origin, and one without: {asked:?}");
    assert_eq!(polls.len(), 4);
}

#[tokio::test]
async fn what_all_origins_may_read_is_polled_for_all_of_them_together() {
    let stand = Stand::start("poll: {interval: 1h}");
    let open = || Reply::json("{}").header("access-control-allow-origin", "*");
    stand.legacy.answer_with("/prices/A", move |seen| match seen.header("origin") {
        Some(_) => open(),
        None => Reply::json("{}"),
    });
    for origin in ["https://a.test", "https://b.test", "https://c.test"] {
        let answer = stand.http().await.get("/prices/A", &[("origin", origin)]).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(stand.legacy.count("/prices/A"), 1);
    // With and without an origin alike: all together.
    stand.legacy.set("/prices/B", open());
    let mut http = stand.http().await;
    for headers in [&[][..], &[("origin", "https://a.test")], &[("origin", "https://b.test")]] {
        let answer = http.get("/prices/B", headers).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(stand.legacy.count("/prices/B"), 1);
}

#[tokio::test]
async fn refusals_and_relays_carry_the_cors_of_the_api() {
    let stand = Stand::start("poll: {interval: 1h}, transports: [poll, long_poll]");
    stand.legacy.answer_with("/prices/A", cors_if_asked);
    stand.legacy.answer_with("/prices/B", |seen| cors_if_asked(seen).status(404));
    let origin = ("origin", "https://a.test");
    let mut http = stand.http().await;
    http.get("/prices/A", &[origin]).await.expect(200);
    let refused = http.get("/prices/A", &[origin, ("accept", "text/event-stream")]).await.expect(406);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://a.test"));
    let gone = http.get("/prices/B", &[origin]).await.expect(404);
    assert_eq!(gone.header("access-control-allow-origin"), Some("https://a.test"));
}

#[tokio::test]
async fn with_cors_of_the_route_origins_share_a_poll() {
    let stand = Stand::start("poll: {interval: 1h}, cors: {origins: ['https://a.test', 'https://b.test']}");
    stand.legacy.answer_with("/prices/A", cors_if_asked);
    for origin in ["https://a.test", "https://b.test"] {
        let answer = stand.http().await.get("/prices/A", &[("origin", origin)]).await.expect(200);
        assert_eq!(answer.headers("access-control-allow-origin"), [origin]);
        assert_eq!(answer.header("access-control-allow-credentials"), None, "the upstream's is not ours");
    }
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn what_passes_through_has_our_version_its_own_words_and_no_trailer() {
    let stand = Stand::start(ONCE);
    let old = "HTTP/1.0 404 No Such Thing\r\nContent-Length: 2\r\n\r\nno";
    stand.legacy.set("/plain", Reply::raw(old));
    let answer = stand.http().await.get("/plain", &[]).await.expect(404);
    assert_eq!((answer.version, answer.reason.as_str(), answer.text().as_str()), (1, "No Such Thing", "no"));
    let trailed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";
    stand.legacy.set("/trailed", Reply::raw(trailed));
    let answer = stand.http().await.get("/trailed", &[]).await.expect(200);
    assert_eq!((answer.header("trailer"), answer.text().as_str()), (None, "ok"));
}
