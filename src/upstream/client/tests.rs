//! What an upstream may do to a poll, played by small scripted servers on real sockets.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Client, NewError, Whose};
use crate::config;
use crate::upstream::servers::Resolver;
use crate::upstream::{Answer, Ask, Document, FetchError};

mod document;
mod http2;
mod names;
mod tls;
mod ways;

/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

pub(in crate::upstream) fn upstream_of(servers: &[&str]) -> config::Upstream {
    let server = |address: &&str| config::Server { address: (*address).to_owned(), weight: 1 };
    config::Upstream {
        name: "legacy".to_owned(),
        servers: servers.iter().map(server).collect(),
        host: None,
        tls: None,
        proxy: None,
        http2: false,
        connect_timeout: PATIENCE,
        first_byte_timeout: PATIENCE,
        total_timeout: PATIENCE,
        keepalive: PATIENCE,
        resolve_interval: PATIENCE,
        health_check: None,
        forwarded: None,
        budget: None,
        quota_is_shared: false,
        breaker: config::Breaker { failures: None, wait: Duration::from_secs(1) },
        max_requests: None,
        connection_auth: Vec::new(),
        connections: config::Connections::Shared,
    }
}

fn client_of(servers: &[&str]) -> Arc<Client> {
    Client::new(Arc::new(upstream_of(servers))).unwrap()
}

fn get(path: &str) -> Ask {
    Ask {
        method: Method::GET,
        path_and_query: path.to_owned(),
        host: "api.example.com".to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
        timeout: PATIENCE,
        max_body: 1000,
        class: None,
        document: Document::Any,
        claim: None,
    }
}

/// What a server does after it has written an answer.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Keep,
    Close,
}

/// What a connection answers to each request; when the list ends it says nothing more.
type Script = Vec<(Vec<u8>, Then)>;

fn keep(answer: impl AsRef<[u8]>) -> (Vec<u8>, Then) {
    (answer.as_ref().to_vec(), Then::Keep)
}

fn close(answer: impl AsRef<[u8]>) -> (Vec<u8>, Then) {
    (answer.as_ref().to_vec(), Then::Close)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[derive(Debug, PartialEq)]
enum Seen {
    /// Number of the connection, the request as received.
    Request(usize, String),
    /// The client closed this connection.
    Closed(usize),
}

struct Server {
    address: String,
    seen: mpsc::Receiver<Seen>,
}

impl Server {
    /// A server whose connections follow `scripts` in the order in which they are made; it takes no more.
    async fn start(scripts: Vec<Script>) -> Self {
        Self::start_on("127.0.0.1:0", scripts).await
    }

    /// The same on another address of this machine.
    async fn start_on(address: &str, scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (saw, seen) = mpsc::channel(64);
        tokio::spawn(async move {
            for (number, script) in scripts.into_iter().enumerate() {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(play(stream, number, script, saw.clone()));
            }
        });
        Self { address, seen }
    }

    fn client(&self) -> Arc<Client> {
        client_of(&[&self.address])
    }

    async fn seen(&mut self) -> Seen {
        timeout(PATIENCE, self.seen.recv()).await.expect("the server saw nothing").expect("the server ended")
    }

    /// Number of the connection on which the next request came.
    async fn next_request(&mut self) -> usize {
        match self.seen().await {
            Seen::Request(number, _) => number,
            other => panic!("a request was wanted, saw {other:?}"),
        }
    }
}

async fn play(mut stream: TcpStream, number: usize, script: Script, saw: mpsc::Sender<Seen>) {
    for (answer, then) in script {
        let Some(request) = read_request(&mut stream).await else {
            let _ = saw.try_send(Seen::Closed(number));
            return;
        };
        let _ = saw.try_send(Seen::Request(number, request));
        let _ = stream.write_all(&answer).await;
        if then == Then::Close {
            return;
        }
    }
    let _ = stream.read_to_end(&mut Vec::new()).await;
    let _ = saw.try_send(Seen::Closed(number));
}

/// A head and as much body as its Content-Length says; none: the client closed.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() >= length.map_or(0, |it| it.parse().unwrap()) {
            return Some(text.into_owned());
        }
    }
}

