//! What a follower gets when it joins or comes back: the latest state, and nothing that it has.

use super::super::*;
use super::{Stage, fail, publish, take, version};
use crate::frame::{Coding, Format};

#[tokio::test]
async fn a_follower_gets_only_the_latest_and_never_what_it_has() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    let mut follower = stage.follow("/a", Resume::Start);
    assert_eq!(take(&mut follower), [""; 0]);
    assert!(publish(&mut publisher, "A"));
    assert_eq!(take(&mut follower), ["A"]);
    assert!(!publish(&mut publisher, "A"));
    assert_eq!(take(&mut follower), [""; 0]);
    publish(&mut publisher, "B");
    publish(&mut publisher, "C");
    assert_eq!(take(&mut follower), ["C"]);
    publish(&mut publisher, "D");
    publish(&mut publisher, "C");
    assert_eq!(take(&mut follower), [""; 0], "A B A");
    publish(&mut publisher, "D");
    assert_eq!(take(&mut follower), ["D"]);
}

#[tokio::test]
async fn a_follower_that_comes_back_gets_what_it_misses() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    publish(&mut publisher, "A");
    publish(&mut publisher, "B");
    let mut current = stage.follow("/a", Resume::From(version("B")));
    assert_eq!(take(&mut current), [""; 0]);
    let mut known = stage.follow("/a", Resume::From(version("A")));
    assert_eq!(take(&mut known), ["B"]);
    publish(&mut publisher, "C");
    assert_eq!(take(&mut current), ["C"]);
}

#[tokio::test]
async fn an_unknown_version_waits_for_a_poll_that_started_after_the_join() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    publish(&mut publisher, "A");
    let in_flight = publisher.start_poll();
    let mut unknown = stage.follow("/a", Resume::From(version("X")));
    publisher.topic().look(0);
    stage.rings();
    publisher.confirm(in_flight, Duration::ZERO, None);
    assert_eq!(take(&mut unknown), [""; 0], "that poll started before the join");
    fail(&mut publisher);
    assert_eq!(take(&mut unknown), [""; 0], "a failure confirms nothing");
    assert_eq!(publisher.topic().wanted_confirmation(), in_flight + 1);
    publisher.topic().look(0);
    stage.rings();
    let number = publisher.start_poll();
    publisher.confirm(number, Duration::ZERO, None);
    assert_eq!(stage.rings(), 1, "who waits for a confirmation hears of it");
    assert_eq!(take(&mut unknown), ["A"]);
    let number = publisher.start_poll();
    publisher.topic().look(0);
    publisher.confirm(number, Duration::ZERO, None);
    assert_eq!(stage.rings(), 0, "later confirmations are nobody's news");
}

#[tokio::test]
async fn the_first_poll_confirms_for_the_client_that_started_it() {
    let stage = Stage::new(10);
    let (attendance, publisher) = stage.attend("/a", Attend::Follow);
    let mut publisher = publisher.unwrap();
    // The poll loop is faster than the request that started it.
    publish(&mut publisher, "A");
    let unknown = Resume::From(version("X"));
    let mut follower = Subscription::new(attendance, None, Format::Sse(Coding::Plain), unknown);
    assert_eq!(take(&mut follower), ["A"]);
}

#[tokio::test]
async fn a_version_forgotten_by_the_history_is_unknown_but_the_current_one_never_is() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    let bodies = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    for body in bodies {
        publish(&mut publisher, body);
    }
    let topic = publisher.topic();
    let held = bodies.map(|body| topic.has_held(version(body)));
    assert_eq!(held.iter().filter(|held| **held).count(), 8);
    assert!(!held[1] && held[2] && held[9]);
}
