//! One buffered byte stream, and the pieces of HTTP/1.1 that both sides read from it.
//!
//! Must not know: which side is the client. Reads are cancel safe: a piece is taken from the
//! buffer only when it is complete, so a timeout in between loses nothing.

use std::fmt::Display;
use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long any wait of a test may take before it fails with a message.
pub const GUARD: Duration = Duration::from_secs(10);

/// No honest test buffers more than this.
const MAX_BUFFER_BYTES: usize = 64 << 20;
const MAX_HEAD_BYTES: usize = 256 << 10;
const MAX_HEADERS: usize = 256;

/// Header fields in the order of the wire; each byte of a value is one `char`, so nothing is lost.
pub type Fields = Vec<(String, String)>;

/// Anything that bytes go through: TCP, TLS, a pipe in memory.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Waits for `event`, at most [`GUARD`]; then fails the test with what was awaited.
pub async fn within<T>(what: impl Display, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(GUARD, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {GUARD:?} in vain for {what}"),
    }
}

/// The first value of a field, whatever the case of its name.
pub fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// Whether a comma-separated field names `token`, over all its lines.
pub fn names_token(fields: &[(String, String)], name: &str, token: &str) -> bool {
    let lines = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    lines.flat_map(|(_, v)| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// A stream with the bytes that were read from it and not yet used.
pub struct Wire {
    stream: Box<dyn Io>,
    pub buffer: BytesMut,
}

impl Wire {
    pub fn over(stream: impl Io + 'static) -> Wire {
        Wire { stream: Box::new(stream), buffer: BytesMut::new() }
    }

    /// Reads whatever comes next into the buffer; 0 is the end of the stream.
    pub async fn fill(&mut self) -> Result<usize> {
        if self.buffer.len() >= MAX_BUFFER_BYTES {
            return Err(Error::other("more unread bytes than a test should ever leave"));
        }
        self.buffer.reserve(16 << 10);
        self.stream.read_buf(&mut self.buffer).await
    }

    async fn more(&mut self, reading: &str) -> Result<()> {
        match self.fill().await? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, format!("end of stream inside {reading}"))),
            _ => Ok(()),
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Ends this side's writing (FIN; with TLS, close_notify).
    pub async fn finish(&mut self) -> Result<()> {
        self.stream.shutdown().await
    }

    /// Exactly `n` bytes.
    pub async fn exactly(&mut self, n: usize) -> Result<Bytes> {
        while self.buffer.len() < n {
            self.more("a body of known length").await?;
        }
        Ok(self.buffer.split_to(n).freeze())
    }

    /// Everything up to the end of the stream.
    pub async fn rest(&mut self) -> Result<Bytes> {
        while self.fill().await? > 0 {}
        Ok(self.buffer.split().freeze())
    }

    /// A message head with its empty line; `None` if the stream ends before its first byte.
    pub async fn head(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.buffer.split_to(at + 4).freeze()));
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(Error::other("a head without end"));
            }
            if self.buffer.is_empty() {
                if self.fill().await? == 0 {
                    return Ok(None);
                }
            } else {
                self.more("a head").await?;
            }
        }
    }

    /// The next chunk of a chunked body; `None` after the last chunk and its trailers.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            match complete_chunk(&self.buffer)? {
                Some(Chunk::Data { start, len }) => {
                    self.buffer.advance(start);
                    let data = self.buffer.split_to(len).freeze();
                    self.buffer.advance(2);
                    return Ok(Some(data));
                }
                Some(Chunk::Last { end }) => {
                    self.buffer.advance(end);
                    return Ok(None);
                }
                None => self.more("a chunked body").await?,
            }
        }
    }

    /// What is in the buffer, for messages.
    pub fn unread(&self) -> String {
        let shown = &self.buffer[..self.buffer.len().min(400)];
        format!("{:?} ({} bytes unread)", String::from_utf8_lossy(shown), self.buffer.len())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<Result<()>> {
        if !self.buffer.is_empty() {
            let n = self.buffer.len().min(into.remaining());
            into.put_slice(&self.buffer.split_to(n));
            return std::task::Poll::Ready(Ok(()));
        }
        std::pin::Pin::new(&mut *self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<Result<usize>> {
        std::pin::Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<()>> {
        std::pin::Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<()>> {
        std::pin::Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}

enum Chunk {
    Data { start: usize, len: usize },
    Last { end: usize },
}

fn complete_chunk(bytes: &[u8]) -> Result<Option<Chunk>> {
    let bad = |what: &str| Error::new(ErrorKind::InvalidData, format!("bad chunk: {what}"));
    let Some(line_end) = find(bytes, b"\r\n") else {
        return if bytes.len() > 1024 { Err(bad("size line without end")) } else { Ok(None) };
    };
    let line = String::from_utf8_lossy(&bytes[..line_end]);
    let digits = line.split(';').next().unwrap_or_default().trim_end();
    let size = usize::from_str_radix(digits, 16).map_err(|_| bad(&format!("size {line:?}")))?;
    let start = line_end + 2;
    if size == 0 {
        let mut at = start;
        while let Some(len) = find(&bytes[at..], b"\r\n") {
            at += len + 2;
            if len == 0 {
                return Ok(Some(Chunk::Last { end: at }));
            }
        }
        return Ok(None);
    }
    if size > MAX_BUFFER_BYTES {
        return Err(bad("larger than a test should ever send"));
    }
    match bytes.get(start + size..start + size + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some(Chunk::Data { start, len: size })),
        Some(_) => Err(bad("data is not followed by CRLF")),
    }
}

/// Where `needle` first stands in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|w| w == needle)
}

/// A parsed request head: method, target, minor version, fields.
pub fn parse_request(head: &[u8]) -> Result<(String, String, u8, Fields)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).map_err(|e| not_http("request", head, e))?;
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    Ok((method.into(), target.into(), request.version.unwrap_or(1), fields_of(request.headers)))
}

/// A parsed response head: status, reason, minor version, fields.
pub fn parse_response(head: &[u8]) -> Result<(u16, String, u8, Fields)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(|e| not_http("response", head, e))?;
    let reason = response.reason.unwrap_or_default().to_owned();
    Ok((response.code.unwrap_or(0), reason, response.version.unwrap_or(1), fields_of(response.headers)))
}

fn not_http(what: &str, head: &[u8], error: httparse::Error) -> Error {
    let head = String::from_utf8_lossy(head);
    Error::new(ErrorKind::InvalidData, format!("not an HTTP/1 {what} head: {error}: {head:?}"))
}

fn fields_of(headers: &[httparse::Header<'_>]) -> Fields {
    let text = |bytes: &[u8]| bytes.iter().map(|&b| b as char).collect();
    headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect()
}
