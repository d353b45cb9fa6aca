//! Contract §8: a long-poll by entity tag on a feed that is polled with the upstream's cursor, end to end. No snapshot is
//! the whole list: the API says whether a tag is the newest, and is asked once a wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::contract::{Stand, TlsStand, config};
use crate::support::client::{Http, Response, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;
use crate::support::wire::within;

const CHANGES: &str = "/prices/changes";
const ROUTE: &str = "poll: {interval: 100ms}, \
                     feed: {items: /results, id: /seq, order: oldest_first, cursor: {query: since, from: /last_seq}}";
const QUIET: Duration = Duration::from_millis(300);

/// A list of changes as CouchDB has one: whole, or what came after `since`, each with an entity tag.
struct Changes(Arc<Mutex<u64>>);

impl Changes {
    fn of(legacy: &Legacy, newest: u64) -> Changes {
        let changes = Changes(Arc::new(Mutex::new(newest)));
        let count = changes.0.clone();
        legacy.answer_with(CHANGES, move |seen| {
            let newest = *count.lock();
            let since = seen.target.split_once("since=").map_or(0, |(_, since)| since.parse().unwrap_or(0));
            let results: Vec<Value> = (since + 1..=newest).map(|seq| json!({ "seq": seq })).collect();
            Reply::json(json!({ "results": results, "last_seq": newest }).to_string()).with_etag()
        });
        changes
    }

    fn add(&self) {
        *self.0.lock() += 1;
    }
}

/// The requests of clients: polls name no wait.
fn asked(legacy: &Legacy) -> usize {
    legacy.seen(CHANGES).iter().filter(|seen| seen.header("prefer").is_some()).count()
}

fn newest(answer: &Response) -> u64 {
    answer.json()["last_seq"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_long_poll_by_tag_is_held_until_there_is_a_new_item() {
    let stand = Stand::start(ROUTE);
    let changes = Changes::of(&stand.legacy, 3);
    let mut http = stand.http().await;
    let first = http.get(CHANGES, &[]).await.expect(200);
    assert_eq!(newest(&first), 3);
    let headers = [("prefer", "wait=30"), ("if-none-match", first.etag())];
    http.send("GET", CHANGES, &headers, b"").await;
    stand.clients("long_poll", 1).await;
    http.expect_silence(QUIET).await;
    assert_eq!(asked(&stand.legacy), 1);
    changes.add();
    let answer = http.read_response().await.expect(200);
    assert_eq!(newest(&answer), 4, "the API's own answer, the whole list");
    assert_ne!(answer.etag(), first.etag());
    assert_eq!(asked(&stand.legacy), 2, "once before the wait, once for the answer");
    stand.clients("long_poll", 0).await;
    // The connection goes on, and so does the loop.
    let headers = [("prefer", "wait=30"), ("if-none-match", answer.etag())];
    http.send("GET", CHANGES, &headers, b"").await;
    stand.clients("long_poll", 1).await;
    changes.add();
    assert_eq!(newest(&http.read_response().await.expect(200)), 5);
}

#[tokio::test]
async fn a_wait_that_is_over_is_answered_with_the_apis_304() {
    let stand = Stand::start(ROUTE);
    let _changes = Changes::of(&stand.legacy, 3);
    let mut http = stand.http().await;
    let first = http.get(CHANGES, &[]).await.expect(200);
    for round in 1..=3 {
        let began = Instant::now();
        let answer = long_poll(&mut http, CHANGES, Some(first.etag()), Duration::from_secs(1)).await;
        assert_eq!(answer.status, 304, "{answer:?}");
        assert_eq!(answer.etag(), first.etag());
        assert_eq!(answer.header("preference-applied"), Some("wait=1"));
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        assert_eq!(asked(&stand.legacy), round, "one request of the API's a wait");
    }
}

#[tokio::test]
async fn an_older_tag_and_none_at_all_are_answered_at_once() {
    let stand = Stand::start(ROUTE);
    let changes = Changes::of(&stand.legacy, 3);
    let mut http = stand.http().await;
    let first = http.get(CHANGES, &[]).await.expect(200);
    changes.add();
    let answer = long_poll(&mut http, CHANGES, Some(first.etag()), Duration::from_secs(30)).await;
    assert_eq!(newest(&answer.expect(200)), 4);
    let answer = long_poll(&mut http, CHANGES, Some("\"another\""), Duration::from_secs(30)).await;
    assert_eq!(newest(&answer.expect(200)), 4);
    let answer = long_poll(&mut http, CHANGES, None, Duration::from_secs(30)).await;
    assert_eq!(newest(&answer.expect(200)), 4);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_is_noticed() {
    let stand = Stand::start(ROUTE);
    let _changes = Changes::of(&stand.legacy, 3);
    let mut http = stand.http().await;
    let first = http.get(CHANGES, &[]).await.expect(200);
    let headers = [("prefer", "wait=60"), ("if-none-match", first.etag())];
    http.send("GET", CHANGES, &headers, b"").await;
    stand.clients("long_poll", 1).await;
    drop(http);
    stand.clients("long_poll", 0).await;
    assert_eq!(asked(&stand.legacy), 1);
}

#[tokio::test]
async fn what_is_held_has_no_connection_to_the_api_and_no_place_there() {
    let stand = Stand::with(ROUTE, "");
    let changes = Changes::of(&stand.legacy, 3);
    let first = stand.http().await.get(CHANGES, &[]).await.expect(200);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut http = stand.http().await;
        http.send("GET", CHANGES, &[("prefer", "wait=30"), ("if-none-match", first.etag())], b"").await;
        clients.push(http);
    }
    stand.clients("long_poll", 20).await;
    stand.legacy.wait_in_flight(CHANGES, 0).await;
    stand.metric_becomes("pollcast_passthrough_active", "", 0.0).await;
    changes.add();
    for http in &mut clients {
        assert_eq!(newest(&http.read_response().await.expect(200)), 4);
    }
    assert_eq!(asked(&stand.legacy), 40);
}

#[tokio::test]
async fn http2_is_held_alike() {
    let tls = TlsStand::start(ROUTE);
    let changes = Changes::of(&tls.stand.legacy, 3);
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let first = h2.get(CHANGES, &[]).await.expect(200);
    let held = [("prefer", "wait=1"), ("if-none-match", first.etag())];
    assert_eq!(h2.get(CHANGES, &held).await.expect(304).etag(), first.etag());
    let held = [("prefer", "wait=30"), ("if-none-match", first.etag())];
    let (answer, ()) = tokio::join!(h2.get(CHANGES, &held), async {
        tls.stand.clients("long_poll", 1).await;
        changes.add();
    });
    assert_eq!(newest(&answer.expect(200)), 4);
}

#[tokio::test]
async fn a_feed_that_is_gone_leaves_the_request_to_the_api() {
    let stand = Stand::start(ROUTE);
    let status = Arc::new(Mutex::new(200));
    let says = status.clone();
    stand.legacy.answer_with(CHANGES, move |seen| match seen.header("prefer") {
        Some(_) => Reply::empty(304).header("etag", "\"the-same\""),
        None => Reply::json(r#"{"results": [{"seq": 1}], "last_seq": 1}"#).status(*says.lock()),
    });
    let mut http = stand.http().await;
    let headers = [("prefer", "wait=30"), ("if-none-match", "\"the-same\"")];
    http.send("GET", CHANGES, &headers, b"").await;
    stand.clients("long_poll", 1).await;
    // There is nothing to wait for: the API says what there is for this client.
    *status.lock() = 404;
    let answer = within("the API's word", http.read_response()).await;
    assert_eq!(answer.status, 304, "{answer:?}");
    assert_eq!(asked(&stand.legacy), 2);
}

#[tokio::test]
async fn a_drain_ends_the_wait() {
    let legacy = Legacy::start();
    let _changes = Changes::of(&legacy, 3);
    let yaml = config(&legacy, ROUTE, "")
        .replacen("127.0.0.1:0", "PUBLIC_ADDRESS", 1)
        .replacen("127.0.0.1:0", "ADMIN_ADDRESS", 1)
        .replace("window: 100ms", "window: 20s");
    let process = Process::start(&yaml).await;
    let mut http = Http::connect(process.address).await;
    let first = http.get(CHANGES, &[]).await.expect(200);
    http.send("GET", CHANGES, &[("prefer", "wait=60"), ("if-none-match", first.etag())], b"").await;
    legacy.wait_seen("the request", |seen| seen.header("prefer").is_some()).await;
    http.expect_silence(QUIET).await;
    process.signal("TERM");
    let answer = http.read_response().await.expect(304);
    assert!(answer.names("connection", "close"), "{answer:?}");
    assert_eq!(process.wait_exit().await.code(), Some(0), "{}", process.stderr());
}

#[tokio::test]
async fn a_client_with_a_cursor_of_its_own_gets_the_apis_own_document() {
    let stand = Stand::start(ROUTE);
    let changes = Changes::of(&stand.legacy, 4);
    let mut http = stand.http().await;
    let own = format!("{CHANGES}?since=2");
    let first = http.get(&own, &[]).await.expect(200);
    assert_eq!(first.json()["results"].as_array().map(Vec::len), Some(2));
    let answer = long_poll(&mut http, &own, Some(first.etag()), Duration::from_secs(1)).await;
    assert_eq!((answer.status, answer.etag()), (304, first.etag()));
    http.send("GET", &own, &[("prefer", "wait=30"), ("if-none-match", first.etag())], b"").await;
    stand.clients("long_poll", 1).await;
    changes.add();
    let answer = http.read_response().await.expect(200);
    assert_eq!(answer.json()["results"].as_array().map(Vec::len), Some(3), "{answer:?}");
    let at_once = long_poll(&mut http, &own, None, Duration::from_secs(30)).await.expect(200);
    assert_eq!(at_once.json(), answer.json());
}

#[tokio::test]
async fn every_way_to_ask_for_a_wait_is_held() {
    let stand = Stand::start(ROUTE);
    let _changes = Changes::of(&stand.legacy, 3);
    let mut http = stand.http().await;
    let first = http.get(CHANGES, &[]).await.expect(200);
    let tag = ("if-none-match", first.etag());
    let switched = format!("{CHANGES}?_wait=1s");
    for (target, more) in [(CHANGES, vec![tag, ("wait", "1")]), (&switched, vec![tag])] {
        let began = Instant::now();
        assert_eq!(http.get(target, &more).await.expect(304).etag(), first.etag());
        assert!(began.elapsed() >= Duration::from_millis(900), "{target}: {:?}", began.elapsed());
    }
}
