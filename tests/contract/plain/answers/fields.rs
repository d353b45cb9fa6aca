//! Contract §3: the fields of an answer that a client gets.

use super::{SHARED, cache_status, polled_again};
use crate::contract::{FAST, ONCE, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

#[tokio::test]
async fn fields_that_may_be_credentials_reach_no_other_client() {
    let names = ["authorization", "x-auth-token", "X_Session", "x-xsrf-token", "client-secret"];
    let mut reply = Reply::json("{}").header("x-ratelimit-tokens", "5").header("x-next-page-token", "n");
    for name in names {
        reply = reply.header(name, "fresh");
    }
    let stand = Stand::start(
        "poll: {interval: 1h, auth: {bearer: hunter2}}, share: public, keep_fields: [x-next-page-token], \
         hosts: ['127.0.0.1']",
    );
    stand.legacy.set("/prices/A", reply.clone());
    stand.legacy.set("/prices/B", reply.clone().status(500));
    let mut http = stand.http().await;
    for (path, status) in [("/prices/A", 200), ("/prices/B", 500)] {
        let answer = http.get(path, &[]).await.expect(status);
        for name in names {
            assert_eq!(answer.header(name), None, "{path}: {name}");
        }
        assert_eq!(answer.header("x-next-page-token"), Some("n"), "{path}");
    }
    let unset = Stand::start("poll: {interval: 1h, auth: {bearer: hunter2}}, hosts: ['127.0.0.1']");
    unset.legacy.set("/prices/A", reply);
    let answer = unset.http().await.get("/prices/A", &[]).await.expect(200);
    assert!(cache_status(&answer).contains("bypass"), "one user's: {answer:?}");
}

#[tokio::test]
async fn vary_is_added_to() {
    let stand = Stand::start(SHARED);
    stand
        .legacy
        .set("/prices/A", Reply::json("{}").header("vary", "Cookie").header("vary", "accept, X-Own, *"));
    let mut http = stand.http().await;
    let vary = http.get("/prices/A", &[]).await.expect(200).headers("vary").join(", ");
    assert_eq!(vary, "Cookie, accept, X-Own, *, Prefer, Accept-Encoding");
}

#[tokio::test]
async fn a_304_says_what_the_200_would() {
    let stand = Stand::start(SHARED);
    let reply =
        Reply::json("{}").header("x-total-count", "7").header("refresh", "5").header("vary", "Cookie");
    stand.legacy.set(
        "/prices/A",
        reply.header("content-language", "de").last_modified("Sun, 06 Nov 1994 08:49:37 GMT"),
    );
    let mut http = stand.http().await;
    let whole = http.get("/prices/A", &[]).await.expect(200);
    let same = http.get("/prices/A", &[("if-none-match", whole.etag())]).await.expect(304);
    for (name, value) in &whole.headers {
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("content-") {
            assert_eq!(same.header(name), None, "{name}");
        } else if !["cache-status", "age", "date"].contains(&lower.as_str()) {
            assert_eq!(same.header(name), Some(value.as_str()), "{name}");
        }
    }
    // A held one too.
    let held =
        http.get("/prices/A", &[("if-none-match", whole.etag()), ("prefer", "wait=1")]).await.expect(304);
    assert_eq!(held.header("x-total-count"), Some("7"));
    assert_eq!(held.headers("vary"), whole.headers("vary"));
}

#[tokio::test]
async fn fields_that_change_alone_reach_plain_polls_and_no_stream() {
    for asks_validators in [true, false] {
        let stand = Stand::start(FAST);
        let reply = |count: &str| {
            let reply = Reply::json("{}").etag("\"same\"").header("x-total-count", count);
            if asks_validators { reply } else { reply.ignores_validators() }
        };
        stand.legacy.set("/prices/A", reply("7"));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        sse.next_event().await;
        let etag = stand.http().await.get("/prices/A", &[]).await.expect(200).etag().to_owned();
        stand.legacy.set("/prices/A", reply("8"));
        polled_again(&stand, "/prices/A").await;
        let whole = stand.http().await.get("/prices/A", &[]).await.expect(200);
        assert_eq!(whole.header("x-total-count"), Some("8"), "{asks_validators}");
        let same = stand.http().await.get("/prices/A", &[("if-none-match", &etag)]).await.expect(304);
        assert_eq!(same.header("x-total-count"), Some("8"), "{asks_validators}");
        sse.expect_no_event(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn no_transform_is_obeyed_and_passed_on() {
    let long = format!("\"{}\"", "x".repeat(2000));
    let stand = Stand::start(ONCE);
    stand
        .legacy
        .set("/prices/A", Reply::json(long.clone()).header("cache-control", "no-transform, max-age=5"));
    let mut http = stand.http().await;
    for _ in 0..3 {
        let answer = http.get("/prices/A", &[("accept-encoding", "gzip")]).await.expect(200);
        assert_eq!((answer.header("content-encoding"), answer.text()), (None, long.clone()));
        assert!(answer.names("cache-control", "no-transform") && answer.names("cache-control", "no-cache"));
    }
    let ruled = Stand::start("poll: {interval: 1h}, change: {ignore: [/at]}");
    let body = "{ \"at\": 1, \"b\": 2 }";
    ruled.legacy.set("/prices/A", Reply::json(body).header("cache-control", "no-transform"));
    for _ in 0..2 {
        let answer = ruled.http().await.get("/prices/A", &[]).await.expect(200);
        assert_eq!(answer.text(), body, "as it came");
    }
}

#[tokio::test]
async fn words_behind_a_status_are_kept() {
    let stand = Stand::start("poll: {interval: 1h}");
    let raw = "HTTP/1.1 404 No Such Price\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    stand.legacy.set("/prices/A", Reply::raw(raw));
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(404);
    assert_eq!((answer.reason.as_str(), answer.text().as_str()), ("No Such Price", "no"));
}
