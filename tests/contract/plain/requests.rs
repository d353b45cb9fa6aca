//! Contract §3: which plain requests are the API's: under `plain: pass` all of them, and what passes through says so.

use std::time::Duration;

use crate::contract::{FAST, ONCE, Stand};
use crate::support::app;
use crate::support::client::{Http, Response, long_poll};
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;
use crate::support::ws::Ws;

const A: &str = r#"{"price":1}"#;
const B: &str = r#"{"price":2}"#;
const STREAM: (&str, &str) = ("accept", "text/event-stream");
const PRIVATE_KEYS: &str = "authenticate: {keys: {clients: {ann: 'a key of sixteen characters'}}}";
const ANNS_KEY: (&str, &str) = ("x-api-key", "a key of sixteen characters");

/// pollcast in front of a legacy API, with these routes.
fn stand(routes: &str) -> Stand {
    let legacy = Legacy::start();
    let text = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         routes: [{routes}]\n",
        legacy.address()
    );
    let app = app::start(&text);
    legacy.set("/api/x", Reply::json(A).etag("\"theirs\"").header("vary", "Cookie"));
    Stand { legacy, app }
}

/// One wide route.
fn wide(route: &str) -> Stand {
    stand(&format!("{{path: '/api/{{*rest}}', upstream: legacy, {route}}}"))
}

fn detail(answer: &Response) -> String {
    let all = answer.headers("cache-status");
    let last = all.last().unwrap_or_else(|| panic!("no Cache-Status: {answer:?}"));
    let detail = last.strip_prefix("pollcast; fwd=bypass; detail=");
    detail.unwrap_or_else(|| panic!("not passed through: {last}")).to_owned()
}

#[tokio::test]
async fn each_plain_request_of_a_wide_route_is_the_apis() {
    let stand = wide(FAST);
    let mut http = stand.http().await;
    for asked in 1..=3 {
        let answer = http.get("/api/x", &[]).await.expect(200);
        assert_eq!((answer.text().as_str(), answer.etag()), (A, "\"theirs\""));
        assert_eq!(answer.header("vary"), Some("Cookie"), "nobody follows it");
        assert_eq!(detail(&answer), "plain");
        assert_eq!(stand.legacy.count("/api/x"), asked);
    }
    let head = http.request("HEAD", "/api/x", &[("prefer", "wait=5")], b"").await.expect(200);
    assert_eq!(detail(&head), "plain");
    assert_eq!(stand.metric("pollcast_polls_total", "").await, 0.0);
    assert_eq!(stand.metric("pollcast_resources", "").await, 0.0);
    let counted = stand.metric("pollcast_requests_total", "reason=\"plain\"").await;
    assert!(counted >= 3.0, "{counted}");
}

#[tokio::test]
async fn a_plain_request_beside_a_stream_is_the_apis_too_and_says_what_chooses() {
    let stand = wide(ONCE);
    let mut sse = Sse::open(stand.address(), "/api/x", &[STREAM]).await;
    let version = sse.next_event().await.id.expect("a version");
    let polled = stand.legacy.count("/api/x");
    stand.legacy.set("/api/x", Reply::json(B).etag("\"newer\"").header("vary", "Cookie"));
    let mut http = stand.http().await;
    for asked in 1..=3 {
        let answer = http.get("/api/x", &[]).await.expect(200);
        assert_eq!((answer.text().as_str(), answer.etag()), (B, "\"newer\""), "the API's newest");
        assert_eq!(answer.header("vary"), Some("Cookie, Accept, Prefer"));
        assert_eq!(detail(&answer), "plain");
        assert_eq!(stand.legacy.count("/api/x"), polled + asked);
    }
    // A tag of ours is the API's own one by the time it gets there.
    http.get("/api/x", &[("if-none-match", &format!("\"{version}\""))]).await.expect(200);
    let seen = stand.legacy.seen("/api/x").pop().expect("it was asked");
    assert_eq!(seen.header("if-none-match"), Some("\"theirs\""));
    // What holds and what follows is served here.
    let held = long_poll(&mut http, "/api/x", None, Duration::from_secs(1)).await.expect(200);
    assert_eq!(held.etag(), format!("\"{version}\""));
}

