//! Claims about storms: clients that all come at once, and limits on how many may.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::contract::{FAST, Stand, TlsStand};
use crate::support::client::{Http, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::Reply;
use crate::support::sse::{Sse, SseItem};
use crate::support::ws::Ws;

const A: &str = r#"{"price":1}"#;

/// What a browser's EventSource says of itself.
const BROWSER: [(&str, &str); 2] = [("accept", "text/event-stream"), ("user-agent", "Mozilla/5.0")];

/// A refused EventSource is not told so by a status, which would be the last it ever heard.
async fn expect_soft_refusal(sse: &mut Sse, reason: &str) {
    assert_eq!(sse.head.status, 200);
    assert!(matches!(sse.next_item().await, SseItem::Retry(5000..=60_000)));
    let bye = sse.next_named("bye").await;
    assert!(bye.data.contains(&format!("\"reason\":\"{reason}\"")), "{}", bye.data);
    assert!(bye.data.contains("\"reconnect\":true"), "{}", bye.data);
    sse.expect_end().await;
}

#[tokio::test]
async fn a_storm_comes_in_at_accept_rate() {
    let stand = Stand::with(FAST, "limits: {accept_rate: 3/s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let began = Instant::now();
    let sse = join_all((0..20).map(|_| Sse::try_open(stand.address(), "/prices/A", &[]))).await;
    let ws = join_all((0..20).map(|_| Ws::try_open(stand.address(), "/prices/A", &[]))).await;
    let http: Vec<Http> = join_all((0..20).map(|_| Http::connect(stand.address()))).await;
    let polls =
        http.into_iter().map(|mut http| async move { http.get("/prices/A", &[("prefer", "wait=1")]).await });
    let polls = join_all(polls).await;
    let most = 3.0 + 3.0 * began.elapsed().as_secs_f64();
    let refused = |heads: Vec<&crate::support::client::Response>| {
        for head in &heads {
            assert_eq!(head.status, 503);
            let after: u64 = head.header("retry-after").expect("when to come back").parse().expect("seconds");
            assert!((5..=60).contains(&after), "{after}");
        }
        heads.len()
    };
    let refused = refused(sse.iter().filter_map(|r| r.as_ref().err()).collect())
        + refused(ws.iter().filter_map(|r| r.as_ref().err()).collect())
        + refused(polls.iter().filter(|poll| poll.status != 200).collect());
    assert!((60 - refused) as f64 <= most, "{refused} refused");
    assert!(refused < 60, "somebody came in");
    assert_eq!(stand.metric("pollcast_refusals_total", "accept-rate").await, refused as f64);
    // Polls are no clients to keep.
    let mut http = stand.http().await;
    for _ in 0..20 {
        http.get("/prices/A", &[]).await.expect(200);
    }
}

#[tokio::test]
async fn a_browser_over_accept_rate_is_refused_softly() {
    let stand = Stand::with(FAST, "limits: {accept_rate: 1/s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut all = join_all((0..6).map(|_| Sse::open(stand.address(), "/prices/A", &BROWSER))).await;
    let refused = stand.metric("pollcast_refusals_total", "accept-rate").await;
    assert!(refused > 0.0);
    let mut byes = 0.0;
    for sse in &mut all {
        match sse.next_item().await {
            SseItem::Retry(8001..) => byes += 1.0,
            // Below that it may be either; the first event tells.
            SseItem::Retry(_) => byes += f64::from(sse.next_event().await.event == "bye"),
            item => panic!("{item:?}"),
        }
    }
    assert_eq!(byes, refused);
}

#[tokio::test]
async fn a_long_poll_that_comes_back_is_no_newcomer() {
    let stand = Stand::with(FAST, "limits: {accept_rate: 1/s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut http = stand.http().await;
    let mut tag = long_poll(&mut http, "/prices/A", None, Duration::from_secs(5)).await.etag().to_owned();
    for price in 2..12 {
        let held = long_poll(&mut http, "/prices/A", Some(&tag), Duration::from_secs(5));
        let change = async {
            // Held or not yet: both times it is the connection's next request.
            stand.legacy.set("/prices/A", Reply::json(format!(r#"{{"price":{price}}}"#)));
        };
        let (answer, ()) = tokio::join!(held, change);
        tag = answer.expect(200).etag().to_owned();
    }
    assert_eq!(stand.metric("pollcast_refusals_total", "").await, 0.0);
}

#[tokio::test]
async fn on_http2_a_long_poll_is_a_newcomer_while_its_connection_is_new() {
    let tls = TlsStand::with(FAST, "limits: {accept_rate: 1/s}");
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let wait = [("prefer", "wait=1")];
    let mut old = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    // That it has aged is told by nothing but the clock.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    for _ in 0..10 {
        old.get("/prices/A", &wait).await.expect(200);
    }
    assert_eq!(tls.stand.metric("pollcast_refusals_total", "").await, 0.0);
    let new = join_all((0..6).map(|_| async {
        let mut new = H2::over(tls.connect(&["h2"]).await, "localhost").await;
        new.get("/prices/A", &wait).await.status
    }));
    let statuses = new.await;
    assert!(statuses.contains(&503) && statuses.contains(&200), "{statuses:?}");
}

#[tokio::test]
async fn every_limit_of_clients_refuses_softly() {
    let per_address = "limits: {clients_per_address: 1}";
    for (route, top) in [
        (FAST, "limits: {clients: 1}"),
        ("poll: {interval: 100ms}, max_clients: 1", ""),
        ("poll: {interval: 100ms}", per_address),
    ] {
        let legacy = crate::support::legacy::Legacy::start();
        let yaml = crate::contract::config(&legacy, route, top);
        let yaml = yaml.replace("'127.0.0.1:0'}]", "'127.0.0.1:0', client_address: peer}]");
        let stand = Stand { legacy, app: crate::support::app::start(&yaml) };
        stand.legacy.set("/prices/A", Reply::json(A));
        let mut first = Sse::open(stand.address(), "/prices/A", &BROWSER).await;
        first.next_event().await;
        let mut second = Sse::open(stand.address(), "/prices/A", &BROWSER).await;
        expect_soft_refusal(&mut second, "clients").await;
        let head = Ws::try_open(stand.address(), "/prices/A", &[]).await.err().expect("a refusal");
        assert_eq!(head.status, 503, "{top}");
        let head = stand.http().await.get("/prices/A", &[("prefer", "wait=5")]).await;
        assert_eq!(head.status, 503, "{top}");
        assert!(head.header("retry-after").is_some());
        // The first one knows nothing of it.
        stand.legacy.set("/prices/A", Reply::json(r#"{"price":2}"#));
        assert_eq!(first.next_event().await.data, r#"{"price":2}"#);
    }
}

#[tokio::test]
async fn a_stream_of_many_is_refused_as_softly() {
    let stand = Stand::with(FAST, "limits: {clients: 1}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    first.next_event().await;
    let many = "/-/pollcast/events?resource=/prices/A";
    let mut second = Sse::open(stand.address(), many, &BROWSER).await;
    expect_soft_refusal(&mut second, "clients").await;
    let head = Sse::try_open(stand.address(), many, &[]).await.err().expect("a refusal");
    assert_eq!(head.status, 503);
    assert!(head.header("retry-after").is_some());
}
