//! Contract §5 delta, §4: patches over event streams and long-polls, end to end.

use std::time::Duration;

use json_patch::{Patch, merge, patch};
use serde_json::{Value, json};

use crate::contract::{FAST, ONCE, Stand, TlsStand};
use crate::support::client::{Http, Response};
use crate::support::h2::H2;
use crate::support::legacy::Reply;
use crate::support::sse::{Event, Sse};

const JSON: (&str, &str) = ("accept", "text/event-stream;delta=json-patch");
const MERGE: (&str, &str) = ("accept", "text/event-stream;delta=merge-patch");
const LONG: Duration = Duration::from_millis(300);

/// A price list of some size in which one price is `price`.
fn list(price: u64) -> Value {
    let rows: Vec<Value> = (0..20)
        .map(|n| json!({"symbol": format!("S{n}"), "price": if n == 7 { price } else { 100 + n }}))
        .collect();
    json!({ "currency": "EUR", "rows": rows })
}

fn set(stand: &Stand, body: &Value) {
    stand.legacy.set("/prices/A", Reply::json(body.to_string()));
}

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    set(&stand, &list(1));
    stand
}

/// What a client holds that applies what it is told.
fn apply(held: &mut Value, event: &Event) {
    let data: Value = serde_json::from_str(&event.data).expect("JSON");
    match event.event.as_str() {
        "snapshot" => *held = data,
        "patch" if data.is_array() => {
            let operations: Patch = serde_json::from_value(data).expect("RFC 6902");
            patch(held, &operations).expect("it applies");
        }
        "patch" => merge(held, &data),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_stream_of_patches_begins_with_the_state_and_goes_on_with_what_changed() {
    for asked in [JSON, MERGE] {
        let stand = stand(FAST);
        let mut sse = Sse::open(stand.address(), "/prices/A", &[asked]).await;
        let first = sse.next_event().await;
        assert_eq!(first.event, "snapshot");
        let mut held = Value::Null;
        apply(&mut held, &first);
        for price in 2..5 {
            // A list as a whole is replaced by a merge patch: something outside of it changes.
            let mut next = list(1);
            next["currency"] = json!(format!("C{price}"));
            set(&stand, &next);
            let event = sse.next_event().await;
            assert_eq!(event.event, "patch", "{asked:?}");
            assert!(event.data.len() < next.to_string().len() / 5, "{}", event.data);
            apply(&mut held, &event);
            assert_eq!(held, next);
            let tag = stand.http().await.get("/prices/A", &[]).await.expect(200).etag().to_owned();
            assert_eq!(format!("\"{}\"", sse.last_event_id()), tag, "the id is the version it makes");
        }
    }
}

#[tokio::test]
async fn the_switch_asks_too_and_the_upstream_never_sees_it() {
    let stand = stand(FAST);
    let mut sse = Sse::open(stand.address(), "/prices/A?_push=sse&_delta=json-patch", &[]).await;
    assert_eq!(sse.next_event().await.event, "snapshot");
    set(&stand, &list(2));
    assert_eq!(sse.next_event().await.event, "patch");
    assert!(stand.legacy.all_seen().iter().all(|seen| seen.target == "/prices/A"));
}

#[tokio::test]
async fn a_change_of_everything_is_sent_whole() {
    let stand = stand(FAST);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[JSON]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::json(json!({"other": "thing"}).to_string()));
    let event = sse.next_event().await;
    assert_eq!((event.event.as_str(), event.data.as_str()), ("snapshot", r#"{"other":"thing"}"#));
}

#[tokio::test]
async fn whole_bodies_stay_unnamed_for_all_other_clients() {
    let stand = stand(FAST);
    let mut patches = Sse::open(stand.address(), "/prices/A", &[JSON]).await;
    let mut whole = Sse::open(stand.address(), "/prices/A", &[]).await;
    patches.next_event().await;
    assert_eq!(whole.next_event().await.event, "message");
    set(&stand, &list(2));
    assert_eq!(patches.next_event().await.event, "patch");
    assert_eq!(whole.next_event().await.data, list(2).to_string());
    assert_eq!(patches.last_event_id(), whole.last_event_id());
}

#[tokio::test]
async fn a_reader_comes_back_for_a_chain_of_patches() {
    let stand = stand(FAST);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[JSON]).await;
    let mut held = Value::Null;
    apply(&mut held, &sse.next_event().await);
    let had = sse.last_event_id().to_owned();
    drop(sse);
    let mut other = Sse::open(stand.address(), "/prices/A", &[JSON]).await;
    other.next_event().await;
    for price in 2..4 {
        set(&stand, &list(price));
        other.next_event().await;
    }
    let mut back = Sse::open(stand.address(), "/prices/A", &[JSON, ("last-event-id", &had)]).await;
    for _ in 2..4 {
        let event = back.next_event().await;
        assert_eq!(event.event, "patch");
        apply(&mut held, &event);
    }
    assert_eq!(held, list(3));
    let had = back.last_event_id().to_owned();
    let mut again = Sse::open(stand.address(), "/prices/A", &[JSON, ("last-event-id", &had)]).await;
    again.expect_no_event(LONG).await;
}

#[tokio::test]
async fn an_unknown_version_is_reset_before_the_state_comes() {
    let stand = stand(FAST);
    let unknown = ("last-event-id", "AAAAAAAAAAAAAAAAAAAAAA");
    let mut sse = Sse::open(stand.address(), "/prices/A", &[JSON, unknown]).await;
    let reset = sse.next_event().await;
    assert_eq!((reset.event.as_str(), reset.data.as_str()), ("reset", r#"{"reason":"unknown-version"}"#));
    assert_eq!(sse.next_event().await.event, "snapshot");
}

#[tokio::test]
async fn what_is_no_json_is_always_sent_whole() {
    let stand = stand(FAST);
    stand.legacy.set("/prices/A", Reply::text("one"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[JSON]).await;
    assert_eq!(sse.next_event().await.data, "one");
    stand.legacy.set("/prices/A", Reply::text("two"));
    let event = sse.next_event().await;
    assert_eq!((event.event.as_str(), event.data.as_str()), ("snapshot", "two"));
}

// --- Answers ---

/// Asks for a patch to `tag` and waits for it if need be.
async fn ask(http: &mut Http, tag: &str, more: &[(&str, &str)]) -> Response {
    http.get("/prices/A", &[&[("if-none-match", tag)], more].concat()).await
}

fn expect_patch(answer: Response, base: &str, held: &mut Value) -> String {
    let answer = answer.expect(226);
    assert_eq!(answer.header("im"), Some("json-patch"));
    assert_eq!(answer.header("delta-base"), Some(base));
    assert_eq!(answer.header("content-type"), Some("application/json-patch+json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let operations: Patch = serde_json::from_slice(&answer.body).expect("RFC 6902");
    patch(held, &operations).expect("it applies");
    answer.etag().to_owned()
}

#[tokio::test]
async fn a_held_poll_is_answered_with_the_difference() {
    for asks in [("a-im", "json-patch"), ("accept", "application/json-patch+json")] {
        let stand = stand(FAST);
        let mut http = stand.http().await;
        let mut held = list(1);
        let mut tag = http.get("/prices/A", &[]).await.expect(200).etag().to_owned();
        for price in 2..5 {
            let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=30"), asks];
            http.send("GET", "/prices/A", &headers, b"").await;
            stand.clients("long_poll", 1).await;
            set(&stand, &list(price));
            let answer = http.read_response().await;
            assert_eq!(answer.header("preference-applied"), Some("wait=30"));
            tag = expect_patch(answer, &tag, &mut held);
            assert_eq!(held, list(price));
        }
        assert_eq!(http.get("/prices/A", &[]).await.expect(200).etag(), tag);
    }
}

#[tokio::test]
async fn an_ordinary_poll_that_comes_again_is_answered_with_the_difference() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let asks = [("a-im", "json-patch")];
    let mut held = list(1);
    let mut tag = http.get("/prices/A", &[]).await.expect(200).etag().to_owned();
    ask(&mut http, &tag, &asks).await.expect(304);
    let _follower = Sse::open(stand.address(), "/prices/A", &[JSON]).await;
    for price in 2..4 {
        set(&stand, &list(price));
        let answer = loop {
            let answer = ask(&mut http, &tag, &asks).await;
            if answer.status != 304 {
                break answer;
            }
        };
        tag = expect_patch(answer, &tag.clone(), &mut held);
        assert_eq!(held, list(price));
    }
}

#[tokio::test]
async fn without_a_known_base_or_a_smaller_patch_the_whole_body_comes() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let asks = [("a-im", "json-patch")];
    let whole = http.get("/prices/A", &asks).await.expect(200);
    assert_eq!(whole.text(), list(1).to_string(), "without If-None-Match");
    let answer = ask(&mut http, "\"AAAAAAAAAAAAAAAAAAAAAA\"", &asks).await.expect(200);
    assert_eq!(answer.text(), list(1).to_string());
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn http2_has_both_forms() {
    let tls = TlsStand::start(FAST);
    set(&tls.stand, &list(1));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let (head, mut stream) = h2.open("GET", "/prices/A", &[JSON]).await;
    assert_eq!(head.status, 200);
    let first = stream.next_event().await;
    assert_eq!(first.event, "snapshot");
    let tag = h2.get("/prices/A", &[]).await.expect(200).etag().to_owned();
    let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=30"), ("a-im", "json-patch")];
    let (set_and_read, answer) = tokio::join!(
        async {
            tls.stand.clients("long_poll", 1).await;
            set(&tls.stand, &list(2));
            stream.next_event().await
        },
        h2.get("/prices/A", &headers),
    );
    assert_eq!(set_and_read.event, "patch");
    let mut held = list(1);
    expect_patch(answer, &tag, &mut held);
    assert_eq!(held, list(2));
}
