//! How many requests each kind of a stranger's request is worth at the API. All of it is printed as one table:
//! `cargo test --test pollcast amplification -- --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::contract::{ONCE, Stand};
use crate::support::app;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;

/// Names of one request for many.
const NAMES: usize = 200;

/// Followers of what a stranger writes.
const USERS: usize = 40;

/// Requests of one stranger in a row.
const REPEATS: usize = 10;

/// Held ones among them: each may wait for a poll that is not due.
const HELD: usize = 2;

/// The interval of what is left behind at once.
const INTERVAL: Duration = Duration::from_secs(1);

/// One line of the table: what was asked, in how many requests, and what the API got for it.
struct Line {
    what: &'static str,
    asked: usize,
    came: usize,
    /// Most that may come.
    most: usize,
}

fn stand(routes: &str) -> Stand {
    let legacy = Legacy::start();
    let yaml = crate::contract::config(&legacy, "", "").replace("servers:", "host: api.test, servers:");
    let kept: Vec<&str> = yaml.lines().filter(|line| !line.starts_with("routes:")).collect();
    let app = app::start(&format!("{}\nroutes: {routes}\n", kept.join("\n")));
    Stand { legacy, app }
}

/// Follows a resource that is another with each poll; all others are always the same.
async fn clock(stand: &Stand) -> Sse {
    let ticks = Arc::new(AtomicUsize::new(0));
    stand.legacy.answer_with("*", move |seen| match seen.path() {
        "/clock" => Reply::text(ticks.fetch_add(1, Ordering::SeqCst).to_string()),
        _ => Reply::json("1"),
    });
    Sse::open(stand.address(), "/clock", &[]).await
}

/// Waits until so many intervals have passed on the process, by what a follower is told of a resource that changes.
async fn intervals(clock: &mut Sse, count: usize) {
    for _ in 0..count {
        clock.next_event().await;
    }
}

async fn many_names_then_leaves() -> Line {
    let stand = stand("[{path: '/{name}', upstream: legacy, plain: share, poll: {interval: 1s}}]");
    let mut clock = clock(&stand).await;
    let names: Vec<String> = (0..NAMES).map(|n| format!("/r{n}")).collect();
    let query: Vec<String> = names.iter().map(|name| format!("resource={name}")).collect();
    let began = Instant::now();
    let target = format!("/-/pollcast/events?{}", query.join("&"));
    drop(Sse::open(stand.address(), &target, &[]).await);
    stand.clients("sse_many", 0).await;
    // What is left is polled on for as long as it was followed, and never for less than an interval.
    let earned = began.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
    intervals(&mut clock, 4).await;
    let seen = stand.legacy.all_seen();
    let came = seen.iter().filter(|seen| seen.path() != "/clock").count();
    Line { what: "200 names, then leaves", asked: 1, came, most: NAMES * (1 + earned as usize * 2) }
}

async fn cold_follow_and_leave() -> Line {
    let stand = stand("[{path: '/{name}', upstream: legacy, plain: share, poll: {interval: 1s}}]");
    let mut clock = clock(&stand).await;
    let began = Instant::now();
    let mut stream = Sse::open(stand.address(), "/a", &[]).await;
    stream.next_event().await;
    drop(stream);
    stand.clients("sse", 1).await;
    let earned = began.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
    intervals(&mut clock, 4).await;
    let came = stand.legacy.seen("/a").len();
    Line { what: "a cold stream, then leaves", asked: 1, came, most: 1 + earned as usize * 2 }
}

async fn refused_write() -> Line {
    let stand = stand(&format!(
        "[{{path: '/{{*rest}}', upstream: legacy, plain: share, share: {{by: [authorization]}}, {ONCE}}}]"
    ));
    stand.legacy.answer_with("/inbox", |seen| match seen.method.as_str() {
        "GET" => Reply::json("1"),
        _ => Reply::empty(302).header("location", "/login"),
    });
    let mut streams = Vec::new();
    for user in 0..USERS {
        let token = format!("Bearer {user}");
        let mut stream = Sse::open(stand.address(), "/inbox", &[("authorization", &token)]).await;
        stream.next_event().await;
        streams.push(stream);
    }
    stand.legacy.forget();
    let mut stranger = stand.http().await;
    stranger.request("POST", "/inbox", &[], b"x").await.expect(302);
    // Behind what the write may have caused.
    for stream in &mut streams {
        stream.expect_no_event(Duration::from_millis(1)).await;
    }
    let touched = stranger.get("/inbox", &[]).await.status;
    assert!(touched < 500, "{touched}");
    let came = stand.legacy.seen("/inbox").len();
    Line { what: "a write that 40 users' resource refuses, then a read", asked: 2, came, most: 4 }
}

