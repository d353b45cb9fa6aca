//! The first bytes of a connection that may speak HTTP/2: which of both protocols it is, and how long a
//! peer may take to say so. Pingora would wait for ever for the 24 bytes of an HTTP/2 preface, from a
//! silent peer as from one whose whole request is shorter.
//!
//! Must not know: requests.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::l4::stream::Stream as Socket;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a cleartext connection speaks.
pub(super) enum Protocol {
    /// With what was read of its first request.
    Http1(Stream, BytesMut),
    Http2(Stream),
}

/// Reads of a cleartext connection until it is clear what it speaks: the preface's first byte is no
/// method's, but for those that begin with P. None: it ended without a word.
pub(super) async fn protocol(stream: Stream) -> io::Result<Option<Protocol>> {
    let Ok(mut socket) = stream.into_any().downcast::<Socket>() else {
        return Err(io::Error::other("a cleartext connection is not the proxy's own kind of socket"));
    };
    let mut read = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && read[..length] == PREFACE[..length] {
        match socket.read(&mut read[length..]).await? {
            0 if length == 0 => return Ok(None),
            0 => break,
            more => length += more,
        }
    }
    if read == *PREFACE {
        socket.rewind(&read);
        return Ok(Some(Protocol::Http2(socket)));
    }
    Ok(Some(Protocol::Http1(socket, BytesMut::from(&read[..length]))))
}

/// A TLS connection that agreed to speak HTTP/2 and has to begin with it in time. Afterwards it is in
/// nobody's way.
#[derive(Debug)]
pub(super) struct Punctual {
    stream: Stream,
    /// Until the first byte.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Punctual {
    pub(super) fn new(stream: Stream, patience: Duration) -> Punctual {
        Punctual { stream, patience: Some(Box::pin(sleep(patience))) }
    }
}

impl AsyncRead for Punctual {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
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

impl AsyncWrite for Punctual {
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

#[async_trait]
impl Shutdown for Punctual {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Punctual {
    fn id(&self) -> i32 {
        self.stream.id()
    }
}

impl Ssl for Punctual {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Punctual {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Punctual {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Punctual {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Peek for Punctual {}
