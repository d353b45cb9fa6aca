//! Contract §11: one name of several issuers or ways is several users.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::{bearer, in_seconds};
use crate::contract::{FAST, Stand};
use crate::support;
use crate::support::client::Http;
use crate::support::legacy::Reply;
use crate::support::sse::Sse;
use crate::support::ws::Ws;

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
