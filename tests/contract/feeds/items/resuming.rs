//! Contract §8: cursors, pages, and clients that come back after an item.

use serde_json::{Value, json};

use super::{PLAIN, QUIET, ROOM, Room, id_of, items, newest_first, stand};
use crate::contract::Stand;
use crate::support::app;
use crate::support::legacy::Legacy;
use crate::support::sse::Sse;

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
async fn a_client_from_an_unknown_item_is_told() {
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
