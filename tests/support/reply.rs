//! What the legacy API answers: an honest reply, or one of the ways in which upstreams misbehave.
//!
//! Must not know: paths, counting, sockets' life. `legacy` performs what is described here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::legacy::Taken;
use super::wire::{Fields, within};

/// A description of one answer; build it with a constructor, refine it with the builder methods.
#[derive(Clone)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) body: Bytes,
    pub(super) kind: Kind,
    pub(super) framing: Framing,
    pub(super) end: End,
    pub(super) drip: Option<(usize, Duration)>,
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
    pub(super) interim: Vec<(u16, Fields)>,
    pub(super) answers_validators: bool,
    pub(super) unasked: Option<Box<Bytes>>,
}

#[derive(Clone)]
pub(super) enum Kind {
    /// Head and body as described.
    Message,
    /// A head, then what the test feeds.
    Stream(Arc<Mutex<Option<mpsc::Receiver<Piece>>>>),
    /// These bytes and nothing else, then the end of the connection.
    Raw(Bytes),
    /// No byte, for ever (until the client leaves).
    Silence,
    /// No byte, and RST.
    Reset,
    /// No byte, and FIN.
    Close,
    /// The connection goes to the test, right after the request's head.
    Take { handshake: bool, to: mpsc::Sender<Taken> },
    /// A WebSocket that returns every message.
    WebSocketEcho,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Framing {
    Length,
    Chunked,
    Close,
}

/// How the body ends; numbers are body bytes that are sent before.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Proper,
    CutAfter(usize),
    HangAfter(usize),
    ResetAfter(usize),
}

pub(super) enum Piece {
    Data(Bytes),
    Cut,
}

impl Reply {
    fn of(kind: Kind) -> Reply {
        Reply {
            status: 200,
            fields: Vec::new(),
            body: Bytes::new(),
            kind,
            framing: Framing::Length,
            end: End::Proper,
            drip: None,
            delay: Duration::ZERO,
            gate: None,
            interim: Vec::new(),
            answers_validators: true,
            unasked: None,
        }
    }

    pub fn new(content_type: &str, body: impl Into<Bytes>) -> Reply {
        Reply { body: body.into(), ..Reply::of(Kind::Message).header("content-type", content_type) }
    }

    pub fn json(body: impl Into<String>) -> Reply {
        Reply::new("application/json", body.into())
    }

    pub fn text(body: impl Into<String>) -> Reply {
        Reply::new("text/plain; charset=utf-8", body.into())
    }

    /// A status without a body.
    pub fn empty(status: u16) -> Reply {
        Reply { status, ..Reply::of(Kind::Message) }
    }

    /// These bytes instead of a response, then FIN.
    pub fn raw(bytes: impl Into<Bytes>) -> Reply {
        Reply::of(Kind::Raw(bytes.into()))
    }

    /// Bytes that are not HTTP, then FIN.
    pub fn garbage() -> Reply {
        Reply::raw(&b"\x15\x03\x01\x00\x02\x02\x0a\x00\xff\xfe not http at all\r\n\r\n"[..])
    }

    /// Never answers; ends when the client leaves.
    pub fn silence() -> Reply {
        Reply::of(Kind::Silence)
    }

    /// RST instead of an answer.
    pub fn reset() -> Reply {
        Reply::of(Kind::Reset)
    }

    /// FIN instead of an answer, as a server does whose keep-alive ran out.
    pub fn close() -> Reply {
        Reply::of(Kind::Close)
    }

    /// A body that the test writes piece by piece; chunked unless said otherwise. Serves one request.
    pub fn stream(content_type: &str) -> (Reply, Feed) {
        let (sender, receiver) = mpsc::channel(64);
        let kind = Kind::Stream(Arc::new(Mutex::new(Some(receiver))));
        (Reply::of(kind).chunked().header("content-type", content_type), Feed { sender: Some(sender) })
    }

    /// Hands each connection to the test right after the request's head (a body is still unread).
    pub fn take() -> (Reply, Takings) {
        let (to, takings) = mpsc::channel(64);
        (Reply::of(Kind::Take { handshake: false, to }), Takings { takings })
    }

    /// Accepts a WebSocket (101), then hands the connection to the test.
    pub fn websocket() -> (Reply, Takings) {
        let (to, takings) = mpsc::channel(64);
        (Reply::of(Kind::Take { handshake: true, to }), Takings { takings })
    }

