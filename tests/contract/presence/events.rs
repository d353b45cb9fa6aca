//! `presence` events: who is told, on which ways, and in which words.

use std::time::Duration;

use serde_json::{Value, json};

use super::{JWT, WATCH, bearer, follow, named, named_with, stand, subjects, until_count};
use crate::contract::{FAST, TlsStand};
use crate::support::h2::H2;
use crate::support::legacy::Reply;
use crate::support::sse::Sse;
use crate::support::ws::Ws;

const QUIET: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_stream_that_asks_is_told_who_is_there_and_then_who_comes_and_goes() {
    let stand = named("");
    let mut ann = follow(&stand, WATCH, "ann").await;
    let first = until_count(&mut ann, 1).await;
    assert_eq!(first, json!({ "count": 1, "joined": [], "left": [], "subjects": [{ "subject": "ann" }] }));
    let bob = follow(&stand, "/prices/A", "bob").await;
    let joined = until_count(&mut ann, 2).await;
    assert_eq!(joined, json!({ "count": 2, "joined": [{ "subject": "bob" }], "left": [] }));
    drop(bob);
    let left = until_count(&mut ann, 1).await;
    assert_eq!(left, json!({ "count": 1, "joined": [], "left": [{ "subject": "bob" }] }));
    stand.legacy.set("/prices/A", Reply::json("2"));
    assert_eq!(ann.next_named("message").await.data, "2", "its states come as before");
}

#[tokio::test]
async fn the_accept_header_asks_as_well_and_one_that_comes_later_gets_the_whole() {
    let stand = named("");
    let mut ann = follow(&stand, WATCH, "ann").await;
    until_count(&mut ann, 1).await;
    let (token, accept) = (bearer("bob"), "text/event-stream;presence=on");
    let headers = [("authorization", &*token), ("accept", accept)];
    let mut bob = Sse::open(stand.address(), "/prices/A", &headers).await;
    bob.next_named("message").await;
    assert_eq!(until_count(&mut bob, 2).await["subjects"], subjects(&["ann", "bob"]));
    // A second stream of bob's is one more, and no new subject.
    let again = follow(&stand, "/prices/A", "bob").await;
    assert_eq!(until_count(&mut ann, 3).await["joined"], json!([]));
    drop(again);
    assert_eq!(until_count(&mut ann, 2).await["left"], json!([]));
}

#[tokio::test]
async fn a_stream_that_does_not_ask_is_told_nothing() {
    let stand = named("");
    let mut ann = follow(&stand, "/prices/A", "ann").await;
    let mut watching = follow(&stand, WATCH, "bob").await;
    until_count(&mut watching, 2).await;
    let cat = follow(&stand, "/prices/A", "cat").await;
    until_count(&mut watching, 3).await;
    drop(cat);
    until_count(&mut watching, 2).await;
    ann.expect_no_event(QUIET).await;
}

#[tokio::test]
async fn no_name_is_told_where_the_route_does_not_say_so() {
    let stand = stand(&format!("{JWT}, presence: {{interval: 100ms}}"));
    let mut ann = follow(&stand, WATCH, "ann").await;
    assert_eq!(until_count(&mut ann, 1).await, json!({ "count": 1, "joined": [], "left": [] }));
    let _bob = follow(&stand, "/prices/A", "bob").await;
    assert_eq!(until_count(&mut ann, 2).await, json!({ "count": 2, "joined": [], "left": [] }));
}

#[tokio::test]
async fn a_route_without_presence_tells_nothing_and_leaves_the_switch_to_the_api() {
    let stand = stand(JWT);
    let mut ann = follow(&stand, WATCH, "ann").await;
    ann.expect_no_event(QUIET).await;
    let poll = stand.legacy.wait_seen("a poll", |seen| seen.path() == "/prices/A").await;
    assert_eq!(poll.target, WATCH, "the parameter is the API's");
}

#[tokio::test]
async fn where_there_is_presence_the_switch_is_none_of_the_apis() {
    let stand = named("");
    let _ann = follow(&stand, WATCH, "ann").await;
    let poll = stand.legacy.wait_seen("a poll", |seen| seen.path() == "/prices/A").await;
    assert_eq!(poll.target, "/prices/A");
}

async fn next(ws: &mut Ws) -> Value {
    serde_json::from_str(&ws.next_text().await).expect("a JSON message")
}

async fn message(ws: &mut Ws, count: usize) -> Value {
    loop {
        let message = next(ws).await;
        if message["type"] == "presence" && message["count"] == count {
            return message;
        }
    }
}

