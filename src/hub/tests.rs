//! What the hub promises: one publisher, positions, bells, limits.

mod following;
pub(crate) mod route;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::frame::{Coding, Format, State};
use crate::resource::{Snapshot, Validators, Version, VersionNamer};
use route::{SECOND, key};

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
async fn whoever_comes_first_gets_the_only_publisher() {
    let stage = Stage::new(10);
    let (_first, publisher) = stage.attend("/a", Attend::Visit);
    assert!(publisher.is_some());
    assert!(stage.attend("/a", Attend::Follow).1.is_none());
    assert!(stage.attend("/b", Attend::Visit).1.is_some());
}

#[tokio::test]
async fn a_publisher_is_retained_while_somebody_attends() {
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
fn publishing_and_joining_on_two_threads_leaves_nobody_behind() {
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
async fn who_comes_back_gets_what_it_misses() {
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
async fn the_first_poll_confirms_for_who_started_it() {
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

#[tokio::test]
async fn trouble_is_told_once_and_its_end_to_who_was_told() {
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
async fn who_is_not_told_that_it_was_gone_is_not_told_the_old_state_again() {
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
async fn formats_with_members_are_encoded_before_anybody_is_told() {
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
    tokio::time::advance(EXCEPTION / 2).await;
    stage.hub.except(&key("/b"), ExceptionKind::Gone, "");
    stage.hub.except(&key("/c"), ExceptionKind::Gone, "");
    assert!(stage.hub.exception(&key("/c")).is_none(), "no room");
    tokio::time::advance(EXCEPTION / 2).await;
    assert!(stage.hub.exception(&key("/a")).is_none(), "over");
    assert!(stage.hub.exception(&key("/b")).is_some());
    stage.hub.except(&key("/c"), ExceptionKind::Gone, "");
    assert!(stage.hub.exception(&key("/c")).is_some(), "room again");
}

#[tokio::test]
async fn a_closing_names_itself_to_everybody_and_is_remembered() {
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
