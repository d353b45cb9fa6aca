//! Contract §1, §12: what no route covers goes through as it is, both ways.

mod exchanges;
mod failures;
mod first_byte;
mod upgrades;

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::contract::edge::support::{Extra, http, start};
use crate::support::client::Sse;
use crate::support::legacy::{Legacy, Reply};
use crate::support::wire::{find, within};

/// More than every buffer on the way together: kernel buffers of loopback connections grow to 6 MB a side.
const MORE_THAN_ALL_BUFFERS: usize = 64 << 20;

#[tokio::test]
async fn methods_bodies_and_answers_go_through_unchanged() {
    let legacy = Legacy::start();
    legacy.set(
        "/x",
        Reply::text("done")
            .status(207)
            .header("X-Own", "a, b")
            .header("x-own", "c")
            .header("Set-Cookie", "a=1; Path=/")
            .header("Set-Cookie", "b=2")
            .etag("\"theirs\""),
    );
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "GET"] {
        let body = if method == "GET" { "" } else { "some body" };
        let answer = http
            .request(method, "/x?q=1&q=2", &[("x-mine", "1"), ("cookie", "s=1")], body.as_bytes())
            .await
            .expect(207);
        assert_eq!(answer.text(), "done", "{method}");
        assert_eq!(answer.headers("x-own"), ["a, b", "c"]);
        assert_eq!(answer.headers("set-cookie"), ["a=1; Path=/", "b=2"]);
        assert_eq!(answer.etag(), "\"theirs\"");
        let seen = legacy.seen("/x").pop().expect("it was asked");
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, "/x?q=1&q=2"));
        assert_eq!(seen.body, body.as_bytes(), "{method}");
        assert_eq!((seen.header("x-mine"), seen.header("cookie")), (Some("1"), Some("s=1")));
    }
}

#[tokio::test]
async fn a_head_request_keeps_the_connection_in_step() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("hello"));
    legacy.set("/none", Reply::empty(204));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let head = http.request("HEAD", "/x", &[], b"").await;
    assert_eq!((head.header("content-length"), head.body.len()), (Some("5"), 0));
    assert_eq!(http.get("/none", &[]).await.status, 204);
    assert_eq!(http.get("/x", &[]).await.text(), "hello");
    assert_eq!(legacy.seen("/x")[0].method, "HEAD");
}

