//! Contract §11: streams end with their token, by an operator, or go on by a new token.

use serde_json::{Value, json};

use super::{JWT, STREAM, bearer, stand, token};
use crate::contract::{FAST, Stand, config};
use crate::support::app;
use crate::support::client::Http;
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;
use crate::support::ws::Ws;

#[tokio::test]
async fn streams_end_when_their_token_does() {
    let stand = stand("share: public");
    let ann = bearer(&token("ann", 2));
    let of_ann = [("authorization", ann.as_str())];
    let mut sse = Sse::open(stand.address(), "/prices/A", &of_ann).await;
    let mut ws = Ws::open(stand.address(), "/prices/A", &of_ann).await;
    let mut http = stand.http().await;
    let tag = http.get("/prices/A", &of_ann).await.expect(200).etag().to_owned();
    let held = [of_ann[0], ("prefer", "wait=30"), ("if-none-match", tag.as_str())];
    http.send("GET", "/prices/A", &held, b"").await;
    assert_eq!(sse.next_event().await.data, r#"{"n":1}"#);
    assert_eq!(ws.next_text().await, r#"{"n":1}"#);
    let bye = sse.next_named("bye").await;
    let bye: Value = serde_json::from_str(&bye.data).expect("JSON");
    assert_eq!((&bye["reason"], &bye["reconnect"]), (&json!("expired"), &json!(true)));
    sse.expect_end().await;
    assert_eq!(ws.next_close().await, (4401, "expired".to_owned()));
    http.read_response().await.expect(401);
    // And no client comes back with it.
    let refused = Sse::try_open(stand.address(), "/prices/A", &of_ann).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(401));
}

#[tokio::test]
async fn a_stream_of_http2_ends_with_its_token_too() {
    let legacy = Legacy::start();
    legacy.set("/prices/A", Reply::json(r#"{"n":1}"#));
    let yaml = config(&legacy, &format!("{FAST}, share: public, {JWT}"), "");
    let app = app::start(&yaml.replace("'127.0.0.1:0'}]", "'127.0.0.1:0', http2: true}]"));
    let tcp = crate::support::client::connect(app.addresses()[0]).await;
    let mut h2 = H2::over(tcp, "localhost").await;
    let ann = bearer(&token("ann", 2));
    let (head, mut body) = h2.open("GET", "/prices/A", &[STREAM, ("authorization", &ann)]).await;
    assert_eq!(head.status, 200);
    assert_eq!(body.next_event().await.data, r#"{"n":1}"#);
    let bye = body.next_event().await;
    assert!(bye.data.contains("expired"), "{bye:?}");
    body.expect_end().await;
    let (head, _) = h2.open("GET", "/prices/A", &[STREAM, ("authorization", &ann)]).await;
    assert_eq!(head.status, 401);
    // A held poll, too: not even a change is told to it afterwards.
    let soon = bearer(&token("ann", 2));
    let tag = h2.get("/prices/A", &[("authorization", &soon)]).await.expect(200).etag().to_owned();
    let held = [("authorization", soon.as_str()), ("prefer", "wait=30"), ("if-none-match", &tag)];
    let (head, _) = h2.open("GET", "/prices/A", &held).await;
    assert_eq!(head.status, 401);
}

#[tokio::test]
async fn an_operator_ends_what_is_held_on_http2() {
    let legacy = Legacy::start();
    legacy.set("/prices/A", Reply::json(r#"{"n":1}"#));
    let yaml = config(&legacy, &format!("{FAST}, share: public, {JWT}"), "");
    let app = app::start(&yaml.replace("'127.0.0.1:0'}]", "'127.0.0.1:0', http2: true}]"));
    let stand = Stand { legacy, app };
    let tcp = crate::support::client::connect(stand.address()).await;
    let mut h2 = H2::over(tcp, "localhost").await;
    let ann = bearer(&token("ann", 60));
    let tag = h2.get("/prices/A", &[("authorization", &ann)]).await.expect(200).etag().to_owned();
    let held = [("authorization", ann.as_str()), ("prefer", "wait=30"), ("if-none-match", &tag)];
    let ended = async {
        stand.clients("long_poll", 1).await;
        let mut admin = Http::connect(stand.app.admin_address().expect("an admin listener")).await;
        assert_eq!(admin.request("POST", "/-/end?subject=ann", &[], b"").await.json()["ended"], 1);
    };
    let ((head, _), ()) = tokio::join!(h2.open("GET", "/prices/A", &held), ended);
    assert_eq!(head.status, 401);
}

#[tokio::test]
async fn an_operator_ends_all_streams_of_a_subject_and_of_no_other() {
    let stand = stand("share: public");
    let (ann, bob) = (bearer(&token("ann", 60)), bearer(&token("bob", 60)));
    let (of_ann, of_bob) = ([("authorization", ann.as_str())], [("authorization", bob.as_str())]);
    let mut sse = Sse::open(stand.address(), "/prices/A", &of_ann).await;
    let mut ws = Ws::open(stand.address(), "/prices/A", &of_ann).await;
    let mut other = Sse::open(stand.address(), "/prices/A", &of_bob).await;
    for stream in [&mut sse, &mut other] {
        assert_eq!(stream.next_event().await.data, r#"{"n":1}"#);
    }
    assert_eq!(ws.next_text().await, r#"{"n":1}"#);
    let mut admin = Http::connect(stand.app.admin_address().expect("an admin listener")).await;
    admin.get("/-/end?subject=ann", &[]).await.expect(405);
    admin.request("POST", "/-/end", &[], b"").await.expect(400);
    let answer = admin.request("POST", "/-/end?subject=%61nn", &[], b"").await.expect(200);
    assert_eq!(answer.json()["ended"], 2);
    let bye = sse.next_named("bye").await;
    assert!(bye.data.contains("revoked") && bye.data.contains("\"reconnect\":false"), "{bye:?}");
    assert_eq!(ws.next_close().await, (4401, "revoked".to_owned()));
    stand.legacy.set("/prices/A", Reply::json(r#"{"n":3}"#));
    assert_eq!(other.next_event().await.data, r#"{"n":3}"#);
    let answer = admin.request("POST", "/-/end?subject=ann", &[], b"").await.expect(200);
    assert_eq!(answer.json()["ended"], 0);
    // Her token is still good, and she may come again.
    let mut again = Sse::open(stand.address(), "/prices/A", &of_ann).await;
    assert_eq!(again.next_event().await.data, r#"{"n":3}"#);
}

#[tokio::test]
async fn a_web_socket_of_many_stays_by_a_new_token() {
    let stand = stand("share: public");
    let (short, long) = (token("ann", 3), token("ann", 60));
    let headers = [("sec-websocket-protocol", "pollcast.v1"), ("authorization", &bearer(&short))]
        .map(|(name, value)| (name, value.to_owned()));
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut renewed = Ws::open(stand.address(), "/-/pollcast/ws", &headers).await;
    let mut left = Ws::open(stand.address(), "/prices/A", &headers).await;
    let say = json!({ "op": "subscribe", "resource": "/prices/A" }).to_string();
    renewed.send_text(&say).await;
    for ws in [&mut renewed, &mut left] {
        assert!(ws.next_text().await.contains("snapshot"));
    }
    renewed.send_text(&json!({ "op": "subscribe", "resource": "/prices/B" }).to_string()).await;
    let refused: Value = serde_json::from_str(&renewed.next_text().await).expect("JSON");
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(403)));
    for (token, status) in [(Value::Null, 400), (json!("x.y.z"), 401), (json!(long), 200)] {
        renewed.send_text(&json!({ "op": "auth", "token": token, "id": 7 }).to_string()).await;
        let answer: Value = serde_json::from_str(&renewed.next_text().await).expect("JSON");
        assert_eq!((&answer["status"], &answer["id"]), (&json!(status), &json!(7)), "{answer}");
    }
    let bye = left.next_text().await;
    assert!(bye.contains("expired"), "{bye}");
    assert_eq!(left.next_close().await.0, 4401);
    stand.legacy.set("/prices/A", Reply::json(r#"{"n":4}"#));
    let change: Value = serde_json::from_str(&renewed.next_text().await).expect("JSON");
    assert_eq!(change["data"], json!({ "n": 4 }));
}
