//! Why a connection to an engine has to end: the first failure on it, whichever verb met it.
//!
//! Must not know: engines.

use std::sync::OnceLock;

use tokio::sync::Notify;

use super::engine::Failed;

/// The first failure of a connection.
#[derive(Debug, Default)]
pub(super) struct FirstFailure {
    failed: OnceLock<Failed>,
    failing: Notify,
}

impl FirstFailure {
    /// Notes a failure; the first one stays. Gives it back.
    pub(super) fn note(&self, failed: Failed) -> Failed {
        let _ = self.failed.set(failed.clone());
        self.failing.notify_one();
        failed
    }

    /// The first failure. Returns `None` while there is none.
    pub(super) fn get(&self) -> Option<Failed> {
        self.failed.get().cloned()
    }

    /// Waits for the first failure.
    pub(super) async fn wait(&self) -> Failed {
        loop {
            if let Some(failed) = self.get() {
                return failed;
            }
            self.failing.notified().await;
        }
    }
}
