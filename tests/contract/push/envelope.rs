//! Contract §6: the envelope protocol, many resources on one WebSocket, end to end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::contract::{FAST, Stand};
use crate::support::frames::{BINARY, Frame};
use crate::support::legacy::Reply;
use crate::support::wire::within;
use crate::support::ws::Ws;

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "chat, pollcast.v1");
const WS: &str = "/-/pollcast/ws";
const QUIET: Duration = Duration::from_millis(300);

fn document(n: u64) -> Value {
    json!({ "n": n, "padding": "long enough for a patch to be worth sending instead of all of it" })
}

fn set(stand: &Stand, path: &str, body: &Value) {
    stand.legacy.set(path, Reply::json(body.to_string()));
}

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    for path in ["/prices/A", "/prices/B"] {
        set(&stand, path, &document(1));
    }
    stand
}

async fn open(stand: &Stand) -> Ws {
    let ws = Ws::open(stand.address(), WS, &[PROTOCOL]).await;
    assert_eq!(ws.head.header("sec-websocket-protocol"), Some("pollcast.v1"));
    ws
}

async fn say(ws: &mut Ws, message: Value) {
    ws.send_text(&message.to_string()).await;
}

async fn next(ws: &mut Ws) -> Value {
    serde_json::from_str(&ws.next_text().await).expect("a JSON message")
}

/// Subscribes, and gives the first message of that resource.
async fn subscribe(ws: &mut Ws, resource: &str) -> Value {
    say(ws, json!({ "op": "subscribe", "resource": resource })).await;
    let first = next(ws).await;
    assert_eq!(first["resource"], resource, "{first}");
    first
}

#[tokio::test]
async fn a_covered_url_is_followed_at_once_and_others_may_join() {
    let stand = stand(FAST);
    let mut ws = Ws::open(stand.address(), "/prices/A?_push=ws", &[PROTOCOL]).await;
    let first = next(&mut ws).await;
    assert_eq!((&first["type"], &first["data"]), (&json!("snapshot"), &document(1)));
    assert_eq!(first["resource"], "/prices/A?_push=ws", "as the client spelled it");
    let tag = stand.http().await.get("/prices/A", &[]).await.expect(200).etag().to_owned();
    assert_eq!(format!("\"{}\"", first["version"].as_str().expect("a version")), tag);
    assert_eq!(subscribe(&mut ws, "/prices/B").await["data"], document(1));
    for (path, n) in [("/prices/B", 2), ("/prices/A", 3)] {
        set(&stand, path, &document(n));
        let change = next(&mut ws).await;
        assert_eq!((&change["type"], &change["data"]), (&json!("snapshot"), &document(n)));
        assert!(change["resource"].as_str().is_some_and(|r| r.starts_with(path)), "{change}");
    }
}

#[tokio::test]
async fn patches_come_to_clients_that_ask_and_apply() {
    let stand = stand(FAST);
    let mut ws = open(&stand).await;
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/A", "delta": "json-patch" })).await;
    let mut held = next(&mut ws).await;
    let mut version = held["version"].take();
    let mut held = held["data"].take();
    for n in 2..5 {
        set(&stand, "/prices/A", &document(n));
        let change = next(&mut ws).await;
        assert_eq!((&change["type"], &change["base"]), (&json!("patch"), &version));
        let patch: json_patch::Patch = serde_json::from_value(change["data"].clone()).expect("RFC 6902");
        json_patch::patch(&mut held, &patch).expect("it applies");
        assert_eq!(held, document(n));
        version = change["version"].clone();
    }
}

#[tokio::test]
async fn a_client_resumes_each_resource_by_its_version() {
    let stand = stand(FAST);
    let mut ws = open(&stand).await;
    let a = subscribe(&mut ws, "/prices/A").await["version"].clone();
    let b = subscribe(&mut ws, "/prices/B").await["version"].clone();
    drop(ws);
    set(&stand, "/prices/B", &document(2));
    let mut ws = open(&stand).await;
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/A", "since": a })).await;
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/B", "since": b })).await;
    let only = next(&mut ws).await;
    assert_eq!((&only["resource"], &only["data"]), (&json!("/prices/B"), &document(2)));
    ws.expect_silence(QUIET).await;
}

