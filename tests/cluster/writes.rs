//! A write through any node touches its resources on all of them, by the rules and at the pace of one node (contract §9, §13).
//! The interval is an hour: only a write makes an answer not young, or a poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::fleet::{Fleet, Settings, metric, number};
use crate::support::client::{Http, Sse};
use crate::support::legacy::Reply;
use crate::support::redis::RedisServer;
use crate::support::wire::within;

const ROUTE: &str = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, plain: share, poll: { interval: 1h } }
passthrough: legacy
";

/// Three nodes, and an API whose paths all tell one number, which each request that is no GET makes greater.
struct World {
    fleet: Fleet,
    number: Arc<AtomicU64>,
}

impl World {
    async fn start(routes: &str) -> World {
        World { fleet: Fleet::start_calm(routes).await, number: Arc::default() }
    }

    /// The API has this path; `written` is its answer to what is no GET.
    fn has(&self, path: &str, written: &Reply) {
        let (number, written) = (self.number.clone(), written.clone());
        self.fleet.legacy.answer_with(path, move |seen| {
            if seen.method != "GET" {
                number.fetch_add(1, Ordering::SeqCst);
                return written.clone();
            }
            Reply::json(format!(r#"{{"n":{}}}"#, number.load(Ordering::SeqCst)))
        });
    }

    async fn read(&self, node: usize, path: &str) -> u64 {
        number(&self.fleet.get(node, path, &[]).await.expect(200).text())
    }

    /// Waits until a node shows this number, or a greater one.
    async fn until_read(&self, node: usize, path: &str, least: u64) {
        within("what was written", async { while self.read(node, path).await < least {} }).await;
    }

    async fn writes(&self, node: usize, method: &str, path: &str, headers: &[(&str, &str)]) -> u64 {
        self.fleet.client(node).await.request(method, path, headers, b"{}").await;
        self.number.load(Ordering::SeqCst)
    }

    fn polls(&self, path: &str) -> usize {
        self.fleet.legacy.seen(path).iter().filter(|seen| seen.method == "GET").count()
    }

    fn polls_of(&self, path: &str, user: &str) -> usize {
        let is_own = |seen: &&crate::support::legacy::Seen| {
            seen.method == "GET" && seen.header("authorization") == Some(user)
        };
        self.fleet.legacy.seen(path).iter().filter(is_own).count()
    }
}

#[tokio::test]
async fn a_write_through_a_node_without_a_client_makes_one_poll_for_all_followers() {
    let redis = RedisServer::start(&[]);
    // A machine that is slow for a second loses no node by it.
    let settings = Settings { lease: "60s", ..Settings::of(&redis) };
    let world = World { fleet: Fleet::start_with(redis, &settings, ROUTE).await, number: Arc::default() };
    world.has("/state/a", &Reply::json("{}"));
    let mut first = world.fleet.follow(0, "/state/a").await;
    first.shows(0).await;
    let mut second = world.fleet.follow(1, "/state/a").await;
    second.shows(0).await;
    for turn in 1..=3 {
        let written = world.writes(2, "PUT", "/state/a", &[]).await;
        assert_eq!(written, turn);
        first.shows(written).await;
        second.shows(written).await;
    }
    assert_eq!(world.polls("/state/a"), 4, "the first one, and one for each write");
}

#[tokio::test]
async fn readers_on_another_node_get_what_a_write_reaches_and_nothing_else_is_polled() {
    let world = World::start(
        "routes:
  - { path: '/lists/{list}/{*rest}', upstream: legacy, share: public, plain: share, poll: { interval: 1h },
      refreshes: ['/totals/{any}', '/count/{list}'] }
  - { path: '/{*rest}', upstream: legacy, share: public, plain: share, poll: { interval: 1h } }
",
    )
    .await;
    let touched = [
        "/lists/1/items/2",
        "/lists/1/items",
        "/lists/1/items/2/notes/3",
        "/lists/1",
        "/totals/7",
        "/count/1",
    ];
    let others = ["/lists/2/items", "/lists/1/other", "/count/2", "/lists/1/items/21"];
    for path in touched.iter().chain(&others) {
        world.has(path, &Reply::json("{}"));
        assert_eq!(world.read(0, path).await, 0, "{path}");
    }
    let written = world.writes(2, "PATCH", "/lists/1/items/2", &[]).await;
    for path in touched {
        world.until_read(0, path, written).await;
    }
    for path in others {
        world.read(0, path).await;
        assert_eq!(world.polls(path), 1, "{path}");
    }
}

#[tokio::test]
async fn a_redirect_touches_the_writers_own_class_on_other_nodes_and_a_success_all() {
    let world = World::start(
        "routes:
  - { path: '/state/{name}', upstream: legacy, share: { by: [authorization] }, poll: { interval: 1h } }
passthrough: legacy
",
    )
    .await;
    let (ann, bob) = ("Bearer ann", "Bearer bob");
    world.has("/state/a", &Reply::empty(302).header("location", "/state/a"));
    let open = async |user| world.fleet.open(0, "/state/a", &[("Authorization", user)]).await;
    let (mut of_ann, mut of_bob) = (open(ann).await, open(bob).await);
    let next = async |sse: &mut Sse| number(&sse.next_event().await.data);
    assert_eq!((next(&mut of_ann).await, next(&mut of_bob).await), (0, 0));
    let written = world.writes(2, "POST", "/state/a", &[("Authorization", ann)]).await;
    assert_eq!(next(&mut of_ann).await, written);
    assert_eq!(world.polls_of("/state/a", bob), 1, "a redirect may be a refusal");

    world.has("/state/a", &Reply::json("{}"));
    let written = world.writes(1, "POST", "/state/a", &[("Authorization", ann)]).await;
    assert_eq!((next(&mut of_ann).await, next(&mut of_bob).await), (written, written));
    let written = world.writes(1, "POST", "/state/a", &[("Authorization", ann)]).await;
    assert_eq!(next(&mut of_ann).await, written);
    assert_eq!(world.polls_of("/state/a", bob), 2, "once an interval for one address");
}

#[tokio::test]
async fn an_operators_call_on_any_node_has_resources_of_all_polled() {
    let world = World::start(ROUTE).await;
    world.has("/state/a", &Reply::json("{}"));
    let mut follower = world.fleet.follow(0, "/state/a").await;
    follower.shows(0).await;
    world.number.store(5, Ordering::SeqCst);
    let mut admin = Http::connect(world.fleet.nodes[2].admin).await;
    let answer = admin.request("POST", "/-/poll?url=/state/a", &[], b"").await.expect(200);
    assert_eq!(answer.json()["touched"], Value::from(0), "on this node");
    follower.shows(5).await;
    admin.request("POST", "/-/poll?url=/nowhere", &[], b"").await.expect(404);
}

#[tokio::test]
async fn without_the_engine_a_write_is_answered_and_its_own_node_shows_it() {
    let mut world = World::start(ROUTE).await;
    world.has("/state/a", &Reply::json("{}"));
    assert_eq!(world.read(0, "/state/a").await, 0);
    world.fleet.redis.kill();
    let written = world.writes(0, "PUT", "/state/a", &[]).await;
    assert_eq!(world.read(0, "/state/a").await, written);
    assert!(metric(&world.fleet.nodes[0], "pollcast_cluster_unconfirmed_total").await >= 1);
}

#[tokio::test]
async fn followers_of_a_mirror_go_on_when_the_holder_has_no_client_any_more() {
    let fleet = Fleet::start_calm(
        "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 200ms, linger: 300ms } }
",
    )
    .await;
    fleet.count("/state/a");
    let mut first = fleet.follow(0, "/state/a").await;
    first.states(2).await;
    let mut second = fleet.follow(1, "/state/a").await;
    second.states(1).await;
    drop(first);
    second.states(10).await;
}
