//! Which connections are used again, when a request is repeated, and when a wait ends.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::super::Client;
use super::{OK, Seen, Server, client_of, close, get, keep, nowhere, upstream_of};
use crate::upstream::Ask;

#[tokio::test]
async fn a_whole_read_connection_is_used_again() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let empty = "HTTP/1.1 304 Not Modified\r\nContent-Length: 700\r\nContent-Encoding: any\r\n\r\n";
    let script = vec![keep(OK), keep(chunked), keep(empty), keep(OK)];
    let mut server = Server::start(vec![script, vec![keep(OK)]]).await;
    let client = server.client();
    for body in ["ok", "ok", "", "ok"] {
        let answer = client.fetch(&get("/")).await.unwrap();
        assert_eq!((&answer.body[..], answer.close_delimited), (body.as_bytes(), false));
        assert_eq!(server.next_request().await, 0);
    }
}

#[tokio::test]
async fn a_head_request_and_a_204_have_no_body() {
    let head_only = "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n";
    let no_content = "HTTP/1.1 204 No Content\r\n\r\n";
    let mut server = Server::start(vec![vec![keep(head_only), keep(no_content)]]).await;
    let client = server.client();
    let answer = client.fetch(&Ask { method: Method::HEAD, ..get("/") }).await.unwrap();
    assert_eq!((answer.body.len(), answer.close_delimited), (0, false));
    assert_eq!(server.next_request().await, 0);
    let answer = client.fetch(&get("/")).await.unwrap();
    assert_eq!((answer.body.len(), answer.close_delimited), (0, false));
    assert_eq!(server.next_request().await, 0);
}

