//! Contract §8: lists told item by item, end to end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::contract::{Stand, TlsStand};
use crate::support::app;
use crate::support::client::Http;
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::{Event, Sse};
use crate::support::ws::Ws;

const ROOM: &str = "/prices/room";
const QUIET: Duration = Duration::from_millis(300);
const PLAIN: &str = "poll: {interval: 100ms}, feed: {items: /messages, id: /id, replay: 2}";

/// A legacy chat room: a list that grows, shown page by page.
#[derive(Clone)]
struct Room(Arc<Mutex<Vec<Value>>>);

impl Room {
    /// `show`: what a request sees of all messages, oldest first.
    fn open(stand: &Stand, show: impl Fn(&[Value], Option<&str>) -> Value + Send + Sync + 'static) -> Room {
        let room = Room(Arc::default());
        let messages = room.0.clone();
        stand.legacy.answer_with(ROOM, move |seen| {
            let query = seen.target.split_once('?').map(|(_, query)| query);
            Reply::json(show(&messages.lock(), query).to_string())
        });
        room
    }

    fn say(&self, ids: impl IntoIterator<Item = u64>) {
        self.0.lock().extend(ids.into_iter().map(|id| json!({ "id": id, "text": format!("message {id}") })));
    }
}

fn newest_first(messages: &[Value], _: Option<&str>) -> Value {
    json!({ "messages": messages.iter().rev().take(5).collect::<Vec<_>>() })
}

fn stand(route: &str, show: fn(&[Value], Option<&str>) -> Value) -> (Stand, Room) {
    let stand = Stand::start(route);
    let room = Room::open(&stand, show);
    (stand, room)
}

fn id_of(event: &Event) -> String {
    assert_eq!(event.event, "item", "{event:?}");
    let item: Value = serde_json::from_str(&event.data).expect("JSON");
    let id = event.id.clone().expect("an id");
    assert_eq!(item["id"].to_string(), id);
    id
}

async fn items(sse: &mut Sse, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(id_of(&sse.next_event().await));
    }
    ids
}

#[tokio::test]
async fn new_items_are_events_oldest_first_after_a_few_old_ones() {
    let (stand, room) = stand(PLAIN, newest_first);
    room.say(1..=4);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    assert_eq!(items(&mut sse, 2).await, ["3", "4"]);
    room.say(5..=7);
    assert_eq!(items(&mut sse, 3).await, ["5", "6", "7"]);
    sse.expect_no_event(QUIET).await;
    assert_eq!(stand.metric("pollcast_feed_items_total", "").await, 7.0);
}

#[tokio::test]
async fn a_list_with_the_oldest_first_is_found_out() {
    let (stand, room) = stand(PLAIN, |messages, _| json!({ "messages": messages }));
    room.say(1..=3);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    assert_eq!(items(&mut sse, 2).await, ["2", "3"]);
    room.say(4..=5);
    assert_eq!(items(&mut sse, 2).await, ["4", "5"]);
    let admin = stand.app.admin_address().expect("the admin listener");
    let listed = Http::connect(admin).await.get("/resources", &[]).await.expect(200).json();
    assert_eq!(listed["resources"][0]["order"], "oldest_first");
}

#[tokio::test]
async fn a_client_resumes_after_its_last_item_however_it_says_so() {
    let (stand, room) = stand(PLAIN, newest_first);
    room.say(1..=4);
    let page = stand.http().await.get(ROOM, &[]).await.expect(200);
    let tag = page.etag().trim_matches('"').to_owned();
    let mut first = Sse::open(stand.address(), ROOM, &[]).await;
    items(&mut first, 2).await;
    room.say(5..=6);
    items(&mut first, 2).await;
    let mut by_header = Sse::open(stand.address(), ROOM, &[("last-event-id", "3")]).await;
    assert_eq!(items(&mut by_header, 3).await, ["4", "5", "6"]);
    for query in ["last_event_id=5", "lastEventId=5"] {
        let mut by_query = Sse::open(stand.address(), &format!("{ROOM}?{query}"), &[]).await;
        assert_eq!(items(&mut by_query, 1).await, ["6"]);
    }
    let mut by_page = Sse::open(stand.address(), ROOM, &[("last-event-id", &tag)]).await;
    assert_eq!(items(&mut by_page, 2).await, ["5", "6"], "from the page it has read");
    let mut current = Sse::open(stand.address(), ROOM, &[("last-event-id", "6")]).await;
    current.expect_no_event(QUIET).await;
}