async fn answer_to(answer: (Vec<u8>, Then)) -> Result<Answer, FetchError> {
    let server = Server::start(vec![vec![answer]]).await;
    server.client().fetch(&get("/")).await
}

async fn class_of(answer: (Vec<u8>, Then)) -> &'static str {
    answer_to(answer).await.unwrap_err().class()
}

/// An address that answers no connection at all, as long as these live: its queue is full.
pub(super) async fn silent() -> (Vec<Box<dyn Send>>, SocketAddr) {
    silent_on("127.0.0.1:0").await
}

/// The same on another address of this machine.
async fn silent_on(address: &str) -> (Vec<Box<dyn Send>>, SocketAddr) {
    let address: SocketAddr = address.parse().unwrap();
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held: Vec<Box<dyn Send>> = vec![Box::new(listener)];
    // The system takes one or two more than it was told.
    for _ in 0..8 {
        let connecting = timeout(Duration::from_millis(100), TcpStream::connect(address));
        let Ok(connected) = connecting.await else { return (held, address) };
        held.push(Box::new(connected.unwrap()));
    }
    panic!("the queue of {address} is never full");
}

/// An address where nothing listens, as long as the socket that holds it lives.
pub(super) fn nowhere() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[tokio::test]
async fn a_plain_fetch_gives_status_headers_body_and_sizes() {
    let answer = answer_to(keep("HTTP/1.1 404 Gone Fishing\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello"));
    let answer = answer.await.unwrap();
    assert_eq!(answer.status, 404);
    assert_eq!(answer.headers["x-a"], "1");
    assert_eq!(&answer.body[..], b"hello");
    assert_eq!((answer.head_bytes, answer.body_bytes), (56, 5));
    assert!(!answer.close_delimited);
    assert!(answer.elapsed > Duration::ZERO);
}

