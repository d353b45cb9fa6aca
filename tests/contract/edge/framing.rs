//! Contract §12: the shapes of request smuggling, unread bodies and broken answers.

use super::support::{Extra, http, start, start_with};
use crate::support::client::{Http, Sse};
use crate::support::legacy::{Legacy, Reply};

#[tokio::test]
async fn every_shape_of_smuggling_is_refused_and_the_connection_closed() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("through"));
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: \r\n",
        "Content-Length : 4\r\n",
        "Content-Length\t: 4\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        "X: a\nTransfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X\r\n",
        "X: \0\r\n",
        "Host: b\r\n",
    ] {
        for target in ["/x", "/r/a", "/r//a"] {
            for method in ["POST", "GET"] {
                let mut http = http(&app).await;
                let text =
                    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n{smuggled}");
                http.send_raw(text.as_bytes()).await;
                let answer = http.read_response().await;
                assert_eq!(answer.status, 400, "{fields:?} {target}: {answer:?}");
                http.expect_closed().await;
            }
        }
    }
    assert_eq!(legacy.all_seen().len(), 0);
}

#[tokio::test]
async fn a_bare_lf_anywhere_in_the_head_is_refused() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    for head in [
        "GET /x HTTP/1.1\nHost: a\n\n",
        "GET /x HTTP/1.1\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\n\n",
    ] {
        let mut http = http(&app).await;
        http.send_raw(head.as_bytes()).await;
        assert_eq!(http.read_response().await.status, 400, "{head:?}");
        http.expect_closed().await;
    }
    assert_eq!(legacy.all_seen().len(), 0);
}

#[tokio::test]
async fn what_is_no_request_gets_400_and_a_close() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    for text in [
        "nonsense\r\n\r\n",
        "GET /x\r\n\r\n",
        "GET /x HTTP/3.0\r\nHost: a\r\n\r\n",
        "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\r\n\r\n",
    ] {
        let mut http = http(&app).await;
        http.send_raw(text.as_bytes()).await;
        assert_eq!(http.read_response().await.status, 400, "{text:?}");
        http.expect_closed().await;
    }
    assert_eq!(legacy.all_seen().len(), 0);
}

#[tokio::test]
async fn a_head_over_the_limit_is_431() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("ok"));
    let extra = Extra { top: "limits: {header_bytes: 4KiB}", ..Extra::default() };
    let app = start_with(&legacy, extra);
    let (fits, too_long) = ("y".repeat(3 << 10), "y".repeat(5 << 10));
    http(&app).await.get("/x", &[("x-long", &fits)]).await.expect(200);
    for target in ["/x", "/r/a"] {
        let mut http = http(&app).await;
        http.get(target, &[("x-long", &too_long)]).await.expect(431);
        http.expect_closed().await;
    }
    assert_eq!(legacy.all_seen().len(), 1);
}

/// A body that looks like a request.
const POISON: &str = "GET /poison HTTP/1.1\r\nHost: a\r\n\r\n";

async fn is_in_step(mut http: Http, legacy: &Legacy, what: &str) {
    // Either the connection ended with the answer, or the next request is the next one.
    let sent = http.wire.write(b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = match sent {
        Ok(()) => crate::support::wire::within("an answer or the end", http.wire.head()).await,
        Err(error) => Err(error),
    };
    if let Ok(Some(head)) = head {
        let line = String::from_utf8_lossy(&head);
        assert!(line.starts_with("HTTP/1.1 200"), "{what}: {line}");
    }
    let poisoned = legacy.all_seen().iter().any(|seen| seen.path() == "/poison");
    assert!(!poisoned, "{what}: a body became a request");
}

#[tokio::test]
async fn unread_bodies_never_become_the_next_request() {
    let legacy = Legacy::start();
    legacy.set("/after", Reply::text("after"));
    legacy.set("/r/a", Reply::json("1"));
    let refusing = start_with(
        &legacy,
        Extra {
            route: ", websocket: {origins: ['https://good.example']}, cors: {origins: ['https://good.example']}",
            ..Extra::default()
        },
    );
    let chunked = format!("{:x}\r\n{POISON}\r\n0\r\n\r\n", POISON.len());
    for (what, method, target, fields) in [
        ("a covered GET with a body", "GET", "/r/a", ""),
        ("a stream with a body", "GET", "/r/a", "Cookie: u=1\r\nAccept: text/event-stream\r\n"),
        ("400", "POST", "/r//a", ""),
        ("403", "GET", "/r/a?_push=sse", "Cookie: user=1\r\n"),
        ("404", "POST", "/-/pollcast/nothing", ""),
        (
            "a preflight",
            "OPTIONS",
            "/r/a",
            "Origin: https://good.example\r\nAccess-Control-Request-Method: GET\r\n",
        ),
        (
            "a refused websocket",
            "GET",
            "/r/a",
            "Upgrade: websocket\r\nConnection: upgrade\r\nOrigin: https://evil.example\r\n",
        ),
    ] {
        for (framing, body) in [
            (format!("Content-Length: {}\r\n", POISON.len()), POISON),
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunked.as_str()),
        ] {
            let mut http = http(&refusing).await;
            let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}{framing}\r\n");
            http.send_raw(head.as_bytes()).await;
            http.send_raw(body.as_bytes()).await;
            http.read_response().await;
            is_in_step(http, &legacy, what).await;
        }
    }
}

#[tokio::test]
async fn a_body_over_the_drain_limit_ends_the_connection() {
    let legacy = Legacy::start();
    legacy.set("/after", Reply::text("after"));
    let app = start_with(&legacy, Extra { top: "limits: {drain_body: 1KiB}", ..Extra::default() });
    // Small enough to be drained: the connection lives on.
    let mut client = http(&app).await;
    client.request("POST", "/-/pollcast/no", &[], &[b'x'; 512]).await.expect(404);
    client.get("/after", &[]).await.expect(200);
    // Announced, but never sent: the answer comes at once and says that this was the last.
    for fields in ["Content-Length: 100000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = http(&app).await;
        let head = format!("POST /-/pollcast/no HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        client.send_raw(head.as_bytes()).await;
        let answer = client.read_response().await.expect(404);
        assert!(answer.names("connection", "close"), "{fields:?}: {answer:?}");
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn a_takeover_with_a_body_that_never_comes_is_answered() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    http.send_raw(b"GET /r/a HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nContent-Length: 0\r\n\r\n")
        .await;
    let sse = Sse::answered(http.into_wire()).await;
    assert_eq!(sse.expect("a stream").next_event().await.data, "1");
}

/// An answer with two framings is never passed on with both.
#[tokio::test]
async fn an_upstream_head_with_two_framings() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for fields in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: x",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        let raw = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}\r\n\r\n4\r\n1234\r\n0\r\n\r\n{poison}"
        );
        // Polls read the raw head.
        legacy.set("/r/a", Reply::raw(raw.clone()));
        let answer = http(&app).await.get("/r/a", &[]).await;
        assert_eq!(answer.status, 502, "poll {fields:?}: {answer:?}");
        // Pass-through: what arrives has one framing, and nothing of the rest.
        legacy.set("/x", Reply::raw(raw));
        let mut http = http(&app).await;
        let answer = http.get("/x", &[]).await;
        let framings = answer.headers("content-length").len() + answer.headers("transfer-encoding").len();
        assert!(answer.status == 502 || framings == 1, "{fields:?}: {answer:?}");
        assert!(!answer.text().contains("poison"), "{fields:?}: {answer:?}");
        legacy.set("/after", Reply::text("after"));
        is_in_step(http, &legacy, fields).await;
    }
}
