//! An HTTP/2 client: one connection, many streams, event streams among them.
//!
//! Must not know: what answers.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;

use super::client::Response;
use super::sse::{Event, Gunzip, Parser, SseItem};
use super::wire::{GUARD, Io, within};

/// One connection.
pub struct H2 {
    send: SendRequest<Bytes>,
    authority: String,
    driver: tokio::task::JoinHandle<()>,
}

/// A response whose body is still to come.
pub struct H2Body {
    body: RecvStream,
    parser: Parser,
    gunzip: Option<Gunzip>,
    items: VecDeque<SseItem>,
    /// Comments and retries that [`H2Body::next_event`] went past.
    pub passed: Vec<SseItem>,
}

impl H2 {
    /// Over a stream on which both sides agreed to speak HTTP/2.
    pub async fn over(stream: impl Io + 'static, authority: &str) -> H2 {
        let (send, connection) =
            within("the HTTP/2 preface", h2::client::handshake(stream)).await.expect("an HTTP/2 connection");
        let driver = tokio::spawn(async move {
            // How it ends is seen by the streams.
            let _ = connection.await;
        });
        H2 { send, authority: authority.to_owned(), driver }
    }

    /// Sends a request without a body.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> h2::client::ResponseFuture {
        let mut request =
            http::Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut send =
            within("room for a stream", self.send.clone().ready()).await.expect("room for a stream");
        send.send_request(request, true).expect("a request is sent").0
    }

    /// Sends a request without a body; the head of its answer, and the body to read.
    pub async fn open(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> (Response, H2Body) {
        let response = self.send(method, path, headers).await;
        let (head, body) =
            within("the head of an HTTP/2 answer", response).await.expect("an answer").into_parts();
        let fields = head.headers.iter();
        let headers =
            fields.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
        let head = Response {
            status: head.status.as_u16(),
            reason: String::new(),
            version: 2,
            headers: headers.collect(),
            body: Bytes::new(),
        };
        let (parser, gunzip) = (Parser::default(), Gunzip::of(&head));
        let body = H2Body { body, parser, gunzip, items: VecDeque::new(), passed: Vec::new() };
        (head, body)
    }

    /// A request with its whole answer.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Response {
        let (mut head, mut body) = self.open("GET", path, headers).await;
        let mut whole = Vec::new();
        while let Some(piece) = within("an HTTP/2 body", body.piece()).await {
            whole.extend_from_slice(&piece);
        }
        head.body = whole.into();
        head
    }

    /// The code with which a request's stream is reset in place of an answer (RFC 9113 §7); `None` if it is answered.
    pub async fn reset_of(&mut self, path: &str, headers: &[(&str, &str)]) -> Option<u32> {
        let response = self.send("GET", path, headers).await;
        let answer = within("an answer or a reset", response).await;
        answer.err().and_then(|error| error.reason()).map(u32::from)
    }

    /// Ends the connection without a word.
    pub fn cut(self) {
        self.driver.abort();
    }
}

impl H2Body {
    /// The next piece; `None` once the body is whole. A reset fails the test.
    async fn piece(&mut self) -> Option<Bytes> {
        let piece = self.body.data().await?.expect("the stream was reset");
        let _ = self.body.flow_control().release_capacity(piece.len());
        Some(piece)
    }

    pub async fn next_item(&mut self) -> SseItem {
        loop {
            if let Some(item) = self.items.pop_front() {
                return item;
            }
            let piece = within("an item of an event stream", self.piece()).await;
            let piece = piece.expect("the stream ended instead of an item");
            let piece = self.gunzip.as_mut().map_or(piece.clone(), |gunzip| gunzip.feed(&piece));
            self.items.extend(self.parser.feed(&piece));
        }
    }

    pub async fn next_event(&mut self) -> Event {
        loop {
            match self.next_item().await {
                SseItem::Event { id, event, data } => return Event { id, event, data },
                item => self.passed.push(item),
            }
        }
    }

    /// The body ends properly, without another event.
    pub async fn expect_end(&mut self) {
        while let Ok(Some(piece)) = tokio::time::timeout(GUARD, self.piece()).await {
            let items = self.parser.feed(&piece);
            let event = items.iter().find(|item| matches!(item, SseItem::Event { .. }));
            assert!(event.is_none(), "not the end, but {event:?}");
        }
        assert!(self.body.is_end_stream(), "the stream did not end");
    }

    /// No event and no end for `duration`.
    pub async fn expect_no_event(&mut self, duration: Duration) {
        if let Ok(event) = tokio::time::timeout(duration, self.next_event()).await {
            panic!("instead of no event came {event:?}");
        }
    }
}
