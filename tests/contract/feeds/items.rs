//! Contract §8: lists told item by item, end to end.

mod forms;
mod resuming;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::contract::Stand;
use crate::support::client::Http;
use crate::support::legacy::Reply;
use crate::support::sse::{Event, Sse};

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
    // A client that comes back reads what is made for it alone.
    let mut back = Sse::open(stand.address(), ROOM, &[("last-event-id", "1")]).await;
    assert_eq!(back.next_event().await.event, "message");
}

fn ids(body: &Value) -> Vec<u64> {
    body.as_array().expect("an array").iter().filter_map(|item| item["id"].as_u64()).collect()
}
