//! Contract §1, §6, §11: the API's own WebSockets and event streams on covered URLs, and push forms that no `share`
//! covers: the API is asked first, with what the client said.

use std::time::Duration;

use crate::contract::{FAST, Stand};
use crate::support::app;
use crate::support::client::{Message, Sse, Ws};
use crate::support::legacy::{Legacy, Reply, Seen};

const AUTHORIZED: (&str, &str) = ("authorization", "Bearer ann");

/// Everything under one wide route, as in the first minutes with pollcast.
fn wide(route: &str) -> Stand {
    let legacy = Legacy::start();
    let config = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         routes: [{{path: '/{{*rest}}', upstream: legacy, {route}}}]\n",
        legacy.address()
    );
    let app = app::start(&config);
    Stand { legacy, app }
}

/// An API that has a WebSocket where handshakes come, and answers everything else with this status.
fn socket_or(status: u16) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| match seen.header("upgrade") {
        Some(_) => Reply::websocket_echo(),
        None => Reply::text("Can \"Upgrade\" only to \"WebSocket\".").status(status),
    }
}

async fn echoes(ws: &mut Ws) {
    ws.send_text("are you the API?").await;
    assert_eq!(ws.next_message().await, Message::Text("are you the API?".to_owned()));
}

#[tokio::test]
async fn a_handshake_with_other_subprotocols_is_the_apis() {
    let stand = wide(FAST);
    stand.legacy.set("/kernel", Reply::websocket_echo());
    for more in [&[][..], &[AUTHORIZED], &[("cookie", "session=ann")]] {
        let headers = [&[("sec-websocket-protocol", "v1.kernel.websocket.jupyter.org")], more].concat();
        let mut ws = Ws::open(stand.address(), "/kernel", &headers).await;
        echoes(&mut ws).await;
    }
    let polls = stand.legacy.seen("/kernel").iter().filter(|seen| seen.header("upgrade").is_none()).count();
    assert_eq!(polls, 0, "nobody had to be asked whose it is");
    let named = stand.legacy.seen("/kernel").iter().filter_map(|seen| seen.header("authorization")).count();
    assert_eq!(named, 1, "what the client says goes along");
}

#[tokio::test]
async fn an_api_without_a_websocket_answers_such_a_handshake_itself() {
    let stand = wide(FAST);
    for status in [400, 404, 426, 503, 302] {
        stand.legacy.set("/x", Reply::text("no").status(status));
        let refused = Ws::try_open(stand.address(), "/x", &[("sec-websocket-protocol", "chat")]).await;
        assert_eq!(refused.err().map(|head| head.status), Some(status));
    }
}

#[tokio::test]
async fn a_document_is_pushed_to_clients_with_and_without_subprotocols() {
    let stand = wide(FAST);
    stand.legacy.set("/x", Reply::json("1"));
    let mut ws = Ws::open(stand.address(), "/x", &[("sec-websocket-protocol", "soap, v1.json")]).await;
    assert_eq!(ws.head.header("sec-websocket-protocol"), Some("soap"));
    assert_eq!(ws.next_text().await, "1");
    stand.legacy.set("/x", Reply::json("2"));
    assert_eq!(ws.next_text().await, "2");
    // But not to a client with credentials that no share covers.
    let headers = [("sec-websocket-protocol", "soap"), AUTHORIZED];
    let refused = Ws::try_open(stand.address(), "/x", &headers).await;
    assert_eq!(refused.err().map(|head| head.status), Some(403));
}

#[tokio::test]
async fn a_resource_without_anything_to_send_leaves_its_websocket_to_the_api() {
    for route in ["poll: {interval: 100ms}", "poll: {interval: 100ms}, share: {by: [authorization]}"] {
        for status in [400, 404, 405, 426] {
            let stand = wide(route);
            stand.legacy.answer_with("/api/websocket", socket_or(status));
            for headers in [&[][..], &[AUTHORIZED], &[("cookie", "session=ann")]] {
                let mut ws = Ws::open(stand.address(), "/api/websocket", headers).await;
                echoes(&mut ws).await;
            }
        }
    }
}

