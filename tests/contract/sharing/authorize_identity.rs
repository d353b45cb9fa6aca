//! Contract §11: `share: authorize` where pollcast knows the client: the API is asked as what passes through for this
//! client would ask it.

use std::collections::HashMap;

use serde_json::json;

use crate::contract::Stand;
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::sse::Sse;
use crate::support::ws::Ws;

const SERVICE: &str = "x-service-key";
const ALL: &str = r#"{"secret":"everything"}"#;
const SOME: &str = r#"{"rows":[]}"#;

const KEYS: &str =
    "authenticate: {keys: {header: x-client, clients: {ann: key-of-ann-000001, bob: key-of-bob-000001}}}";
const ANN: (&str, &str) = ("x-client", "key-of-ann-000001");
const BOB: (&str, &str) = ("x-client", "key-of-bob-000001");

/// An API that knows its users by what pollcast says of them alone.
fn stand(authenticate: &str) -> Stand {
    let poll = format!("poll: {{interval: 100ms, headers: {{{SERVICE}: service-secret}}}}");
    let route = format!(
        "{poll}, credentials: [{SERVICE}], hosts: ['127.0.0.1'], share: authorize, authorize: {{recheck: 5m}}, \
         {authenticate}"
    );
    let stand = Stand::with(&route, "");
    stand.legacy.answer_with("/prices/A", answer);
    stand
}

fn answer(seen: &Seen) -> Reply {
    let subjects = seen.headers("x-pollcast-subject");
    match (seen.header(SERVICE), &subjects[..]) {
        (Some(_), []) | (None, ["ann"]) => Reply::json(ALL),
        (None, ["bob"]) => Reply::json(SOME),
        // A request without a user gets the service's answer: a check that names no user would let every client in.
        (None, []) => Reply::json(ALL),
        _ => Reply::empty(500),
    }
}

#[tokio::test]
async fn a_client_is_checked_by_the_identity_that_pollcast_knows() {
    let stand = stand(KEYS);
    let mut ann = Sse::open(stand.address(), "/prices/A", &[ANN]).await;
    assert_eq!(ann.next_event().await.data, ALL);
    let mut ws = Ws::open(stand.address(), "/prices/A", &[ANN]).await;
    assert_eq!(ws.next_text().await, ALL);
    let mut http = stand.http().await;
    let tag = http.get("/prices/A", &[ANN]).await.expect(200).etag().to_owned();
    // Bob is somebody else to the API, whatever he shows here.
    assert_eq!(http.get("/prices/A", &[BOB]).await.expect(200).text(), SOME);
    let refused = Sse::try_open(stand.address(), "/prices/A", &[BOB]).await.err().expect("no stream");
    assert_eq!(refused.status, 403);
    let mut refused = Ws::open(stand.address(), "/prices/A", &[BOB]).await;
    assert_eq!(refused.next_close().await.0, 4403);
    let held = [("prefer", "wait=5"), ("if-none-match", &*tag), BOB];
    http.get("/prices/A", &held).await.expect(403);
    let protocol = ("sec-websocket-protocol", "pollcast.v1");
    let mut many = Ws::open(stand.address(), "/-/pollcast/ws", &[protocol, BOB]).await;
    many.send_text(&json!({ "op": "subscribe", "resource": "/prices/A" }).to_string()).await;
    let told = many.next_text().await;
    assert!(told.contains("403") && !told.contains("secret"), "{told}");
    let asked = stand.legacy.seen("/prices/A");
    assert!(asked.iter().any(|seen| seen.headers("x-pollcast-subject") == ["bob"]));
    let as_nobody = asked
        .iter()
        .filter(|seen| seen.header(SERVICE).is_none() && seen.headers("x-pollcast-subject").is_empty());
    assert_eq!(as_nobody.count(), 0, "no check asked as nobody");
}

#[tokio::test]
async fn a_client_that_another_server_knows_is_checked_as_that() {
    let oracle = Legacy::start();
    oracle.answer_with("/check", |seen| {
        let names: HashMap<_, _> = [("Bearer a", "ann"), ("Bearer b", "bob")].into();
        match seen.header("authorization").and_then(|said| names.get(said)) {
            Some(name) => Reply::text("").header("x-auth-request-user", name),
            None => Reply::empty(401),
        }
    });
    let stand = stand(&format!("authenticate: {{forward: {{url: 'http://{}/check'}}}}", oracle.address()));
    let mut ann = Sse::open(stand.address(), "/prices/A", &[("authorization", "Bearer a")]).await;
    assert_eq!(ann.next_event().await.data, ALL);
    let bob = [("authorization", "Bearer b")];
    let refused = Sse::try_open(stand.address(), "/prices/A", &bob).await.err().expect("no stream");
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn a_forged_identity_opens_nothing_by_a_check() {
    // The API believes pollcast's word for the client; a client's own word does not count.
    for authenticate in ["max_clients: 10", KEYS] {
        let stand = stand(authenticate);
        stand.legacy.answer_with("/prices/A", |seen| {
            match (seen.header(SERVICE), &seen.headers("x-pollcast-subject")[..]) {
                (Some(_), []) | (None, ["ann"]) => Reply::json(ALL),
                _ => Reply::json(SOME),
            }
        });
        let mut stranger = vec![("X-Pollcast-Subject", "ann"), ("X-Pollcast-Way", "keys")];
        if authenticate == KEYS {
            stranger.push(BOB);
        }
        let mut http = stand.http().await;
        assert_eq!(http.get("/prices/A", &stranger).await.expect(200).text(), SOME, "{authenticate}");
        let refused = Sse::try_open(stand.address(), "/prices/A", &stranger).await.err().expect("no stream");
        assert_eq!(refused.status, 403, "{authenticate}");
        let many = Sse::try_open(stand.address(), "/-/pollcast/events?resource=/prices/A", &stranger).await;
        assert_eq!(many.err().expect("no stream").status, 403, "{authenticate}");
        let forged = |seen: &Seen| {
            seen.header(SERVICE).is_none() && seen.headers("x-pollcast-subject").contains(&"ann")
        };
        assert!(!stand.legacy.all_seen().iter().any(forged), "{authenticate}");
    }
}

#[tokio::test]
async fn a_token_in_the_query_of_a_connection_of_many_is_what_its_check_shows() {
    let stand = stand(
        "authenticate: {forward: {url: 'http://127.0.0.1:9/none'}, jwt: {algorithms: [HS256], keys: [{secret: 'a secret of \
         more than thirty-two characters'}]}, token: {query: token}}",
    );
    let token = {
        let claims = json!({ "sub": "ann", "exp": 4_000_000_000_u32 });
        let key = jsonwebtoken::EncodingKey::from_secret(b"a secret of more than thirty-two characters");
        crate::support::token::encode(&jsonwebtoken::Header::default(), &claims, &key)
    };
    let target = format!("/-/pollcast/events?resource=/prices/A&token={token}");
    let mut many = Sse::open(stand.address(), &target, &[]).await;
    assert!(many.next_event().await.data.contains("everything"));
    let bearer = format!("Bearer {token}");
    let shown = |seen: &Seen| {
        seen.headers("x-pollcast-subject") == ["ann"] && seen.header("authorization") == Some(&*bearer)
    };
    assert!(stand.legacy.seen("/prices/A").iter().any(shown), "the check says what passes through would say");
}
