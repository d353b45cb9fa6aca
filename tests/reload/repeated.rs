//! Reloads there and back, and many of them under load: nothing is lost, repeated or left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, TestRunner};

use super::{FAST, Stand};
use crate::support::client::{Http, Sse, Ws, long_poll};
use crate::support::legacy::Reply;
use crate::support::wire::within;

/// Reloads of the test under load. `POLLCAST_RELOADS=1000` makes it longer.
const RELOADS: u64 = 100;

/// The forms that each of four routes may have, the first of which they begin with. `None`: it is not there.
const FORMS: [Option<&str>; 5] = [
    Some(FAST),
    Some("poll: {interval: 200ms}"),
    Some("poll: {interval: 100ms}, max_clients: 50"),
    Some("poll: {interval: 100ms, accept: text/plain}"),
    None,
];

fn routes(forms: &[usize]) -> Vec<String> {
    let form = |(n, form): (usize, &usize)| FORMS[*form].map(|keys| format!("path: /r{n}, {keys}"));
    let mut routes: Vec<String> = forms.iter().enumerate().filter_map(form).collect();
    routes.push("path: /always-there".to_owned());
    routes
}

/// Whether streams go on from the first form to this one.
fn is_kept(form: usize) -> bool {
    form < 3
}

async fn there_and_back(forms: Vec<usize>) {
    let first = vec![0; forms.len()];
    let as_text = |routes: &[String]| routes.to_vec();
    let (one, other) = (as_text(&routes(&first)), as_text(&routes(&forms)));
    let take = |stand: &Stand, routes: &[String]| {
        stand.reload(&routes.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let stand = Stand::start(&one.iter().map(String::as_str).collect::<Vec<_>>());
    let mut streams = Vec::new();
    for n in 0..forms.len() {
        stand.legacy.set(&format!("/r{n}"), Reply::json("1"));
        let mut sse = Sse::open(stand.address(), &format!("/r{n}"), &[]).await;
        let event = sse.next_event().await;
        assert_eq!(event.data, "1");
        streams.push((sse, event.id));
    }
    take(&stand, &other);
    take(&stand, &one);
    for (n, (mut sse, id)) in streams.into_iter().enumerate() {
        let path = format!("/r{n}");
        if !is_kept(forms[n]) {
            assert_eq!(sse.next_event().await.event, "bye", "{forms:?} {n}");
        }
        // What was there before has the same name, and a client that comes back hears of changes alone.
        let id = id.expect("an id");
        let etag = Http::connect(stand.address()).await.get(&path, &[]).await.expect(200).etag().to_owned();
        assert_eq!(etag, format!("\"{id}\""), "{forms:?} {n}");
        let mut back = Sse::open(stand.address(), &path, &[("last-event-id", &id)]).await;
        stand.legacy.set(&path, Reply::json("2"));
        assert_eq!(back.next_event().await.data, "2", "{forms:?} {n}");
        if is_kept(forms[n]) {
            assert_eq!(sse.next_event().await.data, "2", "{forms:?} {n}");
        }
    }
}

#[test]
fn a_reload_and_its_reversal_leave_what_both_have_as_if_there_had_been_none() {
    let config = Config { cases: 12, failure_persistence: None, max_shrink_iters: 20, ..Config::default() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let forms = proptest::collection::vec(0..FORMS.len(), 4);
    let run = TestRunner::new(config).run(&forms, |forms| {
        runtime.block_on(there_and_back(forms));
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

/// The numbers that a follower is told rise, and it is told each that stays long enough.
struct Followed {
    last: u64,
    path: &'static str,
}

impl Followed {
    fn told(&mut self, data: &str) {
        let n: u64 = data.parse().unwrap_or_else(|_| panic!("{}: {data}", self.path));
        assert!(n > self.last, "{}: {n} after {}", self.path, self.last);
        self.last = n;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_lose_and_repeat_nothing_and_leave_nothing_behind() {
    let reloads = std::env::var("POLLCAST_RELOADS").ok().and_then(|n| n.parse().ok()).unwrap_or(RELOADS);
    let other_forms = ["max_wait: 50s", "heartbeat: 9s", "retry: [1s, 2s]"];
    let at = |n: u64| {
        let stays = format!("path: '/stays/{{x}}', {FAST}, {}", other_forms[n as usize % other_forms.len()]);
        let changes = format!("path: '/changes/{{x}}', poll: {{interval: 100ms, accept: 'text/x{}'}}", n % 2);
        match n % 3 {
            0 => vec![stays, changes],
            _ => vec![changes, stays, format!("path: /extra{}", n % 2)],
        }
    };
    let texts = |n: u64| at(n);
    let first = texts(0);
    let stand = Arc::new(Stand::start(&first.iter().map(String::as_str).collect::<Vec<_>>()));
    let state = Arc::new(AtomicU64::new(1));
    for path in ["/stays/a", "/changes/a"] {
        let state = state.clone();
        stand.legacy.answer_with(path, move |_| Reply::json(state.load(Ordering::SeqCst).to_string()));
    }
    let (over, address) = (Arc::new(AtomicBool::new(false)), stand.address());
    let last = 1_000_000;
    let mut clients = Vec::new();
    clients.push((
        "SSE",
        tokio::spawn(async move {
            let mut sse = Sse::open(address, "/stays/a", &[]).await;
            let mut followed = Followed { last: 0, path: "/stays/a over SSE" };
            while followed.last < last {
                let event = sse.next_event().await;
                assert_eq!(event.event, "message", "{event:?}");
                followed.told(&event.data);
            }
        }),
    ));
    clients.push((
        "WebSocket",
        tokio::spawn(async move {
            let mut ws = Ws::open(address, "/stays/a", &[]).await;
            let mut followed = Followed { last: 0, path: "/stays/a over WebSocket" };
            while followed.last < last {
                followed.told(&ws.next_text().await);
            }
        }),
    ));
    clients.push((
        "long-polls",
        tokio::spawn(async move {
            let mut followed = Followed { last: 0, path: "/stays/a by long-polls" };
            let mut http = Http::connect(address).await;
            let mut etag: Option<String> = None;
            while followed.last < last {
                let answer = long_poll(&mut http, "/stays/a", etag.as_deref(), Duration::from_secs(5)).await;
                match answer.status {
                    200 => followed.told(&answer.text()),
                    status => assert_eq!(status, 304),
                }
                etag = Some(answer.etag().to_owned());
                if answer.names("connection", "close") {
                    http = Http::connect(address).await;
                }
            }
        }),
    ));
    clients.push((
        "changing SSE",
        tokio::spawn(async move {
            // Its route is another one all the time: it comes back, and never goes back.
            let mut followed = Followed { last: 0, path: "/changes/a over SSE" };
            let mut id = String::new();
            while followed.last < last {
                let header = [("last-event-id", id.as_str())];
                let headers = if id.is_empty() { &[][..] } else { &header[..] };
                let Ok(mut sse) = Sse::try_open(address, "/changes/a", headers).await else { continue };
                while followed.last < last
                    && let Ok(Some(item)) = within("an item", sse.item()).await
                {
                    if let crate::support::client::SseItem::Event { event, data, .. } = item {
                        match event.as_str() {
                            "message" => followed.told(&data),
                            other => assert_eq!(other, "bye"),
                        }
                    }
                }
                // A stream that ended before its first event has told no position: the last one stays.
                if !sse.last_event_id().is_empty() {
                    id = sse.last_event_id().to_owned();
                }
            }
        }),
    ));
    let changing = {
        let (state, over) = (state.clone(), over.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                state.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            state.store(last, Ordering::SeqCst);
        })
    };
    let began = Instant::now();
    for n in 1..=reloads {
        let (stand, routes) = (stand.clone(), texts(n));
        let report = tokio::task::spawn_blocking(move || {
            stand.reload(&routes.iter().map(String::as_str).collect::<Vec<_>>()).as_json()
        });
        let report = report.await.expect("a reload");
        assert_eq!(report["result"], "applied", "{report}");
    }
    println!("{reloads} reloads in {:?}", began.elapsed());
    over.store(true, Ordering::SeqCst);
    changing.await.expect("the changes");
    for (name, client) in clients {
        within(&format!("the last state over {name}"), client).await.expect("a client had what it wanted");
    }
    leaves_nothing(&stand).await;
}

/// Tasks and resources are as many as one configuration needs.
async fn leaves_nothing(stand: &Stand) {
    let admin = stand.app.admin_address().expect("the admin listener");
    let value = async |name: &str| {
        let text = Http::connect(admin).await.get("/metrics", &[]).await.text();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or(f64::NAN)
    };
    let settled = async {
        loop {
            let resources = value("pollcast_resources").await;
            let tasks = value("pollcast_tasks{runtime=\"relay\"}").await;
            if resources <= 4.0 && tasks < 40.0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("what reloads have replaced to be gone", settled).await;
}
