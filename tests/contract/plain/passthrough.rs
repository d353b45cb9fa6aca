//! Contract §1, §12: what no route covers goes through as it is, both ways.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::contract::edge::support::{Extra, http, start, start_with};
use crate::support::client::{Http, Message, Sse, Ws, long_poll};
use crate::support::legacy::{Expectation, Legacy, Reply};
use crate::support::wire::{GUARD, find, within};

/// More than every buffer on the way together: kernel buffers of loopback connections grow to 6 MB a side.
const MORE_THAN_ALL_BUFFERS: usize = 64 << 20;

/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(200);

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
    // Nobody reads: the writer comes to a halt long before the end, so nothing holds the body.
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
async fn expect_100_continue_is_the_upstreams_to_answer() {
    let legacy = Legacy::start();
    legacy.set("/up", Reply::text("ok"));
    let app = start(&legacy, "");
    let mut client = http(&app).await;
    client
        .send_raw(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let interim = within("100 Continue", client.wire.head()).await.expect("a head").expect("a head");
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{interim:?}");
    client.send_raw(b"body").await;
    assert_eq!(client.read_response().await.expect(200).text(), "ok");
    assert_eq!(legacy.seen("/up")[0].body, b"body"[..]);

    legacy.on_expect("/up", Expectation::Refuse(Reply::text("too large").status(413)));
    let mut client = http(&app).await;
    client
        .send_raw(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let refused = client.read_response().await.expect(413);
    assert_eq!(refused.text(), "too large");
}

#[tokio::test]
async fn interim_answers_go_through() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("ok").interim(103, &[("link", "</a.css>; rel=preload")]));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    http.get("/x", &[]).await.expect(200);
    assert_eq!(http.interim.len(), 1, "{:?}", http.interim);
    assert_eq!(
        (http.interim[0].status, http.interim[0].header("link")),
        (103, Some("</a.css>; rel=preload"))
    );
}

#[tokio::test]
async fn requests_in_a_row_on_one_connection_are_each_answered() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("through"));
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    for _ in 0..3 {
        assert_eq!(http.get("/x", &[]).await.text(), "through");
        assert_eq!(http.get("/r/a", &[]).await.text(), "1");
        assert_eq!(http.request("POST", "/x", &[], b"body").await.text(), "through");
    }
    assert_eq!(legacy.seen("/x").len(), 6);
}

#[tokio::test]
async fn pipelined_requests_are_each_answered_in_order() {
    let legacy = Legacy::start();
    legacy.set("/one", Reply::text("one").delay(Duration::from_millis(50)));
    legacy.set("/two", Reply::text("two"));
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    http.send_raw(
        b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n\
          POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\
          GET /r/a HTTP/1.1\r\nHost: a\r\n\r\n\
          GET /two HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    for text in ["one", "two", "1", "two"] {
        assert_eq!(http.read_response().await.expect(200).text(), text);
    }
    assert_eq!(legacy.seen("/two")[0].body, b"body"[..]);
}

#[tokio::test]
async fn slow_uploads_never_delay_a_poll() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let (reply, mut takings) = Reply::take();
    legacy.set("/up", reply);
    let app = start(&legacy, "");
    let mut uploads = Vec::new();
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut upload = http(&app).await;
        upload.send_raw(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nslow").await;
        held.push(takings.next().await);
        uploads.push(upload);
    }
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    legacy.set("/r/a", Reply::json("2"));
    assert_eq!(sse.next_event().await.data, "2");
    legacy.wait_count("/r/a", legacy.count("/r/a") + 5).await;
}

#[tokio::test]
async fn trailers_do_not_break_a_body() {
    let legacy = Legacy::start();
    legacy.set(
        "/x",
        // It closes behind it, and says so: a request that went out meanwhile would not be sent again.
        Reply::raw(
            &b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n\
               2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"[..],
        ),
    );
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    assert_eq!(http.get("/x", &[]).await.expect(200).text(), "ok");
    http.send("POST", "/x", &[("transfer-encoding", "chunked")], b"2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n").await;
    assert_eq!(http.read_response().await.expect(200).text(), "ok");
    assert_eq!(legacy.seen("/x")[1].body, b"hi"[..]);
}

