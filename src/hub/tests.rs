//! What the hub promises: one publisher, positions, bells, limits.

mod following;
mod limits;
mod memory;
mod resuming;
pub(crate) mod route;
mod trouble;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use route::{SECOND, key};

use super::*;
use crate::config::Route;
use crate::frame::{Coding, Format, State};
use crate::resource::{Snapshot, Validators, Version, VersionNamer};

/// Counts its rings.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Bell for Counter {
    fn ring(&self, _: &Arc<Topic>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Stage {
    hub: Arc<Hub>,
    bell: Arc<Counter>,
    route: Arc<Route>,
}

impl Stage {
    fn new(max_topics: usize) -> Stage {
        let bell = Arc::new(Counter::default());
        Stage {
            hub: Hub::new(vec![bell.clone()], max_topics, 1 << 20),
            bell,
            route: Arc::new(route::route()),
        }
    }

    fn attend(&self, path: &str, kind: Attend) -> (Attendance, Option<Publisher>) {
        let mut publisher = None;
        let attendance = self.hub.attend(&key(path), &self.route, kind, |given| publisher = Some(given));
        (attendance.expect("room in the hub"), publisher)
    }

    fn follow(&self, path: &str, resume: Resume) -> Subscription {
        let (attendance, publisher) = self.attend(path, Attend::Follow);
        assert!(publisher.is_none(), "somebody polls already");
        Subscription::new(attendance, Some(0), Format::Sse(Coding::Plain), resume)
    }

    fn rings(&self) -> usize {
        self.bell.0.swap(0, Ordering::SeqCst)
    }
}

fn version(body: &str) -> Version {
    VersionNamer::new(None).name(200, None, body.as_bytes())
}

fn snapshot(body: &'static str) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(
        version(body),
        StatusCode::OK,
        Some(HeaderValue::from_static("text/plain")),
        HeaderMap::new(),
        Validators::default(),
        Vec::new(),
        Bytes::from_static(body.as_bytes()),
    ))
}

fn publish(publisher: &mut Publisher, body: &'static str) -> bool {
    let number = publisher.start_poll();
    publisher.publish(number, snapshot(body), Duration::ZERO)
}

fn gone(publisher: &mut Publisher) {
    let number = publisher.start_poll();
    let answer = Relayed {
        status: StatusCode::NOT_FOUND,
        phrase: None,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        vary: Vec::new(),
        said: Vec::new(),
        audience: Audience::All,
        failure: None,
        not_before: None,
    };
    publisher.relay(number, Arc::new(answer), Some(StatusCode::NOT_FOUND), SECOND);
}

fn fail(publisher: &mut Publisher) {
    let number = publisher.start_poll();
    let failure = Failure { class: "connect", status: None, reason: "refused".into() };
    publisher.fail(number, Arc::new(failure), SECOND);
}

/// Everything that is there for a follower, in words.
fn take(subscription: &mut Subscription) -> Vec<String> {
    let view = subscription.topic().view();
    let mut taken = Vec::new();
    while let Some(delivery) = subscription.next(&view) {
        taken.push(match delivery {
            Delivery::Frame(frame) => String::from_utf8_lossy(&frame.snapshot.body).into_owned(),
            Delivery::Condition(condition) => match &condition.state {
                State::Fresh => "fresh".into(),
                State::Stale { .. } => "stale".into(),
                State::Gone { .. } => "gone".into(),
            },
            Delivery::Patches(chain) => format!("{} patches", chain.patches().len()),
            Delivery::Items(batch) => {
                batch.items().iter().map(|item| item.id.clone()).collect::<Vec<_>>().join(" ")
            }
            Delivery::Presence(_) => unreachable!("it comes another way"),
            Delivery::Reset(reason) => format!("reset: {reason}"),
            Delivery::Closing(closing) => {
                taken.push(format!("closing: {}", closing.reason()));
                return taken;
            }
        });
    }
    taken
}

#[tokio::test]
async fn the_first_to_attend_gets_the_only_publisher() {
    let stage = Stage::new(10);
    let (_first, publisher) = stage.attend("/a", Attend::Visit);
    assert!(publisher.is_some());
    assert!(stage.attend("/a", Attend::Follow).1.is_none());
    assert!(stage.attend("/b", Attend::Visit).1.is_some());
}

#[tokio::test]
async fn a_publisher_is_retained_while_a_client_attends() {
    let stage = Stage::new(10);
    let (visit, publisher) = stage.attend("/a", Attend::Visit);
    let Err(Retained(publisher)) = publisher.unwrap().retire() else {
        panic!("retired under a visitor");
    };
    drop(visit);
    // A client comes between the decision to leave and leaving.
    let (follow, none) = stage.attend("/a", Attend::Follow);
    assert!(none.is_none());
    let Err(Retained(publisher)) = publisher.retire() else {
        panic!("retired under a follower");
    };
    assert!(follow.topic().view().closing.is_none());
    drop(follow);
    assert!(publisher.retire().is_ok());
    assert!(stage.hub.is_empty());
    assert!(stage.attend("/a", Attend::Visit).1.is_some());
}

