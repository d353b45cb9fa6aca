//! Small pieces of the path from a poll to a client's socket, each alone: encoding, seeing that a body
//! is new, publishing to shards, the timer wheel.
//!
//! `cargo bench --bench micro`; a name as argument selects. What they cost together, and beside a bare
//! loop, is measured by `fanout`. Must not know: sockets, polls.

#![allow(
    clippy::expect_used,
    reason = "a bench stands on its own input: what does not load is to be seen, not to be measured"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, StatusCode};
use pollcast::change::Detector;
use pollcast::config::{Change, Route, load_str};
use pollcast::frame::{Coding, Format, sse, websocket};
use pollcast::hub::{Attend, Bell, Hub, Publisher, Resume, Subscription, Topic};
use pollcast::resource::{Content, KeyParts, ResourceKey, Validators, VersionNamer};

// The wheel is private to the client loop; its file stands alone.
#[allow(unused_imports, reason = "its tests are compiled here, and not run")]
#[allow(dead_code, reason = "a part of it is measured")]
#[path = "../src/fanout/timers.rs"]
mod timers;

use timers::{TICK, Wheel};

const SIZES: [(&str, usize); 2] = [("200 B", 200), ("4 KB", 4096)];

criterion_group!(benches, encode, detect, publish, wheel);
criterion_main!(benches);

/// A snapshot as the bytes that all its clients share.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, size) in SIZES {
        let snapshot = content(size, 1).into_snapshot(VersionNamer::new(None).name(200, None, b"1"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("sse", name), |bencher| {
            bencher.iter(|| sse::snapshot(black_box(&snapshot), &Default::default()));
        });
        group.bench_function(BenchmarkId::new("websocket", name), |bencher| {
            bencher.iter(|| websocket::snapshot(black_box(&snapshot)));
        });
    }
}

/// A polled body that is another one, and one with the same bytes (`change` measures the rules).
fn detect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detect");
    let namer = VersionNamer::new(None);
    for (name, size) in SIZES {
        let contents = [content(size, 1), content(size, 2)];
        let first = contents[0].clone().into_snapshot(namer.name(200, None, b"1"));
        let mut detector = Detector::new(&Change::default());
        group.bench_function(BenchmarkId::new("new", name), |bencher| {
            let mut turn = 0;
            bencher.iter(|| {
                turn ^= 1;
                detector.snapshot(contents[turn].clone(), Some(&first), &namer).is_ok()
            });
        });
        let same = detector.snapshot(contents[0].clone(), None, &namer).ok();
        group.bench_function(BenchmarkId::new("same", name), |bencher| {
            bencher.iter(|| detector.snapshot(contents[0].clone(), same.as_ref(), &namer).is_ok());
        });
    }
}

/// A shard that looks at once, and does nothing.
struct Listener(u16);

impl Bell for Listener {
    fn ring(&self, topic: &Arc<Topic>) {
        topic.look(self.0);
    }
}

/// A change from the relay's hands to the shards' bells: history, encoding of what is read, the view.
fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    let namer = VersionNamer::new(None);
    let states = [b"1", b"2"].map(|name| {
        let state = content(200, u64::from(name[0])).into_snapshot(namer.name(200, None, name));
        Arc::new(state)
    });
    for shards in [0, 1, 10] {
        let (mut publisher, followers) = topic(shards);
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("shards", shards), |bencher| {
            bencher.iter(|| {
                turn ^= 1;
                let poll = publisher.start_poll();
                publisher.publish(poll, Arc::clone(&states[turn]), Duration::ZERO)
            });
        });
        drop(followers);
    }
}

/// A topic with a follower on each of so many shards.
fn topic(shards: u16) -> (Publisher, Vec<Subscription>) {
    let bells = (0..shards).map(|shard| Arc::new(Listener(shard)) as Arc<dyn Bell>).collect();
    let hub = Hub::new(bells, 10, 1 << 20);
    let key = ResourceKey::new(KeyParts {
        route: 0,
        proto: "http",
        host: None,
        path: "/r/1".to_owned(),
        query: None,
        class: Vec::new(),
        vary: Vec::new(),
    });
    let route = route();
    let mut publisher = None;
    // The poll loop keeps it; a follower without a publisher would wait for ever.
    let attend = |start: &mut Option<Publisher>| {
        hub.attend(&key, &route, Attend::Follow, |given| *start = Some(given)).expect("room for one topic")
    };
    let first = attend(&mut publisher);
    let follow = |shard| {
        let attendance = attend(&mut None);
        Subscription::new(attendance, Some(shard), Format::Sse(Coding::Plain), Resume::Start)
    };
    let followers = (0..shards).map(follow).collect();
    drop(first);
    (publisher.expect("the first to attend is given it"), followers)
}

fn route() -> Arc<Route> {
    let text = "listeners: [{address: '127.0.0.1:0'}]\n\
                upstreams: {legacy: {servers: ['127.0.0.1:1']}}\n\
                routes: [{path: '/r/{n}', upstream: legacy}]\n";
    let config = load_str(text, "micro", Path::new("")).expect("a configuration");
    config.routes.first().expect("the one route above").clone()
}

/// Ten thousand members of a shard.
const STANDING: u32 = 10_000;

fn wheel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    group.throughput(Throughput::Elements(STANDING.into()));
    let began = Instant::now();
    // Heartbeats: spread over 20 s.
    let at = |slot: u32| began + Duration::from_millis(u64::from(slot) * 2 + 100);
    let filled = || {
        let mut wheel = Wheel::new(began);
        for slot in 0..STANDING {
            black_box(wheel.insert(slot, at(slot)));
        }
        wheel
    };
    group.bench_function("insert", |bencher| bencher.iter_with_large_drop(filled));
    // The loop asks before each sleep, and takes what has come up.
    group.bench_function("expire", |bencher| {
        let expire = |mut wheel: Wheel| {
            let (mut bucket, mut seen) = (Vec::new(), 0);
            while let Some(next) = wheel.next() {
                while let Some(tick) = wheel.take(next + TICK, &mut bucket) {
                    seen += bucket.iter().filter(|_| !wheel.is_before(next, tick)).count();
                }
            }
            (wheel, seen)
        };
        bencher.iter_batched(filled, expire, BatchSize::LargeInput);
    });
    group.finish();
}

/// A JSON object of this size.
fn content(size: usize, state: u64) -> Content {
    let mut body = format!("{{\"state\":{state},\"text\":\"").into_bytes();
    body.resize(size - 2, b'x');
    body.extend_from_slice(b"\"}");
    Content {
        status: StatusCode::OK,
        content_type: Some(HeaderValue::from_static("application/json")),
        headers: HeaderMap::new(),
        validators: Validators::default(),
        vary: Vec::new(),
        body: Bytes::from(body),
    }
}