#[tokio::test]
async fn plain_requests_of_a_narrow_route_are_shared_unless_it_says_otherwise() {
    let routes = "{path: /api/x, upstream: legacy, poll: {interval: 1h}}, \
                  {path: /api/y, upstream: legacy, poll: {interval: 1h}, plain: pass}, \
                  {path: '/api/{*rest}', upstream: legacy, poll: {interval: 1h}, plain: share}";
    let stand = stand(routes);
    stand.legacy.set("/api/y", Reply::json(A));
    stand.legacy.set("/api/z", Reply::json(A));
    let mut http = stand.http().await;
    for _ in 0..3 {
        for path in ["/api/x", "/api/y", "/api/z"] {
            assert_eq!(http.get(path, &[]).await.expect(200).text(), A);
        }
    }
    let counts = ["/api/x", "/api/y", "/api/z"].map(|path| stand.legacy.count(path));
    assert_eq!(counts, [1, 3, 1]);
}

#[tokio::test]
async fn switches_do_not_reach_the_api_and_other_queries_do_as_they_are() {
    let stand = wide(ONCE);
    let mut http = stand.http().await;
    for (asked, wanted) in [
        ("/api/x?b=2&a=%41&utm_x=1&_=17", "/api/x?b=2&a=%41&utm_x=1&_=17"),
        ("/api/x?_push=poll&a=1", "/api/x?a=1"),
        ("/api/x?_delta=json-patch", "/api/x"),
        ("/api/x?", "/api/x?"),
    ] {
        assert_eq!(detail(&http.get(asked, &[]).await.expect(200)), "plain");
        assert_eq!(stand.legacy.seen("/api/x").pop().expect("it was asked").target, wanted);
    }
}

#[tokio::test]
async fn what_else_passes_through_says_why() {
    let stand = wide("poll: {interval: 1h}, transports: [sse, long_poll, poll]");
    let mut http = stand.http().await;
    let passed = stand.legacy.seen("/api/x").len();
    let post = http.request("POST", "/api/x", &[], b"{}").await.expect(200);
    assert_eq!(post.header("cache-status"), None, "only of GET and HEAD");
    assert_eq!(stand.legacy.seen("/api/x").len(), passed + 1);
    stand.metric_becomes("pollcast_requests_total", "reason=\"method\"", 1.0).await;
    let with_body = http.request("GET", "/api/x", &[STREAM], b"{}").await.expect(200);
    assert_eq!(detail(&with_body), "body");
    stand.legacy.set("/other", Reply::json(A));
    assert_eq!(http.get("/other", &[]).await.header("cache-status"), None, "no route covers it");
    stand.metric_becomes("pollcast_requests_total", "reason=\"uncovered\"", 1.0).await;
    stand.legacy.set("/api/x", Reply::json(A).header("cache-status", "origin; hit"));
    let answer = http.get("/api/x", &[]).await;
    assert_eq!(answer.headers("cache-status"), ["origin; hit", "pollcast; fwd=bypass; detail=plain"]);
}

#[tokio::test]
async fn a_shared_route_says_why_it_passes_a_request_through() {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut http = stand.http().await;
    assert_eq!(detail(&http.get("/prices/A", &[("authorization", "Bearer x")]).await), "credentials");
    assert_eq!(detail(&http.get("/prices/A", &[("accept", "text/csv")]).await), "accept");
    stand.legacy.set("/prices/B", Reply::json(A).header("cache-control", "private"));
    let taken = http.get("/prices/B", &[]).await.expect(200);
    assert_eq!(taken.header("cache-status"), Some("pollcast; fwd=miss; detail=relayed"));
    assert_eq!(
        stand.legacy.count("/prices/B"),
        1,
        "what the poll took is given to the request that caused it"
    );
    assert_eq!(detail(&http.get("/prices/B", &[]).await), "not-shareable");
}