async fn stranger_of_authorize() -> Line {
    let stand = stand(
        "[{path: '/{name}', upstream: legacy, share: authorize, credentials: [x-service], \
         poll: {interval: 1h, headers: {x-service: secret}}}]",
    );
    stand.legacy.answer_with("/a", |seen| match seen.header("x-service") {
        Some(_) => Reply::json(r#"{"secret":1}"#),
        None => Reply::json(r#"{"secret":null}"#),
    });
    let mut http = stand.http().await;
    for _ in 0..REPEATS {
        http.get("/a", &[("authorization", "Bearer stranger")]).await.expect(200);
    }
    let came = stand.legacy.seen("/a").len();
    // Its own ten, one check, and the poll that it is held against; a check counts for five seconds.
    Line { what: "10 reads of a stranger of share: authorize", asked: REPEATS, came, most: REPEATS + 4 }
}

async fn unknown_versions() -> Line {
    let stand = stand(&format!("[{{path: '/{{name}}', upstream: legacy, plain: share, {ONCE}}}]"));
    stand.legacy.set("/a", Reply::json("1"));
    let mut http = stand.http().await;
    http.get("/a", &[]).await.expect(200);
    for n in 0..REPEATS {
        let tag = format!("\"unknown{n:015}\"");
        http.get("/a", &[("if-none-match", tag.as_str())]).await.expect(200);
    }
    let held = [("if-none-match", "\"unknown000000000000000\""), ("prefer", "wait=5")];
    for _ in 0..HELD {
        http.get("/a", &held).await.expect(200);
    }
    let came = stand.legacy.seen("/a").len();
    // The first read's poll, and one that confirms each half interval.
    Line { what: "12 reads that name unknown versions", asked: REPEATS + HELD, came, most: 3 }
}

async fn used_up_quota() -> Line {
    let stand = stand(&format!("[{{path: '/{{name}}', upstream: legacy, plain: share, {ONCE}}}]"));
    stand.legacy.answer_with("*", |_| {
        Reply::json("1").header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", "600")
    });
    let mut http = stand.http().await;
    for n in 0..REPEATS {
        http.get(&format!("/r{n}"), &[]).await.expect(200);
    }
    let came = stand.legacy.all_seen().len();
    Line { what: "10 cold reads beside a used-up quota", asked: REPEATS, came, most: REPEATS }
}

async fn refused_batch() -> Line {
    let batch = "batch: {param: ids, items: /items, key: /id, window: 100ms}";
    let stand = stand(&format!(
        "[{{path: '/items/{{id}}', upstream: legacy, plain: share, poll: {{interval: 1h, {batch}}}}}]"
    ));
    stand.legacy.answer_with("/items", |seen| {
        let ids = seen.target.split_once("ids=").map_or("", |(_, ids)| ids);
        if ids.contains("bad") {
            return Reply::json(r#"{"error":"unknown id"}"#).status(400);
        }
        let items: Vec<String> = ids.split(',').map(|id| format!("{{\"id\":\"{id}\"}}")).collect();
        Reply::json(format!("{{\"items\":[{}]}}", items.join(",")))
    });
    let names: Vec<String> = (0..15).map(|n| format!("resource=/items/{n}")).collect();
    let target = format!("/-/pollcast/events?resource=/items/bad&{}", names.join("&"));
    let mut stream = Sse::open(stand.address(), &target, &[]).await;
    while stream.next_event().await.event != "sync" {}
    let came = stand.legacy.all_seen().len();
    // Halves of sixteen: two for each of four levels, and the whole; the names may come in two windows.
    Line { what: "16 names of a batch, one of them refused", asked: 1, came, most: 2 * 16 }
}

async fn invented_queries() -> Line {
    let stand = stand(&format!("[{{path: '/{{name}}', upstream: legacy, plain: share, {ONCE}}}]"));
    stand.legacy.set("/a", Reply::json("1"));
    let mut http = stand.http().await;
    for n in 0..REPEATS {
        http.get(&format!("/a?n={n}"), &[]).await.expect(200);
    }
    let came = stand.legacy.seen("/a").len();
    Line { what: "10 reads of invented queries", asked: REPEATS, came, most: REPEATS }
}

#[tokio::test]
async fn a_strangers_request_is_worth_about_one_at_the_api() {
    let lines = [
        many_names_then_leaves().await,
        cold_follow_and_leave().await,
        refused_write().await,
        stranger_of_authorize().await,
        unknown_versions().await,
        used_up_quota().await,
        refused_batch().await,
        invented_queries().await,
    ];
    println!("{:<54} {:>6} {:>6} {:>6}", "request", "asked", "came", "most");
    for Line { what, asked, came, most } in &lines {
        println!("{what:<54} {asked:>6} {came:>6} {most:>6}");
    }
    for Line { what, came, most, .. } in &lines {
        assert!(came <= most, "{what}: {came} requests came, {most} may");
        assert!(*came > 0, "{what}: nothing came, so that nothing was measured");
    }
}
