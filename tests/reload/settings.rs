//! Settings change in place: intervals, limits, credentials, upstreams. What connections remember of a decision is void.

use std::time::{Duration, Instant};

use super::{FAST, Stand, config};
use crate::support::client::{Http, Sse};
use crate::support::legacy::{Legacy, Reply};
use crate::support::wire::within;

#[tokio::test]
async fn a_shorter_interval_counts_from_the_last_poll_on() {
    let stand = Stand::start(&["path: /a, poll: {interval: 1h}"]);
    stand.legacy.set("/a", Reply::json("1"));
    let mut sse = Sse::open(stand.address(), "/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    stand.legacy.set("/a", Reply::json("2"));
    let began = Instant::now();
    stand.reload(&["path: /a, poll: {interval: 100ms}"]);
    assert_eq!(sse.next_event().await.data, "2");
    assert!(began.elapsed() < Duration::from_secs(5));
    stand.reload(&["path: /a, poll: {interval: 1h}"]);
    stand.legacy.wait_count("/a", stand.legacy.count("/a")).await;
    // The poll that was due goes by the old interval, and those after it by the new one.
    let settled = stand.legacy.count("/a") + 1;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(stand.legacy.count("/a") <= settled);
}

#[tokio::test]
async fn a_connection_that_repeats_its_polls_is_answered_by_the_new_configuration() {
    let stand = Stand::start(&["path: /a, poll: {interval: 1h}"]);
    stand.legacy.set("/a", Reply::json("1"));
    let mut http = Http::connect(stand.address()).await;
    // By now the connection is served without a new decision.
    for _ in 0..5 {
        http.get("/a", &[]).await.expect(200);
    }
    stand.reload(&["path: /a, poll: {interval: 1h}, downstream_cache: 'max-age=77'"]);
    let answer = http.get("/a", &[]).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("max-age=77"));
    stand.reload(&["path: /a, poll: off"]);
    stand.legacy.set("/a", Reply::json("2"));
    assert_eq!(http.get("/a", &[]).await.expect(200).text(), "2", "it passes through");
    stand.reload(&["path: /b"]);
    stand.legacy.set("/a", Reply::text("not covered"));
    assert_eq!(http.get("/a", &[]).await.expect(200).text(), "not covered");
}

#[tokio::test]
async fn a_key_that_is_gone_ends_the_streams_of_its_client_and_no_others() {
    let route = |keys: &str| {
        format!("path: /a, share: public, authenticate: {{keys: {{clients: {{{keys}}}}}}}, {FAST}")
    };
    let (ann, bob) = ("ann: annes-key-of-24-characters", "bob: bobs-key-of-24-characters-1");
    let stand = Stand::start(&[&route(&format!("{ann}, {bob}"))]);
    stand.legacy.set("/a", Reply::json("1"));
    let address = stand.address();
    let open = async |key: &str| Sse::try_open(address, "/a", &[("x-api-key", key)]).await;
    let mut sse_ann = open("annes-key-of-24-characters").await.expect("a stream");
    let mut sse_bob = open("bobs-key-of-24-characters-1").await.expect("a stream");
    assert_eq!(
        (sse_ann.next_event().await.data, sse_bob.next_event().await.data),
        ("1".to_owned(), "1".to_owned())
    );
    stand.reload(&[&route(&format!("{ann}, {bob}, eve: eves-key-of-24-characters-1"))]);
    let mut sse_eve = open("eves-key-of-24-characters-1").await.expect("a stream");
    assert_eq!(sse_eve.next_event().await.data, "1");
    stand.reload(&[&route(&format!(
        "{ann}, bob: bobs-new-key-24-characters, eve: eves-key-of-24-characters-1"
    ))]);
    assert!(sse_bob.next_named("bye").await.data.contains("revoked"));
    assert_eq!(open("bobs-key-of-24-characters-1").await.err().expect("refused").status, 401);
    let mut sse_bob = open("bobs-new-key-24-characters").await.expect("a stream");
    assert_eq!(sse_bob.next_event().await.data, "1");
    stand.legacy.set("/a", Reply::json("2"));
    for sse in [&mut sse_ann, &mut sse_eve, &mut sse_bob] {
        assert_eq!(sse.next_event().await.data, "2");
    }
}

