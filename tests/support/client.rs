//! A real HTTP/1 client: one connection, nothing hidden, nothing retried.
//!
//! Must not know: what answers. The clients of streams stand beside it in `sse` and `ws`.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

pub use super::sse::{Sse, SseItem};
use super::wire::{Fields, GUARD, Io, Wire, field, names_token, parse_response, within};
pub use super::ws::{Message, Ws};

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    /// The minor version: 1 is HTTP/1.1.
    pub version: u8,
    /// In the order and case of the wire.
    pub headers: Fields,
    /// Decoded; empty when only the head was read.
    pub body: Bytes,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, v)| v.as_str()).collect()
    }

    /// Whether a comma-separated header names `token`.
    pub fn names(&self, name: &str, token: &str) -> bool {
        names_token(&self.headers, name, token)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("not JSON: {e}: {text:?}"))
    }

    pub fn etag(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no ETag in {self:?}"))
    }

    /// Fails the test unless the status is this.
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "unexpected answer: {self:?}");
        self
    }

    pub(super) fn parse(head: &[u8]) -> Response {
        let (status, reason, version, headers) = parse_response(head).unwrap_or_else(|e| panic!("{e}"));
        Response { status, reason, version, headers, body: Bytes::new() }
    }
}

/// Opens a TCP connection, or fails the test.
pub async fn connect(address: SocketAddr) -> TcpStream {
    let stream = within(format!("a connection to {address}"), TcpStream::connect(address)).await;
    let stream = stream.unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
}

/// One keep-alive connection.
pub struct Http {
    pub wire: Wire,
    host: String,
    /// Methods of requests whose answers were not read yet: HEAD has no body.
    pending: VecDeque<String>,
    /// Interim responses (1xx) so far.
    pub interim: Vec<Response>,
}

impl Http {
    pub async fn connect(address: SocketAddr) -> Http {
        Http::over(connect(address).await, &address.to_string())
    }

    /// Over any stream; `host` is the Host header of requests that bring none.
    pub fn over(stream: impl Io + 'static, host: &str) -> Http {
        let wire = Wire::over(stream);
        Http { wire, host: host.to_owned(), pending: VecDeque::new(), interim: Vec::new() }
    }

