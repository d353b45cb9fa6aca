//! When a poll knows of a write, and how many polls a write makes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::super::legacy::{Legacy, Reply};
use super::super::{Stage, TEXTS};
use super::{MS, assert_near, ended, stage_with, text};
use crate::config::Route;
use crate::hub::tests::route::SECOND;
use crate::hub::{Attend, Touch};

/// A write that named the resource.
const WRITE: Touch = Touch::Named { repeats: true };

fn hourly(route: &mut Route) {
    route.poll.interval = 3600 * SECOND;
}

#[tokio::test(start_paused = true)]
async fn a_poll_in_flight_does_not_know_of_a_write() {
    let mut polls = 0;
    let legacy = Legacy::new(move |_| {
        polls += 1;
        (SECOND, Reply::Content(if polls == 1 { "A" } else { "B" }))
    });
    let stage = Stage::new(legacy, hourly, 1);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    let topic = follower.topic();
    sleep(SECOND / 2).await;
    topic.touch(WRITE);
    let view = ended(topic, 1).await;
    assert!(topic.is_unconfirmed(&view), "the first poll started before the write");
    let begin = Instant::now();
    let view = topic.settled().await;
    assert!(!topic.is_unconfirmed(&view));
    assert_eq!(text(topic), "B");
    assert_near(begin.elapsed(), SECOND);
    assert_eq!(stage.legacy.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lagging_replica_is_asked_until_it_has_the_write() {
    let begin = Instant::now();
    let late = move || begin.elapsed() > SECOND + 300 * MS;
    let legacy = Legacy::new(move |_| (10 * MS, Reply::Content(if late() { "B" } else { "A" })));
    let stage = Stage::new(legacy, hourly, 1);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    sleep(SECOND).await;
    follower.topic().touch(WRITE);
    follower.topic().settled().await;
    assert_eq!(text(follower.topic()), "A", "readers wait for the first poll alone");
    follower.topic().wait_for(|view| view.changed_at.is_some() && view.ended > 3).await;
    assert_eq!(text(follower.topic()), "B");
    // At once, after 100 ms, after 400 ms more; each takes ten.
    assert_near(begin.elapsed(), SECOND + 530 * MS);
    sleep(60 * SECOND).await;
    assert_eq!(stage.legacy.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn readers_wait_for_repeats_once_a_repeat_has_found_something() {
    let written: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = written.clone();
    let legacy = Legacy::new(move |_| {
        let arrived = seen.lock().iter().filter(|at| at.elapsed() > 300 * MS).count();
        (10 * MS, Reply::Content(TEXTS[arrived]))
    });
    let stage = Stage::new(legacy, |route| route.poll.interval = 60 * SECOND, 1);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    for (number, seen_at_once) in ["A", "C"].into_iter().enumerate() {
        sleep(100 * SECOND).await;
        written.lock().push(Instant::now());
        follower.topic().touch(WRITE);
        follower.topic().settled().await;
        assert_eq!(text(follower.topic()), seen_at_once, "write {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_before_a_write_is_not_young_and_the_next_wanted_poll_knows_of_the_write() {
    let stage = stage_with(&[Reply::Content("A"), Reply::Content("B")], hourly);
    let (visit, _) = stage.attend("/a", Attend::Visit);
    let topic = visit.topic();
    ended(topic, topic.want_poll()).await;
    assert!(topic.is_young(&topic.view()));
    for touch in [Touch::Relative { after: Duration::ZERO }, Touch::Stranger] {
        topic.touch(touch);
        let view = topic.view();
        assert!(!topic.is_young(&view) && !topic.is_unconfirmed(&view), "{touch:?}");
        sleep(60 * SECOND).await;
        assert_eq!(stage.legacy.count(), 1, "{touch:?}: nobody follows it");
    }
    ended(topic, topic.want_poll()).await;
    // The poll has settled it a moment later.
    topic.wait_for(|view| view.settled > 0).await;
    assert!(topic.is_young(&topic.view()));
    assert_eq!(text(topic), "B");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_writes_makes_four_polls_an_interval() {
    for touch in [WRITE, Touch::Stranger, Touch::Parent, Touch::Relative { after: Duration::ZERO }] {
        let (mut polls, interval) = (0, 10 * SECOND);
        let legacy = Legacy::new(move |_| {
            polls += 1;
            (MS, Reply::Content(TEXTS[polls % 3]))
        });
        let stage = Stage::new(legacy, |route| route.poll.interval = interval, 1);
        let (follower, _) = stage.attend("/a", Attend::Follow);
        sleep(MS).await;
        for _ in 0..1_000 {
            follower.topic().touch(touch);
            sleep(interval / 200).await;
        }
        let polls = stage.legacy.count();
        // Five intervals: the first poll, four for writes each, and what the schedule asks for in between.
        assert!(polls <= 1 + 4 * 5 + 5, "{touch:?}: {polls}");
        let most = if matches!(touch, Touch::Parent) { 1 + 5 + 6 } else { usize::MAX };
        assert!(polls <= most, "{touch:?}: {polls}");
        assert!(follower.topic().is_written_often());
    }
}

#[tokio::test(start_paused = true)]
async fn writers_of_other_classes_are_heard_once_an_interval_each() {
    let stage = stage_with(&[Reply::Content("A")], |route| route.poll.interval = 10 * SECOND);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    let heard = |last: u8| follower.topic().hears(Some([192, 0, 2, last].into()));
    assert!(heard(1) && heard(2) && !heard(1));
    sleep(10 * SECOND).await;
    assert!(heard(1));
}

#[tokio::test(start_paused = true)]
async fn a_write_without_effect_is_asked_about_four_times() {
    let stage = stage_with(&[Reply::Content("A")], hourly);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    ended(follower.topic(), 1).await;
    follower.topic().touch(WRITE);
    let begin = Instant::now();
    follower.topic().settled().await;
    assert_near(begin.elapsed(), 10 * MS);
    sleep(60 * SECOND).await;
    assert_eq!(stage.legacy.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn many_writes_are_one_poll_in_flight_and_one_after_it() {
    let mut polls = 0;
    let legacy = Legacy::new(move |_| {
        polls += 1;
        (SECOND, Reply::Content(if polls % 2 == 0 { "A" } else { "B" }))
    });
    let stage = Stage::new(legacy, hourly, 1);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    sleep(10 * SECOND).await;
    for _ in 0..90 {
        follower.topic().touch(WRITE);
        sleep(10 * MS).await;
    }
    follower.topic().settled().await;
    sleep(60 * SECOND).await;
    assert_eq!(stage.legacy.count(), 3, "the first, one in flight, one after it");
    assert!(stage.legacy.overlaps().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_is_asked_once_for_a_write_and_then_left_alone() {
    let stage = stage_with(&[Reply::Content("A"), Reply::With(503, "retry-after", "30")], hourly);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    ended(follower.topic(), 1).await;
    for polls in [2, 3] {
        follower.topic().touch(WRITE);
        let view = follower.topic().settled().await;
        assert!(follower.topic().is_unconfirmed(&view));
        sleep(5 * SECOND).await;
        assert_eq!(stage.legacy.count(), polls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_poll_after_a_write_does_not_confirm_the_state_before_it() {
    for refusal in [Reply::With(429, "retry-after", "5"), Reply::Status(302), Reply::Status(403)] {
        let stage = stage_with(&[Reply::Content("A"), refusal, Reply::Content("B")], hourly);
        let (follower, _) = stage.attend("/a", Attend::Follow);
        ended(follower.topic(), 1).await;
        follower.topic().touch(WRITE);
        let begin = Instant::now();
        let view = follower.topic().settled().await;
        assert!(begin.elapsed() < SECOND, "nobody waits for what does not come");
        assert!(view.frame.is_some() && follower.topic().is_unconfirmed(&view), "{refusal:?}");
        // As any failing upstream it is asked again by the schedule.
        assert_eq!(stage.legacy.count(), 2);
        sleep(2 * 3600 * SECOND).await;
        let view = follower.topic().view();
        assert!(!follower.topic().is_unconfirmed(&view), "{refusal:?}");
        assert_eq!(text(follower.topic()), "B");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_write_has_removed_is_known_to_be_gone() {
    let stage = stage_with(&[Reply::Content("A"), Reply::Status(404)], hourly);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    ended(follower.topic(), 1).await;
    follower.topic().touch(WRITE);
    let view = follower.topic().settled().await;
    assert!(view.condition.state.is_gone() && !follower.topic().is_unconfirmed(&view));
}