#[tokio::test]
async fn a_connection_the_server_wants_closed_is_not_used_again() {
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let mut server = Server::start(vec![vec![keep(last)], vec![keep(OK)]]).await;
    let client = server.client();
    client.fetch(&get("/")).await.unwrap();
    assert_eq!(server.next_request().await, 0);
    assert_eq!(server.seen().await, Seen::Closed(0));
    client.fetch(&get("/")).await.unwrap();
    assert_eq!(server.next_request().await, 1);
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_keepalive() {
    let mut server = Server::start(vec![vec![keep(OK)]]).await;
    let mut upstream = upstream_of(&[&server.address]);
    upstream.keepalive = Duration::from_millis(20);
    let client = Client::new(Arc::new(upstream)).unwrap();
    client.fetch(&get("/")).await.unwrap();
    assert_eq!(server.next_request().await, 0);
    assert_eq!(server.seen().await, Seen::Closed(0));
}

#[tokio::test]
async fn a_connection_is_given_up_before_the_server_said_it_would() {
    let hint = "HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=1\r\nContent-Length: 2\r\n\r\nok";
    let mut server = Server::start(vec![vec![keep(hint)]]).await;
    server.client().fetch(&get("/")).await.unwrap();
    assert_eq!(server.next_request().await, 0);
    assert_eq!(server.seen().await, Seen::Closed(0));
}

#[tokio::test]
async fn a_reused_connection_that_dies_is_retried_once_on_a_new_one() {
    let mut server = Server::start(vec![vec![keep(OK), close("")], vec![keep(OK), keep(OK)]]).await;
    let client = server.client();
    for connection in [0, 0] {
        assert_eq!(client.fetch(&get("/")).await.unwrap().body, "ok");
        assert_eq!(server.next_request().await, connection);
    }
    // The second fetch died on 0 and was sent again on 1, which is now the pooled one.
    assert_eq!(server.next_request().await, 1);
    assert_eq!(client.fetch(&get("/")).await.unwrap().body, "ok");
    assert_eq!(server.next_request().await, 1);
}

#[tokio::test]
async fn the_second_attempt_does_not_meet_the_next_dead_connection_of_the_pool() {
    let dies = vec![keep(OK), close("")];
    let mut server = Server::start(vec![dies.clone(), dies, vec![keep(OK)]]).await;
    let client = server.client();
    let ask = get("/");
    let (one, other) = tokio::join!(client.fetch(&ask), client.fetch(&ask));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(server.next_request().await + server.next_request().await, 1, "two connections");
    assert_eq!(client.fetch(&ask).await.unwrap().body, "ok");
    server.next_request().await;
    assert_eq!(server.next_request().await, 2);
}

#[tokio::test]
async fn the_second_attempt_is_the_last() {
    let mut server = Server::start(vec![vec![keep(OK), close("")], vec![close("")], vec![keep(OK)]]).await;
    let client = server.client();
    client.fetch(&get("/")).await.unwrap();
    assert_eq!(client.fetch(&get("/")).await.unwrap_err().class(), "reset");
    let order = [server.next_request().await, server.next_request().await, server.next_request().await];
    assert_eq!(order, [0, 0, 1]);
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_new_connection_that_dies_is_not_retried() {
    let mut server = Server::start(vec![vec![close("")], vec![keep(OK)]]).await;
    assert_eq!(server.client().fetch(&get("/")).await.unwrap_err().class(), "reset");
    assert_eq!(server.next_request().await, 0);
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_post_is_not_retried() {
    let mut server = Server::start(vec![vec![keep(OK), close("")], vec![keep(OK)]]).await;
    let client = server.client();
    client.fetch(&get("/")).await.unwrap();
    let ask = Ask { method: Method::POST, ..get("/") };
    assert_eq!(client.fetch(&ask).await.unwrap_err().class(), "reset");
    assert_eq!([server.next_request().await, server.next_request().await], [0, 0]);
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    for begun in ["H", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let mut server = Server::start(vec![vec![keep(OK), close(begun)], vec![keep(OK)]]).await;
        let client = server.client();
        client.fetch(&get("/")).await.unwrap();
        assert_eq!(client.fetch(&get("/")).await.unwrap_err().class(), "truncated", "{begun}");
        assert_eq!([server.next_request().await, server.next_request().await], [0, 0]);
        assert!(server.seen.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_refused_connection_names_upstream_and_server() {
    let (_held, address) = nowhere();
    let error = client_of(&[&address]).fetch(&get("/")).await.unwrap_err();
    assert_eq!(error.class(), "connect");
    let text = error.to_string();
    assert!(text.starts_with(&format!("upstream \"legacy\" ({address}): cannot connect: ")), "{text}");
}

#[tokio::test]
async fn a_server_that_refuses_is_replaced_by_another() {
    let server = Server::start(vec![vec![keep(OK); 8]]).await;
    let (_held, dead) = nowhere();
    let client = client_of(&[&dead, &server.address]);
    for _ in 0..8 {
        assert_eq!(client.fetch(&get("/")).await.unwrap().body, "ok");
    }
}

#[tokio::test]
async fn silence_before_the_head_is_a_first_byte_timeout() {
    let mut server = Server::start(vec![vec![keep("HTTP/1.1 200")]]).await;
    let mut upstream = upstream_of(&[&server.address]);
    upstream.first_byte_timeout = Duration::from_millis(50);
    let error = Client::new(Arc::new(upstream)).unwrap().fetch(&get("/")).await.unwrap_err();
    assert_eq!(error.class(), "first-byte-timeout");
    let wanted = format!("upstream \"legacy\" ({}): no first byte within 50ms", server.address);
    assert_eq!(error.to_string(), wanted);
    assert_eq!(server.next_request().await, 0);
    assert_eq!(server.seen().await, Seen::Closed(0));
}

#[tokio::test]
async fn silence_in_the_body_ends_with_the_shorter_total() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok";
    for (asked, configured) in [(50, 9000), (9000, 50)] {
        let mut server = Server::start(vec![vec![keep(half)]]).await;
        let mut upstream = upstream_of(&[&server.address]);
        upstream.total_timeout = Duration::from_millis(configured);
        let ask = Ask { timeout: Duration::from_millis(asked), ..get("/") };
        let error = Client::new(Arc::new(upstream)).unwrap().fetch(&ask).await.unwrap_err();
        assert_eq!(error.class(), "total-timeout");
        assert!(error.to_string().ends_with("no complete answer within 50ms"), "{error}");
        assert_eq!(server.next_request().await, 0);
        assert_eq!(server.seen().await, Seen::Closed(0));
    }
}
