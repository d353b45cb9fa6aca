//! Contract §10, §11: how a poll reaches its answer, end to end: redirects, credentials of its own,
//! cookies of its own, sessions of others.

use std::time::Duration;

use super::{FAST_FAILING, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

#[tokio::test]
async fn redirects_within_the_upstream_are_followed_as_far_as_allowed() {
    let stand = Stand::start("poll: {interval: 100ms, follow_redirects: 2}");
    let absolute = format!("http://{}/elsewhere/v2", stand.legacy.address());
    stand.legacy.set("/prices/A", Reply::empty(302).header("location", "/elsewhere/v1?x=1"));
    stand.legacy.set("/elsewhere/v1", Reply::empty(307).header("location", &absolute));
    stand.legacy.set("/elsewhere/v2", Reply::json("{\"n\":1}").header("etag", "\"1\""));
    let host = stand.legacy.address().to_string();
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("host", &host)]).await;
    assert_eq!(sse.next_event().await.data, "{\"n\":1}");
    stand.legacy.wait_count("/elsewhere/v2", 2).await;
    let seen = stand.legacy.seen("/elsewhere/v2");
    assert_eq!(seen[0].header("if-none-match"), None);
    assert_eq!(seen[1].header("if-none-match"), Some("\"1\""));
    let first = stand.legacy.seen("/prices/A");
    assert!(first.iter().all(|seen| seen.header("if-none-match").is_none()), "a tag of another URL");
    // It leads to another place now, whose tag happens to be the same.
    stand.legacy.set("/elsewhere/v3", Reply::json("{\"n\":3}").header("etag", "\"1\""));
    stand.legacy.set("/prices/A", Reply::empty(302).header("location", "/elsewhere/v3"));
    assert_eq!(sse.next_event().await.data, "{\"n\":3}");
    assert_eq!(stand.legacy.seen("/elsewhere/v3")[0].header("if-none-match"), None);
}

#[tokio::test]
async fn redirects_out_of_the_upstream_or_without_end_are_failed_polls() {
    let failing = FAST_FAILING.replace("interval: 100ms", "interval: 100ms, follow_redirects: 1");
    for (location, told) in [("http://evil.test/a", "another host"), ("/prices/A", "more than 1 redirects")] {
        let stand = Stand::start(&failing);
        stand.legacy.set("/prices/A", Reply::empty(302).header("location", location));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        let stale = sse.next_event().await;
        assert_eq!(stale.event, "stale");
        assert!(stale.data.contains(told), "{}", stale.data);
        let failed = stand.metric("pollcast_poll_failures_total", "redirect").await;
        assert!(failed >= 1.0, "{failed}");
        sse.expect_no_event(Duration::from_millis(50)).await;
    }
}
