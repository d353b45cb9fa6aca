//! Contract §3: refusals and failures, cold and after a good state.

use std::time::{Duration, Instant};

use super::{A, B, cache_status, stand};
use crate::contract::{FAST, FAST_FAILING};
use crate::support::legacy::Reply;

#[tokio::test]
async fn cold_refusals_are_relayed_once_and_remembered() {
    let stand = stand("poll: {interval: 10s}");
    let mut http = stand.http().await;
    for status in [301, 400, 401, 403, 404, 410, 418, 429] {
        let path = format!("/prices/{status}");
        let reply = Reply::text("no").status(status).header("location", "/x").header("retry-after", "3");
        stand.legacy.set(&path, reply);
        for _ in 0..3 {
            let answer = http.get(&path, &[]).await;
            assert_eq!((answer.status, answer.text().as_str()), (status, "no"));
            assert_eq!(answer.header("location"), Some("/x"));
            assert_eq!(answer.header("retry-after"), Some("3"));
            assert_eq!(answer.header("etag"), None);
        }
        assert_eq!(stand.legacy.count(&path), 1, "{status}");
    }
}

#[tokio::test]
async fn a_cold_failure_is_a_problem_that_names_the_upstream() {
    let stand = stand("poll: {interval: 100ms, timeout: 300ms}");
    let mut http = stand.http().await;
    let bad = [
        ("reset", Reply::reset(), 502),
        ("garbage", Reply::garbage(), 502),
        ("cut", Reply::json(A).cut_after(3), 502),
        ("silence", Reply::silence(), 504),
    ];
    for (name, reply, status) in bad {
        let path = format!("/prices/{name}");
        stand.legacy.set(&path, reply);
        let answer = http.get(&path, &[]).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].to_string().contains("legacy"), "{problem}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn an_unreachable_upstream_is_502() {
    let stand = stand(FAST);
    stand.legacy.stop().await;
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(502);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn a_failing_upstream_leaves_the_last_good_answer_until_stale_if_error() {
    let stand = stand(&format!("{FAST_FAILING}, stale_if_error: 1s"));
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    let good_until = Instant::now() + Duration::from_secs(1);
    stand.legacy.set("/prices/A", Reply::text("oops").status(500));
    let mut stale = 0;
    loop {
        // Of a connection that comes back at once one request would try the API's own pace.
        let answer = stand.http().await.get("/prices/A", &[]).await;
        match answer.status {
            200 => {
                assert_eq!(answer.text(), A);
                assert!(Instant::now() < good_until + Duration::from_millis(500));
                stale += u32::from(cache_status(&answer) == "pollcast; fwd=stale");
            }
            500 => {
                assert_eq!(answer.text(), "oops");
                break;
            }
            status => panic!("{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stale > 3, "{stale}");
    stand.legacy.set("/prices/A", Reply::json(B));
    loop {
        let answer = http.get("/prices/A", &[]).await;
        if answer.status == 200 {
            assert_eq!(answer.text(), B);
            break;
        }
    }
}