    /// Accepts a WebSocket and returns every message. Not at once: Pingora ends an upgrade that is answered before
    /// its own task has seen the end of the request, as it may on a busy machine.
    pub fn websocket_echo() -> Reply {
        Reply::of(Kind::WebSocketEcho).delay(Duration::from_millis(100))
    }

    pub fn status(mut self, status: u16) -> Reply {
        self.status = status;
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Reply {
        self.body = body.into();
        self
    }

    /// Appends a field; names keep their case on the wire.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends this ETag (quotes included) and answers 304 to an If-None-Match that names it.
    pub fn etag(self, etag: &str) -> Reply {
        self.header("etag", etag)
    }

    /// Sends an ETag made from the body.
    pub fn with_etag(self) -> Reply {
        let etag = format!("\"{}\"", &blake3::hash(&self.body).to_hex()[..16]);
        self.etag(&etag)
    }

    /// Sends this date and answers 304 to an equal If-Modified-Since.
    pub fn last_modified(self, date: &str) -> Reply {
        self.header("last-modified", date)
    }

    /// Answers in full even if the validators match.
    pub fn ignores_validators(mut self) -> Reply {
        self.answers_validators = false;
        self
    }

    /// Waits before the first byte of the head.
    pub fn delay(mut self, delay: Duration) -> Reply {
        self.delay = delay;
        self
    }

    /// Waits before the first byte of the head until the test opens the gate.
    pub fn behind(mut self, gate: &Gate) -> Reply {
        self.gate = Some(gate.clone());
        self
    }

    /// Sends an interim response first: 100, 103.
    pub fn interim(mut self, status: u16, fields: &[(&str, &str)]) -> Reply {
        let fields = fields.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        self.interim.push((status, fields));
        self
    }

    pub fn chunked(mut self) -> Reply {
        self.framing = Framing::Chunked;
        self
    }

    /// No length: the body ends with the connection.
    pub fn until_close(mut self) -> Reply {
        self.framing = Framing::Close;
        self
    }

    /// FIN after `bytes` of the body: less than Content-Length said, or without the last chunk.
    pub fn cut_after(mut self, bytes: usize) -> Reply {
        self.end = End::CutAfter(bytes);
        self
    }

    /// Stops after `bytes` of the body, for ever.
    pub fn hang_after(mut self, bytes: usize) -> Reply {
        self.end = End::HangAfter(bytes);
        self
    }

    /// RST after `bytes` of the body.
    pub fn reset_after(mut self, bytes: usize) -> Reply {
        self.end = End::ResetAfter(bytes);
        self
    }

    /// Sends these bytes after the whole answer: more than was asked for, on a connection that stays open.
    pub fn then_unasked(mut self, bytes: impl Into<Bytes>) -> Reply {
        self.unasked = Some(Box::new(bytes.into()));
        self
    }

    /// Sends the body in pieces (chunks, when chunked) with a pause after each.
    pub fn drip(mut self, piece_bytes: usize, pause: Duration) -> Reply {
        self.drip = Some((piece_bytes.max(1), pause));
        self
    }
}

/// The test's end of [`Reply::stream`]; dropping it ends the body properly.
pub struct Feed {
    sender: Option<mpsc::Sender<Piece>>,
}

impl Feed {
    /// Writes a piece of the body (one chunk).
    pub async fn send(&self, piece: impl Into<Bytes>) {
        self.put(Piece::Data(piece.into())).await;
    }

    /// Ends the body properly: last chunk, or FIN.
    pub fn end(mut self) {
        self.sender = None;
    }

    /// Ends the connection without ending the body.
    pub async fn cut(self) {
        self.put(Piece::Cut).await;
    }

    /// Waits until the reader of the body has left.
    pub async fn left(&self) {
        if let Some(sender) = &self.sender {
            within("the reader of a streamed reply to leave", sender.closed()).await;
        }
    }

    async fn put(&self, piece: Piece) {
        let Some(sender) = &self.sender else { return };
        let sent = within("room for a piece of a streamed reply", sender.send(piece)).await;
        assert!(sent.is_ok(), "the reader of a streamed reply has left");
    }
}

/// The connections that [`Reply::take`] or [`Reply::websocket`] handed over.
pub struct Takings {
    takings: mpsc::Receiver<Taken>,
}

impl Takings {
    pub async fn next(&mut self) -> Taken {
        let taken = within("a connection to take from the legacy API", self.takings.recv()).await;
        taken.expect("the reply that hands connections over is gone")
    }
}

/// Holds replies back until the test opens it.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn closed() -> Gate {
        Gate(watch::Sender::new(false))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn opened(&self) {
        // The sender lives in self: the wait ends only by opening.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
