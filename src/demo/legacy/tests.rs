//! What the legacy API of the demo promises, asked over a real socket.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

async fn quick_legacy() -> LegacyHandle {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    serve_legacy(anywhere, Pace { latency_ms: 0..=0, seed: 7 }).await.expect("a free port")
}

async fn ask(legacy: &LegacyHandle, line: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(legacy.address()).await.expect("it listens");
    let request = format!(
        "{line} HTTP/1.1\r\nHost: legacy\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.get(9..12).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn a_current_validator_gets_304_and_another_the_state() {
    let legacy = quick_legacy().await;
    let first = ask(&legacy, "GET /document", "", "").await;
    let tag = first.header("etag").expect("an ETag");
    assert!(tag.starts_with('"'), "{tag} is not strong");
    for current in [tag.to_owned(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let again = ask(&legacy, "GET /document", &format!("If-None-Match: {current}\r\n"), "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "for {current}");
        assert_eq!(again.header("etag"), Some(tag));
    }
    let changed = ask(&legacy, "GET /document", "If-None-Match: \"other\"\r\n", "").await;
    assert_eq!((changed.status, changed.body), (200, first.body));
}

#[tokio::test]
async fn headers_outweigh_the_data() {
    let legacy = quick_legacy().await;
    let answer = ask(&legacy, "GET /auction/1", "", "").await;
    assert!((1_000..2_500).contains(&answer.head.len()), "{} bytes of headers", answer.head.len());
    assert!((250..400).contains(&answer.body.len()), "{} bytes of data", answer.body.len());
    assert!(answer.header("set-cookie").is_none());
}

#[tokio::test]
async fn polls_are_counted_by_who_sent_them_to_the_byte() {
    let legacy = quick_legacy().await;
    ask(&legacy, "GET /auction/1", "User-Agent: pollcast/0.1.0\r\n", "").await;
    ask(&legacy, "GET /auction/2", "User-Agent: pollcast/0.1.0\r\n", "").await;
    let direct = ask(&legacy, "GET /direct/auction/1", "", "").await;
    ask(&legacy, "POST /chat/messages", "", "hello").await;
    ask(&legacy, "GET /", "", "").await;
    let stats = ask(&legacy, "GET /stats", "", "").await.json();
    assert_eq!(stats["pollcast"]["requests"], 2);
    assert_eq!(stats["direct"]["short_poll"]["requests"], 1);
    assert_eq!(stats["direct"]["write"]["requests"], 1);
    assert_eq!(stats["page"]["requests"], 1);
    let request =
        "GET /direct/auction/1 HTTP/1.1\r\nHost: legacy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    // The library's own `connection: close` is the test's doing and not counted.
    let answered = direct.head.len() + 4 - "connection: close\r\n".len();
    assert_eq!(stats["direct"]["short_poll"]["header_bytes"], request.len() + answered);
    assert_eq!(stats["direct"]["short_poll"]["body_bytes"], direct.body.len());
}

#[tokio::test]
async fn push_forms_get_an_ordinary_answer_because_it_only_polls() {
    let legacy = quick_legacy().await;
    for push in ["Accept: text/event-stream\r\n", "Prefer: wait=30\r\n"] {
        let answer = ask(&legacy, "GET /auction/1", push, "").await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(legacy.stats()["direct"]["sse"]["requests"], 1);
    assert_eq!(legacy.stats()["direct"]["long_poll"]["requests"], 1);
}

#[tokio::test]
async fn a_posted_message_and_a_put_text_are_in_the_next_poll() {
    let legacy = quick_legacy().await;
    let posted = ask(&legacy, "POST /chat/messages", "", r#"{"from":"Ada","text":"going once"}"#).await;
    assert_eq!(posted.status, 201);
    let chat = ask(&legacy, "GET /chat/messages", "", "").await.json();
    let last = chat["messages"].as_array().and_then(|all| all.last()).cloned().expect("messages");
    assert_eq!((&last["from"], &last["text"]), (&json!("Ada"), &json!("going once")));

    assert_eq!(ask(&legacy, "PUT /document", "", "one line").await.status, 200);
    assert_eq!(ask(&legacy, "GET /document", "", "").await.json()["text"], "one line");
}

#[tokio::test]
async fn another_sites_page_cannot_write() {
    let legacy = quick_legacy().await;
    let foreign = "Origin: https://elsewhere.example\r\n";
    assert_eq!(ask(&legacy, "PUT /document", foreign, "x").await.status, 403);
    assert_eq!(ask(&legacy, "POST /crowd?clients=9", foreign, "").await.status, 403);
    assert_eq!(ask(&legacy, "PUT /document", "Origin: http://legacy\r\n", "x").await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let legacy = quick_legacy().await;
    let answer = ask(&legacy, "PUT /document", "", &"x".repeat(BODY_BYTES_MAX + 1)).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn the_crowd_waits_for_a_proxy_and_wants_a_number() {
    let legacy = quick_legacy().await;
    assert_eq!(ask(&legacy, "POST /crowd?clients=3", "", "").await.status, 503);
    assert_eq!(ask(&legacy, "POST /crowd?clients=many", "", "").await.status, 400);
    legacy.point_crowd_at(legacy.address());
    let crowd = ask(&legacy, "POST /crowd?clients=1000000", "", "").await.json();
    assert!(crowd["asked"].as_u64().expect("a number") <= super::super::CROWD_CLIENTS_MAX as u64);
    assert_eq!(ask(&legacy, "POST /crowd?clients=0", "", "").await.json()["asked"], 0);
}

#[tokio::test]
async fn unknown_lots_paths_and_methods_are_named_as_such() {
    let legacy = quick_legacy().await;
    for (line, status) in [
        ("GET /auction/0", 404),
        ("GET /auction/9", 404),
        ("GET /auction/x", 404),
        ("GET /nothing", 404),
        ("DELETE /document", 405),
        ("HEAD /auction/1", 200),
    ] {
        assert_eq!(ask(&legacy, line, "", "").await.status, status, "{line}");
    }
}

#[test]
fn the_same_seed_is_equally_slow() {
    let legacy = || Legacy::open(Pace::default(), 0);
    let (one, other) = (legacy(), legacy());
    for _ in 0..100 {
        let latency = one.latency();
        assert_eq!(latency, other.latency());
        assert!((40..=120).contains(&latency.as_millis()));
    }
}
