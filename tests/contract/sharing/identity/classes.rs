//! Contract §11: classes by identity, and the limit of a subject.

use serde_json::{Value, json};

use super::{bearer, stand, token};
use crate::contract::{FAST, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;
use crate::support::wire::within;
use crate::support::ws::Ws;

#[tokio::test]
async fn classes_by_identity_share_among_themselves_and_never_between() {
    let route = "share: {by: ['identity:subject']}";
    let stand = stand(route);
    stand.legacy.answer_with("/prices/A", |seen| {
        let subject = seen.header("x-pollcast-subject").unwrap_or("nobody").to_owned();
        Reply::json(format!(r#"{{"for":"{subject}"}}"#)).header("cache-control", "private")
    });
    let mut http = stand.http().await;
    for (subject, seconds) in [("ann", 50), ("bob", 50), ("ann", 60), ("bob", 60)] {
        let own = bearer(&token(subject, seconds));
        let forged = [("authorization", own.as_str()), ("x-pollcast-subject", "root")];
        let mut sse = Sse::open(stand.address(), "/prices/A", &forged).await;
        assert_eq!(sse.next_event().await.data, format!(r#"{{"for":"{subject}"}}"#));
        let answer = http.get("/prices/A", &forged).await.expect(200);
        assert_eq!(answer.json()["for"], subject);
        let tag = answer.etag().to_owned();
        let unchanged = [forged[0], ("prefer", "wait=1"), ("if-none-match", tag.as_str())];
        http.get("/prices/A", &unchanged).await.expect(304);
    }
    for poll in stand.legacy.seen("/prices/A") {
        assert_eq!(poll.header("authorization"), None, "no token leaves: {poll:?}");
    }
    // A client that does not say to which class it belongs is in none.
    let nameless = self::stand("share: {by: ['identity:org']}");
    let own = bearer(&token("ann", 60));
    let refused = Sse::try_open(nameless.address(), "/prices/A", &[("authorization", &own)]).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(403));
}

#[tokio::test]
async fn keys_of_clients_are_their_names() {
    let route = "share: public, authenticate: {keys: {header: x-key, clients: {partner: 0123456789abcdef}}}";
    let stand = Stand::with(&format!("{FAST}, {route}"), "limits: {clients_per_subject: 1}");
    stand.legacy.set("/prices/A", Reply::json("1"));
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(401);
    http.get("/prices/A", &[("x-key", "0123456789abcdeg")]).await.expect(401);
    http.get("/prices/A", &[("x-key", "0123456789abcdef"), ("x-key", "x")]).await.expect(401);
    let good = [("x-key", "0123456789abcdef")];
    http.get("/prices/A", &good).await.expect(200);
    let mut first = Sse::open(stand.address(), "/prices/A", &good).await;
    assert_eq!(first.next_event().await.data, "1");
    let second = Sse::try_open(stand.address(), "/prices/A", &good).await;
    assert_eq!(second.err().map(|refused| refused.status), Some(503), "one subject has one seat");
    assert_eq!(stand.metric("pollcast_refusals_total", "clients").await, 1.0);
}

#[tokio::test]
async fn a_subject_has_no_more_clients_of_many_than_of_one() {
    let route = "share: public, authenticate: {keys: {header: x-key, clients: {partner: 0123456789abcdef}}}";
    let stand = Stand::with(&format!("{FAST}, {route}"), "limits: {clients_per_subject: 1}");
    ["A", "B"].iter().for_each(|name| stand.legacy.set(&format!("/prices/{name}"), Reply::json("1")));
    let good = [("x-key", "0123456789abcdef"), ("sec-websocket-protocol", "pollcast.v1")];
    let both = "/-/pollcast/events?resource=/prices/A&resource=/prices/B";
    let subscribe =
        |name: &str| json!({ "op": "subscribe", "resource": format!("/prices/{name}") }).to_string();
    // A connection counts once, whatever it follows.
    let many = Sse::open(stand.address(), both, &good).await;
    let refused = Sse::try_open(stand.address(), "/prices/A", &good).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(503));
    let refused = Sse::try_open(stand.address(), both, &good).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(503));
    let mut ws = Ws::open(stand.address(), "/-/pollcast/ws", &good).await;
    ws.send_text(&subscribe("A")).await;
    let refused: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(503)));
    drop(many);
    stand.clients("sse", 0).await;
    for name in ["A", "B"] {
        // A seat is free a moment after its client is counted no more.
        let admitted = async {
            loop {
                ws.send_text(&subscribe(name)).await;
                let said = ws.next_text().await;
                if said.contains("snapshot") {
                    break;
                }
                assert!(said.contains("503"), "{said}");
            }
        };
        within("the seat of the stream that left", admitted).await;
    }
    drop(ws);
    stand.clients("envelope", 0).await;
    // As above: the seat of the connection of many is free a moment later.
    let mut own = within("the seat of the connection that left", async {
        loop {
            match Ws::try_open(stand.address(), "/prices/A", &good).await {
                Ok(own) => break own,
                Err(refused) => assert_eq!(refused.status, 503),
            }
        }
    })
    .await;
    assert!(own.next_text().await.contains("snapshot"));
    own.send_text(&subscribe("B")).await;
    assert!(own.next_text().await.contains("snapshot"));
}

#[tokio::test]
async fn a_new_token_counts_for_its_subject_as_a_new_connection_would() {
    let top = "limits: {clients_per_subject: 1}";
    let stand = Stand::with(&format!("{FAST}, {}, share: public", super::JWT), top);
    stand.legacy.set("/prices/A", Reply::json("1"));
    let (ann, bob) = (token("ann", 60), token("bob", 60));
    let of_ann = Sse::open(stand.address(), "/prices/A", &[("authorization", &bearer(&ann))]).await;
    let handshake = [("sec-websocket-protocol", "pollcast.v1"), ("authorization", &bearer(&bob))]
        .map(|(name, value)| (name, value.to_owned()));
    let handshake = handshake.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut ws = Ws::open(stand.address(), "/prices/A", &handshake).await;
    assert!(ws.next_text().await.contains("snapshot"));
    let becomes_ann = json!({ "op": "auth", "token": ann }).to_string();
    ws.send_text(&becomes_ann).await;
    let refused: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(503)), "{refused}");
    // It is still bob's.
    stand.legacy.set("/prices/A", Reply::json("2"));
    assert!(ws.next_text().await.contains("snapshot"));
    drop(of_ann);
    let renewed = async {
        loop {
            ws.send_text(&becomes_ann).await;
            let said = ws.next_text().await;
            if said.contains("200") {
                break;
            }
            assert!(said.contains("503"), "{said}");
        }
    };
    within("the seat of the stream that left", renewed).await;
}