#[test]
fn joining_and_retiring_race_without_a_lost_follower() {
    for _ in 0..300 {
        let stage = Stage::new(10);
        let (first, publisher) = stage.attend("/a", Attend::Follow);
        let publisher = publisher.unwrap();
        drop(first);
        std::thread::scope(|scope| {
            let retiring = scope.spawn(|| publisher.retire().err());
            let (attendance, started) = stage.attend("/a", Attend::Follow);
            let retained = retiring.join().unwrap();
            // Exactly one publisher is left, and it is the joiner's topic that it publishes to.
            let publisher = match (started, retained) {
                (Some(new), None) => new,
                (None, Some(Retained(old))) => old,
                (a, b) => panic!("{} publishers", usize::from(a.is_some()) + usize::from(b.is_some())),
            };
            assert!(Arc::ptr_eq(publisher.topic(), attendance.topic()));
        });
    }
}

/// Hands what rang to the one thread that looks.
struct Wire(std::sync::mpsc::SyncSender<Arc<Topic>>);

impl Bell for Wire {
    fn ring(&self, topic: &Arc<Topic>) {
        // No client looks any more only when the test is over.
        drop(self.0.try_send(topic.clone()));
    }
}

#[test]
fn publishing_and_joining_on_two_threads_leaves_no_follower_behind() {
    const ROUNDS: usize = 3000;
    let (bell, rung) = std::sync::mpsc::sync_channel(64);
    let hub = Hub::new(vec![Arc::new(Wire(bell))], 1, 1 << 20);
    let route = Arc::new(route::route());
    let mut publisher = None;
    let attend = |publisher: &mut Option<Publisher>| {
        let start = |given| *publisher = Some(given);
        hub.attend(&key("/a"), &route, Attend::Follow, start).unwrap()
    };
    let mut followers =
        vec![Subscription::new(attend(&mut publisher), Some(0), Format::Sse(Coding::Plain), Resume::Start)];
    let mut publisher = publisher.unwrap();
    let topic = publisher.topic().clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let number = publisher.start_poll();
                // Every other poll confirms what is there; then comes something new.
                let snapshot = numbered(round / 2);
                publisher.publish(number, Arc::new(snapshot), Duration::ZERO);
            }
        });
        let last = (ROUNDS - 1) / 2;
        let mut had = vec![None; 1];
        while had.iter().any(|had| *had != Some(last)) {
            let rang = rung.recv_timeout(Duration::from_secs(20)).expect("a bell");
            rang.look(0);
            for (follower, had) in followers.iter_mut().zip(&mut had) {
                catch_up(follower, had);
            }
            if followers.len() < 50 {
                let resume = [Resume::Start, Resume::From(version("?"))][followers.len() % 2].clone();
                let attendance = attend(&mut None);
                followers.push(Subscription::new(attendance, Some(0), Format::Sse(Coding::Plain), resume));
                had.push(None);
                let newest = followers.len() - 1;
                catch_up(&mut followers[newest], &mut had[newest]);
            }
        }
    });
    assert_eq!(topic.followers(), followers.len());
}

fn numbered(number: usize) -> Snapshot {
    let body = Bytes::from(number.to_string());
    Snapshot::new(
        VersionNamer::new(None).name(200, None, &body),
        StatusCode::OK,
        None,
        HeaderMap::new(),
        Validators::default(),
        Vec::new(),
        body,
    )
}

fn catch_up(follower: &mut Subscription, had: &mut Option<usize>) {
    for body in take(follower) {
        let number: usize = body.parse().unwrap();
        assert!(had.is_none_or(|had| had < number), "{number} after {had:?}");
        *had = Some(number);
    }
}

#[tokio::test]
async fn a_dropped_publisher_closes_the_topic_and_the_next_attend_starts_a_new_one() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut follower = stage.follow("/a", Resume::Start);
    stage.rings();
    drop(publisher);
    assert_eq!(stage.rings(), 1);
    assert_eq!(take(&mut follower), ["closing: internal"]);
    assert!(stage.attend("/a", Attend::Follow).1.is_some());
    // The old one's end does not touch the new one.
    drop(follower);
    assert_eq!(stage.hub.len(), 0, "its publisher was dropped as well");
}

#[tokio::test]
async fn a_publisher_dropped_inside_the_call_locks_nothing() {
    let stage = Stage::new(10);
    let attended = stage.hub.attend(&key("/a"), &stage.route, Attend::Visit, drop);
    let closing = attended.unwrap().topic().view().closing;
    assert_eq!(closing, Some(Closing::Internal));
    assert!(stage.hub.is_empty());
}
