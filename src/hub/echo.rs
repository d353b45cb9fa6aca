//! A topic's knowledge of writes (contract §9): from a write on, its snapshot is unconfirmed until a
//! poll that started later has settled it.
//!
//! Must not know: requests, or when the poll comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::topic::Topic;
use super::view::{Outcome, View};

/// The newest write.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Number of the first poll that starts after it; 0: there was none.
    poll: AtomicU64,
    /// Milliseconds of the hub's epoch.
    at: AtomicU64,
}

impl Topic {
    /// A write may have changed the resource. Polls that have started already do not count: they
    /// may have read the state before it. Many writes ask for one poll.
    pub fn write(&self) {
        let at = self.epoch.elapsed().as_millis() as u64;
        self.written.at.fetch_max(at, Ordering::SeqCst);
        self.written.poll.fetch_max(self.started() + 1, Ordering::SeqCst);
        self.wake();
    }

    /// Number of the first poll that knows of the newest write; 0: there was none.
    pub fn written(&self) -> u64 {
        self.written.poll.load(Ordering::SeqCst)
    }

    /// When the newest write was.
    pub fn written_at(&self) -> Instant {
        self.epoch + Duration::from_millis(self.written.at.load(Ordering::SeqCst))
    }

    /// Whether the view may be older than a write.
    pub fn is_unconfirmed(&self, view: &View) -> bool {
        view.settled < self.written()
    }

    /// Waits until the writes so far are settled, or a poll that knows of them failed. Wakes the
    /// poller, which does not poll for nobody.
    pub async fn settled(&self) -> Arc<View> {
        let written = self.written();
        self.wake();
        let failed = |view: &View| {
            view.ended >= written && matches!(view.outcome, Outcome::Failed(_) | Outcome::Relay(_))
        };
        self.wait_for(|view| view.settled >= written || failed(view) || view.closing.is_some()).await
    }
}
