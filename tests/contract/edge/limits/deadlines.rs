//! Times that a client has for a head, a body and its next request, and to take an answer.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{A, refusals, refusals_become, rest};
use crate::contract::{FAST, Stand, TlsStand};
use crate::support::client::{connect, long_poll};
use crate::support::legacy::Reply;
use crate::support::wire::within;

// --- Heads ---

/// Writes a byte at a time until the other side has enough.
async fn trickle(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> String {
    let (mut read, mut write) = stream.split();
    let write = async {
        for byte in bytes.iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        said = rest(&mut read) => said,
        () = write => unreachable!("it waits for ever"),
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_with_408() {
    let stand = Stand::with(FAST, "limits: {header_timeout: 400ms, idle_timeout: 30s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    // The first head of a connection, and a later one.
    for requests in [0, 2] {
        let mut stream = connect(stand.address()).await;
        for _ in 0..requests {
            stream.write_all(b"GET /prices/A HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
            let mut said = Vec::new();
            while !said.ends_with(A.as_bytes()) {
                within("an answer", stream.read_buf(&mut said)).await.expect("an answer");
            }
        }
        let began = Instant::now();
        stream.write_all(b"GET /slow HTTP/1.1\r\nx: ").await.expect("written");
        let said = trickle(&mut stream, b"x", Duration::from_millis(30)).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said:?}");
        assert!(said.to_ascii_lowercase().contains("connection: close"), "{said:?}");
        assert!(said.contains("limits.header_timeout"), "{said:?}");
        let took = began.elapsed();
        assert!((400..3000).contains(&took.as_millis()), "{took:?}");
    }
    refusals_become(&stand, "header-timeout", 2.0).await;
    assert_eq!(stand.legacy.count("/slow"), 0);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let stand = Stand::with(FAST, "limits: {first_byte_timeout: 300ms}");
    let began = Instant::now();
    assert_eq!(rest(&mut connect(stand.address()).await).await, "");
    assert!(began.elapsed() >= Duration::from_millis(300));
    refusals_become(&stand, "first-byte", 1.0).await;
    let tls = TlsStand::with(FAST, "limits: {first_byte_timeout: 300ms}");
    for alpn in ["http/1.1", "h2"] {
        rest(&mut tls.connect(&[alpn]).await).await;
    }
    refusals_become(&tls.stand, "first-byte", 2.0).await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_kept_for_idle_timeout() {
    let stand = Stand::with(FAST, "limits: {idle_timeout: 500ms, header_timeout: 30s}");
    stand.legacy.set("/prices/A", Reply::json(A));
    stand.legacy.set("/slow", Reply::text("x").delay(Duration::from_millis(900)));
    let mut http = stand.http().await;
    for _ in 0..3 {
        http.get("/prices/A", &[]).await.expect(200);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // A connection that is held or served is not idle.
    let tag = http.get("/prices/A", &[]).await.etag().to_owned();
    long_poll(&mut http, "/prices/A", Some(&tag), Duration::from_secs(1)).await.expect(304);
    http.get("/slow", &[]).await.expect(200);
    let began = Instant::now();
    http.expect_eof().await;
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    assert_eq!(refusals(&stand, "").await, 0.0);
}

/// Uploads a body byte by byte, which goes through.
async fn upload_slowly(stand: &Stand) {
    let mut http = stand.http().await;
    http.send_raw(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n").await;
    for byte in *b"slow" {
        tokio::time::sleep(Duration::from_millis(150)).await;
        http.send_raw(&[byte]).await;
    }
    assert_eq!(http.read_response().await.expect(200).text(), "done");
}

#[tokio::test]
async fn an_upload_may_be_slower_than_a_head() {
    let stand =
        Stand::with(FAST, "limits: {header_timeout: 200ms, idle_timeout: 200ms, first_byte_timeout: 200ms}");
    stand.legacy.set("/upload", Reply::text("done"));
    upload_slowly(&stand).await;
}

#[tokio::test]
async fn an_upload_that_stops_is_cut_with_408() {
    let stand = Stand::with(FAST, "limits: {body_timeout: 300ms}");
    stand.legacy.set("/upload", Reply::text("done"));
    stand.legacy.set("/prices/A", Reply::text("done"));
    for (path, framing, piece) in [
        ("/upload", "content-length: 400", "some"),
        ("/upload", "content-length: 4", ""),
        ("/upload", "transfer-encoding: chunked", "4\r\nsome\r\n"),
        ("/prices/A", "content-length: 400", "some"),
    ] {
        let began = Instant::now();
        let mut http = stand.http().await;
        http.send_raw(format!("POST {path} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n{piece}").as_bytes())
            .await;
        let refused = http.read_response().await.expect(408);
        assert!(refused.text().contains("limits.body_timeout"), "{framing}: {}", refused.text());
        http.expect_closed().await;
        let took = began.elapsed();
        assert!((300..3000).contains(&took.as_millis()), "{framing}: {took:?}");
    }
    stand.metric_becomes("pollcast_refusals_total", "body-timeout", 4.0).await;
    // A body that comes on, however slowly, and an upstream that takes its time.
    stand.legacy.set("/upload", Reply::text("done").delay(Duration::from_millis(700)));
    upload_slowly(&stand).await;
    refusals_become(&stand, "body-timeout", 4.0).await;
}

// --- Answers ---

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_closed() {
    let stand = Stand::with(FAST, "limits: {send_timeout: 1s}");
    stand.legacy.set("/download", Reply::text("x".repeat(32 << 20)));
    let request = b"GET /download HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut stuck = crate::contract::narrow(stand.address()).await;
    stuck.write_all(request).await.expect("written");
    // A slow one takes some from time to time: more than the kernel keeps for it.
    let mut slow = crate::contract::narrow(stand.address()).await;
    slow.write_all(request).await.expect("written");
    let mut taken = vec![0; 4 << 20];
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        within("more", slow.read_exact(&mut taken)).await.expect("more");
    }
    stand.metric_becomes("pollcast_refusals_total", "send-timeout", 1.0).await;
    within("more", slow.read_exact(&mut taken)).await.expect("more");
}
