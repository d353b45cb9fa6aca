//! A connection whose answers are read before Pingora reads them: lines of heads that are no fields are taken out, which
//! would cost the whole answer otherwise (contract §10), and chunks that have more than one reading end it (§12).
//!
//! Polls read every answer of HTTP/1 through one. Pass-through, whose connections are Pingora's, does so for upstreams
//! that have sent such a head lately, and for upgrades, and then uses a connection once: a pool does not take one that it
//! cannot look into. Must not know: what is asked, what bodies hold.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use pingora::connectors::{L4Connect, TransportConnector};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::l4::virt::VirtualSocketStream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora::upstreams::peer::{HttpPeer, Scheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::first_byte_stream::FirstByteStream;
use crate::upstream::{BadAt, Chunks, head};

/// How long an upstream that sent an unreadable field is expected to send more of them.
const REMEMBERED_TIME: Duration = Duration::from_secs(600);

/// Bytes that are read at a time while a head is looked for.
const PIECE_BYTES: usize = 4 * 1024;

/// Remembers whether an upstream sends heads that have to be normalized.
#[derive(Debug)]
pub(super) struct MalformedHeads {
    upstream: String,
    until: Mutex<Option<Instant>>,
}

impl MalformedHeads {
    pub(super) fn of(upstream: String) -> Arc<MalformedHeads> {
        Arc::new(MalformedHeads { upstream, until: Mutex::default() })
    }

    /// Notes that such a head came.
    pub(super) fn note(&self) {
        let now = Instant::now();
        let before = self.until.lock().replace(now + REMEMBERED_TIME);
        if before.is_none_or(|until| until <= now) {
            tracing::warn!(
                upstream = self.upstream,
                "heads have lines that are no fields; they are dropped, and what passes through makes a connection each"
            );
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.until.lock().is_some_and(|until| Instant::now() < until)
    }
}

/// A connection on which one answer is expected.
pub(super) struct NormalizedStream {
    stream: Stream,
    malformed_heads: Arc<MalformedHeads>,
    /// Bytes of a head that has no end yet, and what came with them.
    held: BytesMut,
    /// Bytes of them in which the end of the head was looked for: a head that comes byte by byte is read once.
    looked_at: usize,
    /// Bytes that are normalized, which are given out first.
    ready: Bytes,
    is_in_head: bool,
    /// The place in a body of chunks.
    chunks: Option<Chunks>,
    /// Whether the chunks can be read in more than one way from here on.
    is_broken: bool,
    /// Whether the first read gives nothing, even if bytes have come.
    yields: bool,
}

impl NormalizedStream {
    pub(super) fn new(stream: Stream, malformed_heads: Arc<MalformedHeads>) -> NormalizedStream {
        let (held, ready, chunks) = (BytesMut::new(), Bytes::new(), None);
        let (looked_at, is_in_head, is_broken, yields) = (0, true, false, false);
        NormalizedStream {
            stream,
            malformed_heads,
            held,
            looked_at,
            ready,
            is_in_head,
            chunks,
            is_broken,
            yields,
        }
    }

    /// For an upgrade. Pingora may read an answer that came very fast before it has seen that the request has no body,
    /// and then takes this end for the end of what was upgraded: it closes right behind the 101.
    fn yielding(self) -> NormalizedStream {
        NormalizedStream { yields: true, ..self }
    }

    /// Returns the connection itself. `None` if bytes were read from it that its reader was not given.
    pub(super) fn bare(stream: Stream) -> Option<Stream> {
        match stream.into_any().downcast::<NormalizedStream>() {
            Ok(normalized)
                if normalized.held.is_empty() && normalized.ready.is_empty() && !normalized.is_broken =>
            {
                Some(normalized.stream)
            }
            _ => None,
        }
    }

    /// Takes the next head out of what is held, or all of it if it is none. Returns false if more has to come first.
    fn takes_head(&mut self) -> bool {
        let is_over = |held: &[u8]| {
            held.len() > head::HEAD_BYTES_MAX || !b"HTTP/1.".starts_with(&held[..held.len().min(7)])
        };
        // The part that was looked at before may end with the beginning of an empty line.
        let from = std::mem::replace(&mut self.looked_at, self.held.len()).saturating_sub(2);
        let Some(end) = head::end(&self.held[from..]).map(|end| from + end) else {
            if is_over(&self.held) {
                self.give_all();
            }
            return !self.is_in_head;
        };
        self.looked_at = 0;
        let raw = self.held.split_to(end).freeze();
        self.is_in_head = head::is_interim(&raw);
        self.chunks = (!self.is_in_head && head::is_chunked(&raw)).then(Chunks::of_answer);
        self.ready = match head::without_unreadable(&raw) {
            Some(normalized) => {
                self.malformed_heads.note();
                normalized.into()
            }
            None => raw,
        };
        true
    }

