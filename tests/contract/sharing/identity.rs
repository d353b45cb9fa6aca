//! Contract §11: `authenticate`: which clients are let in, by what, and until when.

mod classes;
mod issuers;
pub mod keys;
mod lifetimes;

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::contract::{FAST, Stand};
use crate::support;
use crate::support::legacy::Reply;
use crate::support::sse::Sse;
use crate::support::ws::Ws;

const SECRET: &str = "a secret of more than thirty-two characters";

const STREAM: (&str, &str) = ("accept", "text/event-stream");

const JWT: &str = "authenticate: {jwt: {algorithms: [HS256], keys: [{secret: 'a secret of more than thirty-two \
                   characters'}], leeway: 0s, claims: {symbol: symbol}}, token: {query: token, cookie: session}}";

fn in_seconds(seconds: i64) -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as i64 + seconds
}

/// A token for `subject`, for the resource `A`, that ends in so many seconds.
fn token(subject: &str, seconds: i64) -> String {
    let claims = json!({ "sub": subject, "symbol": "A", "exp": in_seconds(seconds) });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    support::token::encode(&Header::default(), &claims, &key)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn stand(route: &str) -> Stand {
    let stand = Stand::with(&format!("{FAST}, {JWT}, {route}"), "");
    stand.legacy.set("/prices/A", Reply::json(r#"{"n":1}"#));
    stand.legacy.set("/prices/B", Reply::json(r#"{"n":2}"#));
    stand
}

#[tokio::test]
async fn no_client_without_a_token_gets_anything_of_the_route() {
    let stand = stand("share: public");
    let mut http = stand.http().await;
    let refused = http.get("/prices/A", &[]).await.expect(401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let expired = bearer(&token("ann", -1));
    let refused = http.get("/prices/A", &[("authorization", &expired)]).await.expect(401);
    let challenge = refused.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains("invalid_token") && challenge.contains("expired"), "{challenge}");
    // Writes, too, and any other method, and paths that servers may read as the route's.
    http.request("POST", "/prices/A", &[], b"{}").await.expect(401);
    http.request("DELETE", "/prices/A", &[], b"").await.expect(401);
    http.get("/prices//A", &[]).await.expect(400);
    http.get("/x/../prices/A", &[]).await.expect(400);
    http.get("/prices/A?_push=sse", &[STREAM]).await.expect(401);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(ws.next_close().await.0, 4401);
    let ann = bearer(&token("ann", 60));
    let of_ann = [("authorization", ann.as_str())];
    let other = http.get("/prices/B", &of_ann).await.expect(403);
    assert!(other.text().contains("symbol"), "{}", other.text());
    let mut ws = Ws::open(stand.address(), "/prices/B", &of_ann).await;
    assert_eq!(ws.next_close().await.0, 4403);
    assert_eq!(stand.legacy.all_seen().len(), 0, "the upstream heard of none of them");
    assert_eq!(http.get("/prices/A", &of_ann).await.expect(200).text(), r#"{"n":1}"#);
    assert_eq!(stand.metric("pollcast_authentications_total", "let_in").await, 1.0);
    assert_eq!(stand.metric("pollcast_authentications_total", "expired").await, 1.0);
}

#[tokio::test]
async fn a_token_may_stand_in_the_query_or_a_cookie_and_goes_no_further_than_it_must() {
    let stand = stand("share: public");
    let token = token("ann", 60);
    let path = format!("/prices/A?a=1&token={token}");
    let mut sse = Sse::open(stand.address(), &path, &[]).await;
    assert_eq!(sse.next_event().await.data, r#"{"n":1}"#);
    let mut http = stand.http().await;
    http.get("/prices/A?a=1", &[("cookie", &format!("session={token}"))]).await.expect(200);
    let polls = stand.legacy.seen("/prices/A?a=1");
    assert!(!polls.is_empty());
    for poll in stand.legacy.all_seen() {
        let head = String::from_utf8_lossy(&poll.head).into_owned();
        assert!(!head.contains(&token), "{head}");
    }
    // What passes through carries it where tokens belong.
    stand.legacy.forget();
    http.request("POST", &path, &[], b"{}").await.expect(200);
    let write = stand.legacy.wait_seen("the write", |seen| seen.method == "POST").await;
    assert_eq!(write.target, "/prices/A?a=1");
    assert_eq!(write.header("authorization"), Some(bearer(&token).as_str()));
    assert_eq!(write.header("x-pollcast-subject"), Some("ann"));
    // No client may say so for another.
    let forged = [("authorization", bearer(&token)), ("x-pollcast-subject", "root".to_owned())];
    let forged = forged.each_ref().map(|(name, value)| (*name, value.as_str()));
    stand.legacy.forget();
    http.request("PUT", "/prices/A", &forged, b"{}").await.expect(200);
    let write = stand.legacy.wait_seen("the write", |seen| seen.method == "PUT").await;
    assert_eq!(write.headers("x-pollcast-subject"), ["ann"]);
}
