//! What stands between Pingora and a connection of a client: a limit on the wait for its first byte, and
//! small writes gathered into one.
//!
//! Pingora writes the head of an answer, its body and its end one by one. Left as they are, each is a
//! packet; in a buffer of its own they would wait there for the next piece, and the head of a slow answer
//! with them. Here they wait until Pingora has nothing more to write, which shows by its turning to read.
//! Must not know: requests.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Most bytes that wait to be written. Larger pieces are not copied.
const MOST: usize = 8 * 1024;

/// A client's connection on its way to Pingora.
#[derive(Debug)]
pub(super) struct Attended {
    stream: Stream,
    /// Until the first byte.
    patience: Option<Pin<Box<Sleep>>>,
    gathers: bool,
    /// Not written yet.
    waiting: BytesMut,
}

impl Attended {
    /// A connection that has to begin in time. Afterwards this is in nobody's way.
    pub(super) fn punctual(stream: Stream, patience: Duration) -> Attended {
        let patience = Some(Box::pin(sleep(patience)));
        Attended { stream, patience, gathers: false, waiting: BytesMut::new() }
    }

    /// A connection of HTTP/1.
    pub(super) fn gathering(stream: Stream) -> Attended {
        Attended { stream, patience: None, gathers: true, waiting: BytesMut::new() }
    }

    /// The connection itself, if this one is such; nothing of it waits to be written.
    pub(super) fn bare(stream: Stream) -> Stream {
        match (*stream).as_any().downcast_ref::<Attended>() {
            Some(attended) if attended.waiting.is_empty() => {}
            _ => return stream,
        }
        let attended = stream.into_any().downcast::<Attended>();
        attended.expect("it was one a line ago, and nobody else has it").stream
    }

    /// Writes everything that waits.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => self.waiting.advance(written),
            }
        }
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}
impl AsyncRead for Attended {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() && !self.waiting.is_empty() && self.poll_waiting(context)?.is_ready() {
            // What a write has broken, the next one tells.
            let _ = Pin::new(&mut self.stream).poll_flush(context)?;
        }
        let Some(patience) = &mut self.patience else {
            return read;
        };
        match read {
            Poll::Pending if patience.as_mut().poll(context).is_ready() => {
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
            read => {
                self.patience = None;
                read
            }
        }
    }
}

impl AsyncWrite for Attended {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gathers && bytes.len() <= MOST {
            if self.waiting.len() + bytes.len() > MOST {
                ready!(self.poll_waiting(context))?;
            }
            self.waiting.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_waiting(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_waiting(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for Attended {
    async fn shutdown(&mut self) {
        // Who is shut out hears no more; but what was said before counts.
        let _ = std::future::poll_fn(|context| self.poll_waiting(context)).await;
        self.stream.shutdown().await;
    }
}

impl UniqueID for Attended {
    fn id(&self) -> i32 {
        self.stream.id()
    }
}

impl Ssl for Attended {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Attended {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Attended {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Attended {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Peek for Attended {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (Attended, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let stream: Stream = Box::new(pingora::protocols::l4::stream::Stream::from(socket));
        (Attended::gathering(stream), client)
    }

    #[tokio::test]
    async fn what_waits_is_written_with_the_turn_to_read() {
        let (mut server, mut client) = pair().await;
        server.write_all(b"head ").await.unwrap();
        server.write_all(b"body").await.unwrap();
        let mut read = [0; 64];
        assert!(client.try_read(&mut read).is_err(), "nothing yet");
        let reading = tokio::spawn(async move {
            let mut read = [0; 64];
            let length = server.read(&mut read).await.unwrap();
            (server, read[..length].to_vec())
        });
        let length = client.read(&mut read).await.unwrap();
        assert_eq!(&read[..length], b"head body");
        client.write_all(b"more").await.unwrap();
        let (mut server, said) = reading.await.unwrap();
        assert_eq!(said, b"more");
        server.write_all(b"last").await.unwrap();
        server.flush().await.unwrap();
        let length = client.read(&mut read).await.unwrap();
        assert_eq!(&read[..length], b"last");
    }

    #[tokio::test]
    async fn large_pieces_follow_small_ones_in_order() {
        let (mut server, mut client) = pair().await;
        let pieces: Vec<Vec<u8>> = [10, 8000, 500, 20_000, 3, 8192, 8193, 1]
            .iter()
            .enumerate()
            .map(|(n, size)| vec![n as u8; *size])
            .collect();
        let wanted = pieces.concat();
        let writing = tokio::spawn(async move {
            for piece in &pieces {
                server.write_all(piece).await.unwrap();
            }
            AsyncWriteExt::shutdown(&mut server).await
        });
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read == wanted);
        writing.await.unwrap().unwrap();
    }
}