/// Waits until the list as it is now has been polled.
async fn polled(stand: &Stand) {
    stand.legacy.forget();
    stand.legacy.wait_count(ROOM, 2).await;
}

#[tokio::test]
async fn what_left_the_list_and_comes_back_is_told_again_unless_the_route_says_no() {
    let ignoring = PLAIN.replace("replay: 2", "replay: 2, on_return: ignore");
    for (route, is_told) in [(PLAIN, true), (ignoring.as_str(), false)] {
        let (stand, room) = stand(route, newest_first);
        room.say(1..=3);
        let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
        items(&mut sse, 2).await;
        let all = std::mem::take(&mut *room.0.lock());
        polled(&stand).await;
        *room.0.lock() = all[..2].to_vec();
        polled(&stand).await;
        if is_told {
            assert_eq!(items(&mut sse, 2).await, ["1", "2"]);
        }
        *room.0.lock() = all;
        room.say([4]);
        let wanted: &[&str] = if is_told { &["3", "4"] } else { &["4"] };
        assert_eq!(items(&mut sse, wanted.len()).await, wanted);
        sse.expect_no_event(QUIET).await;
    }
}

/// Shows these items, which are named by `/fingerprint`.
fn show_sorted(stand: &Stand, names: &[&str]) {
    let mut names = names.to_vec();
    names.sort_unstable();
    let items: Vec<Value> = names.iter().map(|name| json!({ "fingerprint": name })).collect();
    stand.legacy.set(ROOM, Reply::json(json!(items).to_string()));
}

#[tokio::test]
async fn a_list_that_is_sorted_by_name_loses_no_item() {
    let stand = Stand::start("poll: {interval: 100ms}, feed: {items: '', id: /fingerprint}");
    let mut names = vec!["doc1", "doc2"];
    show_sorted(&stand, &names);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    stand.legacy.wait_count(ROOM, 2).await;
    for name in ["zzz", "aaa", "mmm", "aab"] {
        names.push(name);
        show_sorted(&stand, &names);
        assert_eq!(sse.next_event().await.id.as_deref(), Some(name));
    }
    let admin = stand.app.admin_address().expect("the admin listener");
    let listed = Http::connect(admin).await.get("/resources", &[]).await.expect(200).json();
    assert_eq!(listed["resources"][0]["order"], "none");
    assert_eq!(stand.metric("pollcast_feed_gaps_total", "").await, 0.0);
}

#[tokio::test]
async fn an_alert_that_fires_again_is_told_again() {
    let stand = Stand::start("poll: {interval: 100ms}, feed: {items: '', id: /fingerprint, order: none}");
    show_sorted(&stand, &["cpu", "disk"]);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    stand.legacy.wait_count(ROOM, 1).await;
    for _ in 0..3 {
        show_sorted(&stand, &[]);
        polled(&stand).await;
        show_sorted(&stand, &["disk"]);
        assert_eq!(sse.next_event().await.id.as_deref(), Some("disk"));
    }
    sse.expect_no_event(QUIET).await;
}

