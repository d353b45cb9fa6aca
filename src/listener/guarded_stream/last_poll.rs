//! The last plain poll of a connection of HTTP/1: whether the next one asks the same again.
//!
//! Must not know: how repeats are answered.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a connection's last plain poll; 0 without one.
#[derive(Debug, Default)]
pub(super) struct LastPoll(AtomicU64);

impl LastPoll {
    /// A connection that repeated this plain poll before it came here.
    pub(super) fn known(number: Option<u64>) -> LastPoll {
        LastPoll(AtomicU64::new(number.unwrap_or_default()))
    }

    /// Remembers the number of a plain poll. Returns whether the one before it has the same.
    pub(super) fn repeats(&self, number: u64) -> bool {
        self.0.swap(number, Ordering::Relaxed) == number
    }
}
