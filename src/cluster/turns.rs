//! The order in which a node's commands reach the engine: claims go before requests for polls, and beats wait for no long
//! row of writes.
//!
//! Must not know: what is sent.

use std::pin::pin;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Claims of one go.
pub(super) const CLAIMS_MAX: usize = 500;
/// Commands of single resources that are on their way at once. Beats and claims stand behind no more than these.
const TURNS_MAX: usize = 256;

/// The turns of commands.
pub(super) struct Turns {
    commands: Semaphore,
    /// No more claims wait than one go takes.
    few_claims: Notify,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns { commands: Semaphore::new(TURNS_MAX), few_claims: Notify::new() }
    }

    /// Notes how many claims wait now.
    pub(super) fn wait_claims(&self, count: usize) {
        if count < CLAIMS_MAX {
            self.few_claims.notify_waiters();
        }
    }

    /// Waits for the turn of a command of one resource, which lasts until it is dropped. Returns `None` if there are no turns
    /// any more, which does not happen.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.commands.acquire().await.ok()
    }

    /// Waits for the turn of a command that is less urgent than claims, while more is to be claimed than one go takes.
    /// `claims`: how many wait now.
    pub(super) async fn turn_after_claims(&self, claims: impl Fn() -> usize) -> Option<SemaphorePermit<'_>> {
        loop {
            let mut few = pin!(self.few_claims.notified());
            few.as_mut().enable();
            if claims() < CLAIMS_MAX {
                break;
            }
            few.await;
        }
        self.turn().await
    }
}
