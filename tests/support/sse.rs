//! An EventSource: the stream's framing, the event parser of the HTML standard, and its positions.
//!
//! Must not know: reconnecting; a test opens the next stream itself.

use std::collections::VecDeque;
use std::io::Result;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::client::{Response, connect};
use super::wire::{GUARD, Io, Wire, field, names_token, within};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SseItem {
    Event {
        /// The `id` field of this very event; `None` if it carried none.
        id: Option<String>,
        /// `message` if unnamed.
        event: String,
        data: String,
    },
    /// The text after the colon, as it is.
    Comment(String),
    /// Milliseconds.
    Retry(u64),
}

/// An event without its wrapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub event: String,
    pub data: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Chunked,
    Close,
}

/// A running stream.
pub struct Sse {
    wire: Wire,
    framing: Framing,
    parser: Parser,
    items: VecDeque<SseItem>,
    ended: bool,
    pub head: Response,
    /// Comments and retries that [`Sse::next_event`] went past.
    pub passed: Vec<SseItem>,
    /// Of a compressed stream.
    gunzip: Option<Box<Gunzip>>,
    /// Bytes of the body so far, as they came.
    pub received: usize,
}

/// A strict reader of gzip that gives what it can at once, and checks the trailer.
pub struct Gunzip {
    header: Vec<u8>,
    inflater: Decompress,
    crc: Crc,
    trailer: Option<Vec<u8>>,
}

impl Gunzip {
    /// What reads a body with these fields; `None` if it is not compressed.
    pub fn of(head: &Response) -> Option<Gunzip> {
        match head.header("content-encoding") {
            Some("gzip") => Some(Gunzip::new()),
            None => None,
            other => panic!("an unknown coding: {other:?}"),
        }
    }

    fn new() -> Gunzip {
        Gunzip { header: vec![], inflater: Decompress::new(false), crc: Crc::new(), trailer: None }
    }

    pub fn feed(&mut self, mut coded: &[u8]) -> Bytes {
        let missing = (10 - self.header.len()).min(coded.len());
        self.header.extend_from_slice(&coded[..missing]);
        coded = &coded[missing..];
        assert!(
            [0x1f, 0x8b, 8, 0].starts_with(&self.header[..self.header.len().min(4)]),
            "{:?}",
            self.header
        );
        let mut plain = Vec::with_capacity(64 * 1024);
        while self.trailer.is_none() && !(coded.is_empty() && plain.len() < plain.capacity()) {
            plain.reserve(64 * 1024);
            let before = (self.inflater.total_in(), plain.len());
            let status = self.inflater.decompress_vec(coded, &mut plain, FlushDecompress::Sync);
            let status = status.expect("a deflate stream");
            coded = &coded[(self.inflater.total_in() - before.0) as usize..];
            self.crc.update(&plain[before.1..]);
            if status == Status::StreamEnd {
                self.trailer = Some(vec![]);
            }
        }
        if let Some(trailer) = &mut self.trailer {
            trailer.extend_from_slice(coded);
            assert!(trailer.len() <= 8, "bytes after the gzip trailer: {trailer:?}");
        }
        plain.into()
    }

    fn check(&self) {
        let right = [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat();
        assert_eq!(self.trailer.as_ref(), Some(&right), "the gzip trailer");
    }
}

impl Sse {
    /// Opens a stream; fails the test if the answer is not one.
    pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Sse {
        Sse::try_open(address, path, headers)
            .await
            .unwrap_or_else(|refused| panic!("GET {path}: not a stream: {refused:?}"))
    }

