//! Contract §5, §6, §8: nothing that a body, an id, a name or a query holds becomes a line, an event, a message or
//! a field of its own.

use serde_json::Value;

use super::{Range, yaml};
use crate::support::app;
use crate::support::client::{Http, Sse, SseItem, Ws};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;

/// What would end a line, an event, a frame or a head if it could.
const WORDS: [&str; 12] = [
    "a\n\nid: evil\nevent: bye\ndata: evil\n\n",
    "a\r\rid: evil\revent: bye\rdata: evil\r\r",
    "a\r\n\r\nid: evil\r\nevent: bye\r\ndata: evil\r\n\r\n",
    "\n\nretry: 1\n\n",
    "\nevent: snapshot\ndata: evil",
    ": comment\n:\n",
    "data: data: data:",
    "x\u{feff}data: x",
    "a\u{2028}\u{2029}\u{85}b",
    "\0\0",
    "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\u{b}\u{c}\u{1c}\u{1e}",
];

/// As a reader of the format gets it back: all ends of lines are one.
fn read_back(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

#[tokio::test]
async fn a_body_is_one_event_and_one_message_whatever_it_holds() {
    let range = Range::open();
    let mut tried = 0;
    for (number, word) in WORDS.iter().enumerate() {
        let path = format!("/open/{number}");
        range.legacy.set(&path, Reply::text(*word));
        let mut sse = Sse::open(range.address(), &path, &[]).await;
        let event = sse.next_event().await;
        assert_eq!(event.data, read_back(word), "{word:?}");
        assert_eq!(event.event, "message", "{word:?}");
        assert_eq!(sse.last_event_id().len(), 22, "{word:?}");
        sse.expect_no_event(std::time::Duration::from_millis(20)).await;
        let mut ws = Ws::open(range.address(), &path, &[]).await;
        assert_eq!(ws.next_text().await, *word);
        let mut many = Sse::open(range.address(), &format!("/-/pollcast/events?resource={path}"), &[]).await;
        let event = many.next_event().await;
        assert_eq!((event.event.as_str(), event.data), (path.as_str(), read_back(word)), "{word:?}");
        tried += 3;
    }
    println!("injection, bodies: {tried}: each one event or message");
}

#[tokio::test]
async fn ids_of_items_never_end_a_line() {
    let legacy = Legacy::start();
    let app = app::start(&yaml(&legacy, "", "").replace("interval: 1h", "interval: 100ms").replace(
        "  - {path: '/open/{name}', upstream: legacy, share: public}",
        "  - {path: '/open/{name}', upstream: legacy, share: public, feed: {items: '', id: /id}}",
    ));
    let list = |words: &[&str]| {
        let items: Vec<Value> =
            words.iter().map(|word| serde_json::json!({ "id": word, "text": word })).collect();
        Reply::json(Value::from(items).to_string())
    };
    legacy.set("/open/feed", list(&["first"]));
    let mut sse = Sse::open(app.addresses()[0], "/open/feed", &[]).await;
    let mut ws = Ws::open(app.addresses()[0], "/open/feed", &[]).await;
    legacy.wait_count("/open/feed", 2).await;
    let words: Vec<&str> = std::iter::once("first").chain(WORDS).collect();
    legacy.set("/open/feed", list(&words));
    for word in WORDS {
        let event = sse.next_event().await;
        assert_eq!(event.event, "item", "{event:?}");
        let item: Value = serde_json::from_str(&event.data).expect("an item");
        assert_eq!((item["id"].as_str(), item["text"].as_str()), (Some(word), Some(word)));
        let plain = sse.last_event_id().bytes().all(|byte| byte.is_ascii_graphic());
        assert!(plain && !sse.last_event_id().is_empty(), "{word:?}: {:?}", sse.last_event_id());
        let message: Value = serde_json::from_str(&ws.next_text().await).expect("an item");
        assert_eq!(message["id"].as_str(), Some(word));
    }
}

#[tokio::test]
async fn what_a_client_says_of_itself_comes_back_in_no_line_of_its_own() {
    let range = Range::open();
    range.legacy.set("/open/a", Reply::json("1"));
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for word in WORDS {
        let word = escaped(word);
        for target in [
            format!("/open/a?last_event_id={word}"),
            format!("/open/a?lastEventId={word}&_delta={word}"),
            format!("/-/pollcast/events?resource=/open/a&last_event_id={word}"),
            // One that can be had and one that cannot, whose name is told.
            format!("/-/pollcast/events?resource=/open/a&resource={}{word}", escaped("/open/")),
            format!("/-/pollcast/events?resource=/open/a&resource={word}"),
        ] {
            let mut sse = Sse::open(range.address(), &target, &[]).await;
            loop {
                let item = sse.next_item().await;
                let text = format!("{item:?}");
                if let SseItem::Event { event, data, .. } = &item {
                    let known = ["message", "error", "sync", "/open/a", "reset", "snapshot"];
                    assert!(known.contains(&event.as_str()), "{target}: {text}");
                    if data == "1" {
                        break;
                    }
                }
                assert!(!text.contains("Retry(1)"), "{target}: {text}");
            }
        }
        // Own documents are JSON, and their fields fields.
        for (target, status) in
            [(format!("/-/pollcast/{word}"), 404), (format!("/-/pollcast/events?resource={word}"), 400)]
        {
            let answer = Http::connect(range.address()).await.get(&target, &[]).await;
            assert!(answer.status == status || answer.status == 404, "{target}: {answer:?}");
            assert_eq!(answer.json()["status"].as_u64(), Some(answer.status.into()), "{answer:?}");
        }
    }
    // An envelope names what was asked for as JSON.
    let mut ws =
        Ws::open(range.address(), "/-/pollcast/ws", &[("sec-websocket-protocol", "pollcast.v1")]).await;
    for word in WORDS {
        let asked = serde_json::json!({ "op": "subscribe", "resource": word });
        ws.send_text(&asked.to_string()).await;
        let answer: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
        assert_eq!(
            (answer["type"].as_str(), answer["resource"].as_str()),
            (Some("error"), Some(word)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_path_in_a_link_stays_inside_its_brackets() {
    let range = Range::open();
    for path in [
        "/open/a>;rel=\"next\",</evil",
        "/open/a%3E;%0d%0aX-Evil:1",
        "/open/a%0d%0aX-Evil:%201",
        "/open/a?b=>;rel=x",
        "/open/a?b=%0d%0aX-Evil:%201",
        "/open/a\"b",
        "/open/a'b,</evil>",
        "/open/a\\",
        "/open/{a}|^`",
    ] {
        let mut http = Http::connect(range.address()).await;
        http.send_raw(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
        let answer = http.read_response().await;
        assert_eq!(answer.header("x-evil"), None, "{path}: {answer:?}");
        let Some(link) = answer.header("link") else { continue };
        let inside = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).unwrap_or_default();
        assert_eq!(inside.1, "; rel=\"alternate\"; type=\"text/event-stream\"", "{path}: {link}");
        assert!(inside.0.starts_with("/open/") && !inside.0.contains(['<', '"', ' ']), "{path}: {link}");
    }
}

#[tokio::test]
async fn a_line_of_the_log_is_one_line_and_moves_no_cursor() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    legacy.set("/open/bad", Reply::new("text/\u{1b}[31mFORGED\nFORGED", "x"));
    let raw = "HTTP/1.1 200 \u{1b}[31m\r\nX\u{1b}[31m FORGED : y\r\nContent-Length: \u{1b}[2JFORGED\r\n\r\n";
    legacy.set("/open/raw", Reply::raw(raw));
    let text = yaml(&legacy, "", "")
        .replacen("'127.0.0.1:0'", "PUBLIC_ADDRESS", 1)
        .replacen("'127.0.0.1:0'", "ADMIN_ADDRESS", 1)
        .replace("log: {access: false}\n", "");
    let process = Process::start(&text).await;
    for request in [
        "GET /open/a\r\nFORGED HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /open/a%0aFORGED%0d%0aFORGED HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x\u{1b}[31mFORGED HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /open/x\u{1b}[31mFORGED HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: a\r\n FORGED\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \u{1b}[31mFORGED\r\n\r\n",
        "FOR'GED`|~ /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /open/bad HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /open/raw HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let mut http = Http::connect(process.address).await;
        http.send_raw(request.as_bytes()).await;
        let _ = crate::support::wire::within("an answer", http.wire.head()).await;
    }
    process.wait_stderr("path=\"/last\"").await;
    let log = process.stderr();
    for line in log.lines() {
        assert!(line.starts_with("20") && !line.contains('\u{1b}'), "{line:?}\nof\n{log}");
    }
}
