//! Many resources on one event stream: names, one id for all states, resuming, errors, end to end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::contract::{FAST, Stand, TlsStand};
use crate::support::h2::H2;
use crate::support::legacy::Reply;
use crate::support::sse::{Event, Sse};

const EVENTS: &str = "/-/pollcast/events";

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    for name in ["A", "B", "C"] {
        stand.legacy.set(&format!("/prices/{name}"), Reply::json(format!("{{\"is\":\"{name}\"}}")));
    }
    stand
}

fn of(names: &[&str]) -> String {
    let resources: Vec<String> = names.iter().map(|name| format!("resource=/prices/{name}")).collect();
    format!("{EVENTS}?{}", resources.join("&"))
}

/// Events up to and with the next `sync`.
async fn until_sync(sse: &mut Sse) -> (Vec<Event>, String) {
    let mut events = Vec::new();
    loop {
        let event = sse.next_event().await;
        if event.event == "sync" {
            return (events, event.id.expect("an id"));
        }
        assert_eq!(event.id, None, "only sync has an id: {event:?}");
        events.push(event);
    }
}

fn named(events: &[Event]) -> Vec<(String, String)> {
    let mut named: Vec<_> = events.iter().map(|e| (e.event.clone(), e.data.clone())).collect();
    named.sort();
    named
}

#[tokio::test]
async fn events_are_named_by_resource_and_one_id_names_all_states() {
    let stand = stand(FAST);
    let mut sse = Sse::open(stand.address(), &of(&["A", "B"]), &[]).await;
    let (events, id) = until_sync(&mut sse).await;
    assert_eq!(
        named(&events),
        [
            ("/prices/A".to_owned(), "{\"is\":\"A\"}".to_owned()),
            ("/prices/B".into(), "{\"is\":\"B\"}".into())
        ]
    );
    assert_eq!(id.len(), 16, "six bytes a resource");
    stand.legacy.set("/prices/B", Reply::json("{\"is\":2}"));
    let (events, next) = until_sync(&mut sse).await;
    assert_eq!(named(&events), [("/prices/B".to_owned(), "{\"is\":2}".to_owned())]);
    assert_eq!(id[..8], next[..8], "A stayed as it was");
    assert_ne!(id[8..], next[8..]);
}

#[tokio::test]
async fn a_client_that_comes_back_gets_only_what_differs() {
    let stand = stand(FAST);
    let mut sse = Sse::open(stand.address(), &of(&["A", "B", "C"]), &[]).await;
    let (_, id) = until_sync(&mut sse).await;
    drop(sse);
    stand.legacy.set("/prices/C", Reply::json("{\"is\":3}"));
    let mut sse = Sse::open(stand.address(), &of(&["A", "B", "C"]), &[("last-event-id", &id)]).await;
    let (events, _) = until_sync(&mut sse).await;
    assert_eq!(named(&events), [("/prices/C".to_owned(), "{\"is\":3}".to_owned())]);
    let mut other = Sse::open(stand.address(), &of(&["A", "B"]), &[("last-event-id", &id)]).await;
    assert_eq!(until_sync(&mut other).await.0.len(), 2, "an id of another list means nothing");
}

#[tokio::test]
async fn a_long_list_comes_in_the_body() {
    let stand = stand(FAST);
    for method in ["POST", "QUERY"] {
        let mut http = stand.http().await;
        let list = json!(["/prices/A", "/prices/B", "/prices/A"]).to_string();
        http.send(method, EVENTS, &[("content-type", "application/json")], list.as_bytes()).await;
        let mut sse = Sse::answered(http.into_wire()).await.unwrap_or_else(|r| panic!("{method}: {r:?}"));
        assert_eq!(until_sync(&mut sse).await.0.len(), 2);
    }
    let mut http = stand.http().await;
    let answer = http.request("POST", EVENTS, &[], b"{\"a\":1}").await.expect(400);
    assert!(answer.text().contains("JSON list"), "{}", answer.text());
}

#[tokio::test]
async fn what_cannot_be_had_is_an_event_and_the_stream_goes_on() {
    let stand = stand(FAST);
    stand.legacy.set("/prices/GONE", Reply::empty(404));
    let path = format!("{}&resource=/elsewhere", of(&["A", "GONE"]));
    let mut sse = Sse::open(stand.address(), &path, &[]).await;
    let (events, _) = until_sync(&mut sse).await;
    let errors: Vec<Value> = events
        .iter()
        .filter(|event| event.event == "error")
        .map(|event| serde_json::from_str(&event.data).expect("JSON"))
        .collect();
    assert_eq!(errors.len(), 2, "{events:?}");
    assert_eq!((&errors[0]["resource"], &errors[0]["status"]), (&json!("/prices/GONE"), &json!(404)));
    assert_eq!(errors[1]["resource"], "/elsewhere");
    assert!(events.iter().any(|event| event.event == "/prices/A"));
}

