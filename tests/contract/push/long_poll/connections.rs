//! Contract §4: the connection of a held poll lives on.

use std::time::Duration;

use super::{A, B, expect_change, hold, stand, tag};
use crate::contract::FAST;
use crate::support::client::Http;
use crate::support::legacy::Reply;

#[tokio::test]
async fn the_connection_lives_on_for_every_kind_of_request() {
    let stand = stand(FAST);
    stand.legacy.set("/elsewhere", Reply::text("through"));
    let mut http = stand.http().await;
    let mut version = tag(&mut http).await;
    for body in [B, A, B, A] {
        hold(&stand, &mut http, &version).await;
        stand.legacy.set("/prices/A", Reply::json(body));
        version = expect_change(http.read_response().await, body, &version);
        assert_eq!(http.get("/elsewhere", &[]).await.expect(200).text(), "through");
        let posted = http.request("POST", "/elsewhere", &[], b"body").await.expect(200);
        assert_eq!(posted.text(), "through");
        http.get("/prices/A", &[("if-none-match", &version)]).await.expect(304);
    }
    // It did not grow or shrink on the way.
    stand.clients("long_poll", 0).await;
    let bodies = stand.legacy.seen("/elsewhere");
    assert!(bodies.iter().filter(|s| s.method == "POST").all(|s| &s.body[..] == b"body"));
}

#[tokio::test]
async fn a_request_sent_while_one_is_held_is_answered_after_it() {
    let stand = stand(FAST);
    stand.legacy.set("/elsewhere", Reply::text("through"));
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    http.send("POST", "/elsewhere", &[], b"later").await;
    http.send("GET", "/prices/A", &[], b"").await;
    http.expect_silence(Duration::from_millis(150)).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    expect_change(http.read_response().await, B, &before);
    assert_eq!(http.read_response().await.expect(200).text(), "through");
    assert_eq!(http.read_response().await.expect(200).text(), B);
    assert_eq!(&stand.legacy.seen("/elsewhere")[0].body[..], b"later");
}

#[tokio::test]
async fn requests_pipelined_in_one_piece_are_answered_in_order() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    let request = format!(
        "GET /prices/A HTTP/1.1\r\nHost: a\r\nPrefer: wait=1\r\nIf-None-Match: {before}\r\n\r\n\
         GET /prices/A HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    let mut other = Http::connect(stand.address()).await;
    let host = [("host", "a")];
    assert_eq!(other.get("/prices/A", &host).await.expect(200).etag(), before);
    other.send_raw(request.as_bytes()).await;
    let first = other.read_head().await;
    assert_eq!(first.status, 304);
    assert_eq!(other.read_response().await.expect(200).text(), A);
}

#[tokio::test]
async fn a_pipelined_request_that_is_too_long_is_never_served_in_part() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    hold(&stand, &mut http, &before).await;
    let body = vec![b'x'; 48 * 1024];
    http.send("POST", "/elsewhere", &[], &body).await;
    http.expect_closed().await;
    assert_eq!(stand.legacy.count("/elsewhere"), 0);
}

#[tokio::test]
async fn http10_gets_a_length_and_a_close() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let host = [("host", "a")];
    let before = http.get("/prices/A", &host).await.expect(200).etag().to_owned();
    for (wait, change) in [("1", None), ("30", Some(B))] {
        let mut old = stand.http().await;
        let request = format!(
            "GET /prices/A HTTP/1.0\r\nHost: a\r\nPrefer: wait={wait}\r\nIf-None-Match: {before}\r\n\r\n"
        );
        old.send_raw(request.as_bytes()).await;
        stand.clients("long_poll", 1).await;
        let answer = match change {
            None => old.read_response().await.expect(304),
            Some(body) => {
                stand.legacy.set("/prices/A", Reply::json(body));
                let answer = old.read_response().await.expect(200);
                assert_eq!(answer.text(), body);
                assert_eq!(answer.header("content-length"), Some("11"));
                answer
            }
        };
        assert!(answer.names("connection", "close"), "{answer:?}");
        assert_eq!(answer.header("transfer-encoding"), None);
        old.expect_eof().await;
    }
}

#[tokio::test]
async fn connection_close_is_honoured_after_the_answer() {
    let stand = stand(FAST);
    let mut http = stand.http().await;
    let before = tag(&mut http).await;
    let headers = [("prefer", "wait=30"), ("if-none-match", before.as_str()), ("connection", "close")];
    http.send("GET", "/prices/A", &headers, b"").await;
    stand.clients("long_poll", 1).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    let answer = http.read_response().await.expect(200);
    assert_eq!(answer.text(), B);
    assert!(answer.names("connection", "close"), "{answer:?}");
    http.expect_eof().await;
}
