//! Small writes that are gathered into one: of HTTP/1 until Pingora turns to read, of HTTP/2 while several streams of the
//! connection write in one turn of its task.
//!
//! Must not know: what is written.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use super::Attended;

/// Most bytes of HTTP/1 that wait to be written. Larger pieces are not copied.
const WAITING_BYTES_MAX: usize = 8 * 1024;

/// The same of HTTP/2: what one record of TLS holds.
const WAITING_FRAMES_BYTES_MAX: usize = 16 * 1024;

/// Bytes that a first piece is given room for behind it.
const SPARE_BYTES: usize = 512;

impl Attended {
    /// Whether so many bytes wait for what comes behind them.
    pub(super) fn gathers(&self, bytes: usize) -> bool {
        match &self.writes {
            Some(writes) => writes.gather() && bytes <= WAITING_FRAMES_BYTES_MAX,
            None => bytes <= WAITING_BYTES_MAX,
        }
    }

    /// Takes bytes that wait. What has waited before is written if there is no room.
    pub(super) fn poll_gather(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (most, room) = match self.writes {
            Some(_) => (WAITING_FRAMES_BYTES_MAX, WAITING_FRAMES_BYTES_MAX / 4),
            None => (WAITING_BYTES_MAX, SPARE_BYTES),
        };
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.waiting.len() + length > most {
            ready!(self.poll_waiting(context))?;
        }
        if self.waiting.is_empty() {
            // What comes behind a head often fits in beside it.
            self.waiting.reserve(length + room);
        }
        pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
        let taken = Poll::Ready(Ok(length));
        self.told(pieces, &taken);
        taken
    }

    /// Writes everything that waits.
    pub(super) fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let way = Pin::new(&mut self.stream).poll_write(context, &self.waiting);
            match ready!(self.moving(context, way))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => self.waiting.advance(written),
            }
        }
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}
