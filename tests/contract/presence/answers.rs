//! The question who follows a resource: who may ask, and what is answered.

use serde_json::json;

use super::{JWT, ask, bearer, count_becomes, follow, named, stand, subjects};
use crate::contract::{FAST, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

#[tokio::test]
async fn the_answer_is_the_count_and_the_subjects_where_the_route_says_so() {
    let stand = named("");
    let token = bearer("ann");
    let of_ann = [("authorization", token.as_str())];
    let nobody = ask(&stand, "/prices/A", &of_ann).await.expect(200);
    assert_eq!(nobody.json(), json!({ "count": 0, "subjects": [] }), "who asks does not follow");
    assert_eq!(nobody.header("cache-control"), Some("no-store"));
    assert_eq!(nobody.header("content-type"), Some("application/json"));
    let (_bob, _again) = (follow(&stand, "/prices/A", "bob").await, follow(&stand, "/prices/A", "bob").await);
    let two = ask(&stand, "/prices/A", &of_ann).await.expect(200).json();
    assert_eq!(two, json!({ "count": 2, "subjects": subjects(&["bob"]) }));
    assert_eq!(ask(&stand, "/prices/B", &of_ann).await.expect(200).json()["count"], 0);
}

#[tokio::test]
async fn clients_without_subjects_are_counted_and_not_named() {
    let stand = stand("presence: {}");
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_named("message").await;
    assert_eq!(ask(&stand, "/prices/A", &[]).await.expect(200).json(), json!({ "count": 1 }));
    drop(sse);
    count_becomes(&stand, &[], 0).await;
}

#[tokio::test]
async fn who_may_not_follow_may_not_ask() {
    let stand = named("");
    let _bob = follow(&stand, "/prices/A", "bob").await;
    let refused = ask(&stand, "/prices/A", &[]).await.expect(401);
    assert!(!refused.text().contains("bob"), "{}", refused.text());
    ask(&stand, "/elsewhere", &[]).await.expect(404);
    ask(&stand, "/prices/../admin", &[]).await.expect(404);
    stand.http().await.get("/-/pollcast/presence", &[]).await.expect(400);
    stand.http().await.request("POST", "/-/pollcast/presence?resource=/prices/A", &[], b"").await.expect(405);
}

#[tokio::test]
async fn a_route_without_presence_has_no_answer() {
    let stand = stand(JWT);
    let token = bearer("ann");
    ask(&stand, "/prices/A", &[("authorization", &token)]).await.expect(404);
    assert_eq!(stand.legacy.count("/prices/A"), 0);
}

#[tokio::test]
async fn where_the_upstream_refuses_a_follower_no_one_learns_who_follows() {
    let stand = stand("presence: {}");
    stand.legacy.set("/prices/A", Reply::empty(403));
    ask(&stand, "/prices/A", &[]).await.expect(403);
    // What the upstream says is one user's is no other's.
    let unset = Stand::start(&format!("{FAST}, presence: {{}}"));
    unset.legacy.set("/prices/A", Reply::json("1").header("cache-control", "private"));
    let refused = ask(&unset, "/prices/A", &[]).await;
    assert_eq!(refused.status, 403, "{refused:?}");
}

#[tokio::test]
async fn with_authorize_only_who_gets_the_same_answer_may_ask() {
    let stand = Stand::start(&format!("{FAST}, share: authorize, presence: {{}}"));
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("authorization") {
        None | Some("Bearer friend") => Reply::json("1"),
        Some(_) => Reply::empty(403),
    });
    let friend = [("authorization", "Bearer friend")];
    let mut sse = Sse::open(stand.address(), "/prices/A", &friend).await;
    sse.next_named("message").await;
    assert_eq!(ask(&stand, "/prices/A", &friend).await.expect(200).json()["count"], 1);
    let stranger = ask(&stand, "/prices/A", &[("authorization", "Bearer stranger")]).await;
    assert_eq!(stranger.status, 403, "{stranger:?}");
}

#[tokio::test]
async fn pages_of_other_origins_read_it_where_the_route_lets_them() {
    let stand = stand("presence: {}, cors: {origins: ['https://shop.example']}");
    let allow = "access-control-allow-origin";
    let own = ask(&stand, "/prices/A", &[("origin", "https://shop.example")]).await.expect(200);
    assert_eq!(own.header(allow), Some("https://shop.example"));
    let other = ask(&stand, "/prices/A", &[("origin", "https://evil.example")]).await.expect(403);
    assert_eq!(other.header(allow), None);
}
