//! Single promises of the poll loop, each with a script of its own.

mod answers;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep, timeout};

use super::Stage;
use super::legacy::{Legacy, Reply};
use crate::config::Route;
use crate::frame::{Coding, Format, State};
use crate::hub::tests::route::{SECOND, key};
use crate::hub::{Attend, Attendance, Closing, Delivery, Outcome, Resume, Subscription, Topic, View};
use crate::resource::VersionNamer;

const MS: Duration = Duration::from_millis(1);

fn stage(replies: &[Reply]) -> Stage {
    Stage::new(Legacy::replying(replies), |_| {}, 1)
}

fn stage_with(replies: &[Reply], change: impl FnOnce(&mut Route)) -> Stage {
    Stage::new(Legacy::replying(replies), change, 1)
}

async fn ended(topic: &Topic, number: u64) -> Arc<View> {
    let ready = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
    timeout(100 * SECOND, ready).await.expect("a poll ends")
}

async fn closed(topic: &Topic) -> Closing {
    let closed = timeout(100 * SECOND, topic.wait_for(|view| view.closing.is_some())).await;
    closed.expect("the topic closes").closing.expect("it was waited for")
}

/// Waits for this state; gives the time it took.
async fn until(topic: &Topic, wanted: impl Fn(&State) -> bool) -> Duration {
    let begin = Instant::now();
    let reached = topic.wait_for(|view| wanted(&view.condition.state));
    timeout(1000 * SECOND, reached).await.expect("the state comes");
    begin.elapsed()
}

fn is_stale(state: &State) -> bool {
    matches!(state, State::Stale { .. })
}

/// Lets go of everything and waits until nothing is left.
async fn wind_up(stage: &Stage) {
    sleep(stage.route.stale_if_error + stage.route.poll.linger + SECOND).await;
    stage.assert_empty();
}

