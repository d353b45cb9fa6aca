//! Contract §11: `authenticate`: who is let in, by what, and until when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::contract::{FAST, Stand, config};
use crate::support;
use crate::support::app;
use crate::support::client::{Http, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;
use crate::support::wire::within;
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
async fn nobody_without_a_token_gets_anything_of_the_route() {
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
    // Nobody says so for somebody else.
    let forged = [("authorization", bearer(&token)), ("x-pollcast-subject", "root".to_owned())];
    let forged = forged.each_ref().map(|(name, value)| (*name, value.as_str()));
    stand.legacy.forget();
    http.request("PUT", "/prices/A", &forged, b"{}").await.expect(200);
    let write = stand.legacy.wait_seen("the write", |seen| seen.method == "PUT").await;
    assert_eq!(write.headers("x-pollcast-subject"), ["ann"]);
}

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
    // And nobody comes back with it.
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
async fn an_operator_ends_all_streams_of_a_subject_and_of_nobody_else() {
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
    // Who cannot say to which class they belong is in none.
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
    let mut own = Ws::open(stand.address(), "/prices/A", &good).await;
    assert!(own.next_text().await.contains("snapshot"));
    own.send_text(&subscribe("B")).await;
    assert!(own.next_text().await.contains("snapshot"));
}

/// A key pair and its public half as a key set.
pub fn signer(id: &str) -> (EncodingKey, Value) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key pair");
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key");
    // A point that is not compressed: 4, then both coordinates.
    let [x, y] = [1..33, 33..65].map(|part| URL_SAFE_NO_PAD.encode(&pair.public_key_raw()[part]));
    let public = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": id, "x": x, "y": y });
    (key, json!({ "keys": [public] }))
}

pub fn signed(key: &EncodingKey, id: &str) -> String {
    let head = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
    let claims = json!({ "sub": "ann", "exp": in_seconds(60), "iss": "me" });
    bearer(&support::token::encode(&head, &claims, key))
}

#[tokio::test]
async fn keys_of_a_url_rotate() {
    let (issuer, (first, first_set), (second, second_set)) =
        (Legacy::start(), signer("first"), signer("second"));
    issuer.set("/keys", Reply::json(first_set.to_string()));
    let jwt = format!("{{jwks: 'http://{}/keys', issuer: [me], refresh: 10s}}", issuer.address());
    let stand = Stand::start(&format!("{FAST}, share: public, authenticate: {{jwt: {jwt}}}"));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let mut http = stand.http().await;
    http.get("/prices/A", &[("authorization", &signed(&first, "first"))]).await.expect(200);
    // The issuer's new key is not known here: the first token of it has the set read again, but not at once
    // after the last time.
    issuer.set("/keys", Reply::json(second_set.to_string()));
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let newer = signed(&second, "second");
    while http.get("/prices/A", &[("authorization", &newer)]).await.status != 200 {
        assert!(std::time::Instant::now() < until, "the new key was never read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What the old key signed is no longer believed, even if it was a moment ago.
    http.get("/prices/A", &[("authorization", &signed(&first, "first"))]).await.expect(401);
    // A set that cannot be read leaves the last one.
    issuer.set("/keys", Reply::garbage());
    http.get("/prices/A", &[("authorization", &newer)]).await.expect(200);
    http.get("/prices/A", &[("authorization", &signed(&second, "third"))]).await.expect(401);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_that_is_no_fault_of_theirs() {
    let issuer = Legacy::start();
    issuer.set("/keys", Reply::empty(500));
    let jwt = format!("{{jwks: 'http://{}/keys', issuer: [me]}}", issuer.address());
    let stand = Stand::start(&format!("{FAST}, share: public, authenticate: {{jwt: {jwt}}}"));
    let token = signed(&signer("first").0, "first");
    let mut http = stand.http().await;
    let refused = http.get("/prices/A", &[("authorization", &token)]).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(stand.legacy.all_seen().len(), 0);
}

#[tokio::test]
async fn a_server_that_knows_decides_and_its_word_counts_for_a_while() {
    let oracle = Legacy::start();
    oracle.answer_with("/check", |seen| match seen.header("cookie") {
        Some("sid=ann") => Reply::empty(204).header("x-user", "ann"),
        Some("sid=banned") => Reply::empty(403),
        Some("sid=broken") => Reply::empty(500),
        _ => Reply::empty(401),
    });
    let forward =
        format!("{{url: 'http://{}/check', subject: x-user, cache: 2s, timeout: 1s}}", oracle.address());
    let stand = Stand::start(&format!("{FAST}, share: public, authenticate: {{forward: {forward}}}"));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let mut http = stand.http().await;
    for (cookie, status) in [("sid=ann", 200), ("sid=other", 401), ("sid=banned", 403), ("sid=broken", 503)] {
        http.get("/prices/A", &[("cookie", cookie)]).await.expect(status);
        http.get("/prices/A", &[("cookie", cookie)]).await.expect(status);
    }
    http.get("/prices/A", &[]).await.expect(401);
    // Each was asked about once; what could not be found out, each time; who shows nothing, never.
    assert_eq!(oracle.count("/check"), 5);
    let asked = oracle.seen("/check").remove(0);
    assert_eq!((asked.header("cookie"), asked.header("accept")), (Some("sid=ann"), None));
    // A stream lasts as long as its answer counts, and then it is asked again.
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("cookie", "sid=ann")]).await;
    assert_eq!(sse.next_event().await.data, "1");
    let bye = sse.next_named("bye").await;
    assert!(bye.data.contains("expired") && bye.data.contains("\"reconnect\":true"), "{bye:?}");
    oracle.stop().await;
    let refused = Sse::try_open(stand.address(), "/prices/A", &[("cookie", "sid=ann")]).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(503));
}