#[tokio::test]
async fn where_neither_is_anything_the_code_or_the_status_is_the_apis() {
    let stand = wide(FAST);
    // The handshake's own answer counts, not the poll's.
    for (poll, handshake, code) in [(404, 404, 4404), (400, 410, 4404), (404, 410, 4404)] {
        stand.legacy.answer_with("/x", move |seen| {
            Reply::text("no").status(if seen.header("upgrade").is_some() { handshake } else { poll })
        });
        let mut ws = Ws::open(stand.address(), "/x", &[]).await;
        assert_eq!(ws.next_close().await.0, code, "{poll} {handshake}");
        ws.expect_closed().await;
    }
    stand.legacy.answer_with("/y", |seen| {
        Reply::text("no").status(if seen.header("upgrade").is_some() { 426 } else { 404 })
    });
    let refused = Ws::try_open(stand.address(), "/y", &[]).await;
    assert_eq!(refused.err().map(|head| head.status), Some(426));
}

#[tokio::test]
async fn refusals_of_a_client_are_close_codes_and_the_api_is_not_asked_twice() {
    let stand = wide(FAST);
    for (status, code) in [(401, 4401), (403, 4403), (410, 4404)] {
        let path = format!("/{status}");
        stand.legacy.set(&path, Reply::text("no").status(status));
        let mut ws = Ws::open(stand.address(), &path, &[]).await;
        assert_eq!(ws.next_close().await.0, code);
        assert!(stand.legacy.seen(&path).iter().all(|seen| seen.header("upgrade").is_none()), "{status}");
    }
}

#[tokio::test]
async fn an_envelope_is_never_the_apis() {
    let stand = wide(FAST);
    stand.legacy.answer_with("/x", socket_or(404));
    let mut ws = Ws::open(stand.address(), "/x", &[("sec-websocket-protocol", "pollcast.v1, chat")]).await;
    assert_eq!(ws.head.header("sec-websocket-protocol"), Some("pollcast.v1"));
    assert_eq!(ws.next_close().await.0, 4404);
}

#[tokio::test]
async fn other_upgrades_are_no_websockets() {
    let stand = wide("plain: share, poll: {interval: 1h}");
    stand.legacy.set("/x", Reply::json("1"));
    let mut http = stand.http().await;
    let headers =
        [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")];
    assert_eq!(http.get("/x", &headers).await.expect(200).text(), "1");
    assert!(stand.legacy.seen("/x").iter().all(|seen| seen.header("upgrade").is_none()));
}

#[tokio::test]
async fn the_apis_own_event_stream_passes_through() {
    let stand = wide(FAST);
    for (path, headers) in [
        ("/anonymous", &[][..]),
        ("/token", &[AUTHORIZED][..]),
        ("/cookie", &[("cookie", "session=ann")]),
        ("/switched?_push=sse", &[AUTHORIZED]),
    ] {
        let plain = path.split('?').next().unwrap_or_default();
        // The first poll, where there is one, sees the same endless answer and leaves it.
        let (polled, _unread) = Reply::stream("text/event-stream");
        let (reply, feed) = Reply::stream("text/event-stream; charset=utf-8");
        if headers.is_empty() {
            stand.legacy.once(plain, polled);
        }
        stand.legacy.set(plain, reply);
        let mut sse = Sse::open(stand.address(), path, headers).await;
        feed.send("event: own\nid: 7\ndata: hello\n\n").await;
        let event = sse.next_event().await;
        assert_eq!(
            (event.event.as_str(), event.data.as_str(), event.id.as_deref()),
            ("own", "hello", Some("7"))
        );
        assert!(sse.passed.is_empty(), "nothing of pollcast's stands before it: {:?}", sse.passed);
        drop(sse);
        feed.left().await;
    }
    // It is known for a while: no poll is made for the next one.
    let before = stand.legacy.count("/anonymous");
    let (reply, feed) = Reply::stream("text/event-stream");
    stand.legacy.set("/anonymous", reply);
    let mut sse = Sse::open(stand.address(), "/anonymous", &[("last-event-id", "7")]).await;
    feed.send("data: again\n\n").await;
    assert_eq!(sse.next_event().await.data, "again");
    assert_eq!(stand.legacy.count("/anonymous"), before + 1);
    assert_eq!(
        stand.legacy.seen("/anonymous").last().and_then(|seen| seen.header("last-event-id")),
        Some("7")
    );
    let mut ws = Ws::open(stand.address(), "/anonymous", &[]).await;
    assert_eq!(ws.next_close().await.0, 1011, "a WebSocket of it there is none");
}

#[tokio::test]
async fn what_the_api_says_to_a_push_form_is_given_as_it_came() {
    let stand = wide(FAST);
    for status in [301, 304, 401, 403, 404, 500, 503] {
        let reply = Reply::text("own words").status(status).header("location", "/login").header("x-own", "1");
        stand.legacy.set("/x", reply);
        for headers in [
            &[("accept", "text/event-stream"), AUTHORIZED][..],
            &[("prefer", "wait=5"), ("if-none-match", "\"x\""), AUTHORIZED],
        ] {
            let answer = stand.http().await.get("/x", headers).await.expect(status);
            assert_eq!((answer.header("x-own"), answer.header("location")), (Some("1"), Some("/login")));
            if status != 304 {
                assert_eq!(answer.text(), "own words");
            }
        }
    }
}

#[tokio::test]
async fn a_document_for_a_push_form_becomes_the_403_that_names_the_choices() {
    let stand = wide(FAST);
    // One whose body never ends: its head is enough.
    let (endless, feed) = Reply::stream("application/json");
    stand.legacy.once("/x", endless);
    stand.legacy.set("/x", Reply::json("{\"for\":\"ann\"}").header("set-cookie", "session=ann"));
    // The connection goes on.
    let mut http = stand.http().await;
    for headers in [
        &[("accept", "text/event-stream"), AUTHORIZED][..],
        &[("accept", "text/event-stream"), ("cookie", "session=ann")],
        &[("prefer", "wait=5"), ("if-none-match", "\"x\""), AUTHORIZED],
    ] {
        let answer = http.get("/x", headers).await.expect(403);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("set-cookie"), None);
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("share: public") && detail.contains("by:"), "{detail}");
        assert!(!answer.text().contains("ann\""), "{answer:?}");
    }
    feed.left().await;
    assert_eq!(stand.legacy.count("/x"), 3, "each asked once, with what it carries");
    stand.metric_becomes("pollcast_refusals_total", "unshared", 3.0).await;
    // Nothing of it is known to anybody else.
    stand.legacy.set("/x", Reply::json("{\"for\":\"nobody\"}"));
    let mut sse = Sse::open(stand.address(), "/x", &[]).await;
    assert_eq!(sse.next_event().await.data, "{\"for\":\"nobody\"}");
}

