//! Claims about what a change costs an HTTP/2 connection: one record of TLS, however many of its streams are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::contract::{FAST, TlsStand};
use crate::support::h2::H2;
use crate::support::legacy::Reply;
use crate::support::wire::within;

const STREAM: [(&str, &str); 1] = [("accept", "text/event-stream")];

/// What the server's records hold at least that are counted; shorter ones answer settings.
const RECORD_BYTES_MIN: usize = 100;

/// A JSON body of about this length.
fn body(number: usize, length: usize) -> String {
    format!("{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(length))
}

/// Passes one connection on to pollcast, and counts the records that come back.
async fn counting(to: std::net::SocketAddr) -> (TcpStream, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let client = TcpStream::connect(address).await.expect("a connection");
    let (near, _) = listener.accept().await.expect("the connection");
    let far = TcpStream::connect(to).await.expect("a connection to pollcast");
    let records = Arc::new(AtomicUsize::new(0));
    let counted = records.clone();
    let (mut from_client, mut to_client) = near.into_split();
    let (mut from_server, mut to_server) = far.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    tokio::spawn(async move {
        let mut head = [0; 5];
        while from_server.read_exact(&mut head).await.is_ok() {
            let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            if from_server.read_exact(&mut record).await.is_err() {
                return;
            }
            if record.len() > RECORD_BYTES_MIN {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            let written = [&head[..], &record].concat();
            if to_client.write_all(&written).await.is_err() {
                return;
            }
        }
    });
    (client, records)
}

async fn records_of_a_change(streams: usize, length: usize) -> usize {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(body(1, length)));
    let (tcp, records) = within("a connection", counting(tls.stand.address())).await;
    let mut h2 = H2::over(tls.authority.secure(tcp, "localhost", &["h2"]).await, "localhost").await;
    let mut opened = Vec::new();
    for _ in 0..streams {
        opened.push(h2.open("GET", "/prices/A", &STREAM).await.1);
    }
    join_all(opened.iter_mut().map(|stream| stream.next_event())).await;
    let before = records.load(Ordering::SeqCst);
    tls.stand.legacy.set("/prices/A", Reply::json(body(2, length)));
    let events = join_all(opened.iter_mut().map(|stream| stream.next_event())).await;
    assert!(events.iter().all(|event| event.data == body(2, length)));
    records.load(Ordering::SeqCst) - before
}

#[tokio::test]
async fn a_change_is_one_record_however_many_streams_of_a_connection_follow_it() {
    // Pieces of this length are not copied by the library that speaks HTTP/2: each would be a record of its own.
    assert_eq!(records_of_a_change(10, 300).await, 1);
}

#[tokio::test]
async fn a_change_fills_the_records_that_it_needs() {
    // A record holds 16 KB: four of these events.
    assert_eq!(records_of_a_change(7, 4000).await, 2);
}
