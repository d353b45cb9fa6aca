//! Contract §2, §4: which version a held poll names, and what it waits for.

use std::time::Duration;

use super::{A, B, LONG, UNKNOWN, hold, stand, tag};
use crate::contract::{FAST, ONCE, Stand, version_of};
use crate::support::client::{Sse, long_poll};
use crate::support::legacy::Reply;

#[tokio::test]
async fn any_known_version_of_a_list_is_held_and_a_star_too() {
    let stand = stand(FAST);
    for condition in ["\"x\", TAG", "W/TAG", "*"] {
        let mut http = stand.http().await;
        let before = tag(&mut http).await;
        hold(&stand, &mut http, &condition.replace("TAG", &before)).await;
        http.expect_silence(Duration::from_millis(150)).await;
        drop(http);
        stand.clients("long_poll", 0).await;
    }
}

#[tokio::test]
async fn an_older_version_gets_the_latest_at_once() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    http.read_response().await.expect(200);
    let answer = long_poll(&mut http, "/prices/A", Some(&before), LONG).await.expect(200);
    assert_eq!(answer.text(), B);
}

#[tokio::test]
async fn an_unknown_version_waits_for_a_confirming_poll() {
    let stand = stand("poll: {interval: 1s}");
    let mut http = stand.http().await;
    tag(&mut http).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    let answer = long_poll(&mut http, "/prices/A", Some(UNKNOWN), LONG).await;
    assert_eq!(answer.expect(200).text(), B);
}

#[tokio::test]
async fn a_tag_of_the_apis_that_is_not_known_waits_for_a_confirming_poll_too() {
    let stand = Stand::start("poll: {interval: 1s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.data, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    let mut http = stand.http().await;
    let answer = long_poll(&mut http, "/prices/A", Some("\"#25\""), Duration::from_secs(5)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, B));
}

#[tokio::test]
async fn an_unknown_version_that_turns_out_to_be_current_is_held() {
    let stand = stand("poll: {interval: 400ms}");
    let newer = version_of(&stand, B).await;
    let mut http = stand.http().await;
    tag(&mut http).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    hold(&stand, &mut http, &format!("\"{newer}\"")).await;
    http.expect_silence(Duration::from_millis(800)).await;
    stand.legacy.set("/prices/A", Reply::json(A));
    assert_eq!(http.read_response().await.expect(200).text(), A);
}

#[tokio::test]
async fn after_a_restart_an_unknown_version_is_answered_by_the_first_poll() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let answer = long_poll(&mut http, "/prices/A", Some(UNKNOWN), LONG).await;
    assert_eq!(answer.expect(200).text(), A);
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

/// A client has that tag from an answer that passed through.
#[tokio::test]
async fn the_upstreams_own_tag_of_the_current_state_is_held() {
    let stand = Stand::start(FAST);
    stand.legacy.set("/prices/A", Reply::json("1").etag("\"rev-1\""));
    for tag in ["\"rev-1\"", "W/\"rev-1\"", "\"rev-0\", \"rev-1\""] {
        let mut http = stand.http().await;
        hold(&stand, &mut http, tag).await;
        stand.legacy.set("/prices/A", Reply::json("2").etag("\"rev-2\""));
        let answer = http.read_response().await.expect(200);
        assert_eq!(answer.text(), "2");
        // An older one of the upstream's is no version of ours.
        let old = long_poll(&mut http, "/prices/A", Some("\"rev-1\""), Duration::from_secs(5)).await;
        assert_eq!((old.status, old.text().as_str()), (200, "2"), "{tag}");
        stand.legacy.set("/prices/A", Reply::json("1").etag("\"rev-1\""));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        while sse.next_event().await.data != "1" {}
    }
}
