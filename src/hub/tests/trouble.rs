//! What followers are told of trouble, of gone resources and of the end of both.

use http::HeaderValue;

use super::super::*;
use super::route::SECOND;
use super::{Stage, fail, gone, publish, snapshot, take, version};
use crate::frame::{Coding, Format};

#[tokio::test]
async fn trouble_is_told_once_and_its_end_to_followers_that_were_told() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    publish(&mut publisher, "A");
    let mut told = stage.follow("/a", Resume::Start);
    assert_eq!(take(&mut told), ["A"]);
    fail(&mut publisher);
    publisher.stale(None, "down", SECOND);
    assert_eq!(take(&mut told), ["stale"]);
    fail(&mut publisher);
    publisher.stale(None, "still down", SECOND);
    assert_eq!(take(&mut told), [""; 0]);
    let mut late = stage.follow("/a", Resume::Start);
    assert_eq!(take(&mut late), ["stale", "A"]);
    publish(&mut publisher, "A");
    let mut later = stage.follow("/a", Resume::Start);
    assert_eq!(take(&mut told), ["fresh"]);
    assert_eq!(take(&mut late), ["fresh"]);
    assert_eq!(take(&mut later), ["A"], "it never heard of trouble");
}

#[tokio::test]
async fn what_was_gone_comes_back_with_its_state_even_if_it_is_the_old_one() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    publish(&mut publisher, "A");
    let mut told = stage.follow("/a", Resume::Start);
    let mut slow = stage.follow("/a", Resume::Start);
    assert_eq!(take(&mut told), ["A"]);
    assert_eq!(take(&mut slow), ["A"]);
    gone(&mut publisher);
    gone(&mut publisher);
    assert_eq!(take(&mut told), ["gone"]);
    assert_eq!(take(&mut told), [""; 0]);
    let mut late = stage.follow("/a", Resume::From(version("A")));
    assert_eq!(take(&mut late), ["gone"]);
    // Failures in between are no news: it is gone as far as a follower knows.
    fail(&mut publisher);
    publisher.stale(None, "down", SECOND);
    assert_eq!(take(&mut told), [""; 0]);
    assert!(!publish(&mut publisher, "A"));
    assert_eq!(take(&mut told), ["fresh", "A"]);
    assert_eq!(take(&mut late), ["fresh", "A"]);
    assert_eq!(take(&mut slow), [""; 0], "it missed the whole spell");
}

#[tokio::test]
async fn a_follower_that_was_not_told_of_gone_is_not_told_the_old_state_again() {
    let stage = Stage::new(10);
    let (attendance, publisher) = stage.attend("/a", Attend::Follow);
    let mut publisher = publisher.unwrap();
    let mut bare = Subscription::new(attendance, Some(0), Format::WebSocket(Coding::Plain), Resume::Start);
    publish(&mut publisher, "A");
    assert_eq!(take(&mut bare), ["A"]);
    gone(&mut publisher);
    // What the transport makes of this is nothing.
    assert_eq!(take(&mut bare), ["gone"]);
    publish(&mut publisher, "A");
    assert_eq!(take(&mut bare), ["fresh"]);
    publish(&mut publisher, "B");
    assert_eq!(take(&mut bare), ["B"]);
}

#[tokio::test]
async fn a_bell_rings_once_until_its_shard_looked() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    publish(&mut publisher, "A");
    assert_eq!(stage.rings(), 0, "no member, no bell");
    let follower = stage.follow("/a", Resume::Start);
    publish(&mut publisher, "B");
    publish(&mut publisher, "C");
    assert_eq!(stage.rings(), 1);
    publisher.topic().look(0);
    publish(&mut publisher, "C");
    fail(&mut publisher);
    assert_eq!(stage.rings(), 0, "nothing that a follower is told");
    publish(&mut publisher, "D");
    assert_eq!(stage.rings(), 1);
    // The last member leaves before the shard looks; the next one is not deaf.
    drop(follower);
    let _next = stage.follow("/a", Resume::Start);
    publish(&mut publisher, "E");
    assert_eq!(stage.rings(), 1);
}

#[tokio::test]
async fn formats_with_members_are_encoded_before_any_follower_is_told() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    let encoded = |publisher: &Publisher| publisher.topic().view().frame.as_ref().unwrap().encoded_bytes();
    publish(&mut publisher, "A");
    assert_eq!(encoded(&publisher), 0);
    let follower = stage.follow("/a", Resume::Start);
    assert!(encoded(&publisher) > 0, "who joins encodes the frame that is there");
    publish(&mut publisher, "B");
    let sse = encoded(&publisher);
    assert!(sse > 0);
    // New headers, same content: a slow follower still finds its encoding.
    let mut renewed = Arc::into_inner(snapshot("B")).unwrap();
    renewed.headers.insert("x-generation", HeaderValue::from_static("2"));
    let number = publisher.start_poll();
    assert!(!publisher.publish(number, Arc::new(renewed), Duration::ZERO));
    assert!(publisher.topic().view().frame.as_ref().unwrap().snapshot.headers.contains_key("x-generation"));
    assert_eq!(encoded(&publisher), sse);
    drop(follower);
    publish(&mut publisher, "C");
    assert_eq!(encoded(&publisher), 0);
}
