//! What an upstream may do to a poll, played by small scripted servers on real sockets.

mod answers;
mod connections;
mod document;
mod http2;
mod names;
mod servers;
mod tls;
mod ways;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Client;
use crate::config;
use crate::upstream::{Answer, Ask, Document, FetchError};

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
        passthrough_first_byte_timeout: None,
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

/// A head and as much body as its Content-Length says. Returns `None` if the client closed.
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