#[tokio::test]
async fn a_server_is_not_asked_about_two_credentials_and_names_one_subject() {
    let oracle = Legacy::start();
    oracle.answer_with("/check", |seen| match seen.header("authorization") {
        Some("Bearer two") => {
            Reply::empty(204).header("x-auth-request-user", "ann").header("x-auth-request-user", "bob")
        }
        _ => Reply::empty(204).header("x-auth-request-user", "ann"),
    });
    let forward = format!("{{url: 'http://{}/check'}}", oracle.address());
    let stand = Stand::start(&format!("{FAST}, share: public, authenticate: {{forward: {forward}}}"));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let mut http = stand.http().await;
    http.get("/prices/A", &[("authorization", "Bearer one")]).await.expect(200);
    http.get("/prices/A", &[("authorization", "Bearer two")]).await.expect(503);
    let asked = oracle.count("/check");
    let twice = [("authorization", "Bearer bad"), ("authorization", "Bearer one")];
    http.get("/prices/A", &twice).await.expect(400);
    assert_eq!(oracle.count("/check"), asked);
}

#[tokio::test]
async fn a_class_by_its_own_token_ends_with_it() {
    let stand = Stand::start(&format!("{FAST}, share: {{by: [authorization]}}"));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let (short, long) = (bearer(&token("ann", 2)), bearer(&token("bob", 60)));
    let mut ann = Sse::open(stand.address(), "/prices/A", &[("authorization", &short)]).await;
    let mut bob = Sse::open(stand.address(), "/prices/A", &[("authorization", &long)]).await;
    assert_eq!(ann.next_event().await.data, "1");
    assert_eq!(bob.next_event().await.data, "1");
    let bye = ann.next_named("bye").await;
    assert!(bye.data.contains("credentials"), "{bye:?}");
    stand.legacy.forget();
    stand.legacy.set("/prices/A", Reply::json("2"));
    assert_eq!(bob.next_event().await.data, "2");
    let polls = stand.legacy.seen("/prices/A");
    assert!(polls.iter().all(|poll| poll.header("authorization") == Some(long.as_str())));
    // Nobody's credentials are used once nobody is there.
    drop(bob);
    stand.clients("sse", 0).await;
    stand.legacy.forget();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(stand.legacy.count("/prices/A") <= 1, "one may have been on its way");
}

