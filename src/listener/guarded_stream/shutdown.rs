//! The end of a connection: what waits is written first, and a client that is refused reads why.
//!
//! Must not know: why a connection ends.

use async_trait::async_trait;
use pingora::protocols::Shutdown;

use super::Attended;

#[async_trait]
impl Shutdown for Attended {
    async fn shutdown(&mut self) {
        // A client that is shut out gets no more bytes, but those that were written before still reach it.
        let _ = std::future::poll_fn(|context| self.poll_waiting(context)).await;
        if let Some(mut parting) = self.parting.take() {
            std::future::poll_fn(|context| parting.poll_over(&mut self.stream, context)).await;
        }
        self.stream.shutdown().await;
    }
}