#[tokio::test]
async fn an_error_of_one_resource_is_no_end() {
    let stand = stand("poll: {interval: 100ms}, query: [c], unknown_query: reject");
    stand.legacy.set("/prices/GONE", Reply::empty(404));
    let mut ws = open(&stand).await;
    for (resource, status) in [
        ("/elsewhere", 404),
        ("/prices/A?d=1", 400),
        ("http://other.example/prices/A", 400),
        ("/prices/../admin", 404),
        ("/prices/GONE", 404),
    ] {
        say(&mut ws, json!({ "op": "subscribe", "resource": resource, "id": 7 })).await;
        let error = next(&mut ws).await;
        assert_eq!((&error["type"], &error["status"]), (&json!("error"), &json!(status)), "{error}");
        assert_eq!((&error["resource"], &error["id"]), (&json!(resource), &json!(7)));
        assert!(error["detail"].is_string());
    }
    assert_eq!(subscribe(&mut ws, "/prices/A").await["type"], "snapshot");
}

#[tokio::test]
async fn what_is_no_operation_is_told_and_the_socket_stays() {
    let stand = stand(FAST);
    let mut ws = open(&stand).await;
    for said in ["{", "[]", "null", "{\"op\":1}", "{\"op\":\"dance\"}", "{\"op\":\"subscribe\"}"] {
        ws.send_text(said).await;
        let error = next(&mut ws).await;
        assert_eq!((&error["type"], &error["status"]), (&json!("error"), &json!(400)), "{said}: {error}");
    }
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/A", "delta": "vcdiff" })).await;
    assert_eq!(next(&mut ws).await["status"], 400);
    say(&mut ws, json!({ "op": "auth", "token": "a\nb" })).await;
    assert_eq!(next(&mut ws).await["status"], 400);
    say(&mut ws, json!({ "op": "unsubscribe", "resource": "/prices/A" })).await;
    assert_eq!(next(&mut ws).await["status"], 404);
    ws.send_frame(Frame::new(BINARY, [1u8, 2])).await;
    assert_eq!(ws.next_close().await.0, 1003);
}

#[tokio::test]
async fn a_client_that_unsubscribes_hears_nothing_more_and_polling_ends() {
    let stand = stand("poll: {interval: 100ms, linger: 0s}");
    let mut ws = open(&stand).await;
    subscribe(&mut ws, "/prices/A").await;
    subscribe(&mut ws, "/prices/B").await;
    stand.metric_becomes("pollcast_connection_resources", "", 2.0).await;
    say(&mut ws, json!({ "op": "unsubscribe", "resource": "/prices/A" })).await;
    stand.metric_becomes("pollcast_connection_resources", "", 1.0).await;
    set(&stand, "/prices/A", &document(2));
    set(&stand, "/prices/B", &document(3));
    assert_eq!(next(&mut ws).await["resource"], "/prices/B");
    ws.expect_silence(QUIET).await;
}

#[tokio::test]
async fn a_connection_has_a_limit_of_resources() {
    let stand = Stand::with(FAST, "limits: {resources_per_client: 3}");
    let mut ws = open(&stand).await;
    for n in 0..3 {
        set(&stand, &format!("/prices/{n}"), &document(n));
        subscribe(&mut ws, &format!("/prices/{n}")).await;
    }
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/3" })).await;
    assert_eq!(next(&mut ws).await["status"], 429);
    assert_eq!(stand.metric("pollcast_refusals_total", "resources-per-client").await, 1.0);
}

