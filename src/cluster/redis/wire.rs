//! A connection's stream of bytes, and when something was last read from it: an engine that answers others is there, however
//! long the row is that a command stands in.
//!
//! Must not know: what is said.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a stream of bytes has to be.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// When something was last read.
#[derive(Debug)]
pub(super) struct Reads {
    epoch: Instant,
    /// Microseconds since the epoch.
    at_us: AtomicU64,
}

impl Reads {
    fn new() -> Reads {
        Reads { epoch: Instant::now(), at_us: AtomicU64::new(0) }
    }

    /// When something was last read, or the connection was made.
    pub(super) fn last(&self) -> Instant {
        self.epoch + std::time::Duration::from_micros(self.at_us.load(Ordering::Acquire))
    }

    fn note(&self) {
        let since = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.at_us.store(since, Ordering::Release);
    }
}

/// A stream that notes when it was read from.
pub(super) struct Watched {
    wire: Box<dyn Wire>,
    reads: Arc<Reads>,
}

impl Watched {
    pub(super) fn new(wire: Box<dyn Wire>) -> Watched {
        Watched { wire, reads: Arc::new(Reads::new()) }
    }

    pub(super) fn reads(&self) -> Arc<Reads> {
        self.reads.clone()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.wire).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.reads.note();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}
