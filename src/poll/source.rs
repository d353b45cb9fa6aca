//! Where polls go: one configured upstream.
//!
//! Must not know: what is polled.

use std::time::Duration;

use async_trait::async_trait;

use crate::upstream::schedule::Quota;
use crate::upstream::{Answer, Ask, FetchError, Priority, Turn};

/// Where polls go: one configured upstream.
#[async_trait]
pub trait Source: Send + Sync {
    /// Waits for a poll's turn; it is over when what this gives is dropped.
    async fn turn(&self, _priority: Priority) -> Result<Option<Turn>, FetchError> {
        Ok(None)
    }

    /// Asks once, and reads the whole answer.
    ///
    /// # Errors
    /// The upstream gave no answer that counts as data.
    async fn fetch(&self, ask: &Ask) -> Result<Answer, FetchError>;

    /// How long no poll has a turn because of the upstream's own quota; `None` if one has.
    fn quota_wait(&self) -> Option<Duration> {
        None
    }

    /// The upstream says how much more it will answer to all polls together.
    fn learn(&self, _quota: Quota) {}
}

#[async_trait]
impl Source for crate::upstream::Client {
    async fn turn(&self, priority: Priority) -> Result<Option<Turn>, FetchError> {
        crate::upstream::Client::turn(self, priority).await
    }

    async fn fetch(&self, ask: &Ask) -> Result<Answer, FetchError> {
        crate::upstream::Client::poll(self, ask).await
    }

    fn quota_wait(&self) -> Option<Duration> {
        crate::upstream::Client::quota_wait(self)
    }

    fn learn(&self, quota: Quota) {
        crate::upstream::Client::learn(self, quota);
    }
}
