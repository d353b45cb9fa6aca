//! Contract §5, §10: who follows a resource, as clients and the upstream are told.

mod answers;
mod bounds;
mod classes;
mod events;
mod long_polls;
mod notify;
mod reloads;

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::contract::{FAST, Stand};
use crate::support;
use crate::support::client::Response;
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

const SECRET: &str = "a secret of more than thirty-two characters";

/// Clients prove who they are; the subject alone names them.
const JWT: &str = "authenticate: {jwt: {algorithms: [HS256], keys: [{secret: 'a secret of more than thirty-two \
                   characters'}], issuer: [us]}}";

/// A stream of this path that is told who else follows.
const WATCH: &str = "/prices/A?_presence=on";

/// A header that proves to be `subject`.
fn bearer(subject: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let claims = json!({ "iss": "us", "sub": subject, "exp": now + 600 });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    format!("Bearer {}", support::token::encode(&Header::default(), &claims, &key))
}

/// A route that is fast and shared, with these keys more.
fn stand(route: &str) -> Stand {
    let stand = Stand::start(&format!("{FAST}, share: public, {route}"));
    stand.legacy.set("/prices/A", Reply::json(r#"{"n":1}"#));
    stand.legacy.set("/prices/B", Reply::json(r#"{"n":2}"#));
    stand
}

/// The same, where clients have subjects and `presence` has these keys.
fn named(presence: &str) -> Stand {
    named_with(presence, "plain: share")
}

/// The same with these keys of the route more.
fn named_with(presence: &str, route: &str) -> Stand {
    stand(&format!("{JWT}, presence: {{names: true, interval: 100ms, {presence}}}, {route}"))
}

async fn ask(stand: &Stand, resource: &str, headers: &[(&str, &str)]) -> Response {
    stand.http().await.get(&format!("/-/pollcast/presence?resource={resource}"), headers).await
}

/// A stream of a subject.
async fn follow(stand: &Stand, path: &str, subject: &str) -> Sse {
    let mut sse = Sse::open(stand.address(), path, &[("authorization", &bearer(subject))]).await;
    sse.next_named("message").await;
    sse
}

/// The next `presence` event that counts so many. Others may come before it: how changes are gathered is a matter of time.
async fn until_count(sse: &mut Sse, count: usize) -> Value {
    loop {
        let event = sse.next_named("presence").await;
        assert_eq!(event.id, None, "it is no state");
        let data: Value = serde_json::from_str(&event.data).expect("JSON");
        if data["count"] == count {
            return data;
        }
    }
}

/// Subjects as they are named where the subject alone names a client.
fn subjects(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "subject": name })).collect()
}

/// Waits until the followers of `/prices/A` are as many as this, as `subject` is told.
async fn count_becomes(stand: &Stand, headers: &[(&str, &str)], wanted: usize) {
    let reached = async {
        while ask(stand, "/prices/A", headers).await.expect(200).json()["count"] != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    support::wire::within(format!("{wanted} followers"), reached).await;
}