#[tokio::test]
async fn several_places_name_an_item_and_its_name_is_a_place_to_come_back_to() {
    let stand =
        Stand::start("poll: {interval: 100ms}, feed: {items: '', id: [/vhost, /meta/name], replay: 9}");
    let queue = |vhost: &str, name: &str| json!({ "vhost": vhost, "meta": { "name": name } });
    stand
        .legacy
        .set(ROOM, Reply::json(json!([queue("/", "q1"), queue("a", "b,c"), queue("a,b", "c")]).to_string()));
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(sse.next_event().await.id.expect("an id"));
    }
    assert_eq!(ids, [r#"["/","q1"]"#, r#"["a","b,c"]"#, r#"["a,b","c"]"#]);
    let mut back = Sse::open(stand.address(), ROOM, &[("last-event-id", &ids[1])]).await;
    assert_eq!(back.next_event().await.id.as_ref(), Some(&ids[2]));
}

#[tokio::test]
async fn items_are_events_of_the_name_that_the_route_says() {
    let (stand, room) = stand(&format!("{PLAIN}, event_name: message"), newest_first);
    room.say(1..=2);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    for id in ["1", "2"] {
        let event = sse.next_event().await;
        assert_eq!((event.event.as_str(), event.id.as_deref()), ("message", Some(id)));
    }
    room.say([3]);
    assert_eq!(sse.next_event().await.event, "message");
    // Who comes back reads what is made for it alone.
    let mut back = Sse::open(stand.address(), ROOM, &[("last-event-id", "1")]).await;
    assert_eq!(back.next_event().await.event, "message");
}

#[tokio::test]
async fn the_upstreams_cursor_asks_only_for_what_is_new() {
    let feed = "poll: {interval: 100ms}, \
                feed: {items: /messages, id: /id, order: oldest_first, cursor: {query: since, from: /last}}";
    let (stand, room) = stand(feed, |messages, query| {
        let since = query.and_then(|q| q.strip_prefix("since=")?.parse::<u64>().ok()).unwrap_or(0);
        let new: Vec<&Value> = messages.iter().filter(|m| m["id"].as_u64() > Some(since)).collect();
        let last = new.last().map_or(Value::from(since), |m| m["id"].clone());
        json!({ "messages": new, "last": last })
    });
    room.say(1..=3);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    stand.legacy.wait_seen("a poll with the cursor", |seen| seen.target == format!("{ROOM}?since=3")).await;
    room.say(4..=5);
    assert_eq!(items(&mut sse, 2).await, ["4", "5"]);
    stand.legacy.wait_seen("the next cursor", |seen| seen.target == format!("{ROOM}?since=5")).await;
    // A plain request asks for itself: no poll has the whole list.
    let plain = stand.http().await.get(ROOM, &[]).await.expect(200).json();
    assert_eq!(plain["messages"].as_array().map(Vec::len), Some(5));
    let mut by_cursor = Sse::open(stand.address(), &format!("{ROOM}?since=4"), &[]).await;
    assert_eq!(items(&mut by_cursor, 1).await, ["5"], "the cursor's parameter is a place in the feed");
    assert_eq!(stand.metric("pollcast_resources", "").await, 1.0);
}

#[tokio::test]
async fn further_pages_are_had_until_they_reach_back() {
    let feed = "poll: {interval: 100ms}, \
                feed: {items: /messages, id: /id, pages: {next: number, query: page, max: 4}}";
    let (stand, room) = stand(feed, |messages, query| {
        let page = query.and_then(|q| q.strip_prefix("page=")?.parse::<usize>().ok()).unwrap_or(1);
        json!({ "messages": messages.iter().rev().skip((page - 1) * 2).take(2).collect::<Vec<_>>() })
    });
    room.say(1..=4);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    stand.legacy.wait_count(ROOM, 1).await;
    room.say(5..=9);
    assert_eq!(items(&mut sse, 5).await, ["5", "6", "7", "8", "9"]);
    room.say(10..=40);
    let reset = sse.next_event().await;
    assert_eq!((reset.event.as_str(), reset.data.as_str()), ("reset", r#"{"reason":"overflow"}"#));
    assert_eq!(items(&mut sse, 8).await.last().map(String::as_str), Some("40"), "what the pages had");
    room.say([41]);
    assert_eq!(items(&mut sse, 1).await, ["41"], "and then it goes on");
    assert_eq!(stand.metric("pollcast_feed_gaps_total", "").await, 1.0);
}

#[tokio::test]
async fn an_updated_item_is_an_event_where_the_route_says_so() {
    let feed = "poll: {interval: 100ms}, feed: {items: /messages, id: /id, on_update: event, replay: 1}";
    let (stand, room) = stand(feed, newest_first);
    room.say(1..=2);
    let mut sse = Sse::open(stand.address(), ROOM, &[]).await;
    assert_eq!(items(&mut sse, 1).await, ["2"]);
    room.0.lock()[0]["text"] = json!("edited");
    let event = sse.next_event().await;
    assert!(event.data.contains("edited"), "{event:?}");
    assert_eq!(id_of(&event), "1");
}

#[tokio::test]
async fn who_comes_from_nowhere_known_is_told() {
    let (stand, room) = stand(PLAIN, newest_first);
    room.say(1..=4);
    let mut sse = Sse::open(stand.address(), ROOM, &[("last-event-id", "999")]).await;
    let reset = sse.next_event().await;
    assert_eq!((reset.event.as_str(), reset.data.as_str()), ("reset", r#"{"reason":"unknown-cursor"}"#));
    assert_eq!(items(&mut sse, 2).await, ["3", "4"]);
}

#[tokio::test]
async fn a_restart_repeats_nothing_that_the_page_still_shows() {
    let legacy = Legacy::start();
    let start = || app::start(&crate::contract::config(&legacy, PLAIN, ""));
    let first = Stand { app: start(), legacy };
    let room = Room::open(&first, newest_first);
    room.say(1..=3);
    let mut sse = Sse::open(first.address(), ROOM, &[]).await;
    items(&mut sse, 2).await;
    let had = sse.last_event_id().to_owned();
    let Stand { app, legacy } = first;
    app.stop();
    room.say(4..=5);
    let second = Stand { app: app::start(&crate::contract::config(&legacy, PLAIN, "")), legacy };
    let mut sse = Sse::open(second.address(), ROOM, &[("last-event-id", &had)]).await;
    assert_eq!(items(&mut sse, 2).await, ["4", "5"]);
    sse.expect_no_event(QUIET).await;
}

#[tokio::test]
async fn a_client_that_was_long_away_catches_up_with_its_own_cursor() {
    let feed = "poll: {interval: 100ms}, \
                feed: {items: /messages, id: /id, order: oldest_first, cursor: {query: since, from: /last}}";
    let (stand, room) = stand(feed, |messages, query| {
        let since = query.and_then(|q| q.strip_prefix("since=")?.parse::<u64>().ok());
        let new: Vec<&Value> = match since {
            Some(since) => messages.iter().filter(|m| m["id"].as_u64() > Some(since)).collect(),
            // Without a cursor there are the last two.
            None => messages.iter().rev().take(2).rev().collect(),
        };
        json!({ "messages": new, "last": messages.last().map(|m| m["id"].clone()) })
    });
    room.say(1..=9);
    let mut cold = Sse::open(stand.address(), ROOM, &[("last-event-id", "3")]).await;
    assert_eq!(items(&mut cold, 6).await, ["4", "5", "6", "7", "8", "9"]);
    let mut older = Sse::open(stand.address(), ROOM, &[("last-event-id", "1")]).await;
    assert_eq!(items(&mut older, 8).await, ["2", "3", "4", "5", "6", "7", "8", "9"]);
    // Whatever a client claims is its own affair.
    let mut liar = Sse::open(stand.address(), ROOM, &[("last-event-id", "999999")]).await;
    stand.legacy.wait_seen("its cursor", |seen| seen.target.ends_with("since=999999")).await;
    // Had it asked before the news, or after: it has what the upstream says it has. The next poll is after.
    stand.legacy.wait_count(ROOM, stand.legacy.count(ROOM) + 1).await;
    room.say([10]);
    for sse in [&mut cold, &mut older, &mut liar] {
        assert_eq!(items(sse, 1).await, ["10"]);
    }
    let mut nonsense = Sse::open(stand.address(), ROOM, &[("last-event-id", "x&since=0")]).await;
    assert_eq!(nonsense.next_event().await.event, "reset");
    assert!(stand.legacy.all_seen().iter().all(|seen| !seen.target.contains('&')), "one parameter");
}

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

fn ids(body: &Value) -> Vec<u64> {
    body.as_array().expect("an array").iter().filter_map(|item| item["id"].as_u64()).collect()
}

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
