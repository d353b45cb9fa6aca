//! Contract §10, §12: hostile answers: a poll of one fails and nothing of it is shared, and through pollcast it
//! cannot become a second answer.

use std::time::Duration;

use super::{Range, yaml};
use crate::support::app;
use crate::support::client::{Http, Sse};
use crate::support::legacy::{Legacy, Reply};

const POISON: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n\"poison\"";

/// Heads and bodies that no two readers need to take for the same.
fn answers() -> Vec<String> {
    let json = "Content-Type: application/json";
    let mut answers: Vec<String> = [
        "Content-Length: 8\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 8",
        "Content-Length: 8\r\nContent-Length: 9",
        "Content-Length: 8\r\nContent-Length: 8",
        "Content-Length: 8, 8",
        "Content-Length: -8",
        "Content-Length: +8",
        "Content-Length: 0x8",
        "Content-Length: 8 8",
        "Content-Length:",
        "Content-Length: 18446744073709551624",
        "Content-Length: 8\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Content-Length: 8\r\n\tfolded: first",
        "Content-Length: 8\rX: a",
        "Content-Length: 8\r\nX: a\rSet-Cookie: s=poison",
        "Content-Length: 8\r\nX: a\0b",
        // A line that is no field is dropped, unless it may frame the body or hide something.
        "Content-Length 8",
        "Content-Length: 8\r\nTransfer Encoding: chunked",
        "Content-Length: 8\r\nX\u{7f}: a",
        "Content-Length: 8\r\nX\u{7f}",
    ]
    .iter()
    .map(|fields| format!("HTTP/1.1 200 OK\r\n{json}\r\n{fields}\r\n\r\n\"poison\""))
    .collect();
    for body in [
        "g\r\n\"poison\"\r\n0\r\n\r\n",
        "-8\r\n\"poison\"\r\n0\r\n\r\n",
        "8\r\n\"poison\"0\r\n\r\n",
        "8\r\n\"poison\"\r\n",
        "9\r\n\"poison\"\r\n0\r\n\r\n",
        "ffffffffffffffff8\r\n\"poison\"\r\n0\r\n\r\n",
        "fffffffffffffff8\r\n\"poison\"\r\n0\r\n\r\n",
        "8\n\"poison\"\r\n0\r\n\r\n",
        "8\r\n\"poison\"\r\n0\r\n",
        "+8\r\n\"poison\"\r\n0\r\n\r\n",
        "0x8\r\n\"poison\"\r\n0\r\n\r\n",
        " 8\r\n\"poison\"\r\n0\r\n\r\n",
        "8 8\r\n\"poison\"\r\n0\r\n\r\n",
        "8\0\r\n\"poison\"\r\n0\r\n\r\n",
        "8;\0\r\n\"poison\"\r\n0\r\n\r\n",
        "8;a\nb\r\n\"poison\"\r\n0\r\n\r\n",
        "8\r\r\n\"poison\"\r\n0\r\n\r\n",
        "8\r\n\"poison\"\n0\r\n\r\n",
        // Pingora takes what has no size for the last chunk.
        "8\r\n\"poison\"\r\n\r\n\r\n",
        "8\r\n\"poison\"\r\n;a\r\n\r\n",
        "\r\n\"poison\"\r\n0\r\n\r\n",
    ] {
        answers.push(format!("HTTP/1.1 200 OK\r\n{json}\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    }
    answers.extend([
        format!("HTTP/1.1 200 OK\r\n{json}\r\nContent-Length: 100\r\n\r\n\"poison\""),
        format!(
            "HTTP/1.0 200 OK\r\n{json}\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n\"poison\"\r\n0\r\n\r\n"
        ),
        format!("HTTP/9.9 200 OK\r\n{json}\r\nContent-Length: 8\r\n\r\n\"poison\""),
        format!("HTTP/1.1 2000 OK\r\n{json}\r\nContent-Length: 8\r\n\r\n\"poison\""),
        format!("HTTP/1.1 -200 OK\r\n{json}\r\nContent-Length: 8\r\n\r\n\"poison\""),
        format!("HTTP/1.1 999 OK\r\n{json}\r\nContent-Length: 8\r\n\r\n\"poison\""),
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{POISON}"),
        format!(
            "{}HTTP/1.1 200 OK\r\n{json}\r\nContent-Length: 8\r\n\r\n\"poison\"",
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000)
        ),
        format!(
            "HTTP/1.1 200 OK\r\n{json}\r\nX: {}\r\nContent-Length: 8\r\n\r\n\"poison\"",
            "x".repeat(300 << 10)
        ),
        format!(
            "HTTP/1.1 200 OK\r\n{json}\r\n{}Content-Length: 8\r\n\r\n\"poison\"",
            "X: y\r\n".repeat(5000)
        ),
        "\"poison\"".to_owned(),
        "HTTP/1.1 200 OK\r\n".to_owned(),
        String::new(),
        "\0\0\0\0".to_owned(),
    ]);
    answers
}

#[tokio::test]
async fn a_poll_of_a_hostile_answer_fails_and_nothing_of_it_is_shared() {
    let legacy = Legacy::start();
    let text = yaml(&legacy, "", "").replace("interval: 1h", "interval: 100ms");
    // Each answer is one of its own: together they would look like an upstream that is down.
    let app = app::start(&text.replace("']}}", "'], breaker: {failures: off}}}"));
    let mut answered = std::collections::BTreeMap::<u16, usize>::new();
    let mut tasks = tokio::task::JoinSet::new();
    // A head of this length is no framing: it passes through, as a body over `max_body` does.
    // A status that HTTP does not know is the API's own answer all the same: it is relayed whole, once.
    let short = |raw: &String| raw.len() < 200 << 10 && !raw.starts_with("HTTP/1.1 999");
    for (number, raw) in answers().into_iter().filter(short).enumerate() {
        let path = format!("/open/{number}");
        legacy.set(&path, Reply::raw(super::latin1(&raw)));
        let address = app.addresses()[0];
        tasks.spawn(async move {
            let answer = Http::connect(address).await.get(&path, &[]).await;
            let shown: String = raw.chars().take(120).collect();
            assert!(!answer.text().contains("poison"), "{shown:?}: {answer:?}");
            let mut sse = Sse::open(address, &path, &[]).await;
            let stale = tokio::time::timeout(Duration::from_secs(5), sse.next_event()).await;
            let stale = stale.unwrap_or_else(|_| panic!("{shown:?}: no event; {answer:?}"));
            (path, answer.status, stale, sse, shown)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (path, status, event, mut sse, shown) = done.expect("a case");
        *answered.entry(status).or_default() += 1;
        assert!(matches!(status, 502 | 504), "{shown:?}: {status}");
        assert_eq!(event.event, "stale", "{shown:?}: {event:?}");
        legacy.set(&path, Reply::json("\"good\""));
        loop {
            let event = sse.next_event().await;
            assert!(!event.data.contains("poison"), "{shown:?}: {event:?}");
            if event.data == "\"good\"" {
                break;
            }
        }
    }
    println!("hostile answers to polls: {}: {answered:?}", answers().len());
}

#[tokio::test]
async fn a_hostile_answer_that_passes_through_never_becomes_two() {
    let range = Range::open();
    let mut answered = std::collections::BTreeMap::<String, usize>::new();
    for raw in answers() {
        // What follows an answer is another one, for the next request.
        let raw = format!("{raw}{POISON}");
        range.legacy.set("/x", Reply::raw(super::latin1(&raw)));
        let shown: String = raw.chars().take(160).collect();
        let mut http = Http::connect(range.address()).await;
        http.send_raw(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = within_case(&mut http).await;
        let words = match &head {
            None => "no answer, and a close".to_owned(),
            Some(head) => {
                let text = String::from_utf8_lossy(head).to_ascii_lowercase();
                let framings =
                    text.matches("content-length:").count() + text.matches("transfer-encoding:").count();
                let broken = text.replace("\r\n", "").contains(['\r', '\n', '\0']);
                let is_failed = text.starts_with("http/1.1 502");
                assert!(is_failed || (framings <= 1 && !broken), "{shown:?}: {text:?}");
                assert!(!text.contains("set-cookie: s=poison"), "{shown:?}: {text:?}");
                if is_failed { "502".to_owned() } else { "one answer with one framing".to_owned() }
            }
        };
        let must_fail = ["identity", "xchunked", "HTTP/1.0", "HTTP/1.1 101", "Length: 8, 8", "Length: -8"];
        assert!(words == "502" || !must_fail.iter().any(|part| shown.contains(part)), "{shown:?}: {words}");
        *answered.entry(words).or_default() += 1;
        drop(http);
        // Neither the next client nor the next request of the upstream's connections gets the poison.
        for _ in 0..2 {
            let after = Http::connect(range.address()).await.get("/after", &[]).await;
            assert_eq!(after.text(), "after", "{shown:?}");
        }
    }
    println!("hostile answers that pass through: {}: {answered:?}", answers().len());
}

async fn within_case(http: &mut Http) -> Option<bytes::Bytes> {
    loop {
        let head =
            crate::support::wire::within("an answer or the end", http.wire.head()).await.ok().flatten()?;
        if !head.starts_with(b"HTTP/1.1 103") {
            return Some(head);
        }
    }
}
