//! Claims about `max_age`: streams that end by themselves, so that their clients spread anew.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::contract::{FAST, Stand, TlsStand};
use crate::support::client::long_poll;
use crate::support::h2::{H2, H2Body};
use crate::support::legacy::Reply;
use crate::support::sse::{Event, Sse};
use crate::support::ws::Ws;

const A: &str = r#"{"price":1}"#;
const ROTATED: &str = "poll: {interval: 100ms}, max_age: 1s";
const MANY: &str = "/-/pollcast/events?resource=/prices/A&resource=/prices/B";
const ENVELOPE: (&str, &str) = ("sec-websocket-protocol", "pollcast.v1");

/// A fifth less than a second; how much more depends on the machine.
const SOONEST: Duration = Duration::from_millis(800);

fn stand() -> Stand {
    let stand = Stand::start(ROTATED);
    stand.legacy.set("/prices/A", Reply::json(A));
    stand.legacy.set("/prices/B", Reply::json(A));
    stand
}

fn expect_bye(bye: &Event, began: Instant) {
    assert!(began.elapsed() >= SOONEST, "after {:?}", began.elapsed());
    let said: Value = serde_json::from_str(&bye.data).expect("JSON");
    assert_eq!((&said["reason"], &said["reconnect"]), (&Value::from("max-age"), &Value::from(true)));
    assert_eq!(bye.id, None);
}

async fn expect_rotation(mut sse: Sse, began: Instant) {
    let bye = loop {
        let event = sse.next_event().await;
        if event.event == "bye" {
            break event;
        }
    };
    expect_bye(&bye, began);
    sse.expect_end().await;
}

#[tokio::test]
async fn an_event_stream_ends_after_max_age_and_its_client_loses_nothing() {
    let stand = stand();
    let began = Instant::now();
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = sse.next_event().await.id.expect("a version");
    let old = Sse::open_http10(stand.address(), "/prices/A", &[]).await;
    tokio::join!(expect_rotation(sse, began), expect_rotation(old, began));
    stand.metric_becomes("pollcast_ends_total", "max-age", 2.0).await;
    stand.clients("sse", 0).await;
    let mut again = Sse::open(stand.address(), "/prices/A", &[("last-event-id", &id)]).await;
    stand.legacy.set("/prices/A", Reply::json(r#"{"price":2}"#));
    assert_eq!(again.next_event().await.data, r#"{"price":2}"#);
}

#[tokio::test]
async fn a_stream_of_many_ends_after_the_shortest_max_age() {
    let stand = stand();
    let began = Instant::now();
    expect_rotation(Sse::open(stand.address(), MANY, &[]).await, began).await;
    stand.metric_becomes("pollcast_ends_total", "max-age", 1.0).await;
}

#[tokio::test]
async fn websockets_end_with_1001_after_max_age() {
    let stand = stand();
    let began = Instant::now();
    let mut bare = Ws::open(stand.address(), "/prices/A", &[]).await;
    let mut envelope = Ws::open(stand.address(), "/-/pollcast/ws", &[ENVELOPE]).await;
    envelope.send_text(r#"{"op":"subscribe","resource":"/prices/A"}"#).await;
    bare.next_text().await;
    assert_eq!(bare.next_close().await, (1001, "max-age".to_owned()));
    assert!(began.elapsed() >= SOONEST);
    let bye: Value = loop {
        let message: Value = serde_json::from_str(&envelope.next_text().await).expect("JSON");
        if message["type"] == "bye" {
            break message;
        }
    };
    assert_eq!((&bye["reason"], &bye["reconnect"]), (&Value::from("max-age"), &Value::from(true)));
    assert_eq!(envelope.next_close().await, (1001, "max-age".to_owned()));
    assert!(began.elapsed() >= SOONEST);
}

#[tokio::test]
async fn streams_over_http2_end_after_max_age_and_the_connection_goes_on() {
    let tls = TlsStand::start(ROTATED);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    tls.stand.legacy.set("/prices/B", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let began = Instant::now();
    let (_, one) = h2.open("GET", "/prices/A", &[("accept", "text/event-stream")]).await;
    let (_, many) = h2.open("GET", MANY, &[]).await;
    let ends = |mut body: H2Body| async move {
        let bye = loop {
            let event = body.next_event().await;
            if event.event == "bye" {
                break event;
            }
        };
        expect_bye(&bye, began);
        body.expect_end().await;
    };
    tokio::join!(ends(one), ends(many));
    tls.stand.metric_becomes("pollcast_ends_total", "max-age", 2.0).await;
    assert_eq!(h2.get("/prices/A", &[]).await.text(), A);
}

#[tokio::test]
async fn a_held_poll_knows_no_max_age() {
    let stand = stand();
    let mut http = stand.http().await;
    let tag = http.get("/prices/A", &[]).await.etag().to_owned();
    let began = Instant::now();
    let wait = Duration::from_secs(2);
    long_poll(&mut http, "/prices/A", Some(&tag), wait).await.expect(304);
    assert!(began.elapsed() >= Duration::from_millis(1800));
}

#[tokio::test]
async fn without_max_age_streams_stay() {
    let stand = Stand::start(FAST);
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    sse.expect_no_event(Duration::from_millis(1300)).await;
}