#[tokio::test]
async fn every_framing_of_bodies_arrives_whole_both_ways() {
    let legacy = Legacy::start();
    legacy.set("/length", Reply::text("hello"));
    legacy.set("/chunked", Reply::text("hello").chunked().drip(2, Duration::from_millis(1)));
    legacy.set("/close", Reply::text("hello").until_close());
    let app = start(&legacy, "");
    for path in ["/length", "/chunked", "/close"] {
        // A request in chunks is its connection's last.
        let mut http = http(&app).await;
        http.send("POST", path, &[("transfer-encoding", "chunked")], b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            .await;
        assert_eq!(http.read_response().await.expect(200).text(), "hello", "{path}");
        assert_eq!(legacy.seen(path)[0].body, b"abcde"[..], "{path}");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_never_made_to_look_whole() {
    let legacy = Legacy::start();
    legacy.set("/length", Reply::text("hello").cut_after(2));
    legacy.set("/chunked", Reply::text("hello").chunked().cut_after(2));
    let app = start(&legacy, "");
    for path in ["/length", "/chunked"] {
        let mut http = http(&app).await;
        http.send("GET", path, &[], b"").await;
        let head = http.read_head().await;
        assert!(http.read_body(&head).await.is_err(), "{path}");
    }
}

#[tokio::test]
async fn errors_go_through_as_they_are() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    for status in [400, 401, 404, 409, 429, 500, 502, 503] {
        let body = format!("<p>{status}</p>");
        let reply =
            Reply::new("text/html", body.clone()).status(status).header("WWW-Authenticate", "Basic x");
        legacy.set("/x", reply);
        let answer = http.get("/x", &[]).await;
        assert_eq!((answer.status, answer.text()), (status, body));
        assert_eq!(answer.header("www-authenticate"), Some("Basic x"));
    }
}

#[tokio::test]
async fn an_upload_streams_its_first_bytes_arrive_before_the_last_are_sent() {
    let legacy = Legacy::start();
    let (reply, mut takings) = Reply::take();
    legacy.set("/up", reply);
    let app = start(&legacy, "");
    let size = 5 << 20;
    let mut http = http(&app).await;
    let head = format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    http.send_raw(head.as_bytes()).await;
    http.send_raw(b"first").await;
    let mut taken = takings.next().await;
    let first = within("the first bytes", taken.wire.exactly(5)).await.expect("bytes");
    assert_eq!(&first[..], b"first");
    let rest: Vec<u8> = (0..size - 5).map(|i| i as u8).collect();
    let (sent, arrived) = tokio::join!(http.send_raw(&rest), taken.wire.exactly(rest.len()));
    let () = sent;
    assert!(arrived.expect("the rest") == rest, "the upload was changed on the way");
    taken.wire.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").await.expect("an answer");
    assert_eq!(http.read_response().await.expect(201).text(), "ok");
}

#[tokio::test]
async fn a_download_streams_and_waits_for_its_reader() {
    let legacy = Legacy::start();
    let (reply, mut takings) = Reply::take();
    legacy.set("/down", reply);
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    http.send("GET", "/down", &[], b"").await;
    let mut taken = takings.next().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MORE_THAN_ALL_BUFFERS}\r\n\r\nfirst");
    taken.wire.write(head.as_bytes()).await.expect("a head");
    let answer = http.read_head().await;
    assert_eq!(answer.header("content-length"), Some(MORE_THAN_ALL_BUFFERS.to_string().as_str()));
    let first = within("the first bytes", http.wire.exactly(5)).await.expect("bytes");
    assert_eq!(&first[..], b"first");
    // The client does not read: the writer comes to a halt long before the end, so nothing holds the body.
    let piece = vec![7; 64 << 10];
    let mut written = 5;
    while written + piece.len() < MORE_THAN_ALL_BUFFERS {
        match tokio::time::timeout(Duration::from_secs(1), taken.wire.write_all(&piece)).await {
            Ok(result) => result.expect("room"),
            Err(_) => break,
        }
        written += piece.len();
    }
    assert!(written < MORE_THAN_ALL_BUFFERS / 2, "{written} bytes are held somewhere");
}

#[tokio::test]
async fn an_event_stream_that_no_route_covers_streams_each_event_at_once() {
    let legacy = Legacy::start();
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.set("/events", reply);
    let app = start(&legacy, "");
    let mut sse = Sse::open(app.addresses()[0], "/events", &[]).await;
    for n in 0..3 {
        feed.send(format!("id: {n}\ndata: {n}\n\n")).await;
        assert_eq!(sse.next_event().await.data, n.to_string());
    }
    feed.end();
    sse.expect_end().await;
}

#[tokio::test]
async fn the_upstream_sees_that_a_client_left() {
    let legacy = Legacy::start();
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.set("/events", reply);
    let app = start(&legacy, "");
    let sse = Sse::open(app.addresses()[0], "/events", &[]).await;
    drop(sse);
    feed.left().await;
}

#[tokio::test]
async fn without_passthrough_there_is_a_404() {
    let legacy = Legacy::start();
    let yaml =
        crate::contract::edge::support::yaml(&legacy, Extra::default()).replace("passthrough: legacy\n", "");
    let app = crate::support::app::start(&yaml);
    let answer = http(&app).await.get("/x", &[]).await.expect(404);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(legacy.all_seen().len(), 0);
}

#[tokio::test]
async fn what_cannot_be_covered_passes_through_and_streams() {
    let legacy = Legacy::start();
    let big = "x".repeat(3 << 20);
    legacy.set("/r/big", Reply::text(big.clone()));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    assert!(http.get("/r/big", &[]).await.expect(200).text() == big);
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.once("/r/events", Reply::new("text/event-stream", ": first\n\n"));
    legacy.set("/r/events", reply);
    http.send("GET", "/r/events", &[("accept", "*/*")], b"").await;
    let head = http.read_head().await;
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    feed.send("data: 1\n\n").await;
    let seen = within("an event", async {
        while find(&http.wire.buffer, b"data: 1").is_none() {
            http.wire.fill().await.expect("bytes");
        }
    });
    seen.await;
}