#[tokio::test]
async fn long_polls_are_asked_every_time() {
    let stand = stand("share: public");
    let mut http = stand.http().await;
    let short = bearer(&token("ann", 2));
    let tag = http.get("/prices/A", &[("authorization", &short)]).await.expect(200).etag().to_owned();
    let held = [("authorization", short.as_str()), ("prefer", "wait=1"), ("if-none-match", tag.as_str())];
    let began = std::time::Instant::now();
    loop {
        http.send("GET", "/prices/A", &held, b"").await;
        let answer = http.read_response().await;
        if answer.status == 401 {
            break;
        }
        assert_eq!(answer.status, 304);
        assert!(began.elapsed() < Duration::from_secs(10), "its token ended long ago");
    }
    let refused = long_poll(&mut stand.http().await, "/prices/A", Some(&tag), Duration::from_secs(1)).await;
    assert_eq!(refused.status, 401);
}

const STAFF: (&str, &str) = ("https://staff.test", "the staff's secret, which has over 32 characters");
const PUBLIC: (&str, &str) = ("https://public.test", "the public's secret, which has over 32 characters");

/// Two issuers, and keys beside them: three ways to be called the same.
fn of_several(route: &str) -> Stand {
    let issuer = |(name, secret): (&str, &str)| {
        format!("{{issuer: '{name}', algorithms: [HS256], keys: [{{secret: \"{secret}\"}}]}}")
    };
    let jwt = format!("{{issuers: [{}, {}]}}", issuer(STAFF), issuer(PUBLIC));
    let keys = "{header: x-key, clients: {'1001': 0123456789abcdef}}";
    let stand = Stand::start(&format!("{FAST}, {route}, authenticate: {{jwt: {jwt}, keys: {keys}}}"));
    stand.legacy.answer_with("/prices/A", |seen| {
        let said = ["subject", "subject-type", "way", "issuer"];
        let said = said.map(|name| seen.header(&format!("x-pollcast-{name}")).unwrap_or("-").to_owned());
        Reply::json(json!({ "for": said.join(" ") }).to_string())
    });
    stand
}

/// A token of one issuer, signed with the key of another.
fn token_of(issuer: &str, secret: &str, subject: Value) -> (&'static str, String) {
    let claims = json!({ "sub": subject, "iss": issuer, "exp": in_seconds(60) });
    let key = EncodingKey::from_secret(secret.as_bytes());
    ("authorization", bearer(&support::token::encode(&Header::default(), &claims, &key)))
}

#[tokio::test]
async fn the_same_name_of_two_issuers_or_ways_is_two_users() {
    let stand = of_several("share: {by: ['identity:subject']}");
    let clients = [
        (token_of(STAFF.0, STAFF.1, json!("1001")), "1001 - jwt https://staff.test"),
        (token_of(PUBLIC.0, PUBLIC.1, json!("1001")), "1001 - jwt https://public.test"),
        (token_of(STAFF.0, STAFF.1, json!(1001)), "1001 number jwt https://staff.test"),
        (("x-key", "0123456789abcdef".to_owned()), "1001 - keys -"),
    ];
    // The streams are there at once: none may get what another was polled for.
    let mut streams = Vec::new();
    for ((name, value), said) in &clients {
        let mut sse = Sse::open(stand.address(), "/prices/A", &[(*name, value.as_str())]).await;
        assert_eq!(sse.next_event().await.data, json!({ "for": said }).to_string());
        streams.push(sse);
    }
    let mut http = stand.http().await;
    for ((name, value), said) in &clients {
        let own = [(*name, value.as_str()), ("x-pollcast-issuer", "https://staff.test")];
        assert_eq!(http.get("/prices/A", &own).await.expect(200).json()["for"], *said);
        // What passes through says the same.
        assert_eq!(http.request("PUT", "/prices/A", &own, b"{}").await.expect(200).json()["for"], *said);
    }
    // A key proves nothing in the name of another issuer.
    for forged in [
        token_of(STAFF.0, PUBLIC.1, json!("root")),
        token_of(PUBLIC.0, STAFF.1, json!("root")),
        token_of("https://other.test", STAFF.1, json!("root")),
    ] {
        http.get("/prices/A", &[(forged.0, forged.1.as_str())]).await.expect(401);
    }
}

