//! A connection's stream of bytes, and when something was last read from it: an engine that answers others is there, however
//! long the row is that a command stands in.
//!
//! Must not know: what is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::io::InspectReader;

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
        self.epoch + Duration::from_micros(self.at_us.load(Ordering::Acquire))
    }

    fn note(&self) {
        let since = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.at_us.store(since, Ordering::Release);
    }
}

/// Returns a stream that notes when something was read from it, and what it notes.
pub(super) fn watched(stream: impl Wire + 'static) -> (Box<dyn Wire>, Arc<Reads>) {
    let reads = Arc::new(Reads::new());
    let noted = reads.clone();
    let stream = InspectReader::new(stream, move |bytes: &[u8]| {
        // The end of the stream is read as no bytes.
        if !bytes.is_empty() {
            noted.note();
        }
    });
    (Box::new(stream), reads)
}