    /// The connection with what was read ahead, for another protocol.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", path, headers, b"").await
    }

    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.send(method, path, headers, body).await;
        self.read_response().await
    }

    /// A request and its answer over a connection that may break. Waits as long as it takes.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn attempt(&mut self, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Response> {
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        headers.iter().for_each(|(n, v)| head += &format!("{n}: {v}\r\n"));
        self.pending.push_back("GET".to_owned());
        self.wire.write((head + "\r\n").as_bytes()).await?;
        loop {
            let head = self.wire.head().await?.ok_or(ErrorKind::UnexpectedEof)?;
            let mut response = Response::parse(&head);
            if response.status >= 200 {
                response.body = self.body_of(&response).await?;
                return Ok(response);
            }
        }
    }

    /// Sends a request and returns at once; adds Host and Content-Length where they are missing.
    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !has("host") {
            head += &format!("Host: {}\r\n", self.host);
        }
        headers.iter().for_each(|(n, v)| head += &format!("{n}: {v}\r\n"));
        let sized = has("content-length") || has("transfer-encoding");
        if !sized && (!body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH")) {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.pending.push_back(method.to_owned());
        self.send_raw(&[head.as_bytes(), b"\r\n", body].concat()).await;
    }

    /// Sends these bytes; the next response is read as that of a GET.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let written = within("the peer to accept bytes", self.wire.write(bytes)).await;
        written.unwrap_or_else(|e| panic!("cannot write: {e}"));
    }

    /// The next final response with its body; interim ones go to `interim`.
    pub async fn read_response(&mut self) -> Response {
        self.read_response_within(GUARD).await
    }

    /// The same for answers that may rightly take longer than the guard.
    pub async fn read_response_within(&mut self, limit: Duration) -> Response {
        match tokio::time::timeout(limit, self.response()).await {
            Ok(response) => response,
            Err(_) => panic!("no complete response within {limit:?}; so far {}", self.wire.unread()),
        }
    }

    async fn response(&mut self) -> Response {
        let mut response = self.final_head().await;
        response.body = self.body_of(&response).await.unwrap_or_else(|e| {
            panic!("the body of {response:?} is broken: {e}; so far {}", self.wire.unread())
        });
        response
    }

    /// The next final response's head alone; its body is left to [`Http::read_body`] or the test.
    pub async fn read_head(&mut self) -> Response {
        within("a response head", self.final_head()).await
    }

    /// The body that belongs to a head from [`Http::read_head`], or why it is broken.
    pub async fn read_body(&mut self, head: &Response) -> std::io::Result<Bytes> {
        within("a response body", self.body_of(head)).await
    }

    async fn final_head(&mut self) -> Response {
        loop {
            let head = match self.wire.head().await {
                Ok(Some(head)) => head,
                Ok(None) => panic!("the peer closed the connection instead of answering"),
                Err(error) => panic!("no response head: {error}; so far {}", self.wire.unread()),
            };
            let response = Response::parse(&head);
            match response.status {
                100..=199 if response.status != 101 => self.interim.push(response),
                _ => return response,
            }
        }
    }

    async fn body_of(&mut self, head: &Response) -> std::io::Result<Bytes> {
        let method = self.pending.pop_front().unwrap_or_default();
        if method == "HEAD" || matches!(head.status, 101 | 204 | 304) {
            return Ok(Bytes::new());
        }
        if head.names("transfer-encoding", "chunked") {
            let mut body = Vec::new();
            while let Some(chunk) = self.wire.chunk().await? {
                body.extend_from_slice(&chunk);
            }
            return Ok(body.into());
        }
        match head.header("content-length").map(|v| v.trim().parse()) {
            Some(Ok(length)) => self.wire.exactly(length).await,
            Some(Err(error)) => panic!("bad Content-Length ({error}) in {head:?}"),
            None => self.wire.rest().await,
        }
    }

    /// The peer ends the connection properly, without another byte.
    pub async fn expect_eof(&mut self) {
        self.expect_nothing_but("FIN", |read| matches!(read, Ok(0))).await;
    }

    /// The peer resets the connection, without another byte.
    pub async fn expect_reset(&mut self) {
        let is_reset = |read: &std::io::Result<usize>| {
            read.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
        };
        self.expect_nothing_but("RST", is_reset).await;
    }

    /// The peer ends the connection in whatever way, without another byte.
    pub async fn expect_closed(&mut self) {
        self.expect_nothing_but("the end of the connection", |read| matches!(read, Ok(0) | Err(_))).await;
    }

    async fn expect_nothing_but(&mut self, what: &str, wanted: impl Fn(&std::io::Result<usize>) -> bool) {
        assert!(self.wire.buffer.is_empty(), "instead of {what} there is {}", self.wire.unread());
        let read = within(what, self.wire.fill()).await;
        assert!(wanted(&read), "instead of {what} came {read:?}: {}", self.wire.unread());
    }

    /// No byte and no end for `duration`.
    pub async fn expect_silence(&mut self, duration: Duration) {
        assert!(self.wire.buffer.is_empty(), "instead of silence there is {}", self.wire.unread());
        if let Ok(read) = tokio::time::timeout(duration, self.wire.fill()).await {
            panic!("instead of silence came {read:?}: {}", self.wire.unread());
        }
    }
}

/// A held poll: asks to wait for a change from `etag` (`None` if it is not conditional), `wait` in whole seconds.
pub async fn long_poll(http: &mut Http, path: &str, etag: Option<&str>, wait: Duration) -> Response {
    let prefer = format!("wait={}", wait.as_secs());
    let mut headers = vec![("prefer", prefer.as_str())];
    headers.extend(etag.map(|etag| ("if-none-match", etag)));
    http.send("GET", path, &headers, b"").await;
    http.read_response_within(wait + GUARD).await
}
