//! A connection of pass-through whose one answer has to begin in time (`passthrough_first_byte_timeout`): one that no
//! descriptor stands for, so that nothing from outside can end the wait for it.
//!
//! Must not know: what is asked, what is answered.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// The error of a read for which no byte came in time.
#[derive(Debug)]
struct NoFirstByte;

impl fmt::Display for NoFirstByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer began in time")
    }
}

impl std::error::Error for NoFirstByte {}

/// Whether an error is that of a connection on which no answer began in time.
pub fn began_no_answer(error: &pingora::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<NoFirstByte>())
}

/// A connection that is used for one request.
#[derive(Debug)]
pub(super) struct FirstByteStream<S> {
    stream: S,
    limit: Option<Duration>,
    /// The wait since the last byte of the request. `None` before the first one, and once a byte of the answer has come.
    wait: Option<Pin<Box<Sleep>>>,
    has_begun: bool,
}

impl<S> FirstByteStream<S> {
    /// `limit`: `None` for an answer that may begin as late as it likes.
    pub(super) fn new(stream: S, limit: Option<Duration>) -> FirstByteStream<S> {
        FirstByteStream { stream, limit, wait: None, has_begun: false }
    }

    /// Notes that a part of the request was written.
    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        let Some(limit) = self.limit.filter(|_| !self.has_begun) else { return };
        if !matches!(written, Poll::Ready(Ok(1..))) {
            return;
        }
        match &mut self.wait {
            Some(wait) => wait.as_mut().reset(Instant::now() + limit),
            None => self.wait = Some(Box::pin(sleep(limit))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstByteStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    (self.has_begun, self.wait) = (true, None);
                }
                Poll::Ready(read)
            }
            Poll::Pending => match self.wait.as_mut().map(|wait| wait.as_mut().poll(context)) {
                Some(Poll::Ready(())) => {
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, NoFirstByte)))
                }
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstByteStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(&written);
        written
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

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + fmt::Debug> VirtualSocket for FirstByteStream<S> {
    /// The connection below has them set.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