#[tokio::test]
async fn nothing_at_all_or_too_much_is_a_status() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    http.get(EVENTS, &[]).await.expect(400);
    http.get(&format!("{EVENTS}?resource=/elsewhere"), &[]).await.expect(404);
    let many: Vec<String> = (0..201).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    http.get(&of(&many), &[]).await.expect(400);
    http.get(&of(&["A"]), &[("authorization", "Bearer x")]).await.expect(403);
    http.request("DELETE", &of(&["A"]), &[], b"").await.expect(405);
}

#[tokio::test]
async fn conditions_name_their_resource() {
    let stand = stand("poll: {interval: 100ms, backoff: {min: 100ms, max: 100ms}}, stale_after: 0s");
    let mut sse = Sse::open(stand.address(), &of(&["A", "B"]), &[]).await;
    until_sync(&mut sse).await;
    stand.legacy.set("/prices/A", Reply::empty(500));
    let stale = sse.next_named("stale").await;
    let data: Value = serde_json::from_str(&stale.data).expect("JSON");
    assert_eq!((&data["resource"], &data["status"]), (&json!("/prices/A"), &json!(500)));
    stand.legacy.set("/prices/A", Reply::json("{\"is\":\"A\"}"));
    sse.next_named("fresh").await;
}

#[tokio::test]
async fn everything_ends_with_the_client_and_with_the_process() {
    let stand = stand("poll: {interval: 100ms, linger: 0s}, stale_if_error: 0s");
    let sse = Sse::open(stand.address(), &of(&["A", "B"]), &[]).await;
    stand.clients("sse_many", 1).await;
    stand.metric_becomes("pollcast_connection_resources", "", 2.0).await;
    drop(sse);
    stand.clients("sse_many", 0).await;
    stand.metric_becomes("pollcast_connection_resources", "", 0.0).await;
    stand.metric_becomes("pollcast_resources", "", 0.0).await;
    let mut sse = Sse::open(stand.address(), &of(&["A", "B"]), &[]).await;
    let (_, id) = until_sync(&mut sse).await;
    let (events, ()) = tokio::join!(
        async {
            let sync = sse.next_named("sync").await;
            (sync, sse.next_named("bye").await)
        },
        stand.app.drain()
    );
    assert_eq!(events.0.id, Some(id));
    assert!(events.1.data.contains("\"drain\""), "{:?}", events.1);
    sse.expect_end().await;
}

#[tokio::test]
async fn a_silent_stream_has_heartbeats() {
    let stand = stand("poll: {interval: 1h}, heartbeat: 1s");
    let mut sse = Sse::open(stand.address(), &of(&["A"]), &[]).await;
    until_sync(&mut sse).await;
    sse.passed.clear();
    sse.expect_no_event(Duration::from_millis(1500)).await;
    assert!(!sse.passed.is_empty(), "no heartbeat");
}

#[tokio::test]
async fn http2_streams_have_the_same() {
    let tls = TlsStand::start(FAST);
    for name in ["A", "B"] {
        tls.stand.legacy.set(&format!("/prices/{name}"), Reply::json(format!("{{\"is\":\"{name}\"}}")));
    }
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let path = format!("{}&resource=/elsewhere", of(&["A", "B"]));
    let (head, mut stream) = h2.open("GET", &path, &[]).await;
    assert_eq!(head.status, 200);
    let mut names = Vec::new();
    let id = loop {
        let event = stream.next_event().await;
        if event.event == "sync" {
            break event.id.expect("an id");
        }
        names.push(event.event);
    };
    names.sort();
    assert_eq!(names, ["/prices/A", "/prices/B", "error"]);
    tls.stand.legacy.set("/prices/B", Reply::json("{\"is\":2}"));
    assert_eq!(stream.next_event().await.event, "/prices/B");
    let (_, mut back) = h2.open("GET", &path, &[("last-event-id", &id)]).await;
    let mut names = vec![back.next_event().await.event, back.next_event().await.event];
    names.sort();
    assert_eq!(names, ["/prices/B", "error"], "only what differs");
    tls.stand.metric_becomes("pollcast_connection_resources", "", 4.0).await;
    h2.cut();
    tls.stand.metric_becomes("pollcast_connection_resources", "", 0.0).await;
}