#[tokio::test]
async fn exactly_host_and_the_given_headers_go_out_in_order() {
    let mut server = Server::start(vec![vec![keep(OK)]]).await;
    let header = |name: &'static str, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let mut ask = get("/a%2Fb//c?x=%7e&y=;'|");
    ask.headers = vec![
        header("user-agent", "pollcast/1"),
        header("accept", "*/*"),
        header("host", "evil.example.com"),
        header("x-key", "k"),
    ];
    server.client().fetch(&ask).await.unwrap();
    let sent = "GET /a%2Fb//c?x=%7e&y=;'| HTTP/1.1\r\nHost: api.example.com\r\nuser-agent: pollcast/1\r\n\
                accept: */*\r\nx-key: k\r\n\r\n";
    let Seen::Request(0, seen) = server.seen().await else { panic!("no request") };
    // Names of headers have no case; Pingora writes some as titles.
    assert_eq!(seen.to_lowercase(), sent.to_lowercase());
    assert!(seen.starts_with("GET /a%2Fb//c?x=%7e&y=;'| HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_body_goes_out_with_its_length() {
    let mut server = Server::start(vec![vec![keep(OK), keep(OK)]]).await;
    let client = server.client();
    let mut ask = Ask { method: Method::POST, body: Bytes::from_static(b"{}"), ..get("/send") };
    client.fetch(&ask).await.unwrap();
    let sent = "POST /send HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(server.seen().await, Seen::Request(0, sent.to_owned()));
    ask.body = Bytes::new();
    client.fetch(&ask).await.unwrap();
    let sent = "POST /send HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(server.seen().await, Seen::Request(0, sent.to_owned()));
}

#[tokio::test]
async fn a_target_that_would_break_the_request_line_is_not_sent() {
    for path in ["/a b", "/a\r\nX: y", "/a\nX: y", "/a\tb", "/a#b", "a", "http://a/", ""] {
        let mut server = Server::start(vec![vec![keep(OK)]]).await;
        let error = server.client().fetch(&get(path)).await.unwrap_err();
        assert!(error.to_string().contains("the request cannot be sent"), "{path:?}: {error}");
        assert_eq!(server.seen().await, Seen::Closed(0), "{path:?}");
    }
}

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
    assert!(answer.body_bytes > super::body::DECODE_INLINE);
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

/// A server that says what it is told about its health, and "ok" to everything else.
async fn server_with_health(health: watch::Receiver<u16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let health = health.clone();
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut stream).await {
                    let status = if request.starts_with("GET /health ") { *health.borrow() } else { 200 };
                    let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\nok");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    address
}

fn with_health_check(servers: &[&str]) -> Arc<Client> {
    let check = config::HealthCheck { path: "/health".to_owned(), interval: PATIENCE };
    Client::new(Arc::new(config::Upstream { health_check: Some(check), ..upstream_of(servers) })).unwrap()
}

/// Where the next request passes through to.
async fn address_of(client: &Client) -> String {
    client.peer(Whose::Anybodys, false).await.unwrap().peer._address.to_string()
}

#[tokio::test]
async fn an_unhealthy_server_is_avoided_and_taken_back() {
    let (say_first, first) = watch::channel(200);
    let (say_second, second) = watch::channel(200);
    let (first, second) = (server_with_health(first).await, server_with_health(second).await);
    let client = with_health_check(&[&first, &second]);
    let chosen = async || {
        let mut chosen = Vec::new();
        for _ in 0..6 {
            chosen.push(address_of(&client).await);
        }
        (chosen.contains(&first), chosen.contains(&second))
    };
    assert_eq!(chosen().await, (true, true));
    say_first.send_replace(503);
    client.check_health().await;
    assert_eq!(chosen().await, (true, true), "one failure is not enough");
    client.check_health().await;
    assert_eq!(chosen().await, (false, true));
    say_second.send_replace(500);
    client.check_health().await;
    client.check_health().await;
    let error = client.fetch(&get("/")).await.unwrap_err();
    assert_eq!(error.class(), "no-server");
    assert_eq!(error.to_string(), "upstream \"legacy\": no server to ask: unhealthy: all 2 addresses");
    say_first.send_replace(204);
    client.check_health().await;
    assert_eq!(chosen().await, (true, false));
}

#[tokio::test]
async fn watching_checks_health_and_ends_when_told() {
    let (_say, health) = watch::channel(200);
    let server = server_with_health(health).await;
    let (_held, dead) = nowhere();
    let check = config::HealthCheck { path: "/health".to_owned(), interval: Duration::from_millis(1) };
    let upstream = config::Upstream { health_check: Some(check), ..upstream_of(&[&server, &dead]) };
    let client = Client::new(Arc::new(upstream)).unwrap();
    let (stop, stopped) = watch::channel(false);
    let watching = tokio::spawn(client.clone().watch_servers(stopped));
    let alone = async {
        loop {
            let first = address_of(&client).await;
            let second = address_of(&client).await;
            if first == server && second == server {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, alone).await.expect("the dead server was never taken out");
    stop.send_replace(true);
    timeout(PATIENCE, watching).await.expect("the watch went on").unwrap();
}

struct NoName;

#[async_trait::async_trait]
impl Resolver for NoName {
    async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("no such host"))
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_no_server() {
    let upstream = Arc::new(upstream_of(&["nowhere.invalid:80"]));
    let client = Client::with_resolver(upstream, Arc::new(NoName)).unwrap();
    let error = client.fetch(&get("/")).await.unwrap_err();
    assert_eq!(error.class(), "no-server");
    assert_eq!(client.peer(Whose::Anybodys, false).await.err().unwrap().class(), "no-server");
}

#[tokio::test]
async fn a_pass_through_peer_limits_connecting_only() {
    let peer = client_of(&["127.0.0.1:3000"]).peer(Whose::Anybodys, false).await.unwrap().peer;
    assert_eq!(peer.options.total_connection_timeout, Some(PATIENCE));
    assert_eq!((peer.options.read_timeout, peer.options.write_timeout), (None, None));
    assert_eq!(peer._address.to_string(), "127.0.0.1:3000");
}

#[test]
fn a_client_is_made_without_a_runtime() {
    client_of(&["127.0.0.1:3000", "legacy.internal:3001"]);
    let wrong = Client::new(Arc::new(upstream_of(&["legacy.internal"])));
    assert!(matches!(wrong, Err(NewError::Server { address, .. }) if address == "legacy.internal"));
}
