//! The wait of an HTTP/1 connection for its next request, before Pingora has anything to do with it.
//!
//! Must not know: what is asked.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::Attended;

/// Most bytes of a request that are read before Pingora reads: as many as it would read at once.
const FIRST_BYTES_MAX: usize = 4096;

impl Attended {
    /// Waits for the first bytes of a request, and keeps them for Pingora, which would hold the memory of a whole request
    /// while it waits for one. Returns false if the connection has ended.
    pub(in crate::listener) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.head.is_idle() || !self.ahead.is_empty() || self.parting.is_some() {
            return Poll::Ready(true);
        }
        let mut bytes = [MaybeUninit::uninit(); FIRST_BYTES_MAX];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        let read = ready!(Pin::new(&mut *self).poll_read(context, &mut buffer));
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(false);
        }
        let rest = std::mem::take(&mut self.ahead);
        self.ahead.reserve(buffer.filled().len() + rest.len());
        self.ahead.extend_from_slice(buffer.filled());
        self.ahead.extend_from_slice(&rest);
        Poll::Ready(true)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::super::tests::pair;
    use super::*;

    async fn comes(server: &mut Attended) -> bool {
        poll_fn(|context| server.poll_next(context)).await
    }

    #[tokio::test]
    async fn what_came_is_read_once_and_in_order() {
        let (mut server, mut client) = pair().await;
        let waiting = timeout(Duration::from_millis(10), comes(&mut server)).await;
        assert!(waiting.is_err(), "nothing came");
        client.write_all(b"GET /a HT").await.unwrap();
        assert!(comes(&mut server).await && comes(&mut server).await);
        client.write_all(b"TP/1.1\r\n\r\n").await.unwrap();
        drop(client);
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"GET /a HTTP/1.1\r\n\r\n");
    }

    #[tokio::test]
    async fn a_connection_that_ends_or_says_nothing_has_no_request() {
        let (mut server, client) = pair().await;
        drop(client);
        assert!(!comes(&mut server).await);
        let (mut server, _client) = pair().await;
        assert!(!comes(&mut server).await, "the first byte has a second to come");
    }
}
