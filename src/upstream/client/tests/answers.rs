//! Bodies and heads that are cut, coded, too large or ambiguous.

use std::io::Write;

use super::{OK, Seen, Server, Then, answer_to, close, get, keep};
use crate::upstream::Ask;

async fn class_of(answer: (Vec<u8>, Then)) -> &'static str {
    answer_to(answer).await.unwrap_err().class()
}

#[tokio::test]
async fn a_body_that_ends_early_is_truncated() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        assert_eq!(class_of(close(answer)).await, "truncated", "{answer:?}");
    }
}

#[tokio::test]
async fn a_message_says_the_cause_and_nothing_of_what_was_received() {
    let secret = "HTTP/9 secret\r\n\r\n";
    let error = answer_to(close(secret)).await.unwrap_err().to_string();
    assert!(error.ends_with("unsafe framing: invalid HTTP version"), "{error}");
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_flagged() {
    for answer in ["HTTP/1.1 200 OK\r\n\r\nok", "HTTP/1.0 200 OK\r\n\r\nok"] {
        let answer = answer_to(close(answer)).await.unwrap();
        assert_eq!(answer.body, "ok");
        assert!(answer.close_delimited);
    }
}

#[tokio::test]
async fn a_body_over_the_bound_ends_the_connection() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_owned();
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunks = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(3));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1001));
    for answer in [announced, chunks, endless] {
        let mut server = Server::start(vec![vec![keep(&answer)]]).await;
        let error = server.client().fetch(&get("/")).await.unwrap_err();
        assert_eq!(error.class(), "too-large");
        assert_eq!(server.next_request().await, 0);
        assert_eq!(server.seen().await, Seen::Closed(0));
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_bound_passes() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(1000));
    assert_eq!(answer_to(keep(answer)).await.unwrap().body.len(), 1000);
}

fn gzipped(content: &[u8], headers: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    let body = encoder.finish().unwrap();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(&body);
    answer
}

#[tokio::test]
async fn a_coded_body_arrives_decoded() {
    let answer = answer_to(keep(gzipped(&[b'x'; 900], "Content-Encoding: gzip\r\n"))).await.unwrap();
    assert_eq!(&answer.body[..], [b'x'; 900]);
    assert!(answer.body_bytes < 100, "{}", answer.body_bytes);
}

#[tokio::test]
async fn a_small_body_with_huge_content_is_too_large() {
    assert_eq!(class_of(keep(gzipped(&[0; 100_000], "Content-Encoding: gzip\r\n"))).await, "too-large");
}

#[tokio::test]
async fn a_long_coded_body_is_decoded_too() {
    let mut random = fastrand::Rng::with_seed(7);
    let content: Vec<u8> = (0..100_000).map(|_| random.u8(..)).collect();
    let server = Server::start(vec![vec![keep(gzipped(&content, "Content-Encoding: gzip\r\n"))]]).await;
    let answer = server.client().fetch(&Ask { max_body: 200_000, ..get("/") }).await.unwrap();
    assert!(answer.body_bytes > super::super::body::DECODE_INLINE_BYTES_MAX);
    assert_eq!(answer.body, content);
}

#[tokio::test]
async fn a_body_that_lies_about_its_coding_is_refused() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(class_of(keep(answer)).await, "encoding");
    let answer = "HTTP/1.1 200 OK\r\nContent-Encoding: compress\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(class_of(keep(answer)).await, "coding");
    let answer = "HTTP/1.1 200 OK\r\nContent-Encoding: UTF-8\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(answer_to(keep(answer)).await.unwrap().body, "ok");
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_dropped() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ] {
        let mut server = Server::start(vec![vec![keep(answer)]]).await;
        let error = server.client().fetch(&get("/")).await.unwrap_err();
        assert_eq!(error.class(), "framing", "{answer:?}: {error}");
        assert_eq!(server.next_request().await, 0);
        assert_eq!(server.seen().await, Seen::Closed(0), "{answer:?}");
    }
}

#[tokio::test]
async fn the_heads_of_old_devices_are_tidied() {
    for answer in [
        "HTTP/1.1 200 OK\nX: a\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length : 2\r\n\r\nok",
    ] {
        let found = answer_to(keep(answer)).await.unwrap_or_else(|error| panic!("{answer:?}: {error}"));
        assert_eq!(found.body, "ok", "{answer:?}");
        let value = found.headers["x"].to_str().unwrap().to_owned();
        assert!(value == "a" || value == "a b", "{answer:?}: {value:?}");
    }
}

#[tokio::test]
async fn a_head_over_the_bound_is_refused() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(70_000));
    assert_eq!(class_of(keep(head)).await, "too-large");
}

#[tokio::test]
async fn informational_heads_are_skipped_but_not_for_ever() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let answer = answer_to(keep(format!("HTTP/1.1 100 Continue\r\n\r\n{early}{OK}"))).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"ok"[..]));
    assert!(answer.headers.get("link").is_none());
    assert_eq!(class_of(keep(early.repeat(100))).await, "framing");
}