#[tokio::test]
async fn over_http2_a_push_form_asks_first_too() {
    let stand = crate::contract::TlsStand::start(FAST);
    stand.stand.legacy.set("/prices/A", Reply::json("1"));
    let mut h2 = crate::support::h2::H2::over(stand.connect(&["h2"]).await, "localhost").await;
    let headers = [("accept", "text/event-stream"), AUTHORIZED];
    assert_eq!(h2.get("/prices/A", &headers).await.status, 403);
    stand.stand.legacy.set("/prices/A", Reply::text("no").status(401));
    assert_eq!(h2.get("/prices/A", &headers).await.status, 401);
    tokio::time::timeout(Duration::from_secs(5), h2.get("/prices/A", &[AUTHORIZED]))
        .await
        .expect("the connection goes on");
}

#[tokio::test]
async fn an_api_that_answers_a_handshake_at_once_keeps_its_websocket() {
    let stand = wide(FAST);
    stand.legacy.set("/kernel", Reply::websocket_echo());
    // The end of a request without a body is on its way while the answer is there already.
    for _ in 0..300 {
        let mut ws = Ws::open(stand.address(), "/kernel", &[("sec-websocket-protocol", "v1")]).await;
        echoes(&mut ws).await;
    }
}

#[tokio::test]
async fn the_apis_own_websocket_is_for_the_origins_that_the_api_lets_in() {
    let stand = wide(&format!("{FAST}, share: public"));
    stand.legacy.answer_with("/ws", socket_or(400));
    for origin in ["https://dash.example", "null"] {
        let mut ws = Ws::open(stand.address(), "/ws", &[("origin", origin)]).await;
        echoes(&mut ws).await;
    }
    stand.legacy.set("/document", Reply::json("1"));
    let refused = Ws::try_open(stand.address(), "/document", &[("origin", "https://dash.example")]).await;
    assert_eq!(refused.err().map(|head| head.status), Some(403), "pollcast's own is not");
}

#[tokio::test]
async fn the_apis_own_stream_keeps_its_own_place_to_resume() {
    let stand = wide(FAST);
    stand.legacy.answer_with("/events", |seen| {
        Reply::new("text/event-stream", format!("data: {}\n\n", seen.target)).until_close()
    });
    for target in ["/events?lastEventId=6&topic=a", "/events?last_event_id=5"] {
        for more in [&[][..], &[AUTHORIZED]] {
            let mut sse = Sse::open(stand.address(), target, more).await;
            assert_eq!(sse.next_event().await.data, target);
        }
    }
}
