//! Contract §8: bodies without the list, ids that fit no line, and the other forms of a feed.

use serde_json::{Value, json};

use super::{PLAIN, QUIET, ROOM, Room, id_of, ids, items, newest_first, stand};
use crate::contract::{Stand, TlsStand};
use crate::support::h2::H2;
use crate::support::legacy::Reply;
use crate::support::sse::Sse;
use crate::support::ws::Ws;

#[tokio::test]
async fn a_body_without_the_list_is_a_failed_poll() {
    let (stand, room) = stand(&format!("{PLAIN}, stale_after: 0s"), newest_first);
    room.say(1..=2);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    items(&mut sse, 2).await;
    stand.legacy.set(ROOM, Reply::json("{\"error\":\"maintenance\"}"));
    let stale = sse.next_event().await;
    assert_eq!(stale.event, "stale");
    assert!(stale.data.contains("has no list at"), "{}", stale.data);
}

#[tokio::test]
async fn a_page_that_is_no_json_is_a_failed_poll_even_if_it_is_the_first() {
    let (stand, room) = stand(&format!("{PLAIN}, stale_after: 0s"), newest_first);
    room.say(1..=3);
    for login in ["text/html", "text/plain", "application/octet-stream"] {
        stand.legacy.once(ROOM, Reply::new(login, "<html>Please log in</html>"));
    }
    let mut sse = Sse::open(stand.address(), ROOM, &[("last-event-id", "2")]).await;
    let mut event = sse.next_event().await;
    while matches!(event.event.as_str(), "stale" | "fresh") {
        event = sse.next_event().await;
    }
    assert_eq!(id_of(&event), "3", "the item that it had is known");
}

#[tokio::test]
async fn ids_that_do_not_fit_a_line_are_encoded_and_read_back() {
    let stand = Stand::start(PLAIN);
    let set = |names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|name| json!({ "id": name })).collect();
        stand.legacy.set(ROOM, Reply::json(json!({ "messages": items }).to_string()));
    };
    set(&["a b", "é"]);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    let event = sse.next_event().await;
    let id = event.id.clone().expect("an id");
    assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{id}");
    let second = sse.next_event().await;
    let mut back = Sse::open(stand.address(), ROOM, &[("last-event-id", &id)]).await;
    assert_eq!(back.next_event().await, second);
}

#[tokio::test]
async fn a_websocket_gets_a_message_an_item_and_ordinary_polls_the_page() {
    let (stand, room) = stand(PLAIN, newest_first);
    room.say(1..=3);
    let mut ws = Ws::open(stand.address(), ROOM, &[]).await;
    for id in 2..=3 {
        let item: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
        assert_eq!(item["id"], id);
    }
    room.say([4]);
    let item: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert_eq!(item["id"], 4);
    let mut http = stand.http().await;
    let page = http.get(ROOM, &[]).await.expect(200);
    assert_eq!(page.json()["messages"].as_array().map(Vec::len), Some(4));
    http.get(ROOM, &[("if-none-match", page.etag())]).await.expect(304);
}

// --- Long-poll ---

#[tokio::test]
async fn a_long_poll_gets_everything_since_as_one_array() {
    let (stand, room) = stand(PLAIN, newest_first);
    room.say(1..=4);
    let mut http = stand.http().await;
    http.get(ROOM, &[]).await.expect(200);
    let wait = ("prefer", "wait=30");
    let answer = http.get(ROOM, &[wait, ("last-event-id", "2")]).await.expect(200);
    assert_eq!(ids(&answer.json()), [3, 4]);
    assert_eq!(answer.header("last-event-id"), Some("4"));
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));
    let path = format!("{ROOM}?last_event_id=4");
    http.send("GET", &path, &[wait], b"").await;
    stand.clients("long_poll", 1).await;
    http.expect_silence(QUIET).await;
    room.say(5..=6);
    let answer = http.read_response().await.expect(200);
    assert_eq!(ids(&answer.json()), [5, 6]);
    let answer = http.get(ROOM, &[("prefer", "wait=1"), ("last-event-id", "6")]).await.expect(200);
    assert_eq!(answer.text(), "[]", "nothing in time");
    let answer = http.get(ROOM, &[wait, ("last-event-id", "999")]).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.header("pollcast-reset")), ("[]", Some("unknown-cursor")));
}

#[tokio::test]
async fn http2_has_the_same_long_polls_and_streams() {
    let tls = TlsStand::start(PLAIN);
    let room = Room::open(&tls.stand, newest_first);
    room.say(1..=3);
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let (head, mut stream) = h2.open("GET", ROOM, &[("accept", "text/event-stream")]).await;
    assert_eq!(head.status, 200);
    assert_eq!(id_of(&stream.next_event().await), "2");
    assert_eq!(id_of(&stream.next_event().await), "3");
    let wait = ("prefer", "wait=30");
    let answer = h2.get(ROOM, &[wait, ("last-event-id", "2")]).await.expect(200);
    assert_eq!(ids(&answer.json()), [3]);
    assert_eq!(answer.header("last-event-id"), Some("3"));
    let after = [wait, ("last-event-id", "3")];
    let (answer, ()) = tokio::join!(h2.get(ROOM, &after), async {
        tls.stand.clients("long_poll", 1).await;
        room.say([4]);
    });
    assert_eq!(ids(&answer.expect(200).json()), [4]);
    let answer = h2.get(ROOM, &[wait, ("last-event-id", "999")]).await.expect(200);
    assert_eq!(answer.header("pollcast-reset"), Some("unknown-cursor"));
}