#[tokio::test]
async fn a_websocket_of_many_resources_is_told_of_those_that_it_asks_for() {
    let stand = named("");
    let token = bearer("ann");
    let protocol = [("sec-websocket-protocol", "pollcast.v1"), ("authorization", &*token)];
    let mut ws = Ws::open(stand.address(), "/-/pollcast/ws", &protocol).await;
    ws.send_text(&json!({ "op": "subscribe", "resource": "/prices/B" }).to_string()).await;
    assert_eq!(next(&mut ws).await["type"], "snapshot");
    ws.send_text(&json!({ "op": "subscribe", "resource": "/prices/A", "presence": true }).to_string()).await;
    let first = message(&mut ws, 1).await;
    assert_eq!((&first["resource"], &first["subjects"]), (&json!("/prices/A"), &subjects(&["ann"])));
    let _other = follow(&stand, "/prices/B", "cat").await;
    let _bob = follow(&stand, "/prices/A", "bob").await;
    let joined = message(&mut ws, 2).await;
    assert_eq!((&joined["resource"], &joined["joined"]), (&json!("/prices/A"), &subjects(&["bob"])));
    // Who unsubscribes has left, although the connection goes on.
    let mut watching = follow(&stand, WATCH, "dan").await;
    until_count(&mut watching, 3).await;
    ws.send_text(&json!({ "op": "unsubscribe", "resource": "/prices/A" }).to_string()).await;
    assert_eq!(until_count(&mut watching, 2).await["left"], subjects(&["ann"]));
}

#[tokio::test]
async fn a_websocket_of_one_resource_counts_and_is_told_by_the_envelope_alone() {
    let stand = named("");
    let token = bearer("ann");
    let mut bare = Ws::open(stand.address(), WATCH, &[("authorization", &*token)]).await;
    assert_eq!(bare.next_text().await, r#"{"n":1}"#);
    let headers = [("sec-websocket-protocol", "pollcast.v1"), ("authorization", &*token)];
    let mut ws = Ws::open(stand.address(), WATCH, &headers).await;
    assert_eq!(message(&mut ws, 2).await["subjects"], subjects(&["ann"]));
    bare.expect_silence(QUIET).await;
}

#[tokio::test]
async fn a_stream_of_many_resources_is_told_of_each() {
    let stand = named("");
    let token = bearer("ann");
    let path = "/-/pollcast/events?resource=/prices/A&resource=/prices/B&presence=on";
    let mut sse = Sse::open(stand.address(), path, &[("authorization", &token)]).await;
    let mut next = async || loop {
        let event = sse.next_event().await;
        if event.event == "presence" {
            let data: Value = serde_json::from_str(&event.data).expect("JSON");
            return (data["resource"].clone(), data["count"].clone());
        }
    };
    // Bob comes when both are told: what changes before its event is told by one.
    let seen = [next().await, next().await];
    for wanted in ["/prices/A", "/prices/B"] {
        assert!(seen.contains(&(json!(wanted), json!(1))), "{wanted} is not in {seen:?}");
    }
    let _bob = follow(&stand, "/prices/B", "bob").await;
    assert_eq!(next().await, (json!("/prices/B"), json!(2)));
}

#[tokio::test]
async fn streams_of_http2_are_told_as_well() {
    let tls = TlsStand::start(&format!("{FAST}, share: public, presence: {{interval: 100ms}}"));
    for name in ["A", "B"] {
        tls.stand.legacy.set(&format!("/prices/{name}"), Reply::json("1"));
    }
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let events = [("accept", "text/event-stream;presence=on")];
    let (_, mut one) = h2.open("GET", "/prices/A", &events).await;
    let many = "/-/pollcast/events?resource=/prices/A&resource=/prices/B";
    let (_, mut many) = h2.open("GET", many, &events).await;
    let mut counts = Vec::new();
    while counts.last() != Some(&json!(2)) {
        let event = one.next_event().await;
        if event.event == "presence" {
            counts.push(serde_json::from_str::<Value>(&event.data).expect("JSON")["count"].clone());
        }
    }
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = many.next_event().await;
        if event.event == "presence" {
            let data: Value = serde_json::from_str(&event.data).expect("JSON");
            seen.push((data["resource"].as_str().expect("a resource").to_owned(), data["count"].clone()));
        }
    }
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(seen, [("/prices/A".to_owned(), json!(2)), ("/prices/B".to_owned(), json!(1))]);
}

#[tokio::test]
async fn compressed_streams_are_told_as_well() {
    let stand = named_with("", "compress: on");
    let token = bearer("ann");
    let headers = [("authorization", &*token), ("accept-encoding", "gzip")];
    let mut ann = Sse::open(stand.address(), WATCH, &headers).await;
    assert_eq!(ann.head.header("content-encoding"), Some("gzip"));
    ann.next_named("message").await;
    until_count(&mut ann, 1).await;
    let _bob = follow(&stand, "/prices/A", "bob").await;
    assert_eq!(until_count(&mut ann, 2).await["joined"], subjects(&["bob"]));
    stand.legacy.set("/prices/A", Reply::json("2"));
    assert_eq!(ann.next_named("message").await.data, "2");
}

#[tokio::test]
async fn changes_are_gathered_for_an_interval() {
    let stand = stand("presence: {interval: 2s}");
    let mut watching = Sse::open(stand.address(), WATCH, &[]).await;
    watching.next_named("message").await;
    until_count(&mut watching, 1).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        sse.next_named("message").await;
        others.push(sse);
    }
    let event = watching.next_named("presence").await;
    let data: Value = serde_json::from_str(&event.data).expect("JSON");
    assert_eq!(data["count"], 21, "one event for all of them");
}
