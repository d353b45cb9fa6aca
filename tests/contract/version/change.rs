//! Contract §2: what counts as a change under a route's rules, end to end.

use serde_json::{Value, json};

use crate::contract::{FAST_FAILING, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

const PATH: &str = "/prices/A";

fn stand(change: &str, body: &str) -> Stand {
    let stand = Stand::start(&format!("{FAST_FAILING}, change: {change}"));
    stand.legacy.set(PATH, Reply::json(body));
    stand
}

async fn follow(stand: &Stand) -> Sse {
    Sse::open(stand.address(), PATH, &[]).await
}

/// The upstream says this, and it has been judged.
async fn says(stand: &Stand, body: &str) {
    stand.legacy.set(PATH, Reply::json(body));
    // The second poll from here on is asked when the first has been judged.
    stand.legacy.wait_count(PATH, stand.legacy.count(PATH) + 2).await;
}

#[tokio::test]
async fn a_flapping_member_wakes_no_client() {
    let stand = stand("{ignore: [/generated_at, '$..seen']}", r#"{"price": 1.50, "generated_at": 1}"#);
    let mut sse = follow(&stand).await;
    let first = r#"{"generated_at":1,"price":1.5}"#;
    assert_eq!(sse.next_event().await.data, first);
    says(&stand, r#"{"generated_at":2,"price":1.50}"#).await;
    says(&stand, r#"{"price":1.5,"seen":7}"#).await;
    let mut http = stand.http().await;
    let answer = http.get(PATH, &[]).await.expect(200);
    assert_eq!(answer.text(), first, "ignored members are as they were when the version was made");
    let tag = answer.etag().to_owned();
    assert_eq!(tag, format!("W/\"{}\"", sse.last_event_id()));
    assert_eq!(http.get(PATH, &[("if-none-match", &tag)]).await.expect(304).etag(), tag);
    stand.legacy.set(PATH, Reply::json(r#"{"price":2,"generated_at":9}"#));
    assert_eq!(sse.next_event().await.data, r#"{"generated_at":9,"price":2}"#, "nothing was sent in between");
}

#[tokio::test]
async fn patches_never_touch_what_is_ignored() {
    let body = |price: u32, at: u32| {
        let rows: Vec<Value> = (0..20).map(|id| json!({"id": id, "at": at, "price": price + id})).collect();
        json!({"at": at, "rows": rows, "price": price}).to_string()
    };
    let stand = stand("{ignore: ['$..at']}", &body(1, 1));
    let mut sse = Sse::open(stand.address(), PATH, &[("accept", "text/event-stream;delta=json-patch")]).await;
    assert_eq!(sse.next_event().await.event, "snapshot");
    says(&stand, &body(1, 2)).await;
    let mut next: Value = serde_json::from_str(&body(1, 3)).expect("JSON");
    next["rows"][7]["price"] = json!(99);
    stand.legacy.set(PATH, Reply::json(next.to_string()));
    let event = sse.next_event().await;
    assert_eq!(event.event, "patch");
    assert_eq!(event.data, r#"[{"op":"replace","path":"/rows/7/price","value":99}]"#);
}

#[tokio::test]
async fn a_selection_is_the_resource_in_all_forms() {
    let selected = r#"{"n": 1.50, "id":12345678901234567890}"#;
    let body = |t: u32| format!(r#"{{"t":{t},"data": {selected} }}"#);
    let stand = stand("{select: /data}", &body(1));
    let mut sse = follow(&stand).await;
    assert_eq!(sse.next_event().await.data, selected, "byte for byte as the upstream wrote it");
    says(&stand, &body(2)).await;
    let answer = stand.http().await.get(PATH, &[]).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.header("content-length")), (selected, Some("38")));
    assert_eq!(answer.etag(), format!("\"{}\"", sse.last_event_id()));
    stand.legacy.set(PATH, Reply::json(r#"{"t":3}"#));
    let stale = sse.next_event().await;
    assert_eq!(stale.event, "stale");
    assert!(stale.data.contains("the body has nothing at"), "{}", stale.data);
    assert!(stand.metric("pollcast_poll_failures_total", "no-selection").await >= 1.0);
    assert_eq!(stand.http().await.get(PATH, &[]).await.expect(200).text(), selected);
    stand.legacy.set(PATH, Reply::json(r#"{"data":[]}"#));
    assert_eq!(sse.next_named("fresh").await.event, "fresh");
    assert_eq!(sse.next_event().await.data, "[]");
}

#[tokio::test]
async fn small_movements_are_none_until_they_add_up() {
    let stand = stand("{tolerance: {/price: 0.1}}", r#"{"price":1.0,"volume":1}"#);
    let mut sse = follow(&stand).await;
    assert_eq!(sse.next_event().await.data, r#"{"price":1,"volume":1}"#);
    says(&stand, r#"{"price":1.08,"volume":1}"#).await;
    says(&stand, r#"{"price":1.1,"volume":1}"#).await;
    stand.legacy.set(PATH, Reply::json(r#"{"price":1.09,"volume":2}"#));
    assert_eq!(sse.next_event().await.data, r#"{"price":1,"volume":2}"#);
    stand.legacy.set(PATH, Reply::json(r#"{"price":1.12,"volume":2}"#));
    assert_eq!(sse.next_event().await.data, r#"{"price":1.12,"volume":2}"#);
}

#[tokio::test]
async fn an_array_with_a_key_has_no_order() {
    let stand = stand("{array_key: {/rows: /id}}", r#"{"rows":[{"id":10},{"id":9}]}"#);
    let mut sse = follow(&stand).await;
    assert_eq!(sse.next_event().await.data, r#"{"rows":[{"id":9},{"id":10}]}"#);
    says(&stand, r#"{"rows":[{"id":9},{"id":10}]}"#).await;
    stand.legacy.set(PATH, Reply::json(r#"{"rows":[{"id":11},{"id":10},{"id":9}]}"#));
    assert_eq!(sse.next_event().await.data, r#"{"rows":[{"id":9},{"id":10},{"id":11}]}"#);
}

#[tokio::test]
async fn order_of_members_and_forms_of_numbers_can_be_left_aside() {
    let stand = stand("{compare: json}", r#"{"b": 1.0, "a": 1e2}"#);
    let mut sse = follow(&stand).await;
    assert_eq!(sse.next_event().await.data, r#"{"a":100,"b":1}"#);
    says(&stand, r#"{"a":100,"b":1}"#).await;
    stand.legacy.set(PATH, Reply::json("[]"));
    assert_eq!(sse.next_event().await.data, "[]");
}

#[tokio::test]
async fn what_should_be_json_and_is_not_is_a_failed_poll() {
    for change in ["off", "{compare: json}"] {
        let stand = stand(change, r#"{"a":1}"#);
        let mut sse = follow(&stand).await;
        assert_eq!(sse.next_event().await.data, r#"{"a":1}"#);
        stand.legacy.set(PATH, Reply::json("<html>"));
        let stale = sse.next_event().await;
        assert_eq!(stale.event, "stale");
        assert!(stale.data.contains("parse"), "{}", stale.data);
        assert!(stand.metric("pollcast_poll_failures_total", "not-json").await >= 1.0);
        assert_eq!(stand.http().await.get(PATH, &[]).await.expect(200).text(), r#"{"a":1}"#);
    }
}

#[tokio::test]
async fn large_bodies_follow_the_same_rules() {
    let body = |price: u32, at: u32| {
        let rows: Vec<Value> = (0..4000).map(|id| json!({"price": id + price, "id": id})).collect();
        json!({"at": at, "rows": rows}).to_string()
    };
    let stand = stand("{ignore: [/at], array_key: /id}", &body(1, 1));
    let mut sse = follow(&stand).await;
    let first = sse.next_event().await.data;
    assert!(first.len() > 64 << 10 && first.starts_with(r#"{"at":1,"rows":[{"id":0,"price":1},"#));
    says(&stand, &body(1, 2)).await;
    stand.legacy.set(PATH, Reply::json(body(2, 3)));
    assert!(sse.next_event().await.data.starts_with(r#"{"at":3,"rows":[{"id":0,"price":2},"#));
}
