//! Contract §1: what cannot be a snapshot is answered as if no route were there; but an API that is only slow is not
//! asked more for it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::contract::Stand;
use crate::support::app;
use crate::support::client::{Http, Sse, Ws};
use crate::support::legacy::{Gate, Legacy, Reply};
use crate::support::wire::within;

const ROUTE: &str =
    "plain: share, first_answer: 300ms, poll: {interval: 100ms, backoff: {min: 100ms, max: 1m}}";

/// An upstream whose answers begin within this, and a wide route that shares plain polls.
fn stand(first_byte: &str, route: &str) -> Stand {
    let legacy = Legacy::start();
    let config = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}'], first_byte_timeout: {first_byte}}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         routes: [{{path: '/api/{{*rest}}', upstream: legacy, {route}}}]\n",
        legacy.address()
    );
    let app = app::start(&config);
    Stand { legacy, app }
}

#[tokio::test]
async fn media_and_streams_reach_plain_requests_at_once() {
    for content_type in
        ["audio/mpeg", "video/mp4", "multipart/x-mixed-replace; boundary=a", "text/event-stream"]
    {
        let stand = stand("5s", ROUTE);
        let (polled, _unread) = Reply::stream(content_type);
        let (reply, feed) = Reply::stream(content_type);
        stand.legacy.once("/api/live", polled);
        stand.legacy.set("/api/live", reply);
        let mut http = stand.http().await;
        http.send("GET", "/api/live", &[], b"").await;
        let head = http.read_head().await.expect(200);
        assert_eq!(head.header("content-type"), Some(content_type));
        feed.send("ID3").await;
        assert_eq!(http.wire.chunk().await.expect("a chunk").as_deref(), Some(&b"ID3"[..]));
        assert_eq!(stand.legacy.count("/api/live"), 2, "one poll, and the client's own");
    }
}

/// CouchDB's `_changes?feed=continuous` and `feed=longpoll`: the head comes at once, the rest when there is something.
#[tokio::test]
async fn an_answer_without_an_end_is_left_to_the_client_that_asked() {
    let stand = stand("5s", ROUTE);
    let (polled, _unread) = Reply::stream("application/json");
    let (reply, feed) = Reply::stream("application/json");
    stand.legacy.once("/api/_changes", polled);
    stand.legacy.set("/api/_changes", reply);
    let mut http = stand.http().await;
    http.send("GET", "/api/_changes?feed=continuous", &[], b"").await;
    http.read_head().await.expect(200);
    feed.send("{\"seq\":1}\n").await;
    assert_eq!(http.wire.chunk().await.expect("a chunk").as_deref(), Some(&b"{\"seq\":1}\n"[..]));
    // A stream says why there is nothing; a WebSocket ends.
    let mut sse = Sse::open(stand.address(), "/api/_changes?feed=continuous", &[]).await;
    let stale = sse.next_named("stale").await;
    let data: Value = serde_json::from_str(&stale.data).expect("JSON");
    assert!(data["reason"].to_string().contains("not complete"), "{data}");
    let mut ws = Ws::open(stand.address(), "/api/_changes?feed=continuous", &[]).await;
    assert_eq!(ws.next_close().await.0, 1011);
    assert_eq!(stand.legacy.count("/api/_changes"), 2);
}

