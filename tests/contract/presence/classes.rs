//! Presence is of one class: what is one user's tells no other user of anything.

use serde_json::json;

use super::{JWT, ask, bearer, stand, subjects, until_count};
use crate::contract::{FAST, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

#[tokio::test]
async fn a_class_is_told_of_itself_alone() {
    let presence = "presence: {names: true, interval: 100ms}";
    let stand = Stand::start(&format!("{FAST}, {JWT}, share: {{by: ['identity:subject']}}, {presence}"));
    stand.legacy.answer_with("/prices/A", |seen| {
        Reply::json(format!("{:?}", seen.header("x-pollcast-subject").unwrap_or_default()))
    });
    let watch = async |subject: &str| {
        let headers = [("authorization", bearer(subject))];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut sse = Sse::open(stand.address(), "/prices/A?_presence=on", &headers).await;
        assert_eq!(sse.next_named("message").await.data, format!("{subject:?}"));
        sse
    };
    let mut ann = watch("ann").await;
    assert_eq!(until_count(&mut ann, 1).await["subjects"], subjects(&["ann"]));
    let mut bob = watch("bob").await;
    assert_eq!(until_count(&mut bob, 1).await["subjects"], subjects(&["bob"]));
    let of_bob = bearer("bob");
    let told = ask(&stand, "/prices/A", &[("authorization", &of_bob)]).await.expect(200).json();
    assert_eq!(told, json!({ "count": 1, "subjects": subjects(&["bob"]) }));
    let cat = bearer("cat");
    let told = ask(&stand, "/prices/A", &[("authorization", &cat)]).await.expect(200).json();
    assert_eq!(told, json!({ "count": 0, "subjects": [] }));
    ann.expect_no_event(std::time::Duration::from_millis(500)).await;
}

#[tokio::test]
async fn the_values_of_a_credential_are_no_names() {
    let stand = Stand::start(&format!(
        "{FAST}, share: {{by: ['cookie:session', x-tenant]}}, presence: {{interval: 100ms}}"
    ));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let headers = [("cookie", "session=secret-of-ann"), ("x-tenant", "acme")];
    let mut ann = Sse::open(stand.address(), "/prices/A?_presence=on", &headers).await;
    ann.next_named("message").await;
    assert_eq!(until_count(&mut ann, 1).await, json!({ "count": 1, "joined": [], "left": [] }));
    assert_eq!(ask(&stand, "/prices/A", &headers).await.expect(200).json(), json!({ "count": 1 }));
    let other = [("cookie", "session=secret-of-bob"), ("x-tenant", "acme")];
    assert_eq!(ask(&stand, "/prices/A", &other).await.expect(200).json(), json!({ "count": 0 }));
}

#[tokio::test]
async fn subjects_of_several_issuers_are_told_apart() {
    let keys = "[{secret: 'a secret of more than thirty-two characters'}], issuer: [us]";
    let ways = format!(
        "{{jwt: {{algorithms: [HS256], keys: {keys}}}, keys: {{header: x-key, clients: {{ann: {}}}}}}}",
        "0123456789abcdef0123456789abcdef"
    );
    let stand = stand(&format!("authenticate: {ways}, presence: {{names: true, interval: 100ms}}"));
    let token = bearer("ann");
    let mut one = Sse::open(stand.address(), "/prices/A?_presence=on", &[("authorization", &token)]).await;
    one.next_named("message").await;
    until_count(&mut one, 1).await;
    let key = [("x-key", "0123456789abcdef0123456789abcdef")];
    let mut other = Sse::open(stand.address(), "/prices/A", &key).await;
    other.next_named("message").await;
    let joined = until_count(&mut one, 2).await["joined"].clone();
    assert_eq!(joined, json!([{ "subject": "ann", "way": "keys" }]));
}
