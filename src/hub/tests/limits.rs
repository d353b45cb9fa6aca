//! The bounds of the hub: resources, memory, exceptions, histories.

use super::super::*;
use super::route;
use super::route::{SECOND, key};
use super::{Stage, publish, take, version};

#[tokio::test]
async fn the_hub_is_full_at_its_limit_for_new_resources_only() {
    let stage = Stage::new(1);
    let (_attendance, _publisher) = stage.attend("/a", Attend::Visit);
    let refused = stage.hub.attend(&key("/b"), &stage.route, Attend::Visit, |_| panic!("refused"));
    assert_eq!(refused.err(), Some(Full::Resources));
    assert!(stage.attend("/a", Attend::Follow).1.is_none());
}

#[tokio::test]
async fn memory_takes_the_unattended_topic_that_was_touched_longest_ago() {
    let stage = Stage::new(10);
    let (attended, _publisher) = stage.attend("/a", Attend::Visit);
    assert!(!stage.hub.evict_oldest());
    drop(attended);
    assert!(stage.hub.evict_oldest());
    assert!(!stage.hub.evict_oldest(), "it was asked already");
    assert!(stage.hub.topics()[0].is_evicted());
}

#[tokio::test(start_paused = true)]
async fn an_exception_expires_and_their_number_is_bounded() {
    let stage = Stage::new(2);
    stage.hub.except(&key("/a"), ExceptionKind::Uncoverable, "multipart");
    let found = stage.hub.exception(&key("/a")).unwrap();
    assert_eq!((found.kind, found.reason.as_str()), (ExceptionKind::Uncoverable, "multipart"));
    tokio::time::advance(EXCEPTION_TIME_MIN / 2).await;
    stage.hub.except(&key("/b"), ExceptionKind::Gone, "");
    stage.hub.except(&key("/c"), ExceptionKind::Gone, "");
    assert!(stage.hub.exception(&key("/c")).is_none(), "no room");
    tokio::time::advance(EXCEPTION_TIME_MIN / 2).await;
    assert!(stage.hub.exception(&key("/a")).is_none(), "over");
    assert!(stage.hub.exception(&key("/b")).is_some());
    stage.hub.except(&key("/c"), ExceptionKind::Gone, "");
    assert!(stage.hub.exception(&key("/c")).is_some(), "room again");
}

#[tokio::test]
async fn a_closing_names_itself_to_all_followers_and_is_remembered() {
    let stage = Stage::new(10);
    let (attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut follower = stage.follow("/a", Resume::Start);
    let why = Some((ExceptionKind::NotShareable, "private"));
    publisher.unwrap().close(Closing::NotShareable, why);
    assert_eq!(take(&mut follower), ["closing: not-shareable"]);
    let view = attendance.topic().wait_for(|view| view.closing.is_some()).await;
    assert_eq!(view.closing, Some(Closing::NotShareable));
    let kind = stage.hub.exception(&key("/a")).unwrap().kind;
    assert_eq!(kind, ExceptionKind::NotShareable);
}

#[tokio::test(start_paused = true)]
async fn plain_polls_of_four_connections_within_two_intervals_keep_the_resource_polled() {
    let stage = Stage::new(10);
    let (attendance, _publisher) = stage.attend("/a", Attend::Visit);
    let topic = attendance.topic();
    for connection in [1, 2, 3, 1, 2, 3] {
        topic.visited(connection);
        tokio::time::advance(SECOND / 4).await;
    }
    assert!(topic.interest_until() <= Instant::now());
    topic.visited(4);
    assert!(topic.interest_until() > Instant::now() + SECOND / 2);
}

#[test]
fn histories_share_one_bound_and_leave_nothing_behind() {
    let hub = Hub::new(Vec::new(), 10, 100);
    let route = Arc::new(route::route());
    let mut publishers = Vec::new();
    for path in ["/a", "/b"] {
        let start = |given| publishers.push(given);
        drop(hub.attend(&key(path), &route, Attend::Visit, start));
    }
    for publisher in &mut publishers {
        for body in ["1", "2", "3", "4", "5"] {
            publish(publisher, body);
        }
        let topic = publisher.topic();
        assert!(topic.has_held(version("5")), "what is current is always known");
        assert!(!topic.has_held(version("1")), "the oldest had to go");
    }
    assert!(hub.history_bytes() > 0);
    drop(publishers);
    assert_eq!(hub.history_bytes(), 0);
}
