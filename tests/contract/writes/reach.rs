//! Contract §9: what a write is, how far it reaches, whose resources it touches, and how many polls it makes. The
//! interval is an hour: only a write can make an answer not young, or be the cause of a poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::contract::{ONCE, Stand};
use crate::support::app;
use crate::support::client::{Http, Response, Sse};
use crate::support::legacy::{Legacy, Reply};

/// All paths of the API tell one number, which each request that is no GET makes greater.
struct World {
    stand: Stand,
    number: Arc<AtomicUsize>,
}

impl World {
    /// One route over everything. `route`: more keys of it.
    fn wide(route: &str) -> World {
        World::new(&format!("[{{path: '/{{*rest}}', upstream: legacy, plain: share, {ONCE}, {route}}}]"))
    }

    fn new(routes: &str) -> World {
        let legacy = Legacy::start();
        let yaml = crate::contract::config(&legacy, "", "");
        let kept: Vec<&str> = yaml.lines().filter(|line| !line.starts_with("routes:")).collect();
        let app = app::start(&format!("{}\nroutes: {routes}\n", kept.join("\n")));
        World { stand: Stand { legacy, app }, number: Arc::default() }
    }

    /// The API has this path; `written` is its answer to what is no GET.
    fn has(&self, path: &str, written: Reply) {
        let number = self.number.clone();
        self.stand.legacy.answer_with(path, move |seen| {
            if seen.method != "GET" {
                number.fetch_add(1, Ordering::SeqCst);
                return written.clone();
            }
            Reply::json(format!(r#"{{"number":{}}}"#, number.load(Ordering::SeqCst)))
        });
    }

    async fn read(&self, http: &mut Http, path: &str, headers: &[(&str, &str)]) -> (usize, Response) {
        let answer = http.get(path, headers).await.expect(200);
        (answer.json()["number"].as_u64().expect("a number") as usize, answer)
    }

    fn now(&self) -> usize {
        self.number.load(Ordering::SeqCst)
    }
}

/// A write: its method, its path and `Destination`, the answer to it.
type Written = (&'static str, &'static str, Option<&'static str>, Reply);

/// Tries what each client reads before and after a write.
async fn reach(written: Written, seen: &[&str], unseen: &[&str]) {
    let (method, path, destination, reply) = written;
    let world = World::wide("");
    world.has(path, reply);
    seen.iter()
        .chain(unseen)
        .filter(|other| **other != path)
        .for_each(|other| world.has(other, Reply::empty(204)));
    let mut http = world.stand.http().await;
    for other in seen.iter().chain(unseen) {
        assert_eq!(world.read(&mut http, other, &[]).await.0, 0, "{other}");
    }
    let absolute = destination.map(|path| format!("http://{}{path}", world.stand.address()));
    let headers: Vec<(&str, &str)> = absolute.iter().map(|url| ("destination", url.as_str())).collect();
    let answer = http.request(method, path, &headers, b"x").await;
    assert!(answer.status < 400, "{answer:?}");
    for other in seen {
        let (number, answer) = world.read(&mut http, other, &[]).await;
        assert_eq!(number, 1, "{method} {path} and then {other}: {answer:?}");
        let (_, again) = world.read(&mut http, other, &[]).await;
        assert!(is_hit(&again), "{method} {path}: {other} is polled once: {again:?}");
    }
    for other in unseen {
        let (number, answer) = world.read(&mut http, other, &[]).await;
        assert_eq!(number, 0, "{method} {path} does not reach {other}: {answer:?}");
    }
}

fn is_hit(answer: &Response) -> bool {
    answer.header("cache-status").is_some_and(|status| status.starts_with("pollcast; hit"))
}

fn done() -> Reply {
    Reply::empty(204)
}

fn leads_to(status: u16, location: &str) -> Reply {
    Reply::empty(status).header("Location", location)
}

#[tokio::test]
async fn a_writer_reads_its_own_write_in_the_collection() {
    reach(("POST", "/posts", None, done()), &["/posts", "/posts?page=2"], &["/users", "/posts2"]).await;
    reach(("PUT", "/posts/1", None, done()), &["/posts/1", "/posts", "/posts/"], &["/posts/2"]).await;
    reach(("DELETE", "/posts/1", None, done()), &["/posts", "/posts/"], &["/posts/2", "/posts/10"]).await;
    reach(("POST", "/posts/", None, done()), &["/posts/", "/posts"], &["/post"]).await;
    reach(("POST", "/posts/1/comments", None, done()), &["/posts/1", "/posts"], &["/posts/1/likes"]).await;
}

#[tokio::test]
async fn a_writer_deep_in_a_tree_reads_the_write_in_every_document_above() {
    let patched = ("PATCH", "/config/apps/http/body", None, done());
    let above = ["/config/apps/http", "/config/apps/http/", "/config/apps", "/config", "/config/"];
    reach(patched, &above, &["/config/other", "/config/apps/tls"]).await;
}

#[tokio::test]
async fn what_was_below_is_asked_for_again_by_those_methods_that_reach_it() {
    for method in ["DELETE", "PUT", "PATCH"] {
        reach((method, "/dav/c/", None, done()), &["/dav/c/k", "/dav/c/d/e"], &["/dav/c2/k"]).await;
        reach((method, "/dav/c", None, done()), &["/dav/c/k", "/dav/c/"], &["/dav/c2"]).await;
    }
    reach(("POST", "/dav/c", None, done()), &["/dav/c"], &["/dav/c/k"]).await;
    reach(("DELETE", "/", None, done()), &[], &["/dav", "/dav/c"]).await;
}

#[tokio::test]
async fn a_copy_and_a_move_reach_where_they_went() {
    for method in ["COPY", "MOVE"] {
        let written = (method, "/dav/a", Some("/to/b"), done());
        reach(written, &["/dav/a", "/dav/a/k", "/dav", "/to/b", "/to/b/k", "/to"], &["/to/c", "/dav/b"])
            .await;
    }
    let foreign = Reply::empty(204);
    let world = World::wide("");
    world.has("/dav/a", foreign);
    world.has("/to/b", done());
    let mut http = world.stand.http().await;
    world.read(&mut http, "/to/b", &[]).await;
    let elsewhere = [("destination", "http://elsewhere.test/to/b")];
    http.request("COPY", "/dav/a", &elsewhere, b"").await.expect(204);
    assert_eq!(world.read(&mut http, "/to/b", &[]).await.0, 0, "another authority");
}

#[tokio::test]
async fn what_an_answer_names_is_reached_and_classic_forms_show_their_own_write() {
    for status in [301, 302, 303, 307, 308, 201] {
        reach(("POST", "/form", None, leads_to(status, "/lists/7")), &["/lists/7"], &["/lists", "/other"])
            .await;
    }
    reach(("POST", "/posts/new", None, leads_to(302, "../posts")), &["/posts"], &["/other"]).await;
    let named = Reply::json("{}").header("Content-Location", "/lists/7?x=1");
    reach(("POST", "/form", None, named), &["/lists/7"], &["/lists/8"]).await;
}

#[tokio::test]
async fn what_only_asks_and_what_was_refused_is_no_write() {
    let world = World::wide("");
    let mut http = world.stand.http().await;
    for method in ["PROPFIND", "REPORT", "SEARCH", "QUERY", "LIST", "OPTIONS", "TRACE"] {
        world.has("/dav/a", done());
        world.read(&mut http, "/dav/a", &[]).await;
        http.request(method, "/dav/a", &[], b"").await.expect(204);
        let (_, answer) = world.read(&mut http, "/dav/a", &[]).await;
        assert!(is_hit(&answer), "{method}: {answer:?}");
    }
    for status in [207, 400, 401, 403, 404, 409, 423, 500] {
        world.has("/dav/a", Reply::new("application/xml", "<x/>").status(status));
        http.request("POST", "/dav/a", &[], b"x").await.expect(status);
        let (_, answer) = world.read(&mut http, "/dav/a", &[]).await;
        assert!(is_hit(&answer), "{status}: {answer:?}");
    }
    assert_eq!(world.stand.metric("pollcast_touches_total", "").await, 0.0);
    world.has("/dav/a", done());
    http.request("BREW", "/dav/a", &[], b"x").await.expect(204);
    assert!(!is_hit(&world.read(&mut http, "/dav/a", &[]).await.1), "a method that nobody knows may write");
}

#[tokio::test]
async fn the_parent_is_left_alone_where_the_route_says_so() {
    let world = World::wide("refreshes_parent: false");
    for path in ["/posts", "/posts/1", "/posts/1/comments"] {
        world.has(path, done());
    }
    let mut http = world.stand.http().await;
    for path in ["/posts", "/posts/1", "/posts/1/comments"] {
        world.read(&mut http, path, &[]).await;
    }
    http.request("PUT", "/posts/1", &[], b"x").await.expect(204);
    assert!(is_hit(&world.read(&mut http, "/posts", &[]).await.1));
    for path in ["/posts/1", "/posts/1/comments"] {
        assert_eq!(world.read(&mut http, path, &[]).await.0, 1, "{path}");
    }
}

#[tokio::test]
async fn refreshes_work_inside_one_wide_route() {
    let world = World::wide("refreshes: ['/stats', '/rooms/{room}/log', '/prices/{any}']");
    let paths = ["/stats", "/rooms/1/log", "/rooms/2/log", "/prices/A", "/prices/B", "/other"];
    world.has("/rooms/1/say", done());
    paths.iter().for_each(|path| world.has(path, done()));
    let mut http = world.stand.http().await;
    for path in paths {
        world.read(&mut http, path, &[]).await;
    }
    http.request("POST", "/rooms/1/say", &[], b"x").await.expect(204);
    for (path, number) in paths.iter().zip([1, 1, 0, 1, 1, 0]) {
        assert_eq!(world.read(&mut http, path, &[]).await.0, number, "{path}");
    }
}

/// `/inbox` in classes by `Authorization`, and whatever else passes through.
fn inbox() -> World {
    World::new(&format!("[{{path: /inbox, upstream: legacy, share: {{by: [authorization]}}, {ONCE}}}]"))
}

async fn follow(world: &World, path: &str, headers: &[(&str, &str)]) -> Sse {
    let mut sse = Sse::open(world.stand.address(), path, headers).await;
    sse.next_event().await;
    sse
}

#[tokio::test]
async fn a_refused_write_of_a_stranger_costs_the_users_nothing() {
    let world = inbox();
    world.has("/inbox", leads_to(302, "/login"));
    let mut streams = Vec::new();
    for user in 0..40 {
        let token = format!("Bearer u{user}");
        streams.push(follow(&world, "/inbox", &[("authorization", &token)]).await);
    }
    streams.push(follow(&world, "/inbox", &[]).await);
    let mut http = world.stand.http().await;
    let before = world.stand.legacy.count("/inbox");
    http.request("POST", "/inbox", &[], b"x").await.expect(302);
    assert_eq!(streams.last_mut().expect("the stranger's own").next_event().await.data, r#"{"number":1}"#);
    let (number, answer) = world.read(&mut http, "/inbox", &[("authorization", "Bearer u1")]).await;
    assert!(number == 0 && is_hit(&answer), "{answer:?}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.stand.legacy.count("/inbox") - before, 2, "the write and one poll");
}

#[tokio::test]
async fn a_redirect_touches_the_writers_own_class_and_a_success_the_others_once_an_interval() {
    let world = inbox();
    world.has("/inbox", leads_to(302, "/inbox"));
    let (ann, bob) = ([("authorization", "Bearer ann")], [("authorization", "Bearer bob")]);
    let mut http = world.stand.http().await;
    let mut others = follow(&world, "/inbox", &bob).await;
    assert_eq!(world.read(&mut http, "/inbox", &ann).await.0, 0);
    http.request("POST", "/inbox", &ann, b"x").await.expect(302);
    assert_eq!(world.read(&mut http, "/inbox", &ann).await.0, 1, "the own write");
    assert!(is_hit(&world.read(&mut http, "/inbox", &bob).await.1), "another class");
    world.has("/inbox", Reply::empty(204));
    http.request("POST", "/inbox", &ann, b"x").await.expect(204);
    assert_eq!(world.read(&mut http, "/inbox", &ann).await.0, 2);
    assert_eq!(others.next_event().await.data, r#"{"number":2}"#, "the first one of this address");
    http.request("POST", "/inbox", &ann, b"x").await.expect(204);
    assert_eq!(world.read(&mut http, "/inbox", &ann).await.0, 3, "the own class each time");
    let (number, answer) = world.read(&mut http, "/inbox", &bob).await;
    assert!(number == 2 && is_hit(&answer), "{answer:?}");
    assert_eq!(world.now(), 3);
}

#[tokio::test]
async fn a_hundred_devices_that_write_make_one_poll_an_interval_of_their_list() {
    let world = World::wide("");
    world.has("/devices", done());
    let mut sse = follow(&world, "/devices", &[]).await;
    let mut http = world.stand.http().await;
    for device in 0..100 {
        let path = format!("/devices/{device}");
        world.has(&path, done());
        http.request("PUT", &path, &[], b"x").await.expect(204);
        world.read(&mut http, "/devices", &[]).await;
    }
    sse.next_event().await;
    let polls = world.stand.legacy.count("/devices");
    // The first one, one as a collection, and the readers' own while it was not yet written more than five times a
    // second.
    assert!(polls <= 2 + 5, "{polls}");
    let (_, answer) = world.read(&mut http, "/devices", &[]).await;
    assert_eq!(answer.header("cache-status"), Some("pollcast; fwd=stale; detail=unconfirmed"), "{answer:?}");
}

#[tokio::test]
async fn a_tree_that_is_deleted_under_its_followers_is_polled_within_half_an_interval_and_once() {
    let interval = "poll: {interval: 2s, linger: 1h}";
    let world = World::new(&format!("[{{path: '/{{*rest}}', upstream: legacy, {interval}}}]"));
    world.has("/tree", done());
    let mut streams = Vec::new();
    for leaf in 0..70 {
        let path = format!("/tree/{leaf}");
        world.has(&path, done());
        streams.push(follow(&world, &path, &[]).await);
    }
    let mut http = world.stand.http().await;
    http.request("DELETE", "/tree", &[], b"").await.expect(204);
    for mut sse in streams {
        assert_eq!(sse.next_event().await.data, r#"{"number":1}"#);
    }
    assert_eq!(world.stand.metric("pollcast_touches_total", "relative").await, 70.0);
}