fn assert_near(found: Duration, wanted: Duration) {
    assert!(found.abs_diff(wanted) <= 15 * MS, "{found:?}, and not {wanted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_poll_closes_the_topic_and_the_next_attend_polls_again() {
    let stage = stage(&[Reply::Panic, Reply::Content("A")]);
    let (first, _) = stage.attend("/a", Attend::Follow);
    assert_eq!(closed(first.topic()).await, Closing::Internal);
    let (second, started) = stage.attend("/a", Attend::Follow);
    assert!(started);
    assert!(ended(second.topic(), 1).await.frame.is_some());
    drop((first, second));
    wind_up(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn leaving_and_coming_back_is_no_way_around_the_backoff() {
    let slow = |route: &mut Route| {
        route.poll.linger = MS;
        route.stale_if_error = MS;
    };
    let stage = stage_with(&[Reply::With(503, "retry-after", "30"), Reply::Status(500)], slow);
    let (first, _) = stage.attend("/a", Attend::Follow);
    ended(first.topic(), 1).await;
    let failed_at = Instant::now();
    drop(first);
    sleep(SECOND).await;
    stage.assert_empty();
    let (second, started) = stage.attend("/a", Attend::Follow);
    assert!(started);
    // The follower hears at once what is known.
    until(second.topic(), is_stale).await;
    let view = second.topic().view();
    assert!(
        matches!(&view.outcome, Outcome::Relay(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE)
    );
    // What the upstream said is given at once until it may be asked again.
    let remembered = view.remembered_until(stage.route.poll.interval).expect("an answer that is remembered");
    assert_near(remembered - failed_at, 30 * SECOND);
    assert_eq!(second.topic().view().ended, 0, "nobody's wait is over");
    ended(second.topic(), 1).await;
    assert_near(failed_at.elapsed(), 30 * SECOND);
    assert_eq!(stage.legacy.count(), 2);
    // And the failures are counted on.
    drop(second);
    sleep(SECOND).await;
    let remembered = stage.relay.services().take_failing(&key("/a")).expect("it still fails");
    assert_eq!(remembered.failing.failures, 2);
    stage.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn stale_comes_when_the_content_is_old_and_not_with_the_first_failure() {
    let stage = stage(&[Reply::Content("A"), Reply::Broken]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    ended(follower.topic(), 1).await;
    let waited = until(follower.topic(), is_stale).await;
    assert_near(waited, stage.route.poll.interval + stage.route.stale_after);
    assert!(stage.legacy.count() > 2);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_poll_makes_the_content_stale_and_its_answer_fresh() {
    let mut polls = 0;
    let hanging = Legacy::new(move |_| {
        polls += 1;
        let latency = if polls == 2 { 20 * SECOND } else { 10 * MS };
        (latency, Reply::Content("A"))
    });
    let stage = Stage::new(hanging, |_| {}, 1);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    ended(follower.topic(), 1).await;
    let waited = until(follower.topic(), is_stale).await;
    let wanted = stage.route.poll.interval + stage.route.stale_after;
    assert!((wanted..wanted + SECOND / 5).contains(&waited), "{waited:?}");
    let State::Stale { reason, .. } = &follower.topic().view().condition.state else {
        panic!("it was stale");
    };
    assert!(reason.contains("\"legacy\"") && reason.contains("overdue"), "{reason}");
    assert_eq!(stage.legacy.count(), 2);
    until(follower.topic(), |state| *state == State::Fresh).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_poll_after_a_rest_is_not_overdue_because_the_content_is_old() {
    let stage = stage(&[Reply::Content("A")]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    ended(follower.topic(), 1).await;
    drop(follower);
    sleep(15 * SECOND).await;
    let (follower, started) = stage.attend("/a", Attend::Follow);
    assert!(!started);
    let number = follower.topic().view().ended + 1;
    let topic = follower.topic().clone();
    for ended in 1..=number {
        let view = topic.wait_for(|view| view.ended >= ended).await;
        if view.ended >= number {
            break;
        }
        assert_eq!(view.condition.state, State::Fresh);
    }
}

#[tokio::test(start_paused = true)]
async fn polls_go_on_for_exactly_the_linger() {
    let stage = stage(&[Reply::Content("A")]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    sleep(10 * SECOND).await;
    drop(follower);
    let left = Instant::now();
    sleep(15 * SECOND).await;
    let records = stage.legacy.records();
    let after = records.iter().filter(|r| r.started > left).count();
    assert!((4..=6).contains(&after), "{after} polls during the linger");
    let last = records.last().expect("polls").started;
    assert!(last < left + stage.route.poll.linger);
    wind_up(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn always_needs_no_client() {
    let stage = stage_with(&[Reply::Content("A")], |route| route.poll.always = true);
    // The process itself.
    let kept = stage.attend("/a", Attend::Visit);
    sleep(60 * SECOND).await;
    let polls = stage.legacy.count();
    assert!((54..=67).contains(&polls), "{polls}");
    assert!(!stage.hub.evict_oldest(), "nor does it give way");
    // Of what clients named (another host) it is as of anything else.
    drop(kept);
    assert!(stage.hub.evict_oldest());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_gets_one_poll_of_its_own_half_an_interval_after_the_last() {
    let stage = stage_with(&[Reply::Content("A")], |route| route.poll.interval = 10 * SECOND);
    let (first, _) = stage.attend("/a", Attend::Follow);
    ended(first.topic(), 1).await;
    let unknown = || Resume::From(VersionNamer::new(None).name(9, None, b"X"));
    sleep(SECOND).await;
    let mut followers: Vec<Subscription> = (0..5)
        .map(|_| stage.attend("/a", Attend::Follow).0)
        .map(|attendance| Subscription::new(attendance, Some(0), Format::Sse(Coding::Plain), unknown()))
        .collect();
    let view = first.topic().view();
    assert!(followers.iter_mut().all(|f| f.next(&view).is_none()));
    let view = ended(first.topic(), 2).await;
    for follower in &mut followers {
        assert!(matches!(follower.next(&view), Some(Delivery::Frame(_))));
    }
    let records = stage.legacy.records();
    assert_near(records[1].started - records[0].started, 5 * SECOND);
    assert!(records[1].conditional);
    ended(first.topic(), 3).await;
    let records = stage.legacy.records();
    assert!(records[2].started - records[1].started >= 9 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_resource_at_rest_is_polled_once_for_all_its_visitors() {
    let stage = stage(&[Reply::Content("A")]);
    drop(stage.attend("/a", Attend::Follow));
    sleep(15 * SECOND).await;
    let before = stage.legacy.count();
    let visits: Vec<Attendance> = (0..10).map(|_| stage.attend("/a", Attend::Visit).0).collect();
    let numbers: Vec<u64> = visits.iter().map(|visit| visit.topic().want_poll()).collect();
    for (visit, number) in visits.iter().zip(numbers) {
        let view = ended(visit.topic(), number).await;
        assert!(view.confirmed_at().is_some_and(|at| at.elapsed() < SECOND));
    }
    sleep(10 * SECOND).await;
    assert_eq!(stage.legacy.count(), before + 1);
    drop(visits);
    wind_up(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn a_visitor_that_found_a_view_too_old_takes_the_poll_that_has_ended_since() {
    let stage = stage(&[Reply::Content("A")]);
    let (visit, _) = stage.attend("/a", Attend::Visit);
    ended(visit.topic(), visit.topic().want_poll()).await;
    sleep(20 * SECOND).await;
    let old = visit.topic().view();
    assert!(!old.is_young());
    // Another request is faster: its poll starts and ends between the look and the wish.
    ended(visit.topic(), visit.topic().want_poll_after(&old)).await;
    let view = ended(visit.topic(), visit.topic().want_poll_after(&old)).await;
    assert!(view.is_young());
    sleep(SECOND).await;
    assert_eq!(stage.legacy.count(), 2, "no poll comes on the heels of another");
    // A view that is held keeps its snapshot, which stays charged.
    drop((old, view, visit));
    wind_up(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn plain_polls_of_four_connections_start_polling_in_the_background() {
    let stage = stage(&[Reply::Content("A")]);
    let visit = async |connection: u64| {
        let (attendance, _) = stage.attend("/a", Attend::Visit);
        attendance.topic().visited(connection);
        if !attendance.topic().view().is_young() {
            ended(attendance.topic(), attendance.topic().want_poll()).await;
        }
    };
    for connection in [1, 2, 3] {
        visit(connection).await;
    }
    sleep(10 * SECOND).await;
    assert_eq!(stage.legacy.count(), 1, "three are each polled for when they ask");
    for _ in 0..4 {
        for connection in [1, 2, 3, 4] {
            visit(connection).await;
        }
        sleep(SECOND).await;
    }
    let before = stage.legacy.count();
    sleep(20 * SECOND).await;
    let polls = stage.legacy.count() - before;
    assert!((2..=4).contains(&polls), "{polls} polls for three seconds of interest");
    wind_up(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_within_an_interval_is_polled_for_once() {
    let stage = stage(&[Reply::Content("A")]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    sleep(SECOND / 2).await;
    drop(follower);
    sleep(20 * SECOND).await;
    assert_eq!(stage.legacy.count(), 1);
    wind_up(&stage).await;
}

/// The texts that were published one after the other, as a follower sees the last of them.
fn text(topic: &Topic) -> String {
    let view = topic.view();
    let body = view.frame.as_ref().map(|frame| frame.snapshot.body.to_vec());
    String::from_utf8(body.unwrap_or_default()).expect("a text")
}