#[tokio::test]
async fn polls_carry_the_new_secret_and_go_to_the_new_servers_on_the_same_stream() {
    let route = |secret: &str| format!("path: /a, poll: {{interval: 100ms, auth: {{bearer: {secret}}}}}");
    let (legacy, other) = (Legacy::start(), Legacy::start());
    let yaml = |at: &Legacy, secret: &str| {
        config(at, &[&route(secret)], "").replace("servers: [", "host: api.test, servers: [")
    };
    let app = crate::support::app::start(&yaml(&legacy, "one"));
    for legacy in [&legacy, &other] {
        legacy.set("/a", Reply::json("1"));
    }
    let mut sse = Sse::open(app.addresses()[0], "/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    let take = |text: &str| {
        let config = pollcast::config::load_str(text, "new.yaml", std::path::Path::new(".")).expect("good");
        app.reconfigure(config).as_json()
    };
    take(&yaml(&legacy, "two"));
    legacy.wait_seen("the new secret", |seen| seen.header("authorization") == Some("Bearer two")).await;
    take(&yaml(&other, "two"));
    other.set("/a", Reply::json("2"));
    assert_eq!(sse.next_event().await.data, "2");
    let before = legacy.count("/a");
    other.wait_count("/a", other.count("/a") + 3).await;
    assert!(legacy.count("/a") <= before + 1, "the old servers are asked no more");
}

#[tokio::test]
async fn limits_count_at_once_for_those_that_come() {
    let routes = [&*format!("path: '/a/{{x}}', {FAST}")];
    let stand = Stand::start(&routes);
    stand.legacy.set("/a/1", Reply::json("1"));
    let mut first = Sse::open(stand.address(), "/a/1", &[]).await;
    assert_eq!(first.next_event().await.data, "1");
    stand.reload_with(&routes, "limits: {clients: 1}");
    let refused = Sse::try_open(stand.address(), "/a/1", &[]).await.err().expect("no room");
    assert_eq!(refused.status, 503);
    stand.reload_with(&routes, "limits: {clients: 2}");
    let mut second = Sse::open(stand.address(), "/a/1", &[]).await;
    assert_eq!(second.next_event().await.data, "1");
    stand.legacy.set("/a/1", Reply::json("2"));
    assert_eq!(first.next_event().await.data, "2");
}

#[tokio::test]
async fn resources_without_subscribers_follow_the_configuration() {
    let stand = Stand::start(&["path: /a, poll: {interval: 100ms, always: true}"]);
    for path in ["/a", "/b"] {
        stand.legacy.set(path, Reply::json("1"));
    }
    stand.legacy.wait_count("/a", 2).await;
    stand.reload(&["path: /b, poll: {interval: 100ms, always: true}"]);
    stand.legacy.wait_count("/b", 2).await;
    let before = stand.legacy.count("/a");
    stand.legacy.wait_count("/b", 6).await;
    assert!(stand.legacy.count("/a") <= before + 1, "the removed one is polled no more");
}

#[tokio::test]
async fn a_request_under_way_keeps_to_the_configuration_that_it_came_under() {
    let stand = Stand::start(&["path: /a, poll: {interval: 1h}"]);
    let gate = crate::support::reply::Gate::closed();
    stand.legacy.set("/x", Reply::text("late").behind(&gate));
    let mut http = Http::connect(stand.address()).await;
    http.send("GET", "/x", &[], b"").await;
    stand.legacy.wait_in_flight("/x", 1).await;
    stand.reload(&["path: /b, poll: {interval: 1h}"]);
    gate.open();
    let answer = within("the answer", http.read_response()).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
}
