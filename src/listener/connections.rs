//! The number of connections that the process has from clients.
//!
//! Must not know: what they are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A connection that Pingora has, counted until it is dropped.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(super) fn new(connections: &Arc<AtomicUsize>) -> Counted {
        connections.fetch_add(1, Ordering::SeqCst);
        Counted(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