    /// Reads more of a head. Returns how many bytes came.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = self.held.len();
        self.held.resize(before + PIECE_BYTES, 0);
        let mut piece = ReadBuf::new(&mut self.held[before..]);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut piece);
        let count = piece.filled().len();
        self.held.truncate(before + count);
        ready!(read)?;
        Poll::Ready(Ok(count))
    }

    /// Gives out all that is held: it is no head, or follows the last one.
    fn give_all(&mut self) {
        self.is_in_head = false;
        let fit = fit(&mut self.chunks, &self.held);
        self.ready = self.held.split_to(fit.unwrap_or_else(|BadAt(at)| at)).freeze();
        if fit.is_err() {
            self.is_broken = true;
            self.held.clear();
        }
    }
}

/// Returns how many of these bytes of a body may be given out: all of them.
///
/// # Errors
/// Only those before a chunk that has more than one reading.
fn fit(chunks: &mut Option<Chunks>, bytes: &[u8]) -> Result<usize, BadAt> {
    match chunks {
        Some(chunks) if !chunks.are_over() => chunks.read(bytes).map(|_| bytes.len()),
        _ => Ok(bytes.len()),
    }
}

/// The words for chunks that have more than one reading.
pub(super) const BAD_CHUNK: &str = "a chunk's size or end is not one";

impl AsyncRead for NormalizedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let normalized = &mut *self;
        if std::mem::take(&mut normalized.yields) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if !normalized.ready.is_empty() {
                let fits = normalized.ready.len().min(buffer.remaining());
                buffer.put_slice(&normalized.ready.split_to(fits));
                return Poll::Ready(Ok(()));
            }
            if normalized.is_broken {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, BAD_CHUNK)));
            }
            if !normalized.is_in_head {
                if normalized.held.is_empty() {
                    let before = buffer.filled().len();
                    ready!(Pin::new(&mut normalized.stream).poll_read(context, buffer))?;
                    let Err(BadAt(at)) = fit(&mut normalized.chunks, &buffer.filled()[before..]) else {
                        return Poll::Ready(Ok(()));
                    };
                    normalized.is_broken = true;
                    buffer.set_filled(before + at);
                    if at == 0 {
                        continue;
                    }
                    return Poll::Ready(Ok(()));
                }
                normalized.give_all();
                continue;
            }
            if !normalized.held.is_empty() && normalized.takes_head() {
                continue;
            }
            if ready!(normalized.poll_piece(context))? == 0 {
                if normalized.held.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                normalized.give_all();
            }
        }
    }
}

impl AsyncWrite for NormalizedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl fmt::Debug for NormalizedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NormalizedStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[async_trait]
impl Shutdown for NormalizedStream {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for NormalizedStream {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for NormalizedStream {}

#[async_trait]
impl Peek for NormalizedStream {}

impl GetTimingDigest for NormalizedStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for NormalizedStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for NormalizedStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

/// Makes the connections of pass-through to an upstream that sends malformed heads.
struct NormalizingDialer {
    /// The server as it is connected to otherwise.
    peer: HttpPeer,
    connector: Arc<TransportConnector>,
    malformed_heads: Arc<MalformedHeads>,
    is_upgrade: bool,
    /// How long the first byte of the answer may take.
    first_byte: Option<Duration>,
}

#[async_trait]
impl L4Connect for NormalizingDialer {
    async fn connect(&self, _: &SocketAddr) -> pingora::Result<L4Stream> {
        let stream = self.connector.new_stream(&self.peer).await?;
        let normalized = NormalizedStream::new(stream, self.malformed_heads.clone());
        let normalized = if self.is_upgrade { normalized.yielding() } else { normalized };
        let awaited = FirstByteStream::new(normalized, self.first_byte);
        Ok(VirtualSocketStream::new(Box::new(awaited)).into())
    }
}

impl fmt::Debug for NormalizingDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NormalizingDialer of {}", self.peer)
    }
}