#[tokio::test]
async fn nothing_of_a_route_that_is_not_polled_is_polled_or_pushed() {
    let routes = "{path: '/api/{*rest}', upstream: legacy, poll: {interval: 100ms}}, \
                  {path: '/api/own/{*rest}', upstream: legacy, poll: off, cors: {origins: ['https://a.example']}}";
    let stand = stand(routes);
    stand.legacy.set("/api/own/x", Reply::new("text/event-stream", "data: theirs\n\n"));
    let mut http = stand.http().await;
    let plain = http.get("/api/own/x", &[("origin", "https://a.example")]).await.expect(200);
    assert_eq!(detail(&plain), "poll-off");
    assert_eq!(plain.header("access-control-allow-origin"), Some("https://a.example"));
    let stream = http.get("/api/own/x", &[STREAM]).await.expect(200);
    assert_eq!((detail(&stream).as_str(), stream.text().as_str()), ("poll-off", "data: theirs\n\n"));
    let held = long_poll(&mut http, "/api/own/x", Some("\"v\""), Duration::from_secs(9)).await.expect(200);
    assert_eq!(detail(&held), "poll-off");
    let seen = stand.legacy.seen("/api/own/x").pop().expect("it was asked");
    assert_eq!((seen.header("prefer"), seen.header("if-none-match")), (Some("wait=9"), Some("\"v\"")));
    let refused = Ws::try_open(stand.address(), "/api/own/x", &[]).await.err().expect("the API's answer");
    assert_eq!((refused.status, detail(&refused).as_str()), (200, "poll-off"));
    let mut many = Http::connect(stand.address()).await;
    let many = many.get("/-/pollcast/events?resource=/api/own/x", &[STREAM]).await;
    assert_eq!(many.status, 404, "{many:?}");
    assert_eq!(stand.metric("pollcast_polls_total", "").await, 0.0);
}

#[tokio::test]
async fn authenticate_counts_where_nothing_is_polled_and_no_cache_may_keep_what_passes() {
    for route in ["poll: off", "poll: {interval: 1h}"] {
        let stand = wide(&format!("{route}, {PRIVATE_KEYS}"));
        let reply = Reply::json(A)
            .header("cache-control", "public, max-age=60, s-maxage=600")
            .header("surrogate-control", "max-age=600")
            .header("cdn-cache-control", "max-age=600");
        stand.legacy.set("/api/x", reply);
        let mut http = stand.http().await;
        http.get("/api/x", &[]).await.expect(401);
        assert_eq!(stand.legacy.count("/api/x"), 0);
        let answer = http.get("/api/x", &[ANNS_KEY]).await.expect(200);
        assert_eq!(answer.headers("cache-control"), ["private, max-age=60"]);
        for gone in ["surrogate-control", "cdn-cache-control"] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
    }
}

// --- With `plain: share`: requests that start no poll, and those that do ---

#[tokio::test]
async fn a_part_is_the_apis_to_give() {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    for unit in ["bytes=0-3", "items=0-9"] {
        assert_eq!(detail(&http.get("/prices/A", &[("range", unit)]).await), "range");
        let seen = stand.legacy.seen("/prices/A").pop().expect("it was asked");
        assert_eq!(seen.header("range"), Some(unit));
    }
    assert_eq!(stand.legacy.count("/prices/A"), 3);
    // A stream is whole whatever it says.
    let mut sse = Sse::open(stand.address(), "/prices/A", &[STREAM, ("range", "bytes=0-3")]).await;
    assert_eq!(sse.next_event().await.data, A);
}

