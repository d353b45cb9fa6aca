//! Contract §12: interim answers, several requests on one connection, trailers.

use std::time::Duration;

use crate::contract::edge::support::{http, start};
use crate::support::client::{Http, Sse, long_poll};
use crate::support::legacy::{Expectation, Legacy, Reply};
use crate::support::wire::{GUARD, within};

/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(200);

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