#[tokio::test]
async fn a_slow_body_with_a_length_and_a_slow_body_of_what_was_a_document_are_waited_for() {
    let stand = stand("5s", ROUTE);
    let slow = |text: &str| Reply::json(text).drip(1, Duration::from_millis(120));
    stand.legacy.set("/api/sized", slow("12345"));
    let mut http = stand.http().await;
    assert_eq!(http.get("/api/sized", &[]).await.expect(200).text(), "12345");
    assert_eq!(stand.legacy.count("/api/sized"), 1);
    stand.legacy.set("/api/chunked", Reply::json("1").chunked());
    let mut sse = Sse::open(stand.address(), "/api/chunked", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    stand.legacy.set("/api/chunked", slow("67890").chunked());
    assert_eq!(sse.next_event().await.data, "67890");
}

/// Syncthing's `/rest/events`: no byte for as long as there is nothing.
#[tokio::test]
async fn an_answer_that_the_api_holds_back_is_left_to_the_client_that_asked() {
    let stand = stand("400ms", ROUTE);
    let gate = Gate::closed();
    stand.legacy.set("/api/events", Reply::json("[1]").behind(&gate));
    stand.legacy.set("/api/status", Reply::json("{}"));
    let waiting = async {
        let mut http = stand.http().await;
        http.get("/api/events?since=1", &[]).await.expect(200).text()
    };
    let others = async {
        // Meanwhile the API is well: it answers somebody else.
        stand.legacy.wait_count("/api/events", 1).await;
        stand.http().await.get("/api/status", &[]).await.expect(200);
        stand.legacy.wait_count("/api/events", 2).await;
        gate.open();
    };
    let (text, ()) = tokio::join!(waiting, others);
    assert_eq!(text, "[1]");
    assert_eq!(stand.legacy.count("/api/events"), 2);
    // With credentials it was the API's anyhow.
    let mut http = stand.http().await;
    assert_eq!(http.get("/api/events?since=1", &[("x-api-key", "k")]).await.expect(200).text(), "[1]");
}

#[tokio::test]
async fn requests_that_pass_through_show_that_the_api_is_well() {
    let stand = stand("400ms", ROUTE);
    let gate = Gate::closed();
    stand.legacy.set("/api/events", Reply::json("[1]").behind(&gate));
    stand.legacy.set("/elsewhere", Reply::text("here"));
    let waiting = async { stand.http().await.get("/api/events", &[]).await.expect(200).text() };
    let others = async {
        stand.legacy.wait_count("/api/events", 1).await;
        stand.http().await.get("/elsewhere", &[]).await.expect(200);
        stand.legacy.wait_count("/api/events", 2).await;
        gate.open();
    };
    assert_eq!(tokio::join!(waiting, others).0, "[1]");
}

/// Overload is no stream: each waiting client is told so, and none makes a request of its own.
#[tokio::test]
async fn an_api_that_became_slow_everywhere_gets_one_request_a_key() {
    let stand = stand("300ms", ROUTE);
    stand.legacy.set("*", Reply::json("1").delay(Duration::from_millis(900)));
    let clients = (0..60).map(|n| {
        let address = stand.address();
        async move {
            let mut http = Http::connect(address).await;
            within("an answer", http.get(&format!("/api/{}", n % 3), &[])).await.status
        }
    });
    let statuses = join_all(clients).await;
    assert!(statuses.iter().all(|status| *status == 504), "{statuses:?}");
    let asked = stand.legacy.all_seen().len();
    assert!(asked <= 6, "{asked} requests for three keys");
}

/// A resource that had a state keeps it: the last state, and one poll at a time.
#[tokio::test]
async fn a_document_that_becomes_slow_stays_one() {
    let stand = stand("300ms", ROUTE);
    stand.legacy.set("/api/a", Reply::json("1"));
    stand.legacy.set("/api/other", Reply::json("2"));
    let mut http = stand.http().await;
    http.get("/api/a", &[]).await.expect(200);
    stand.legacy.set("/api/a", Reply::json("1").delay(Duration::from_millis(700)));
    tokio::time::sleep(Duration::from_millis(150)).await;
    let slow = async { stand.http().await.get("/api/a", &[]).await.expect(200) };
    let others = async { stand.http().await.get("/api/other", &[]).await.expect(200) };
    let (answer, _) = tokio::join!(slow, others);
    assert_eq!(answer.text(), "1");
    assert!(answer.header("cache-status").is_some_and(|said| said.contains("fwd=stale")), "{answer:?}");
}

#[tokio::test]
async fn large_answers_do_not_make_the_upstream_count_as_down() {
    let stand = stand(
        "5s",
        &format!("{ROUTE}, transports: [poll]").replace("interval: 100ms", "interval: 100ms, max_body: 1KiB"),
    );
    stand.legacy.set("*", Reply::text("x".repeat(5000)));
    for n in 0..20 {
        stand.http().await.get(&format!("/api/large/{n}"), &[]).await.expect(200);
    }
    stand.legacy.set("/api/small", Reply::json("1"));
    assert_eq!(stand.http().await.get("/api/small", &[]).await.expect(200).text(), "1");
}