/// The same server, whose answers are normalized. Pingora takes it for one that speaks no TLS. `peer` speaks HTTP/1. Beside
/// what makes its connections stands how long the first byte of an answer may take.
pub(super) fn normalizing(
    peer: HttpPeer,
    (connector, first_byte): (Arc<TransportConnector>, Option<Duration>),
    malformed_heads: Arc<MalformedHeads>,
    is_upgrade: bool,
) -> HttpPeer {
    let mut outer = peer.clone();
    outer.scheme = Scheme::HTTP;
    outer.client_cert_key = None;
    outer.options.ca = None;
    // It must not share a pool with the connections that Pingora made itself.
    outer.group_key = !peer.group_key;
    outer.options.custom_l4 =
        Some(Arc::new(NormalizingDialer { peer, connector, malformed_heads, is_upgrade, first_byte }));
    outer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection that is normalized, and its server's end.
    async fn connection() -> (NormalizedStream, TcpStream, Arc<MalformedHeads>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let malformed_heads = MalformedHeads::of("api".to_owned());
        (
            NormalizedStream::new(Box::new(L4Stream::from(stream)), malformed_heads.clone()),
            server,
            malformed_heads,
        )
    }

    /// What is read of these bytes, which come one by one, until the end.
    async fn read(sent: &[u8]) -> (Vec<u8>, bool) {
        let (mut normalized, mut server, malformed_heads) = connection().await;
        let sent = sent.to_vec();
        let sending = tokio::spawn(async move {
            for byte in sent {
                server.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut all = Vec::new();
        normalized.read_to_end(&mut all).await.unwrap();
        sending.await.unwrap();
        (all, malformed_heads.is_known())
    }

    #[tokio::test]
    async fn only_heads_are_tidied_whatever_the_body_looks_like() {
        let body = "HTTP/1.1 200 OK\r\noops\r\n\r\n";
        for (interim, head, normalized, is_malformed) in [
            ("", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n", false),
            ("", "HTTP/1.1 200 OK\r\noops\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 103 X\r\n\r\n", "HTTP/1.1 200 OK\noops\n\n", "HTTP/1.1 200 OK\n\n", true),
            ("", "HTTP/1.1 101 X\r\n\r\n", "HTTP/1.1 101 X\r\n\r\n", false),
        ] {
            let sent = format!("{interim}{head}{body}");
            let wanted = format!("{interim}{normalized}{body}");
            let (all, is_known) = read(sent.as_bytes()).await;
            assert_eq!((String::from_utf8_lossy(&all).into_owned(), is_known), (wanted, is_malformed));
        }
    }

    #[tokio::test]
    async fn what_is_no_head_or_has_no_end_is_given_as_it_came() {
        let endless =
            [&b"HTTP/1.1 200 OK\r\n"[..], &b"oops\r\n".repeat(head::HEAD_BYTES_MAX / 6 + 1)].concat();
        for sent in
            [b"".as_slice(), b"HTTP", b"HTTP/1.1 200 OK\r\noops\r\n", b"\x15\x03\x01\0\x02\n\n", &endless]
        {
            assert_eq!(read(sent).await, (sent.to_vec(), false));
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_the_first_chunk_that_is_none() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        for (good, bad) in [
            ("", "\r\n\r\n"),
            ("", ";a\r\n\r\n"),
            ("", " 1\r\nx\r\n0\r\n\r\n"),
            ("1", ",1\r\n"),
            ("1\r\nx\r\n", "\r\nHTTP/1.1 200 OK\r\n"),
            ("1\r\nx\r", "0\r\n\r\n"),
            ("1;a", "\n\r\n"),
        ] {
            for is_at_once in [true, false] {
                let (mut normalized, mut server, _) = connection().await;
                let sent = format!("{head}{good}{bad}").into_bytes();
                let sending = tokio::spawn(async move {
                    for piece in sent.chunks(if is_at_once { sent.len() } else { 1 }) {
                        // The reader may have gone at the first bad byte.
                        let _ = server.write_all(piece).await;
                        tokio::task::yield_now().await;
                    }
                    server
                });
                let mut all = Vec::new();
                let error = normalized.read_to_end(&mut all).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                assert_eq!(String::from_utf8_lossy(&all), format!("{head}{good}"), "{bad:?}");
                assert!(NormalizedStream::bare(Box::new(normalized)).is_none());
                sending.await.unwrap();
            }
        }
        let padded = [head, "1  \r\nx\r\n0 \r\n\r\n"].concat();
        assert_eq!(read(padded.as_bytes()).await.0, padded.as_bytes());
    }

    #[tokio::test]
    async fn the_first_turn_to_read_an_upgrade_gives_nothing_whatever_has_come() {
        let (normalized, mut server, _) = connection().await;
        let mut normalized = normalized.yielding();
        server.write_all(b"HTTP/1.1 101 X\r\n\r\nframe").await.unwrap();
        let mut bytes = [0; 64];
        let turns = std::sync::atomic::AtomicUsize::new(0);
        let read = std::future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut bytes);
            if turns.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                let first = Pin::new(&mut normalized).poll_read(context, &mut buffer);
                assert!(first.is_pending() && buffer.filled().is_empty());
                return Poll::Pending;
            }
            ready!(Pin::new(&mut normalized).poll_read(context, &mut buffer)).unwrap();
            Poll::Ready(buffer.filled().len())
        });
        assert!(read.await > 0, "the turn after it is asked for");
    }

    #[tokio::test]
    async fn a_connection_with_unread_bytes_is_not_used_again() {
        let (mut normalized, mut server, _) = connection().await;
        server.write_all(b"HTTP/1.1 204 X\r\n\r\nHTTP").await.unwrap();
        normalized.read_exact(&mut [0; 10]).await.unwrap();
        assert!(NormalizedStream::bare(Box::new(normalized)).is_none());
        let (mut normalized, mut server, _) = connection().await;
        server.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.unwrap();
        normalized.read_exact(&mut [0; 18]).await.unwrap();
        assert!(NormalizedStream::bare(Box::new(normalized)).is_some());
    }
}
