//! The end of a client whose head is not read to its end: it is told why, and listened to for a moment. A
//! close with bytes unread would reset the connection, and it might never hear.
//!
//! Must not know: why.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::deadlines::Refusal;
use crate::transport::answer;

/// How long it may take to hear it, and to stop.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Parting {
    unsaid: BytesMut,
    patience: Pin<Box<Sleep>>,
}

impl Parting {
    pub(super) fn with(refusal: Refusal) -> Parting {
        let title = refusal.status.canonical_reason().unwrap_or("Error");
        let (headers, body) = answer::problem(refusal.status, title, refusal.detail);
        let mut unsaid = answer::head_bytes(refusal.status, &headers, b"connection: close\r\n", false);
        unsaid.extend_from_slice(&body);
        Parting { unsaid, patience: Box::pin(sleep(LINGER_TIME_MAX)) }
    }

    /// Ready when the connection may be closed.
    pub(super) fn poll_over(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<()> {
        if self.patience.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        while !self.unsaid.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(context, &self.unsaid)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(written) => self.unsaid.advance(written),
            }
        }
        // What a flush has broken, the next read tells.
        let _ = ready!(Pin::new(&mut *stream).poll_flush(context));
        let mut dropped = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut dropped);
            match ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}
