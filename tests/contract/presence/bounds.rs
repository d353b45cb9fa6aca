//! Subjects beyond the bound are counted and not named, and the count goes on.

use serde_json::json;

use super::{WATCH, ask, bearer, follow, named, subjects, until_count};

#[tokio::test]
async fn subjects_beyond_the_bound_are_counted_and_not_named() {
    let stand = named("subjects: 1");
    let mut ann = follow(&stand, WATCH, "ann").await;
    until_count(&mut ann, 1).await;
    let bob = follow(&stand, "/prices/A", "bob").await;
    assert_eq!(until_count(&mut ann, 2).await["joined"], json!([]));
    let token = bearer("ann");
    let told = ask(&stand, "/prices/A", &[("authorization", &token)]).await.expect(200).json();
    assert_eq!(told, json!({ "count": 2, "subjects": subjects(&["ann"]), "truncated": true }));
    assert_eq!(stand.metric("pollcast_presence_unnamed_total", "/prices/{symbol}").await, 1.0);
    drop(bob);
    assert_eq!(until_count(&mut ann, 1).await["left"], json!([]));
    let told = ask(&stand, "/prices/A", &[("authorization", &token)]).await.expect(200).json();
    assert_eq!(told, json!({ "count": 1, "subjects": subjects(&["ann"]) }));
}