#[tokio::test]
async fn an_http_1_0_client_gets_an_answer_that_it_can_read() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("hello").chunked());
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    for (path, body) in [("/x", "hello"), ("/r/a", "1")] {
        let mut http = http(&app).await;
        http.send_raw(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes()).await;
        let answer = http.read_response().await.expect(200);
        assert_eq!(answer.header("transfer-encoding"), None, "{answer:?}");
        assert_eq!(answer.text(), body);
        http.expect_closed().await;
    }
}

#[tokio::test]
async fn a_dead_upstream_is_a_502_that_names_it() {
    let legacy = Legacy::start();
    legacy.stop().await;
    let app = start(&legacy, "");
    let answer = http(&app).await.get("/x", &[]).await.expect(502);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["status"], 502);
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("legacy")), "{problem}");
}

#[tokio::test]
async fn garbage_of_an_upstream_is_a_502() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    for reply in [Reply::garbage(), Reply::reset(), Reply::close()] {
        legacy.set("/x", reply);
        let answer = http(&app).await.request("POST", "/x", &[], b"once").await.expect(502);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(legacy.count("/x"), 3, "a POST must not be sent twice");
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

#[tokio::test]
async fn a_route_without_websocket_lets_the_upstreams_through() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::websocket_echo());
    let app = start(&legacy, ", transports: [sse, poll]");
    let mut ws = Ws::open(app.addresses()[0], "/r/a", &[]).await;
    ws.send_text("x").await;
    assert_eq!(ws.next_message().await, Message::Text("x".into()));
}

#[tokio::test]
async fn a_silent_connection_is_left_alone() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("ok"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    http.expect_silence(SHORT).await;
    http.get("/x", &[]).await.expect(200);
    http.expect_silence(SHORT).await;
    assert_eq!(http.get("/x", &[]).await.expect(200).text(), "ok");
    let _: (Http, Duration) = (http, GUARD);
}

#[tokio::test]
async fn a_connection_that_was_held_serves_on_like_any_other() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    legacy.set("/x", Reply::text("through"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let etag = http.get("/r/a", &[]).await.etag().to_owned();
    for _ in 0..2 {
        let held = long_poll(&mut http, "/r/a", Some(&etag), Duration::from_secs(1)).await;
        assert_eq!(held.status, 304);
        let answer = http.request("POST", "/x", &[], b"body").await.expect(200);
        assert_eq!(answer.text(), "through");
        let seen = legacy.seen("/x").pop().expect("it came");
        assert_eq!((seen.header("x-forwarded-for"), &seen.body[..]), (Some("127.0.0.1"), &b"body"[..]));
    }
    // The next request and the one behind it, sent while the first is held.
    let held = format!(
        "GET /r/a HTTP/1.1\r\nHost: a\r\nPrefer: wait=1\r\nIf-None-Match: {etag}\r\n\r\n\
         POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nmore\
         GET /r/a HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    http.send_raw(held.as_bytes()).await;
    http.read_response().await.expect(304);
    assert_eq!(http.read_response().await.expect(200).text(), "through");
    assert_eq!(http.read_response().await.expect(200).text(), "1");
    assert_eq!(legacy.seen("/x").pop().expect("it came").body, b"more"[..]);
}

#[tokio::test]
async fn a_write_is_never_sent_twice_and_a_read_survives_a_dead_connection() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    for method in ["POST", "PATCH"] {
        legacy.set("/warm", Reply::text("warm"));
        legacy.set("/x", Reply::close());
        legacy.forget();
        // The next request goes out on a connection that is used again.
        http.get("/warm", &[]).await.expect(200);
        let mut http = self::http(&app).await;
        http.request(method, "/x", &[], b"once").await.expect(502);
        assert_eq!(legacy.count("/x"), 1, "{method}");
    }
    // As if the upstream's keep-alive had run out at that moment.
    for method in ["GET", "PUT", "DELETE"] {
        http = self::http(&app).await;
        http.get("/warm", &[]).await.expect(200);
        legacy.once("/y", Reply::close());
        legacy.set("/y", Reply::text("again"));
        assert_eq!(http.request(method, "/y", &[], b"").await.expect(200).text(), "again", "{method}");
    }
}

#[tokio::test]
async fn a_failure_shows_no_address_of_the_inside() {
    let legacy = Legacy::start();
    legacy.stop().await;
    let app = start(&legacy, "");
    let port = legacy.address().port().to_string();
    let mut http = http(&app).await;
    for path in ["/x", "/r/a"] {
        let answer = http.get(path, &[]).await.expect(502);
        assert!(!answer.text().contains(&port), "{path}: {}", answer.text());
        http = self::http(&app).await;
    }
}
