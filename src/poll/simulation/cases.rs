//! Single promises of the poll loop, each with a script of its own.

use http::StatusCode;

use super::*;
use crate::config::{ClassValue, Share};
use crate::hub::tests::route::private_key;
use crate::hub::{Audience, Closing, ExceptionKind, Failure, Outcome, Touch, View};

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
    let remembered = stage.relay.stakes().take_failing(&key("/a")).expect("it still fails");
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
async fn always_needs_nobody() {
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
async fn a_resource_at_rest_is_polled_once_for_all_who_visit_it() {
    let stage = stage(&[Reply::Content("A")]);
    drop(stage.attend("/a", Attend::Follow));
    sleep(15 * SECOND).await;
    let before = stage.legacy.count();
    let visits: Vec<Attendance> = (0..10).map(|_| stage.attend("/a", Attend::Visit).0).collect();
    let numbers: Vec<u64> = visits.iter().map(|visit| visit.topic().want_poll()).collect();
    for (visit, number) in visits.iter().zip(numbers) {
        let view = ended(visit.topic(), number).await;
        assert!(view.confirmed_at.is_some_and(|at| at.elapsed() < SECOND));
    }
    sleep(10 * SECOND).await;
    assert_eq!(stage.legacy.count(), before + 1);
    drop(visits);
    wind_up(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn who_found_a_view_too_old_takes_the_poll_that_has_ended_since() {
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
async fn who_leaves_within_an_interval_is_polled_for_once() {
    let stage = stage(&[Reply::Content("A")]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    sleep(SECOND / 2).await;
    drop(follower);
    sleep(20 * SECOND).await;
    assert_eq!(stage.legacy.count(), 1);
    wind_up(&stage).await;
}

/// What is wrong with a poll, with an answer or without.
fn failure(outcome: &Outcome) -> &Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        Outcome::Relay(answer) => answer.failure.as_ref().expect("an answer that is a failure"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_304_names_is_renewed_without_a_change() {
    let renewing = Reply::With(304, "x-total-count", "8");
    let stage = stage(&[Reply::Content("A"), renewing]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    let before = ended(follower.topic(), 1).await;
    let after = ended(follower.topic(), 2).await;
    let (before, after) = (before.frame.as_ref().unwrap(), after.frame.as_ref().unwrap());
    assert_eq!((before.seq, before.version()), (after.seq, after.version()));
    assert_eq!(after.snapshot.headers["x-total-count"], "8");
    assert!(before.snapshot.headers.keys().all(|name| after.snapshot.headers.contains_key(name)));
    assert_eq!(before.snapshot.validators, after.snapshot.validators);
}

#[tokio::test(start_paused = true)]
async fn access_that_is_withdrawn_stays_so_whatever_fails_since() {
    for status in [302, 400, 401, 403] {
        let stage =
            stage(&[Reply::Content("A"), Reply::Status(status), Reply::Status(503), Reply::Content("A")]);
        let (follower, _) = stage.attend("/a", Attend::Follow);
        assert!(!ended(follower.topic(), 1).await.withdrawn);
        let view = ended(follower.topic(), 2).await;
        assert_eq!(view.answered().map(|answer| answer.status.as_u16()), Some(status));
        let view = ended(follower.topic(), 3).await;
        assert!(view.withdrawn && view.answered().is_none() && view.frame.is_some(), "{status}");
        assert!(!ended(follower.topic(), 4).await.withdrawn, "{status}");
        let denied = matches!(status, 401 | 403);
        assert!(stage.hub.exception(&key("/a")).is_none(), "{status} {denied}: data came again");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_request_may_have_is_left_to_it_and_to_no_other() {
    let private = Reply::With(200, "cache-control", "no-store");
    let stage = stage_with(&[private], |route| route.share = Share::Unset);
    let (mut visit, _) = stage.attend("/a", Attend::Visit);
    let claim = visit.take_claim().expect("the request that the topic began with");
    visit.topic().want_poll();
    assert!(visit.topic().claim(1).is_none(), "one request a poll");
    assert_eq!(closed(visit.topic()).await, Closing::NotShareable);
    let left = claim.take().expect("what the poll took");
    assert_eq!((left.status, left.audience), (StatusCode::OK, Audience::Cause));
    assert!(visit.topic().claim(1).is_some_and(|claim| claim.take().is_none()), "it is given once");
}

#[tokio::test(start_paused = true)]
async fn what_is_anothers_or_sets_a_cookie_is_left_to_nobody() {
    let no_store = Reply::With(200, "cache-control", "no-store");
    let cookie = Reply::With(200, "set-cookie", "id=1");
    let star = Reply::With(200, "vary", "*");
    let operators = |route: &mut Route| {
        route.share = Share::Unset;
        route.poll.headers = vec![(http::header::USER_AGENT, http::HeaderValue::from_static("x"))];
    };
    let unset = |route: &mut Route| route.share = Share::Unset;
    type Change<'a> = &'a dyn Fn(&mut Route);
    let cases: [(Reply, Change<'_>); 3] = [(no_store, &operators), (cookie, &unset), (star, &unset)];
    for (reply, change) in cases {
        let stage = stage_with(&[reply], change);
        let (mut visit, _) = stage.attend("/a", Attend::Visit);
        let claim = visit.take_claim().expect("a claim");
        visit.topic().want_poll();
        closed(visit.topic()).await;
        assert!(claim.take().is_none(), "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_failure_is_an_outcome_and_stale_at_once() {
    for (reply, class) in [(Reply::Timeout, "total-timeout"), (Reply::Status(500), "status")] {
        let stage = stage(&[reply]);
        let (follower, _) = stage.attend("/a", Attend::Follow);
        let view = ended(follower.topic(), 1).await;
        let failure = failure(&view.outcome);
        assert_eq!(failure.class, class);
        assert!(failure.reason.starts_with("upstream \"legacy\""), "{}", failure.reason);
        assert_eq!(until(follower.topic(), is_stale).await, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_refusal_is_relayed_and_remembered_for_an_interval() {
    for status in [302, 400, 401, 403, 404, 410] {
        // Six failures: the backoff is long.
        let refused = [Reply::Status(status); 7];
        let stage = stage(&[&refused[..], &[Reply::Content("A")]].concat());
        let mut last = Instant::now();
        for number in 1..=7 {
            let (visit, _) = stage.attend("/a", Attend::Visit);
            visit.topic().visited(1);
            visit.topic().want_poll();
            let view = ended(visit.topic(), number).await;
            let Outcome::Relay(answer) = &view.outcome else {
                panic!("{:?}", view.outcome);
            };
            assert_eq!(answer.status.as_u16(), status);
            let remembered = view.remembered_until(stage.route.poll.interval);
            assert_eq!(remembered, view.ended_at.map(|at| at + SECOND));
            if number > 1 {
                let waited = last.elapsed();
                assert!((SECOND..SECOND + 50 * MS).contains(&waited), "{status}: {waited:?}");
            }
            last = Instant::now();
        }
        let (visit, _) = stage.attend("/a", Attend::Visit);
        visit.topic().want_poll();
        let view = ended(visit.topic(), 8).await;
        assert!(view.frame.is_some(), "{status}: it came into being");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_even_for_those_who_wait() {
    let stage = stage(&[Reply::With(429, "retry-after", "20"), Reply::Content("A")]);
    let (visit, _) = stage.attend("/a", Attend::Visit);
    ended(visit.topic(), visit.topic().want_poll()).await;
    let begin = Instant::now();
    ended(visit.topic(), visit.topic().want_poll()).await;
    assert_near(begin.elapsed(), 20 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_covered_is_excepted() {
    let with = |name, value| Reply::With(200, name, value);
    let cases = [
        Reply::TooLarge,
        with("content-type", "text/event-stream"),
        with("content-type", "multipart/x-mixed-replace; boundary=a"),
        with("content-type", "audio/mpeg"),
        with("content-type", "video/mp4"),
    ];
    for reply in cases {
        let stage = stage(&[reply]);
        let (follower, _) = stage.attend("/a", Attend::Follow);
        ended(follower.topic(), 1).await;
        let exception = stage.hub.exception(&key("/a")).expect("an exception");
        let is_stream = exception.reason.contains("event-stream");
        let wanted = if is_stream { ExceptionKind::OwnStream } else { ExceptionKind::Uncoverable };
        assert_eq!(exception.kind, wanted);
        until(follower.topic(), is_stale).await;
        sleep(50 * SECOND).await;
        assert_eq!(stage.legacy.count(), 1, "{reply:?}");
        assert!(follower.topic().view().closing.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_one_users_own_is_shared_with_nobody() {
    let stage = stage_with(&[Reply::With(200, "cache-control", "private")], |route| {
        route.share = Share::Unset;
    });
    let (follower, _) = stage.attend("/a", Attend::Follow);
    assert_eq!(closed(follower.topic()).await, Closing::NotShareable);
    let exception = stage.hub.exception(&key("/a")).expect("an exception");
    assert_eq!(exception.kind, ExceptionKind::NotShareable);
    assert!(exception.reason.contains("private"), "{}", exception.reason);
}

#[tokio::test(start_paused = true)]
async fn a_class_ends_with_its_credentials() {
    let cases = [
        (Reply::Status(401), Closing::Credentials),
        (Reply::Status(302), Closing::Credentials),
        (Reply::With(200, "set-cookie", "session=2; Path=/"), Closing::SessionRotated),
        (Reply::With(304, "set-cookie", "session=2"), Closing::SessionRotated),
    ];
    for (reply, wanted) in cases {
        let stage = stage_with(&[Reply::Content("A"), reply], |route| {
            route.share = Share::By(vec![ClassValue::Cookie("session".into())]);
        });
        let start = |publisher| drop(stage.relay.start(publisher));
        let follower =
            stage.hub.attend(&private_key("/a"), &stage.route, Attend::Follow, start).expect("room");
        assert_eq!(closed(follower.topic()).await, wanted, "{reply:?}");
        assert!(stage.hub.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_asked_for_rarely_and_without_validators() {
    let stage = stage(&[Reply::Content("A"), Reply::Status(404), Reply::Status(304), Reply::Content("A")]);
    let (attendance, _) = stage.attend("/a", Attend::Follow);
    let topic = attendance.topic().clone();
    let mut follower = Subscription::new(attendance, Some(0), Format::Sse(Coding::Plain), Resume::Start);
    let mut heard = Vec::new();
    for number in 1..=4 {
        let view = ended(&topic, number).await;
        while let Some(delivery) = follower.next(&view) {
            heard.push(match delivery {
                Delivery::Frame(frame) => String::from_utf8_lossy(&frame.snapshot.body).into_owned(),
                Delivery::Condition(condition) => format!("{:?}", condition.state),
                Delivery::Closing(_) => "closing".into(),
                other => format!("{other:?}"),
            });
        }
    }
    // The 304 in between answers a question that was not asked: it brings nothing back.
    assert_eq!(heard, ["A", "Gone { status: 404 }", "Fresh", "A"]);
    let records = stage.legacy.records();
    assert!(records[1].conditional && !records[2].conditional && !records[3].conditional);
    let rest = records[2].started - records[1].started;
    assert!(rest >= stage.route.poll.backoff.max.mul_f64(0.9), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn gone_after_ends_the_topic_at_its_time() {
    let stage = stage_with(&[Reply::Content("A"), Reply::Status(410)], |route| {
        route.gone_after = Some(20 * SECOND);
    });
    let (follower, _) = stage.attend("/a", Attend::Follow);
    until(follower.topic(), |state| matches!(state, State::Gone { .. })).await;
    let begin = Instant::now();
    assert_eq!(closed(follower.topic()).await, Closing::Gone);
    assert_near(begin.elapsed(), 20 * SECOND);
    let kind = stage.hub.exception(&key("/a")).map(|e| e.kind);
    assert_eq!(kind, Some(ExceptionKind::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_login_page_with_200_replaces_nothing() {
    let login = Reply::With(200, "content-type", "text/html");
    let none = Reply::Status(204);
    let stage = stage(&[Reply::Content("A"), none, login]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    let view = ended(follower.topic(), 3).await;
    assert_eq!(failure(&view.outcome).class, "unexpected-type");
    let status = view.frame.as_ref().map(|frame| frame.snapshot.status.as_u16());
    assert_eq!(status, Some(204));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_asked_for_again_within_its_max_age() {
    let stage = stage(&[Reply::With(200, "cache-control", "max-age=30")]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    let view = ended(follower.topic(), 1).await;
    assert_eq!(view.effective_interval, 30 * SECOND);
    sleep(29 * SECOND).await;
    assert_eq!(stage.legacy.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn memory_is_given_back_and_those_nobody_attends_to_go_first() {
    let stage = stage(&[Reply::Content("A")]);
    let (follower, _) = stage.attend("/a", Attend::Follow);
    drop(stage.attend("/b", Attend::Follow));
    sleep(2 * SECOND).await;
    assert!(stage.hub.snapshot_bytes() > 0);
    assert_eq!(stage.metrics().resources.get(), 2);
    assert!(stage.hub.evict_oldest());
    sleep(MS).await;
    assert_eq!(stage.metrics().resources.get(), 1);
    assert!(!stage.hub.evict_oldest());
    drop(follower);
    wind_up(&stage).await;
}

/// The texts that were published one after the other, as a follower sees the last of them.
fn text(topic: &Topic) -> String {
    let view = topic.view();
    let body = view.frame.as_ref().map(|frame| frame.snapshot.body.to_vec());
    String::from_utf8(body.unwrap_or_default()).expect("a text")
}

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