#[tokio::test]
async fn a_client_that_does_not_take_the_known_type_costs_no_poll() {
    let stand = Stand::start("poll: {interval: 100ms}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(detail(&http.get("/prices/A", &[("accept", "text/csv")]).await), "accept");
    // One poll, and the request that passed through. A poll is counted after its answer, so that it is looked for where it
    // arrives.
    let asked: Vec<_> =
        stand.legacy.seen("/prices/A").iter().map(|seen| seen.header("accept").map(str::to_owned)).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[1].as_deref(), Some("text/csv"));
}

#[tokio::test]
async fn head_waits_for_no_body_and_is_answered_from_a_young_snapshot() {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut http = stand.http().await;
    let cold = http.request("HEAD", "/prices/A", &[], b"").await.expect(200);
    assert_eq!(detail(&cold), "head");
    assert_eq!(stand.metric("pollcast_polls_total", "").await, 0.0);
    let get = http.get("/prices/A", &[]).await.expect(200);
    let head = http.request("HEAD", "/prices/A", &[], b"").await.expect(200);
    assert_eq!((head.etag(), head.header("content-length")), (get.etag(), Some("11")));
    assert_eq!(stand.legacy.count("/prices/A"), 2);
}

#[tokio::test]
async fn nothing_is_held_while_the_upstream_asked_for_rest() {
    let stand = Stand::start("poll: {interval: 100ms}");
    stand.legacy.set("/prices/A", Reply::empty(429).header("retry-after", "600"));
    let mut http = stand.http().await;
    let first = http.get("/prices/A", &[]).await.status;
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Longer than an answer is remembered: held, it would not come within the guard of any test.
    let again = http.get("/prices/A", &[]).await.status;
    assert_eq!(again, first);
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn fewer_than_four_connections_are_polled_for_when_they_ask_and_four_in_the_background() {
    let stand = Stand::start("poll: {interval: 500ms, linger: 0s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(stand.http().await);
    }
    for http in &mut clients[..3] {
        http.get("/prices/A", &[]).await.expect(200);
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(stand.legacy.count("/prices/A"), 1);
    for http in &mut clients {
        http.get("/prices/A", &[]).await.expect(200);
    }
    // One poll for the clients that asked, and one that no client asked for.
    stand.legacy.wait_count("/prices/A", 3).await;
}

#[tokio::test]
async fn a_stream_that_ends_within_an_interval_is_polled_for_once() {
    let stand = Stand::start("poll: {interval: 400ms, linger: 30s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    drop(sse);
    stand.clients("sse", 0).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

// --- The API's own pace ---

/// An API that holds each query for a time, behind a route that shares plain requests.
fn holding(hold: Duration) -> Stand {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/prices/A", Reply::json(A).delay(hold));
    stand
}

#[tokio::test]
async fn a_loop_of_blocking_queries_goes_at_the_apis_pace() {
    let stand = holding(Duration::from_millis(700));
    let mut http = stand.http().await;
    let mut passed = 0;
    // A flood would have thousands of hits before the API was asked four times.
    for _ in 0..12 {
        let answer = http.get("/prices/A", &[]).await.expect(200);
        if answer.header("cache-status") == Some("pollcast; fwd=bypass; detail=pace") {
            passed += 1;
        }
        if passed == 3 {
            break;
        }
    }
    assert_eq!(passed, 3);
    assert_eq!(stand.legacy.count("/prices/A"), 4, "one poll, and each that passed");
    // Of other connections nothing is known: they are answered from the snapshot.
    let other = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert!(other.header("cache-status").is_some_and(|status| status.starts_with("pollcast; hit")));
}

#[tokio::test]
async fn an_api_that_answers_at_once_is_asked_once_for_its_pace() {
    let stand = holding(Duration::ZERO);
    let mut http = stand.http().await;
    for _ in 0..100 {
        http.get("/prices/A", &[]).await.expect(200);
    }
    assert_eq!(stand.legacy.count("/prices/A"), 2, "the poll, and the one that tried");
}
