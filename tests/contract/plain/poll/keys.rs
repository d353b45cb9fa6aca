//! Contract §11: which parameters make a resource, and which never reach the upstream.

use super::{A, cache_status, stand};
use crate::contract::ONCE;

#[tokio::test]
async fn switches_and_noise_never_reach_the_upstream() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let target = "/prices/A?b=2&_push=poll&_wait=3&_delta=json-patch&a=%7e&utm_source=m&_=1699999999999";
    http.get(target, &[]).await.expect(200);
    assert_eq!(stand.legacy.seen("/prices/A")[0].target, "/prices/A?b=2&a=~");
    // The same resource under another spelling.
    let same = http.get("/prices/%41?%62=2&a=~&_ts=0.123", &[]).await.expect(200);
    assert!(cache_status(&same).starts_with("pollcast; hit"), "{same:?}");
    // What is no time and no chance is the API's.
    for (target, asked) in
        [("/prices/B?_=2", "/prices/B?_=2"), ("/prices/C?lastEventId=y", "/prices/C?lastEventId=y")]
    {
        http.get(target, &[]).await;
        assert_eq!(stand.legacy.seen(&target[..9])[0].target, asked);
    }
    // What passes through loses only the switches.
    let post = http.request("POST", "/prices/A?a=%7e&_push=sse&_=9", &[], b"x").await.expect(200);
    assert_eq!(post.text(), A);
    assert_eq!(stand.legacy.seen("/prices/A")[1].target, "/prices/A?a=%7e&_=9");
}

#[tokio::test]
async fn a_renamed_switch_is_the_only_switch() {
    let stand = stand("poll: {interval: 1h}, switches: {push: stream, wait: off}");
    let mut http = stand.http().await;
    http.get("/prices/A?stream=poll&_push=1&_wait=2", &[]).await.expect(200);
    assert_eq!(stand.legacy.seen("/prices/A")[0].target, "/prices/A?_push=1&_wait=2");
}

#[tokio::test]
async fn named_parameters_make_the_resource_and_the_rest_is_dropped_or_rejected() {
    let dropping = stand("poll: {interval: 1h}, query: [currency]");
    let mut http = dropping.http().await;
    http.get("/prices/A?x=1&currency=EUR", &[]).await.expect(200);
    let hit = http.get("/prices/A?currency=EUR&x=2", &[]).await.expect(200);
    assert!(cache_status(&hit).contains("hit"), "{hit:?}");
    assert_eq!(dropping.legacy.seen("/prices/A")[0].target, "/prices/A?currency=EUR");

    let strict = stand("poll: {interval: 1h}, query: [currency], unknown_query: reject");
    let mut http = strict.http().await;
    http.get("/prices/A?currency=EUR", &[]).await.expect(200);
    let refused = http.get("/prices/A?curency=EUR", &[]).await.expect(400);
    assert!(refused.text().contains("curency"), "{refused:?}");
    assert_eq!(strict.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn the_order_of_parameters_matters_unless_the_route_says_otherwise() {
    let stand = stand("poll: {interval: 1h}, query_order: any");
    let mut http = stand.http().await;
    http.get("/prices/A?b=2&a=1", &[]).await.expect(200);
    http.get("/prices/A?a=1&b=2", &[]).await.expect(200);
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}
