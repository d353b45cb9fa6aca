//! The bytes of the bench: requests of the clients, bodies of the origin, and what a server that
//! knows nothing else would write for them (the floor writes these; pollcast's should be the same).
//! Must not know: sockets, processes.

use serde::{Deserialize, Serialize};

/// The host that every request names.
pub const HOST: &str = "bench.test";

/// How a client asks for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    Sse,
    Websocket,
    LongPoll,
    /// The same as `Sse` over TLS, HTTP/1.1.
    SseTls,
    /// Event streams over TLS and HTTP/2, perhaps several on a connection.
    Http2,
}

impl Wire {
    pub fn is_tls(self) -> bool {
        matches!(self, Self::SseTls | Self::Http2)
    }

    /// Over HTTP/1.1, in chunks.
    fn is_chunked(self) -> bool {
        matches!(self, Self::Sse | Self::SseTls)
    }

    /// The request head of HTTP/1.1. `known` is the version a client has: the ETag (with its quotes) a
    /// long-poll starts from, without which it is the ordinary GET that learns one; the id of the last
    /// event of a stream that comes again.
    pub fn request(self, path: &str, known: Option<&str>) -> String {
        let rest = match (self, known) {
            (Self::Sse | Self::SseTls | Self::Http2, known) => {
                let known = known.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
                format!("Accept: text/event-stream\r\nCache-Control: no-cache\r\n{known}")
            }
            (Self::Websocket, _) => format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: {WEBSOCKET_KEY}\r\n"
            ),
            (Self::LongPoll, None) => "Accept: application/json\r\n".to_owned(),
            (Self::LongPoll, Some(tag)) => {
                format!("Accept: application/json\r\nIf-None-Match: {tag}\r\nPrefer: wait=50\r\n")
            }
        };
        format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{rest}\r\n")
    }

    /// What a server writes when the client comes, before the first state.
    pub fn greeting(self) -> String {
        match self {
            Self::Sse | Self::SseTls => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                          Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\n\
                          Vary: Accept, Prefer\r\nTransfer-Encoding: chunked\r\n\r\n\
                          11\r\nretry: 4000\n\n: \n\n\r\n"
                .to_owned(),
            Self::Websocket => format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n\r\n"
            ),
            Self::Http2 => "retry: 4000\n: \n\n".to_owned(),
            Self::LongPoll => String::new(),
        }
    }

    /// One state, framed as the server writes it.
    pub fn delivery(self, stamp: Stamp, size: usize) -> Vec<u8> {
        let body = stamp.body(size);
        let mut bytes = match self {
            Self::Sse | Self::SseTls | Self::Http2 => {
                let head = format!("id: {}\ndata: ", version(stamp.n));
                let size = format!("{:x}\r\n", head.len() + body.len() + 2);
                if self.is_chunked() { (size + &head).into_bytes() } else { head.into_bytes() }
            }
            Self::Websocket => websocket_head(body.len()),
            Self::LongPoll => format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: {}\r\n\
                 Cache-Control: no-cache\r\nPreference-Applied: wait=50\r\nVary: Accept, Prefer\r\n\
                 Content-Length: {}\r\n\r\n",
                tag(stamp.n),
                body.len()
            )
            .into_bytes(),
        };
        bytes.extend_from_slice(&body);
        match self {
            Self::Sse | Self::SseTls => bytes.extend_from_slice(b"\n\n\r\n"),
            Self::Http2 => bytes.extend_from_slice(b"\n\n"),
            Self::Websocket | Self::LongPoll => {}
        }
        bytes
    }
}

/// The path of a resource, from 0.
pub fn path(resource: usize) -> String {
    format!("/r/{resource}")
}

/// The resource that a path names.
pub fn resource_of(path: &str) -> Option<usize> {
    path.strip_prefix("/r/")?.parse().ok()
}

// The sample handshake of RFC 6455 §1.3: every client may use the same key.
const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A stand-in for a version: as long as a real one.
fn version(n: u64) -> String {
    format!("{n:022}")
}

/// The ETag of a state, as the floor names it.
pub fn tag(n: u64) -> String {
    format!("\"{}\"", version(n))
}

/// The head of a final, unmasked text frame.
fn websocket_head(len: usize) -> Vec<u8> {
    let mut head = vec![0x81];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short < 126 => head.push(short),
        (_, Ok(medium)) => {
            head.push(126);
            head.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    head
}

/// What every body says: which change it is, and when it was first sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the state; the next change has the next number.
    pub n: u64,
    /// Nanoseconds of the machine's monotonic clock.
    pub at: u64,
}

/// The stamp itself needs this much of a body.
pub const SMALLEST_BODY: usize = 80;

impl Stamp {
    pub fn new(n: u64) -> Self {
        Self { n, at: now_ns() }
    }

    /// A JSON object of exactly `size` bytes (at least [`SMALLEST_BODY`]).
    pub fn body(self, size: usize) -> Vec<u8> {
        let mut body = format!("{{\"n\":{},\"at\":{},\"pad\":\"", self.n, self.at).into_bytes();
        body.resize(size.max(SMALLEST_BODY) - 2, b'x');
        body.extend_from_slice(b"\"}");
        body
    }

    /// The stamp at the start of a body that was published unchanged.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (n, rest) = number(body.strip_prefix(b"{\"n\":")?)?;
        let (at, rest) = number(rest.strip_prefix(b",\"at\":")?)?;
        (rest.starts_with(b",\"pad\":\"") && body.ends_with(b"\"}")).then_some(Self { n, at })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(digits);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// CLOCK_MONOTONIC, the same in every process of the machine (`Instant` cannot leave its process).
pub fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid, exclusively borrowed timespec for the whole call, and the call
    // writes nothing else.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    assert_eq!(result, 0, "Linux always has CLOCK_MONOTONIC");
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
