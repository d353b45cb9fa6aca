//! Contract §1: WebSockets and other upgrades of the API.

use std::time::Duration;

use crate::contract::edge::support::{Extra, http, start, start_with};
use crate::support::client::{Message, Ws};
use crate::support::legacy::{Legacy, Reply};

#[tokio::test]
async fn an_upstream_websocket_goes_through() {
    let legacy = Legacy::start();
    legacy.set("/ws", Reply::websocket_echo());
    let app = start(&legacy, "");
    let mut ws = Ws::open(app.addresses()[0], "/ws", &[("sec-websocket-protocol", "x")]).await;
    for n in 0..3 {
        ws.send_text(&format!("hello {n}")).await;
        assert_eq!(ws.next_message().await, Message::Text(format!("hello {n}")));
    }
    ws.send_close(1000, "bye").await;
    assert_eq!(ws.next_close().await.0, 1000);
    let seen = legacy.seen("/ws").pop().expect("it was asked");
    assert_eq!(seen.header("sec-websocket-protocol"), Some("x"));
}

#[tokio::test]
async fn a_websocket_that_is_refused_leaves_a_usable_connection() {
    let legacy = Legacy::start();
    legacy.set("/ws", Reply::text("no").status(426));
    legacy.set("/x", Reply::text("yes"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(http.get("/ws", &upgrade).await.expect(426).text(), "no");
    assert_eq!(http.get("/x", &[]).await.expect(200).text(), "yes");
}

#[tokio::test]
async fn an_idle_upstream_websocket_lives_on() {
    let legacy = Legacy::start();
    legacy.set("/ws", Reply::websocket_echo());
    // It is no body.
    let app = start_with(&legacy, Extra { top: "limits: {body_timeout: 300ms}\n", ..Extra::default() });
    let mut ws = Ws::open(app.addresses()[0], "/ws", &[]).await;
    ws.expect_silence(Duration::from_secs(2)).await;
    ws.send_text("still here").await;
    assert_eq!(ws.next_message().await, Message::Text("still here".into()));
}

#[tokio::test]
async fn another_upgrade_is_ignored() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("plain"));
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let h2c = [
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ];
    assert_eq!(http.get("/x", &h2c).await.expect(200).text(), "plain");
    assert_eq!(http.get("/r/a", &h2c).await.expect(200).text(), "1");
    let seen = legacy.seen("/x").pop().expect("it was asked");
    assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None));
}

#[tokio::test]
async fn a_route_without_websocket_lets_the_upstreams_through() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::websocket_echo());
    let app = start(&legacy, ", transports: [sse, poll]");
    let mut ws = Ws::open(app.addresses()[0], "/r/a", &[]).await;
    ws.send_text("x").await;
    assert_eq!(ws.next_message().await, Message::Text("x".into()));
}
