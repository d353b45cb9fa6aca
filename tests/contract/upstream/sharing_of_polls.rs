//! Contract §10: one poll a resource and interval, whatever the number and kinds of clients.

use std::time::{Duration, Instant};

use crate::contract::{FAST, ONCE, Stand};
use crate::support::client::{Http, Sse, Ws};
use crate::support::legacy::Reply;

const A: &str = r#"{"price":1}"#;
const B: &str = r#"{"price":2}"#;

/// No two polls start closer together than an interval and its jitter allow.
fn expect_spaced(stand: &Stand, interval: Duration) {
    let polls = stand.legacy.seen("/prices/A");
    let apart = polls.windows(2).map(|two| two[1].at - two[0].at);
    let least = apart.min().expect("two polls");
    // The last hundredths are the way to the upstream, which differs from poll to poll.
    assert!(least >= interval.mul_f64(0.9) - Duration::from_millis(25), "{least:?}");
}

#[tokio::test]
async fn one_client_is_one_poll_an_interval() {
    let stand = Stand::start("poll: {interval: 200ms}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.wait_count("/prices/A", 6).await;
    expect_spaced(&stand, Duration::from_millis(200));
}

/// What a client of a crowd is, to be dropped at the end.
enum Client {
    Sse(#[allow(dead_code, reason = "held open")] Sse),
    Ws(#[allow(dead_code, reason = "held open")] Ws),
    Task(tokio::task::JoinHandle<()>),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_mixed_clients_are_one_poll_an_interval() {
    let stand = Stand::start("poll: {interval: 500ms, linger: 1s}");
    stand.legacy.set("/prices/A", Reply::json(A).with_etag());
    let address = stand.address();
    let mut crowd = Vec::new();
    for number in 0..500 {
        crowd.push(match number % 4 {
            0 => {
                let mut sse = Sse::open(address, "/prices/A", &[]).await;
                sse.next_event().await;
                Client::Sse(sse)
            }
            1 => {
                let mut ws = Ws::open(address, "/prices/A", &[]).await;
                ws.next_text().await;
                Client::Ws(ws)
            }
            kind => Client::Task(tokio::spawn(async move {
                let mut http = Http::connect(address).await;
                let mut tag = String::new();
                loop {
                    let mut headers = vec![("if-none-match", tag.as_str())];
                    if kind == 2 {
                        headers.push(("prefer", "wait=2"));
                    }
                    let answer = http.get("/prices/A", &headers).await;
                    assert!(matches!(answer.status, 200 | 304), "{answer:?}");
                    tag = answer.etag().to_owned();
                    if kind == 3 {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                }
            })),
        });
    }
    stand.legacy.wait_count("/prices/A", 8).await;
    stand.legacy.set("/prices/A", Reply::json(B).with_etag());
    for client in &mut crowd {
        match client {
            Client::Sse(sse) => assert_eq!(sse.next_event().await.data, B),
            Client::Ws(ws) => assert_eq!(ws.next_text().await, B),
            Client::Task(task) => assert!(!task.is_finished(), "a client of the crowd has failed"),
        }
    }
    expect_spaced(&stand, Duration::from_millis(500));
    assert_eq!(stand.legacy.max_in_flight("/prices/A"), 1);

    for client in crowd {
        if let Client::Task(task) = client {
            task.abort();
        }
    }
    for transport in ["sse", "websocket", "long_poll"] {
        stand.clients(transport, 0).await;
    }
    expect_silence_after(&stand, Duration::from_millis(1000)).await;
}

/// No poll later than `linger` from now, the one that may just be due apart.
async fn expect_silence_after(stand: &Stand, linger: Duration) {
    let left = Instant::now();
    tokio::time::sleep(linger + Duration::from_millis(100)).await;
    let polls = stand.legacy.count("/prices/A");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let late = stand.legacy.seen("/prices/A").last().map(|poll| poll.at.duration_since(left));
    assert_eq!(stand.legacy.count("/prices/A"), polls, "the last poll came {late:?} after");
}

#[tokio::test]
async fn a_resource_is_not_polled_after_linger() {
    let stand = Stand::start("poll: {interval: 100ms, linger: 500ms}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    // Long enough for half a second of linger to be earned.
    stand.legacy.wait_count("/prices/A", 8).await;
    drop(sse);
    stand.clients("sse", 0).await;
    let left = stand.legacy.count("/prices/A");
    // It lingers first.
    stand.legacy.wait_count("/prices/A", left + 2).await;
    expect_silence_after(&stand, Duration::from_millis(500)).await;
}

#[tokio::test]
async fn a_client_that_comes_back_during_linger_is_served_at_once_and_costs_nothing() {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/prices/A", Reply::json(A));
    for _ in 0..3 {
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        assert_eq!(sse.next_event().await.data, A);
        drop(sse);
        stand.clients("sse", 0).await;
    }
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn the_first_poll_is_at_once() {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/prices/A", Reply::json(A));
    let began = Instant::now();
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn clients_of_all_kinds_that_come_together_share_the_first_poll() {
    let stand = Stand::start(ONCE);
    let gate = crate::support::legacy::Gate::closed();
    stand.legacy.set("/prices/A", Reply::json(A).behind(&gate));
    let address = stand.address();
    let open = async {
        stand.legacy.wait_in_flight("/prices/A", 1).await;
        gate.open();
    };
    let mut http = Http::connect(address).await;
    let mut held = Http::connect(address).await;
    let (mut sse, mut ws, plain, long, ()) = tokio::join!(
        Sse::open(address, "/prices/A", &[]),
        Ws::open(address, "/prices/A", &[]),
        http.get("/prices/A", &[]),
        held.get("/prices/A", &[("prefer", "wait=5")]),
        open
    );
    assert_eq!(sse.next_event().await.data, A);
    assert_eq!(ws.next_text().await, A);
    assert_eq!((plain.text().as_str(), long.text().as_str()), (A, A));
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn a_poll_says_exactly_what_the_contract_says_and_nothing_of_a_client() {
    let stand =
        Stand::start("poll: {interval: 100ms, headers: {x-key: k}}, share: public, hosts: [shop.example]");
    let reply = Reply::json(A).etag("\"t\"").last_modified("Tue, 01 Jul 2025 10:00:00 GMT");
    stand.legacy.set("/prices/A", reply);
    let of_client = [
        ("host", "shop.example"),
        ("user-agent", "Mozilla/5.0"),
        ("accept-language", "de"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-custom", "1"),
        ("referer", "http://x/"),
        ("if-none-match", "\"AAAAAAAAAAAAAAAAAAAAAA\""),
    ];
    let mut sse = Sse::open(stand.address(), "/prices/A?a=1", &of_client).await;
    sse.next_event().await;
    stand.legacy.wait_count("/prices/A", 2).await;
    let version = env!("CARGO_PKG_VERSION");
    let agent = format!("pollcast/{version}");
    let first = [
        ("accept", "*/*"),
        ("accept-encoding", "gzip, br, zstd"),
        ("host", "shop.example"),
        ("user-agent", agent.as_str()),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "http"),
        ("x-key", "k"),
        ("x-pollcast-subscribers", "1"),
        ("x-real-ip", "192.0.2.1"),
    ];
    let mut second = first.to_vec();
    second.push(("if-modified-since", "Tue, 01 Jul 2025 10:00:00 GMT"));
    second.push(("if-none-match", "\"t\""));
    second.sort();
    let seen = stand.legacy.seen("/prices/A");
    for (poll, wanted) in [(&seen[0], first.to_vec()), (&seen[1], second)] {
        assert_eq!((poll.method.as_str(), poll.target.as_str()), ("GET", "/prices/A?a=1"));
        let mut fields: Vec<(String, &str)> =
            poll.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
        fields.sort();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(fields, wanted);
    }
}

#[tokio::test]
async fn the_class_values_go_on_the_polls_of_their_class_only() {
    let stand = Stand::start("poll: {interval: 1h}, share: {by: [authorization, 'cookie:session']}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let headers =
        [("authorization", "Bearer a"), ("cookie", "theme=dark; session=1; x=2"), ("x-api-key", "k")];
    let mut sse = Sse::open(stand.address(), "/prices/A", &headers).await;
    sse.next_event().await;
    let poll = &stand.legacy.seen("/prices/A")[0];
    assert_eq!(poll.header("authorization"), Some("Bearer a"));
    assert_eq!(poll.header("cookie"), Some("session=1"));
    assert_eq!(poll.header("x-api-key"), None);
}

#[tokio::test]
async fn equal_content_is_no_change_whatever_the_upstream_says() {
    let stand = Stand::start(FAST);
    stand.legacy.answer_with("/prices/A", |seen| {
        let tag = format!("\"{:?}\"", seen.at);
        Reply::json(A).etag(&tag).header("x-served", &tag)
    });
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    ws.next_text().await;
    stand.legacy.wait_count("/prices/A", 5).await;
    sse.expect_no_event(Duration::from_millis(50)).await;
    ws.expect_silence(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn the_upstreams_max_age_is_the_shortest_interval() {
    let stand = Stand::start(FAST);
    stand.legacy.set("/prices/A", Reply::json(A).header("cache-control", "max-age=1"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.wait_count("/prices/A", 3).await;
    expect_spaced(&stand, Duration::from_secs(1));
}
