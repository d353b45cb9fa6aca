//! Contract §11: many users at once, and none gets a byte of another's.

use std::time::Duration;

use super::{PLACES, user};
use crate::contract::edge::support::{Extra, http, start};
use crate::support::app;
use crate::support::client::{Message, Sse, Ws, long_poll};
use crate::support::legacy::{Legacy, Reply};

/// Everything a client receives of a user's resource, by every transport, as text.
async fn everything(address: std::net::SocketAddr, fields: &[(&str, &str)]) -> String {
    let mut seen = String::new();
    let mut http = crate::support::client::Http::connect(address).await;
    for target in ["/r/a", "/r/a?_push=poll", "/r/a?x=1&_=2"] {
        seen += &format!("{:?}\n", http.get(target, fields).await);
    }
    seen += &format!("{:?}\n", http.request("HEAD", "/r/a", fields, b"").await);
    let etag = {
        let answer = http.get("/r/a", fields).await;
        answer.header("etag").map(str::to_owned)
    };
    let held: Vec<_> = fields.iter().copied().chain([("prefer", "wait=1")]).collect();
    seen += &format!("{:?}\n", http.get("/r/a", &held).await);
    let fresh = long_poll(&mut http, "/r/a", None, Duration::from_secs(1)).await;
    assert!(!fresh.text().contains("alice") && !fresh.text().contains("robert"), "nobody's poll: {fresh:?}");
    if let Some(etag) = etag {
        let held: Vec<_> = held.iter().copied().chain([("if-none-match", etag.as_str())]).collect();
        seen += &format!("{:?}\n", http.get("/r/a", &held).await);
    }
    match Sse::try_open(address, "/r/a", fields).await {
        Ok(mut stream) => {
            let event = stream.next_event().await;
            seen += &format!("{:?} {event:?}\n", stream.head);
        }
        Err(head) => seen += &format!("{head:?}\n"),
    }
    match Ws::try_open(address, "/r/a", fields).await {
        Ok(mut ws) => match ws.next_message().await {
            Message::Text(text) => seen += &text,
            Message::Binary(bytes) => seen += &String::from_utf8_lossy(&bytes),
        },
        Err(head) => seen += &format!("{head:?}\n"),
    }
    seen
}

/// Two users and an anonymous client, with credentials in this place, use all ways to read at once.
async fn no_leak(address: std::net::SocketAddr, what: String, (name, prefix): (&str, &str)) {
    let (of_alice, of_robert) = (format!("{prefix}alice"), format!("{prefix}robert"));
    let alice = [(name, of_alice.as_str())];
    let robert = [(name, of_robert.as_str())];
    let (one, two, nobody) =
        tokio::join!(everything(address, &alice), everything(address, &robert), everything(address, &[]));
    let three = everything(address, &alice).await;
    for alices in [one, three] {
        assert!(!alices.contains("robert"), "{what} {name}: {alices}");
    }
    assert!(!two.contains("alice"), "{what} {name}: {two}");
    assert!(!nobody.contains("alice") && !nobody.contains("robert"), "{what} {name}: {nobody}");
}

#[tokio::test]
async fn no_user_ever_gets_a_byte_of_another() {
    let mut cases = tokio::task::JoinSet::new();
    for share in [
        "",
        ", share: public",
        ", share: {by: [authorization]}",
        ", share: {by: ['cookie:session']}",
        ", share: {by: [x-tenant]}",
        ", share: {by: [authorization, 'cookie:session', x-tenant, x-api-key]}",
    ] {
        for hint in ["", "private", "Authorization"] {
            cases.spawn(async move {
                let legacy = Legacy::start();
                legacy.answer_with("/r/a", move |seen| {
                    let reply = Reply::json(format!(r#"{{"for":"{}"}}"#, user(seen)));
                    match hint {
                        "private" => reply.header("cache-control", "private"),
                        "" => reply,
                        names => reply.header("vary", names),
                    }
                });
                let app = start(&legacy, &format!("{share}, poll: {{interval: 1m}}"));
                let address = app.addresses()[0];
                let mut places = tokio::task::JoinSet::new();
                for place in PLACES {
                    places.spawn(no_leak(address, format!("{share} {hint}"), place));
                }
                places.join_all().await;
            });
        }
    }
    cases.join_all().await;
}

#[tokio::test]
async fn two_routes_of_one_path_shape_do_not_share() {
    let legacy = Legacy::start();
    legacy.answer_with("/one/a", |seen| Reply::json(format!("{:?}", seen.path())));
    legacy.answer_with("/two/a", |seen| Reply::json(format!("{:?}", seen.path())));
    let yaml = crate::contract::edge::support::yaml(&legacy, Extra::default()).replace(
        "routes: [{path: '/r/{name}', upstream: legacy}]",
        "routes: [{path: '/one/{x}', upstream: legacy}, {path: '/two/{x}', upstream: legacy, share: public}]",
    );
    let app = app::start(&yaml);
    let mut http = http(&app).await;
    for path in ["/one/a", "/two/a"] {
        assert_eq!(http.get(path, &[]).await.json(), path);
    }
}
