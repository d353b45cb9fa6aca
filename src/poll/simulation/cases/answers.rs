//! What becomes of failures, refusals and answers that belong to one client.

use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep};

use super::super::legacy::Reply;
use super::{MS, assert_near, closed, ended, is_stale, stage, stage_with, until, wind_up};
use crate::config::{ClassValue, Route, Share};
use crate::frame::{Coding, Format, State};
use crate::hub::tests::route::{SECOND, key, private_key};
use crate::hub::{
    Attend, Audience, Closing, Delivery, ExceptionKind, Failure, Outcome, Resume, Subscription,
};

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
async fn what_is_anothers_or_sets_a_cookie_is_left_to_no_client() {
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
async fn retry_after_is_obeyed_even_for_waiting_requests() {
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
async fn what_is_one_users_own_is_not_shared() {
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
async fn memory_is_given_back_and_topics_without_followers_go_first() {
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
