//! Contract §11: `share: authorize`: shared answers, each client admitted by what its own credentials get.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::contract::{FAST, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;
use crate::support::wire::within;
use crate::support::ws::Ws;

const SERVICE: &str = "x-service-key";
const ROUTE: &str = "share: authorize, authorize: {recheck: 1s}";
const SELDOM: &str = "share: authorize, authorize: {recheck: 5m}";

/// An API with rights: the service's key and ann's token see all, bob's some rows, no credentials nothing. What ann
/// may see can be taken from her.
struct Rights {
    stand: Stand,
    rows: Arc<AtomicUsize>,
    ann_may: Arc<AtomicBool>,
}

fn rights(route: &str) -> Rights {
    rights_with(route, "")
}

fn rights_with(route: &str, top: &str) -> Rights {
    let poll = format!("poll: {{interval: 100ms, headers: {{{SERVICE}: service-secret}}}}");
    let stand = Stand::with(&format!("{poll}, credentials: [{SERVICE}], hosts: ['127.0.0.1'], {route}"), top);
    let (rows, ann_may) = (Arc::new(AtomicUsize::new(1)), Arc::new(AtomicBool::new(true)));
    let (rows_now, may) = (rows.clone(), ann_may.clone());
    stand.legacy.answer_with("/prices/A", move |seen| {
        let n = rows_now.load(Ordering::SeqCst);
        let all = Reply::json(json!({ "rows": n, "secret": "everything" }).to_string());
        match (seen.header(SERVICE), seen.header("authorization")) {
            (Some("service-secret"), None) => all,
            (None, Some("Bearer ann")) if may.load(Ordering::SeqCst) => all,
            (None, Some(token)) if token.starts_with("Bearer friend") => all,
            (None, Some("Bearer bob")) => Reply::json(json!({ "rows": n }).to_string()),
            (None, Some("Bearer lost")) => Reply::empty(500),
            (Some(_), Some(_)) => Reply::json(r#"{"mixed":true}"#),
            _ => Reply::empty(401),
        }
    });
    Rights { stand, rows, ann_may }
}

const ANN: (&str, &str) = ("authorization", "Bearer ann");
const BOB: (&str, &str) = ("authorization", "Bearer bob");

#[tokio::test]
async fn a_client_that_gets_the_same_by_itself_is_let_in_and_no_other() {
    let Rights { stand, rows, .. } = rights(ROUTE);
    let mut ann = Sse::open(stand.address(), "/prices/A", &[ANN]).await;
    assert!(ann.next_event().await.data.contains("everything"));
    let mut ws = Ws::open(stand.address(), "/prices/A", &[ANN]).await;
    assert!(ws.next_text().await.contains("everything"));
    for (name, who) in
        [("bob", vec![BOB]), ("nobody", vec![]), ("lost", vec![("authorization", "Bearer lost")])]
    {
        let refused = Sse::try_open(stand.address(), "/prices/A", &who).await.err().expect(name);
        assert_eq!(refused.status, 403, "{name}");
        let mut refused = Ws::open(stand.address(), "/prices/A", &who).await;
        assert_eq!(refused.next_close().await.0, 4403, "{name}");
        let tag = stand.http().await.get("/prices/A", &[ANN]).await.expect(200).etag().to_owned();
        let held: Vec<_> =
            [("prefer", "wait=5"), ("if-none-match", tag.as_str())].into_iter().chain(who).collect();
        stand.http().await.get("/prices/A", &held).await.expect(403);
    }
    // Plain requests get what is theirs, from the upstream.
    let mut http = stand.http().await;
    assert!(http.get("/prices/A", &[ANN]).await.expect(200).text().contains("everything"));
    let own = http.get("/prices/A", &[BOB]).await.expect(200).text();
    assert_eq!(own, r#"{"rows":1}"#);
    http.get("/prices/A", &[]).await.expect(401);
    rows.store(2, Ordering::SeqCst);
    assert!(ann.next_event().await.data.contains("\"rows\":2"));
    assert!(ws.next_text().await.contains("\"rows\":2"));
    let mixed = |seen: &crate::support::legacy::Seen| {
        seen.header(SERVICE).is_some() && seen.header("authorization").is_some()
    };
    assert!(!stand.legacy.all_seen().iter().any(mixed), "nobody borrows the poller's key");
    assert!(stand.metric("pollcast_authorizations_total", "same").await >= 1.0);
    assert!(stand.metric("pollcast_authorizations_total", "different").await >= 1.0);
    assert!(stand.metric("pollcast_authorizations_total", "refused").await >= 1.0);
}

#[tokio::test]
async fn one_check_counts_for_the_same_credentials_for_a_while() {
    let Rights { stand, .. } = rights(SELDOM);
    let mut all = Vec::new();
    for _ in 0..5 {
        let mut ann = Sse::open(stand.address(), "/prices/A", &[ANN]).await;
        assert!(ann.next_event().await.data.contains("everything"));
        stand.http().await.get("/prices/A", &[ANN]).await.expect(200);
        all.push(ann);
    }
    assert_eq!(checks(&stand), 1);
}

/// Questions about ann.
fn checks(stand: &Stand) -> usize {
    let seen = stand.legacy.seen("/prices/A");
    seen.iter().filter(|seen| seen.header("authorization") == Some(ANN.1)).count()
}

/// More checks of others' than are remembered.
async fn forget_ann(stand: &Stand, remembered: usize) {
    let mut http = stand.http().await;
    for n in 0..=remembered {
        let friend = format!("Bearer friend {n} {}", fastrand::u64(..));
        http.get("/prices/A", &[("authorization", &friend)]).await.expect(200);
    }
}

#[tokio::test]
async fn a_follower_is_asked_about_after_the_check_is_forgotten() {
    // As many clients, as many checks are remembered.
    let Rights { stand, rows, ann_may } =
        rights_with("share: authorize, authorize: {recheck: 3s}", "limits: {clients: 4}");
    let mut stream = Sse::open(stand.address(), "/prices/A", &[ANN]).await;
    let mut ws = Ws::open(stand.address(), "/prices/A", &[ANN]).await;
    let headers = [("sec-websocket-protocol", "pollcast.v1"), ANN];
    let mut many = Ws::open(stand.address(), "/-/pollcast/ws", &headers).await;
    many.send_text(&json!({ "op": "subscribe", "resource": "/prices/A" }).to_string()).await;
    stream.next_event().await;
    ws.next_text().await;
    many.next_text().await;
    assert_eq!(checks(&stand), 1);
    forget_ann(&stand, 4).await;
    // It is forgotten, and a fourth client is none the less the same: the others are asked about.
    let mut other = Sse::open(stand.address(), "/prices/A", &[ANN]).await;
    other.next_event().await;
    assert_eq!(checks(&stand), 1);
    forget_ann(&stand, 4).await;
    rows.store(2, Ordering::SeqCst);
    for stream in [&mut stream, &mut other] {
        assert!(stream.next_event().await.data.contains("\"rows\":2"), "nobody loses anything by that");
    }
    ws.next_text().await;
    many.next_text().await;
    ann_may.store(false, Ordering::SeqCst);
    for stream in [&mut stream, &mut other] {
        let bye = stream.next_named("bye").await;
        assert!(bye.data.contains("forbidden"), "{bye:?}");
    }
    assert_eq!(ws.next_close().await, (4403, "forbidden".to_owned()));
    let lost: Value = serde_json::from_str(&many.next_text().await).expect("JSON");
    assert_eq!((&lost["type"], &lost["status"]), (&json!("error"), &json!(403)), "{lost}");
}

#[tokio::test]
async fn no_check_is_made_after_the_last_one_is_forgotten_and_the_last_client_left() {
    let Rights { stand, .. } = rights_with(ROUTE, "limits: {clients: 2}");
    let mut stream = Sse::open(stand.address(), "/prices/A", &[ANN]).await;
    stream.next_event().await;
    forget_ann(&stand, 2).await;
    let again = async {
        while checks(&stand) < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("a second check", again).await;
    drop(stream);
    stand.clients("sse", 0).await;
    let asked = checks(&stand);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // One may have been on its way.
    assert!(checks(&stand) <= asked + 1, "{asked} and then {}", checks(&stand));
}

#[tokio::test]
async fn a_client_that_loses_the_right_loses_the_stream_and_the_others_stay() {
    let Rights { stand, rows, ann_may } = rights(ROUTE);
    let both = "Bearer ann";
    let mut stream = Sse::open(stand.address(), "/prices/A", &[("authorization", both)]).await;
    let mut ws = Ws::open(stand.address(), "/prices/A", &[("authorization", both)]).await;
    stream.next_event().await;
    ws.next_text().await;
    // Twice the recheck: it is asked again and stays.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    rows.store(2, Ordering::SeqCst);
    assert!(stream.next_event().await.data.contains("\"rows\":2"));
    ws.next_text().await;
    ann_may.store(false, Ordering::SeqCst);
    let bye = stream.next_named("bye").await;
    assert!(bye.data.contains("forbidden") && bye.data.contains("\"reconnect\":false"), "{bye:?}");
    assert_eq!(ws.next_close().await, (4403, "forbidden".to_owned()));
    let refused = Sse::try_open(stand.address(), "/prices/A", &[ANN]).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(403));
}

#[tokio::test]
async fn of_many_resources_only_the_forbidden_one_is_lost() {
    let Rights { stand, ann_may, .. } = rights(ROUTE);
    stand.legacy.set("/prices/B", Reply::json("1"));
    let headers = [("sec-websocket-protocol", "pollcast.v1"), ANN];
    let mut ws = Ws::open(stand.address(), "/-/pollcast/ws", &headers).await;
    for resource in ["/prices/A", "/prices/B"] {
        ws.send_text(&json!({ "op": "subscribe", "resource": resource }).to_string()).await;
        let first: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
        assert_eq!((&first["type"], &first["resource"]), (&json!("snapshot"), &json!(resource)));
    }
    ann_may.store(false, Ordering::SeqCst);
    let lost: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert_eq!(
        (&lost["type"], &lost["status"], &lost["resource"]),
        (&json!("error"), &json!(403), &json!("/prices/A"))
    );
    stand.legacy.set("/prices/B", Reply::json("2"));
    let next: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert_eq!((&next["resource"], &next["data"]), (&json!("/prices/B"), &json!(2)));
}

#[tokio::test]
async fn a_resource_that_changes_all_the_time_can_be_checked() {
    let stand = Stand::start(&format!("{FAST}, {ROUTE}, change: {{ignore: [/served]}}"));
    let served = AtomicUsize::new(0);
    stand.legacy.answer_with("/prices/A", move |_| {
        // Every answer is another one to the byte, and no change by the rules.
        Reply::json(json!({ "n": 1, "served": served.fetch_add(1, Ordering::SeqCst) }).to_string())
    });
    let mut sse = Sse::open(stand.address(), "/prices/A", &[ANN]).await;
    assert!(sse.next_event().await.data.contains("\"n\":1"));
    let changing = Stand::start(&format!("poll: {{interval: 1m}}, {ROUTE}"));
    let state = Arc::new(AtomicUsize::new(0));
    let now = state.clone();
    changing.legacy.answer_with("/prices/A", move |_| Reply::json(now.load(Ordering::SeqCst).to_string()));
    let mut first = Sse::open(changing.address(), "/prices/A", &[ANN]).await;
    assert_eq!(first.next_event().await.data, "0");
    state.store(1, Ordering::SeqCst);
    // What this client gets is newer than what is held: one fresh poll, and all have it.
    let mut second = Sse::open(changing.address(), "/prices/A", &[BOB]).await;
    assert_eq!(second.next_event().await.data, "1");
    assert_eq!(first.next_event().await.data, "1");
}

/// Requests of somebody at the API, checks among them.
fn requests_of(stand: &Stand, token: Option<&str>) -> usize {
    let seen = stand.legacy.seen("/prices/A");
    seen.iter().filter(|seen| seen.header(SERVICE).is_none() && seen.header("authorization") == token).count()
}

#[tokio::test]
async fn a_stranger_costs_the_api_one_request_each_time_and_one_check() {
    let Rights { stand, .. } =
        rights_with("share: authorize, authorize: {recheck: 5m}, stale_after: 10s", "");
    stand.http().await.get("/prices/A", &[ANN]).await.expect(200);
    for _ in 0..10 {
        let own = stand.http().await.get("/prices/A", &[BOB]).await.expect(200);
        assert_eq!(own.text(), r#"{"rows":1}"#);
        assert_eq!(own.header("cache-status"), Some("pollcast; fwd=bypass; detail=unauthorized"));
        stand.http().await.get("/prices/A", &[]).await.expect(401);
    }
    // A check is not made again within some seconds; a slow machine may have needed more of them.
    for (who, token) in [("bob", Some(BOB.1)), ("nobody", None)] {
        let asked = requests_of(&stand, token);
        assert!((11..=13).contains(&asked), "{asked} requests of {who}");
    }
    // Ann asked often, and was asked about once.
    for _ in 0..5 {
        let shared = stand.http().await.get("/prices/A", &[ANN]).await.expect(200);
        assert!(!shared.header("cache-status").expect("a status").contains("bypass"));
    }
    assert_eq!(requests_of(&stand, Some(ANN.1)), 1);
}

#[tokio::test]
async fn many_requests_at_once_with_the_same_credentials_are_checked_once() {
    let Rights { stand, .. } = rights(SELDOM);
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let address = stand.address();
            tokio::spawn(async move {
                let mut http = crate::support::client::Http::connect(address).await;
                http.get("/prices/A", &[ANN]).await.expect(200)
            })
        })
        .collect();
    for one in asking {
        assert!(one.await.expect("an answer").text().contains("everything"));
    }
    assert_eq!(checks(&stand), 1);
}

#[tokio::test]
async fn a_condition_tells_no_client_whether_a_guess_is_a_state() {
    let Rights { stand, rows, .. } = rights(SELDOM);
    let mut ann = Sse::open(stand.address(), "/prices/A", &[ANN]).await;
    let first = ann.next_event().await.id.expect("a version");
    rows.store(2, Ordering::SeqCst);
    let second = ann.next_event().await.id.expect("a version");
    let invented = crate::contract::version_of(&stand, "\"a guess\"").await;
    for method in ["GET", "PUT"] {
        for version in [&first, &second, &invented] {
            let tag = format!("\"{version}\"");
            let guess = [("if-match", tag.as_str())];
            let answer = stand.http().await.request(method, "/prices/A", &guess, b"").await;
            assert_eq!(answer.status, 401, "{method} {version}");
            let with = [("if-match", tag.as_str()), BOB];
            let answer = stand.http().await.request(method, "/prices/A", &with, b"").await;
            assert_eq!(answer.status, 200, "{method} {version}");
            // The API sees the tag as it came.
            let seen = stand.legacy.seen("/prices/A");
            let of_bob =
                seen.iter().rev().find(|seen| seen.method == method && seen.header("if-match").is_some());
            assert_eq!(of_bob.and_then(|seen| seen.header("if-match")), Some(tag.as_str()));
        }
    }
    // An admitted client speaks of versions: the API gives no tags, so that an old one fails here.
    let (old, new) = (format!("\"{first}\""), format!("\"{second}\""));
    let mut http = stand.http().await;
    http.request("PUT", "/prices/A", &[("if-match", &old), ANN], b"").await.expect(412);
    http.request("PUT", "/prices/A", &[("if-match", &new), ANN], b"").await.expect(200);
}

#[tokio::test]
async fn what_the_poller_is_refused_is_told_to_no_client_before_its_own_check() {
    let Rights { stand, .. } = rights(SELDOM);
    stand.legacy.answer_with("/prices/GONE", |seen| {
        Reply::empty(if seen.header(SERVICE).is_some() { 404 } else { 403 })
    });
    let alone = Sse::try_open(stand.address(), "/prices/GONE", &[BOB]).await;
    assert_eq!(alone.err().map(|refused| refused.status), Some(403));
    let headers = [("sec-websocket-protocol", "pollcast.v1"), BOB];
    let mut many = Ws::open(stand.address(), "/-/pollcast/ws", &headers).await;
    many.send_text(&json!({ "op": "subscribe", "resource": "/prices/GONE" }).to_string()).await;
    let refused: Value = serde_json::from_str(&many.next_text().await).expect("JSON");
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(403)), "{refused}");
}