#[tokio::test]
async fn two_hundred_resources_fit_on_one_connection_and_leave_with_it() {
    let stand = Stand::start("poll: {interval: 1s, linger: 0s}, stale_if_error: 0s");
    let mut ws = open(&stand).await;
    for n in 0..200 {
        set(&stand, &format!("/prices/{n}"), &document(n));
        say(&mut ws, json!({ "op": "subscribe", "resource": format!("/prices/{n}") })).await;
        // The client may say a hundred things a second.
        if n % 50 == 49 {
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    }
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 200 {
        let message = next(&mut ws).await;
        assert_eq!(message["type"], "snapshot", "{message}");
        seen.insert(message["resource"].to_string());
    }
    stand.metric_becomes("pollcast_connection_resources", "", 200.0).await;
    stand.clients("envelope", 1).await;
    drop(ws);
    stand.clients("envelope", 0).await;
    stand.metric_becomes("pollcast_connection_resources", "", 0.0).await;
    stand.metric_becomes("pollcast_resources", "", 0.0).await;
}

#[tokio::test]
async fn connections_that_follow_the_same_resources_share_their_polls() {
    let stand = stand("poll: {interval: 100ms}");
    let (mut one, mut two) = (open(&stand).await, open(&stand).await);
    for ws in [&mut one, &mut two] {
        subscribe(ws, "/prices/A").await;
        subscribe(ws, "/prices/B").await;
    }
    stand.legacy.forget();
    set(&stand, "/prices/A", &document(2));
    assert_eq!(next(&mut one).await["data"], document(2));
    assert_eq!(next(&mut two).await["data"], document(2));
    assert_eq!(stand.legacy.max_in_flight("/prices/A"), 1);
}

#[tokio::test]
async fn messages_go_to_the_upstream_and_their_answers_come_back() {
    let stand = stand("poll: {interval: 1h}, websocket: {send: {method: POST}}");
    let mut ws = open(&stand).await;
    subscribe(&mut ws, "/prices/A").await;
    stand.legacy.answer_with("/prices/A", |seen| match seen.method.as_str() {
        "POST" => Reply::empty(201),
        _ => Reply::json(document(9).to_string()),
    });
    say(&mut ws, json!({ "op": "send", "id": "m1", "resource": "/prices/A", "data": {"bid": 5} })).await;
    let (mut replied, mut changed) = (false, false);
    while !(replied && changed) {
        let message = next(&mut ws).await;
        match message["type"].as_str() {
            Some("reply") => {
                assert_eq!((&message["id"], &message["status"]), (&json!("m1"), &json!(201)));
                replied = true;
            }
            // A write of the client's own comes back at once.
            Some("snapshot") => changed = message["data"] == document(9),
            _ => panic!("{message}"),
        }
    }
    let post = stand.legacy.wait_seen("the message", |seen| seen.method == "POST").await;
    assert_eq!(post.body, b"{\"bid\":5}"[..]);
    say(&mut ws, json!({ "op": "send", "id": 2, "resource": "/prices/B", "data": 1 })).await;
    assert_eq!(next(&mut ws).await["status"], 404);
}

#[tokio::test]
async fn a_refresh_polls_beside_the_schedule() {
    let stand = stand("poll: {interval: 10s}");
    let mut ws = open(&stand).await;
    subscribe(&mut ws, "/prices/A").await;
    say(&mut ws, json!({ "op": "refresh", "id": 1, "resource": "/prices/A" })).await;
    let reply = next(&mut ws).await;
    assert_eq!((&reply["type"], &reply["id"]), (&json!("reply"), &json!(1)));
    assert_eq!(stand.legacy.count("/prices/A"), 1, "not twice within half an interval");
}

#[tokio::test]
async fn conditions_of_one_resource_name_it() {
    let stand = stand("poll: {interval: 100ms, backoff: {min: 100ms, max: 100ms}}, stale_after: 0s");
    let mut ws = open(&stand).await;
    subscribe(&mut ws, "/prices/A").await;
    subscribe(&mut ws, "/prices/B").await;
    stand.legacy.set("/prices/A", Reply::empty(500));
    let stale = next(&mut ws).await;
    assert_eq!((&stale["type"], &stale["resource"]), (&json!("stale"), &json!("/prices/A")));
    assert_eq!(stale["status"], 500);
    stand.legacy.set("/prices/A", Reply::empty(404));
    assert_eq!(next(&mut ws).await["type"], "gone");
    set(&stand, "/prices/A", &document(1));
    assert_eq!(next(&mut ws).await["type"], "fresh");
    assert_eq!(next(&mut ws).await["type"], "snapshot");
}

#[tokio::test]
async fn credentials_of_the_handshake_decide_what_may_be_followed() {
    let stand = stand("poll: {interval: 100ms}");
    let mut ws = Ws::open(stand.address(), WS, &[PROTOCOL, ("authorization", "Bearer one")]).await;
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/A" })).await;
    assert_eq!(next(&mut ws).await["status"], 403);
    assert_eq!(stand.legacy.count("/prices/A"), 0);
    let foreign = [PROTOCOL, ("origin", "https://evil.example")];
    let mut ws = Ws::open(stand.address(), WS, &foreign).await;
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/A" })).await;
    assert_eq!(next(&mut ws).await["status"], 403);
}

#[tokio::test]
async fn a_resource_with_more_parameters_than_a_key_may_have_is_followed_in_no_form() {
    let stand = Stand::with(FAST, "limits: {query_parameters: 2}");
    stand.legacy.set("*", Reply::json(document(1).to_string()));
    let mut ws = open(&stand).await;
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/A?a=1&b=2&c=3" })).await;
    let refused = next(&mut ws).await;
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(400)), "{refused}");
    assert_eq!(stand.legacy.all_seen().len(), 0);
    assert_eq!(stand.metric("pollcast_refusals_total", "query-parameters").await, 1.0);
    assert_eq!(subscribe(&mut ws, "/prices/A?a=1&b=2").await["type"], "snapshot");
}