    /// Opens a stream, or gives the head that refused it (its body is not read).
    pub async fn try_open(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> std::result::Result<Sse, Response> {
        Sse::over(connect(address).await, &address.to_string(), "HTTP/1.1", path, headers).await
    }

    /// As nginx asks by default: HTTP/1.0, the stream ends with the connection.
    pub async fn open_http10(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Sse {
        Sse::over(connect(address).await, &address.to_string(), "HTTP/1.0", path, headers)
            .await
            .unwrap_or_else(|refused| panic!("GET {path}: not a stream: {refused:?}"))
    }

    /// Over any stream of bytes.
    pub async fn over(
        stream: impl Io + 'static,
        host: &str,
        version: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> std::result::Result<Sse, Response> {
        let opened = within("the head of a stream", Sse::attempt(stream, host, version, path, headers)).await;
        opened.unwrap_or_else(|error| panic!("cannot ask for a stream: {error}"))
    }

    /// The same over a connection that may break. Waits as long as it takes.
    pub async fn attempt(
        stream: impl Io + 'static,
        host: &str,
        version: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<std::result::Result<Sse, Response>> {
        let mut wire = Wire::over(stream);
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut request = format!("GET {path} {version}\r\n");
        for (name, value) in [("Host", host), ("Accept", "text/event-stream"), ("Cache-Control", "no-cache")]
        {
            if !has(name) {
                request += &format!("{name}: {value}\r\n");
            }
        }
        headers.iter().for_each(|(n, v)| request += &format!("{n}: {v}\r\n"));
        wire.write((request + "\r\n").as_bytes()).await?;
        Sse::read_head(wire).await
    }

    /// A stream whose request was sent by other means.
    pub async fn answered(wire: Wire) -> std::result::Result<Sse, Response> {
        let read = within("the head of a stream", Sse::read_head(wire)).await;
        read.unwrap_or_else(|error| panic!("no head of a stream: {error}"))
    }

    async fn read_head(mut wire: Wire) -> Result<std::result::Result<Sse, Response>> {
        let head = match wire.head().await? {
            Some(head) => Response::parse(&head),
            None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        };
        let media_type = field(&head.headers, "content-type").unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if head.status != 200 || !essence.eq_ignore_ascii_case("text/event-stream") {
            return Ok(Err(head));
        }
        let framing = match names_token(&head.headers, "transfer-encoding", "chunked") {
            true => Framing::Chunked,
            false => Framing::Close,
        };
        assert!(head.header("content-length").is_none(), "a stream with a length: {head:?}");
        let (parser, items, passed) = (Parser::default(), VecDeque::new(), Vec::new());
        let gunzip = Gunzip::of(&head).map(Box::new);
        Ok(Ok(Sse { wire, framing, parser, items, ended: false, head, passed, gunzip, received: 0 }))
    }

    /// What a reconnect would send as Last-Event-ID.
    pub fn last_event_id(&self) -> &str {
        &self.parser.last_event_id
    }

    /// The next event, comment or retry.
    pub async fn next_item(&mut self) -> SseItem {
        match tokio::time::timeout(GUARD, self.item()).await {
            Ok(Ok(Some(item))) => item,
            Ok(Ok(None)) => panic!("the stream ended instead of an item"),
            Ok(Err(error)) => panic!("the stream broke: {error}"),
            Err(_) => panic!("no item within {GUARD:?}; passed so far: {:?}", self.passed),
        }
    }

    /// The next event; what is passed on the way goes to `passed`.
    pub async fn next_event(&mut self) -> Event {
        loop {
            match self.next_item().await {
                SseItem::Event { id, event, data } => return Event { id, event, data },
                item => self.passed.push(item),
            }
        }
    }

    /// The next event, which must have this name.
    pub async fn next_named(&mut self, name: &str) -> Event {
        let event = self.next_event().await;
        assert_eq!(event.event, name, "another event came: {event:?}");
        event
    }

    /// The stream ends properly: last chunk, or FIN where there are no chunks. No event before.
    pub async fn expect_end(&mut self) {
        loop {
            match tokio::time::timeout(GUARD, self.item()).await {
                Ok(Ok(None)) => return,
                Ok(Ok(Some(event @ SseItem::Event { .. }))) => panic!("not the end, but {event:?}"),
                Ok(Ok(Some(item))) => self.passed.push(item),
                Ok(Err(error)) => panic!("the stream broke instead of ending: {error}"),
                Err(_) => panic!("the stream did not end within {GUARD:?}"),
            }
        }
    }

    /// The stream ends in the middle: reset, or FIN without the last chunk. No event before.
    pub async fn expect_break(&mut self) -> std::io::Error {
        loop {
            match within("the stream to break", self.item()).await {
                Err(error) => return error,
                Ok(None) => panic!("the stream ended properly instead of breaking"),
                Ok(Some(event @ SseItem::Event { .. })) => panic!("not a break, but {event:?}"),
                Ok(Some(item)) => self.passed.push(item),
            }
        }
    }

    /// No event and no end for `duration`; comments and retries go to `passed`.
    pub async fn expect_no_event(&mut self, duration: Duration) {
        let until = tokio::time::Instant::now() + duration;
        while let Ok(item) = tokio::time::timeout_at(until, self.item()).await {
            match item {
                Ok(Some(item @ (SseItem::Comment(_) | SseItem::Retry(_)))) => self.passed.push(item),
                other => panic!("instead of no event came {other:?}"),
            }
        }
    }

    /// After [`Sse::expect_end`]: the connection ends too.
    pub async fn expect_eof(&mut self) {
        let read = within("FIN after the stream", self.wire.fill()).await;
        assert!(matches!(read, Ok(0)), "instead of FIN came {read:?}: {}", self.wire.unread());
    }

    /// The next event, comment or retry. Returns `None` if the stream ended properly. Waits as long as it takes.
    pub async fn item(&mut self) -> Result<Option<SseItem>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            match self.piece().await? {
                Some(piece) => {
                    self.received += piece.len();
                    let piece = self.gunzip.as_mut().map_or(piece.clone(), |gunzip| gunzip.feed(&piece));
                    self.items.extend(self.parser.feed(&piece));
                }
                None => {
                    self.ended = true;
                    if let Some(gunzip) = &self.gunzip {
                        gunzip.check();
                    }
                }
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>> {
        if self.framing == Framing::Chunked {
            return self.wire.chunk().await;
        }
        if self.wire.buffer.is_empty() && self.wire.fill().await? == 0 {
            return Ok(None);
        }
        Ok(Some(self.wire.buffer.split().freeze()))
    }
}

/// The event stream parser of the HTML standard (§9.2.6), fed in pieces of any size.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    started: bool,
    id: Option<String>,
    event: String,
    data: String,
    /// The standard's "last event ID buffer".
    id_buffer: String,
    pub last_event_id: String,
}

impl Parser {
    /// What these bytes complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<SseItem> {
        let mut items = Vec::new();
        for &byte in bytes {
            let follows_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\r' | b'\n' => items.extend(self.end_line()),
                _ => self.line.push(byte),
            }
        }
        items
    }

    fn end_line(&mut self) -> Option<SseItem> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&bytes)
            .unwrap_or_else(|e| panic!("an event stream is UTF-8, this is not ({e}): {bytes:?}"));
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.is_empty() {
            return Some(SseItem::Comment(value.to_owned()));
        }
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.event = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => {
                self.id_buffer = value.to_owned();
                self.id = Some(value.to_owned());
            }
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                return value.parse().ok().map(SseItem::Retry);
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<SseItem> {
        self.last_event_id.clone_from(&self.id_buffer);
        let (id, event) = (self.id.take(), std::mem::take(&mut self.event));
        let data = std::mem::take(&mut self.data);
        // Without a data line there is no event, whatever its name.
        let data = data.strip_suffix('\n')?.to_owned();
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(SseItem::Event { id, event, data })
    }
}
