//! What Pingora reads of an HTTP/2 connection: everything but requests that wait (`http2_parked`).
//!
//! Must not know: the frames themselves.

use std::io;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::Attended;

impl Attended {
    /// Gives out what has waited and need not any more. Returns `None` if the connection is to be read.
    pub(super) fn poll_parked(&mut self, buffer: &mut ReadBuf<'_>) -> Option<Poll<io::Result<()>>> {
        let (parked, windows) = self.parked.as_mut().zip(self.windows.as_ref())?;
        self.ahead = parked.let_in(windows);
        if !self.ahead.is_empty() {
            self.give_ahead(buffer);
            return Some(Poll::Ready(Ok(())));
        }
        // The connection's task comes back when one of its requests ends.
        parked.is_full().then_some(Poll::Pending)
    }

    /// Looks at what was read, the bytes of the buffer from `before` on.
    pub(super) fn reads_frames(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        before: usize,
    ) -> Poll<io::Result<()>> {
        let came = &buffer.filled()[before..];
        let Some((parked, windows)) = self.parked.as_mut().zip(self.windows.as_ref()) else {
            return Poll::Ready(Ok(()));
        };
        if came.is_empty() {
            // The end of the connection, which what waits does not survive.
            return Poll::Ready(Ok(()));
        }
        let Some(left) = parked.sort(came, windows) else {
            return Poll::Ready(Ok(()));
        };
        buffer.set_filled(before);
        if left.is_empty() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ahead = left;
        self.give_ahead(buffer);
        Poll::Ready(Ok(()))
    }
}