#[tokio::test]
async fn a_route_has_no_more_clients_of_many_than_of_one() {
    let stand = stand(&format!("{FAST}, max_clients: 1"));
    let mut own = Ws::open(stand.address(), "/prices/A", &[PROTOCOL]).await;
    next(&mut own).await;
    // A connection counts once, whatever it follows.
    assert_eq!(subscribe(&mut own, "/prices/B").await["type"], "snapshot");
    let mut ws = open(&stand).await;
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/B" })).await;
    let refused = next(&mut ws).await;
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(503)), "{refused}");
    drop(own);
    let admitted = async {
        loop {
            say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/B" })).await;
            let said = next(&mut ws).await;
            if said["type"] == "snapshot" {
                break;
            }
            assert_eq!(said["status"], 503, "{said}");
        }
    };
    within("the place of the client that left", admitted).await;
    let refused = Ws::try_open(stand.address(), "/prices/A", &[PROTOCOL]).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(503));
}

#[tokio::test]
async fn a_drain_says_bye() {
    let stand = stand(FAST);
    let mut ws = open(&stand).await;
    subscribe(&mut ws, "/prices/A").await;
    let (bye, ()) = tokio::join!(next(&mut ws), stand.app.drain());
    assert_eq!(
        (&bye["type"], &bye["reason"], &bye["reconnect"]),
        (&json!("bye"), &json!("drain"), &json!(true))
    );
    assert_eq!(ws.next_close().await.0, 1001);
}

#[tokio::test]
async fn here_is_nothing_else() {
    let stand = stand(FAST);
    let answer = stand.http().await.get(WS, &[]).await.expect(426);
    assert_eq!(answer.header("sec-websocket-protocol"), Some("pollcast.v1"));
    let bare = Ws::try_open(stand.address(), WS, &[]).await;
    assert_eq!(bare.err().map(|answer| answer.status), Some(426));
}