#[tokio::test]
async fn a_new_token_of_another_issuer_is_another_user_on_the_same_connection() {
    let stand = of_several("share: {by: ['identity:subject']}");
    let staff = token_of(STAFF.0, STAFF.1, json!("1001")).1;
    let headers = [("sec-websocket-protocol", "pollcast.v1"), ("authorization", staff.as_str())];
    let mut ws = Ws::open(stand.address(), "/-/pollcast/ws", &headers).await;
    ws.send_text(&json!({ "op": "subscribe", "resource": "/prices/A" }).to_string()).await;
    assert!(ws.next_text().await.contains("1001 - jwt https://staff.test"));
    let public = token_of(PUBLIC.0, PUBLIC.1, json!("1001")).1;
    let token = public.strip_prefix("Bearer ").expect("a bearer token");
    ws.send_text(&json!({ "op": "auth", "token": token }).to_string()).await;
    assert!(ws.next_text().await.contains("reply"));
    assert!(ws.next_text().await.contains("1001 - jwt https://public.test"));
}

#[tokio::test]
async fn an_operator_ends_the_streams_of_one_user_and_not_of_a_namesake() {
    let stand = of_several("share: public");
    let (staff, public) =
        (token_of(STAFF.0, STAFF.1, json!("1001")), token_of(PUBLIC.0, PUBLIC.1, json!("1001")));
    let mut of_staff = Sse::open(stand.address(), "/prices/A", &[(staff.0, &staff.1)]).await;
    let mut of_public = Sse::open(stand.address(), "/prices/A", &[(public.0, &public.1)]).await;
    for stream in [&mut of_staff, &mut of_public] {
        stream.next_event().await;
    }
    let mut admin = Http::connect(stand.app.admin_address().expect("an admin listener")).await;
    let refused = admin.request("POST", "/-/end?subject=1001", &[], b"").await.expect(409);
    let told = refused.json();
    let mut issuers: Vec<_> =
        told["candidates"].as_array().expect("a list").iter().map(|one| one["issuer"].clone()).collect();
    issuers.sort_by_key(Value::to_string);
    assert_eq!(issuers, [json!(PUBLIC.0), json!(STAFF.0)], "{told}");
    for wrong in ["&way=nothing", "&type=int", "&subject=1002"] {
        admin.request("POST", &format!("/-/end?subject=1001{wrong}"), &[], b"").await.expect(400);
    }
    let none = admin.request("POST", "/-/end?subject=1001&way=keys", &[], b"").await.expect(200);
    assert_eq!(none.json()["ended"], 0);
    let call = "/-/end?subject=1001&way=jwt&issuer=https%3A%2F%2Fpublic.test";
    assert_eq!(admin.request("POST", call, &[], b"").await.expect(200).json()["ended"], 1);
    assert!(of_public.next_named("bye").await.data.contains("revoked"));
    // The other is alone now, and was not touched.
    assert_eq!(admin.request("POST", "/-/end?subject=1001", &[], b"").await.expect(200).json()["ended"], 1);
    assert!(of_staff.next_named("bye").await.data.contains("revoked"));
}

#[tokio::test]
async fn one_way_with_one_issuer_says_the_bare_subject() {
    let jwt =
        format!("{{algorithms: [HS256], issuer: ['{}'], keys: [{{secret: \"{}\"}}]}}", STAFF.0, STAFF.1);
    let route = format!("{FAST}, share: {{by: ['identity:subject']}}, authenticate: {{jwt: {jwt}}}");
    let stand = Stand::start(&route);
    stand.legacy.set("/prices/A", Reply::json("1"));
    let (name, value) = token_of(STAFF.0, STAFF.1, json!("ann"));
    let mut http = stand.http().await;
    http.get("/prices/A", &[(name, &value)]).await.expect(200);
    http.request("PUT", "/prices/A", &[(name, &value)], b"{}").await.expect(200);
    for seen in stand.legacy.seen("/prices/A") {
        assert_eq!(seen.header("x-pollcast-subject"), Some("ann"));
        assert_eq!((seen.header("x-pollcast-way"), seen.header("x-pollcast-issuer")), (None, None));
    }
}
