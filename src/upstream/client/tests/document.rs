//! What is no document (contract §1): when an exchange ends early, and what counts for the upstream as a whole.

use super::*;
use crate::upstream::{Failure, NoDocument};

const SOON: Duration = Duration::from_millis(50);

fn unknown(path: &str) -> Ask {
    Ask { document: Document::Unknown { complete_within: SOON }, ..get(path) }
}

async fn found(ask: &Ask, answer: &str) -> Result<Answer, &'static str> {
    let server = Server::start(vec![vec![keep(answer)]]).await;
    server.client().poll(ask).await.map_err(|error| error.class())
}

#[tokio::test]
async fn the_head_of_a_stream_is_enough() {
    for (content_type, class) in [
        ("text/event-stream", "event-stream"),
        ("audio/mpeg", "audio"),
        ("video/mp4", "video"),
        ("multipart/x-mixed-replace; boundary=a", "multipart"),
    ] {
        let endless = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n");
        let known = Ask { document: Document::Known, ..get("/") };
        assert_eq!(found(&known, &endless).await.unwrap_err(), class);
        assert_eq!(found(&unknown("/"), &endless).await.unwrap_err(), class);
        // A short one is read: the client that asked may have it. So is what another asks for.
        let short = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(found(&unknown("/"), &short).await.unwrap().body, "ok");
        let chunked = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        );
        assert_eq!(found(&get("/"), &chunked).await.unwrap().body, "ok");
    }
}

#[tokio::test]
async fn an_answer_without_a_length_has_to_be_complete_soon_where_it_is_unknown() {
    let begun =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n";
    assert_eq!(found(&unknown("/"), begun).await.unwrap_err(), "endless");
    let known = Ask { document: Document::Known, timeout: 4 * SOON, ..get("/") };
    assert_eq!(found(&known, begun).await.unwrap_err(), "total-timeout");
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1";
    let short = Ask { timeout: 4 * SOON, ..unknown("/") };
    assert_eq!(found(&short, sized).await.unwrap_err(), "total-timeout");
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n[1";
    assert_eq!(found(&unknown("/"), large).await.unwrap_err(), "too-large");
}

/// A client whose first connection never answers; the second does.
async fn half_silent() -> (Server, Arc<Client>) {
    let server = Server::start(vec![vec![keep("")], vec![keep(OK)]]).await;
    let mut upstream = upstream_of(&[&server.address]);
    upstream.first_byte_timeout = 4 * SOON;
    upstream.breaker = config::Breaker { failures: Some(1), wait: Duration::from_secs(1) };
    (server, Client::new(Arc::new(upstream)).unwrap())
}

#[tokio::test]
async fn an_api_that_answers_others_holds_this_answer_back() {
    let (mut server, client) = half_silent().await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.poll(&unknown("/events")).await }
    });
    server.next_request().await;
    client.poll(&get("/")).await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap_err().class(), "held-back");
    assert!(!client.is_down(), "it answers");
}

#[tokio::test]
async fn an_api_that_answers_no_request_is_slow() {
    let (_server, client) = half_silent().await;
    // In time, but before.
    client.answered(Duration::ZERO);
    assert_eq!(client.poll(&unknown("/events")).await.unwrap_err().class(), "first-byte-timeout");
    assert!(client.is_down());
    // What was answered too late shows nothing.
    let (mut server, client) = half_silent().await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.poll(&unknown("/events")).await }
    });
    server.next_request().await;
    client.answered(Duration::from_secs(1));
    assert_eq!(slow.await.unwrap().unwrap_err().class(), "first-byte-timeout");
}

#[tokio::test]
async fn a_document_that_became_slow_is_slow_whatever_else_is_answered() {
    let (mut server, client) = half_silent().await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.poll(&Ask { document: Document::Known, ..get("/a") }).await }
    });
    server.next_request().await;
    client.answered(Duration::ZERO);
    assert_eq!(slow.await.unwrap().unwrap_err().class(), "first-byte-timeout");
}

#[tokio::test]
async fn what_is_no_document_is_an_answer_to_the_breaker() {
    let endless = "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n";
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n[1";
    for answer in [endless, large] {
        let server = Server::start(vec![vec![keep(answer)], vec![keep(answer)]]).await;
        let mut upstream = upstream_of(&[&server.address]);
        upstream.breaker = config::Breaker { failures: Some(1), wait: Duration::from_secs(1) };
        let client = Client::new(Arc::new(upstream)).unwrap();
        let error = client.poll(&unknown("/live")).await.unwrap_err();
        assert!(error.failure.is_answer(), "{error}");
        assert!(!client.is_down());
    }
    let found = Failure::NoDocument { found: NoDocument::Endless { waited: SOON } };
    assert!(found.to_string().contains("not complete 50ms after its head"), "{found}");
}
