//! Contract §11: keys that rotate or are missing, and servers that decide.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{bearer, in_seconds, stand, token};
use crate::contract::{FAST, Stand};
use crate::support;
use crate::support::client::long_poll;
use crate::support::legacy::{Gate, Legacy, Reply};
use crate::support::sse::Sse;

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
async fn a_client_that_comes_while_the_keys_are_read_waits_for_them() {
    let (issuer, gate, (key, set)) = (Legacy::start(), Gate::closed(), signer("first"));
    issuer.set("/keys", Reply::json(set.to_string()).behind(&gate));
    let jwt = format!("{{jwks: 'http://{}/keys', issuer: [me]}}", issuer.address());
    let stand = Stand::start(&format!("{FAST}, share: public, authenticate: {{jwt: {jwt}}}"));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let mut http = stand.http().await;
    // The process itself has begun to read them.
    issuer.wait_in_flight("/keys", 1).await;
    let token = signed(&key, "first");
    let credential = [("authorization", token.as_str())];
    let mut answer = std::pin::pin!(http.get("/prices/A", &credential));
    let early = timeout(Duration::from_millis(300), &mut answer).await;
    assert!(early.is_err(), "{early:?}");
    gate.open();
    answer.await.expect(200);
    assert_eq!(issuer.count("/keys"), 1);
}

#[tokio::test]
async fn without_keys_no_client_is_let_in_and_that_is_no_fault_of_theirs() {
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
    // Each was asked about once; what could not be found out, each time; a client that shows nothing, never.
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
    // No credentials are used once no client is there.
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
