//! Streams of routes that mean the same go on, on each transport; the others end with their reason, and come back.

use std::time::Duration;

use tokio::net::TcpStream;

use super::{FAST, Stand};
use crate::support::client::{Http, Sse, Ws, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::Reply;

fn number(n: u64) -> Reply {
    Reply::json(n.to_string())
}

fn routes(kept: &str, changed: &str) -> Vec<String> {
    vec![format!("path: '/kept/{{x}}', {kept}"), format!("path: '/changed/{{x}}', {changed}")]
}

fn reload(stand: &Stand, routes: &[String]) -> serde_json::Value {
    stand.reload(&routes.iter().map(String::as_str).collect::<Vec<_>>()).as_json()
}

fn start(removed: bool) -> Stand {
    let mut all = routes(FAST, FAST);
    if removed {
        all.push(format!("path: '/removed/{{x}}', {FAST}"));
    }
    let stand = Stand::start(&all.iter().map(String::as_str).collect::<Vec<_>>());
    for path in ["/kept/a", "/changed/a", "/removed/a"] {
        stand.legacy.set(path, number(1));
    }
    stand
}

/// What the second route becomes: another resource.
const ANOTHER: &str = "poll: {interval: 100ms, accept: text/plain}";

#[tokio::test]
async fn event_streams_go_on_or_end_by_what_their_route_means_now() {
    let stand = start(true);
    let mut kept = Sse::open(stand.address(), "/kept/a", &[]).await;
    let mut changed = Sse::open(stand.address(), "/changed/a", &[]).await;
    let mut removed = Sse::open(stand.address(), "/removed/a", &[]).await;
    for sse in [&mut kept, &mut changed, &mut removed] {
        assert_eq!(sse.next_event().await.data, "1");
    }
    let report = reload(&stand, &routes("poll: {interval: 150ms}", ANOTHER));
    assert_eq!(report["result"], "applied", "{report}");
    assert_eq!(report["ended"]["followers"], 2, "{report}");
    let bye = changed.next_named("bye").await;
    assert!(bye.data.contains("\"reconfigured\"") && bye.data.contains("\"reconnect\":true"), "{bye:?}");
    let bye = removed.next_named("bye").await;
    assert!(bye.data.contains("\"gone\"") && bye.data.contains("\"reconnect\":false"), "{bye:?}");
    // What changes meanwhile is told once, and nothing twice.
    stand.legacy.set("/kept/a", number(2));
    assert_eq!(kept.next_event().await.data, "2");
    stand.legacy.set("/changed/a", number(5));
    let mut back = Sse::open(stand.address(), "/changed/a", &[]).await;
    assert_eq!(back.next_event().await.data, "5");
    let seen = stand.legacy.seen("/changed/a");
    assert_eq!(seen.last().and_then(|seen| seen.header("accept")), Some("text/plain"));
}

#[tokio::test]
async fn websockets_are_told_by_close_codes() {
    let stand = start(true);
    let mut kept = Ws::open(stand.address(), "/kept/a", &[]).await;
    let mut changed = Ws::open(stand.address(), "/changed/a", &[]).await;
    let mut removed = Ws::open(stand.address(), "/removed/a", &[]).await;
    for ws in [&mut kept, &mut changed, &mut removed] {
        assert_eq!(ws.next_text().await, "1");
    }
    reload(&stand, &routes("heartbeat: 7s", ANOTHER));
    assert_eq!(changed.next_close().await, (1012, "reconfigured".to_owned()));
    assert_eq!(removed.next_close().await, (4404, "gone".to_owned()));
    stand.legacy.set("/kept/a", number(2));
    assert_eq!(kept.next_text().await, "2");
}

#[tokio::test]
async fn held_polls_wait_on_or_are_answered() {
    let stand = start(true);
    let mut clients = Vec::new();
    for path in ["/kept/a", "/changed/a", "/removed/a"] {
        let mut http = Http::connect(stand.address()).await;
        let etag = http.get(path, &[]).await.expect(200).etag().to_owned();
        let held = tokio::spawn(async move {
            let answer = long_poll(&mut http, path, Some(&etag), Duration::from_secs(9)).await;
            (http, answer)
        });
        clients.push(held);
    }
    held_by(&stand, 3).await;
    reload(&stand, &routes("max_wait: 30s", ANOTHER));
    let removed = clients.pop().expect("three").await.expect("an answer").1;
    assert_eq!(removed.status, 410, "{removed:?}");
    let changed = clients.pop().expect("three").await.expect("an answer").1;
    assert_eq!(changed.status, 304, "it comes back and finds out more: {changed:?}");
    stand.legacy.set("/kept/a", number(2));
    let (mut http, kept) = clients.pop().expect("three").await.expect("an answer");
    assert_eq!((kept.status, kept.text().as_str()), (200, "2"));
    http.get("/kept/a", &[]).await.expect(200);
}

/// Waits until so many polls are held.
async fn held_by(stand: &Stand, wanted: usize) {
    let admin = stand.app.admin_address().expect("the admin listener");
    let held = async {
        loop {
            let text = Http::connect(admin).await.get("/metrics", &[]).await.text();
            let of = |line: &&str| line.starts_with("pollcast_subscribers{") && line.contains("long_poll");
            let counts =
                text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
            if counts.sum::<usize>() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    crate::support::wire::within("the polls to be held", held).await;
}

#[tokio::test]
async fn streams_of_http2_go_on_or_end_too() {
    let stand = start(false);
    let tcp = TcpStream::connect(stand.address()).await.expect("a connection");
    let mut h2 = H2::over(tcp, "localhost").await;
    let accept = [("accept", "text/event-stream")];
    let (head, mut kept) = h2.open("GET", "/kept/a", &accept).await;
    assert_eq!(head.status, 200);
    let (head, mut changed) = h2.open("GET", "/changed/a", &accept).await;
    assert_eq!(head.status, 200);
    assert_eq!(
        (kept.next_event().await.data, changed.next_event().await.data),
        ("1".to_owned(), "1".to_owned())
    );
    reload(&stand, &routes("stale_after: 1m", ANOTHER));
    let bye = changed.next_event().await;
    assert!(bye.event == "bye" && bye.data.contains("reconfigured"), "{bye:?}");
    changed.expect_end().await;
    stand.legacy.set("/kept/a", number(2));
    assert_eq!(kept.next_event().await.data, "2");
}

#[tokio::test]
async fn a_socket_of_many_resources_lives_on_under_the_new_configuration() {
    let stand = start(true);
    let protocol = [("sec-websocket-protocol", "pollcast.v1")];
    let mut ws = Ws::open(stand.address(), "/-/pollcast/ws", &protocol).await;
    for path in ["/kept/a", "/changed/a", "/removed/a"] {
        ws.send_text(&format!(r#"{{"op":"subscribe","resource":"{path}"}}"#)).await;
        let said = ws.next_text().await;
        assert!(said.contains("\"snapshot\"") && said.contains(path), "{said}");
    }
    let mut all = routes("heartbeat: 7s", ANOTHER);
    all.push(format!("path: '/added/{{x}}', {FAST}"));
    reload(&stand, &all);
    let mut byes = [ws.next_text().await, ws.next_text().await];
    byes.sort_by_key(|bye| bye.contains("/removed/a"));
    assert!(byes[0].contains("/changed/a") && byes[0].contains("reconfigured"), "{byes:?}");
    assert!(byes[1].contains("/removed/a") && byes[1].contains("gone"), "{byes:?}");
    stand.legacy.set("/added/a", number(7));
    for (path, state) in [("/added/a", "7"), ("/changed/a", "1")] {
        ws.send_text(&format!(r#"{{"op":"subscribe","resource":"{path}"}}"#)).await;
        let said = ws.next_text().await;
        assert!(said.contains("\"snapshot\"") && said.contains(path) && said.contains(state), "{said}");
    }
    stand.legacy.set("/kept/a", number(2));
    let said = ws.next_text().await;
    assert!(said.contains("/kept/a"), "{said}");
}

#[tokio::test]
async fn a_transport_that_is_allowed_no_longer_ends_and_a_new_one_is_there_at_once() {
    let stand = Stand::start(&[&format!("path: /a, transports: [sse, poll], {FAST}")]);
    stand.legacy.set("/a", number(1));
    let mut sse = Sse::open(stand.address(), "/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    stand.reload(&[&format!("path: /a, transports: [sse, poll, websocket], {FAST}")]);
    let mut ws = Ws::open(stand.address(), "/a", &[]).await;
    assert_eq!(ws.next_text().await, "1");
    stand.legacy.set("/a", number(2));
    assert_eq!((sse.next_event().await.data, ws.next_text().await), ("2".to_owned(), "2".to_owned()));
    stand.reload(&[&format!("path: /a, transports: [websocket, poll], {FAST}")]);
    assert!(sse.next_named("bye").await.data.contains("reconfigured"));
    let refused = Sse::try_open(stand.address(), "/a", &[]).await.err().expect("no stream any more");
    assert_ne!(refused.status, 200);
}
