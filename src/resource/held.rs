//! Bytes that are held in memory: the account of all, and of each holder.
//!
//! Must not know: what the bytes are, how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// The bytes of all holders.
#[derive(Debug, Default)]
pub struct Ledger(AtomicUsize);

impl Ledger {
    /// Bytes that are held, each body counted once.
    pub fn total(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// The bytes of one holder. They are given back when this is dropped.
#[derive(Debug, Default)]
pub struct HeldBytes {
    ledger: Arc<Ledger>,
    bytes: AtomicUsize,
}

impl HeldBytes {
    /// Returns a holder that holds nothing yet.
    pub fn on(ledger: Arc<Ledger>) -> HeldBytes {
        HeldBytes { ledger, bytes: AtomicUsize::new(0) }
    }

    /// Another holder on the same ledger, which holds nothing yet.
    pub fn beside(&self) -> HeldBytes {
        HeldBytes::on(self.ledger.clone())
    }

    /// Sets how many bytes it holds.
    pub fn set(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::SeqCst);
        // It is added before it is subtracted, so that the total never falls below what is held.
        self.ledger.0.fetch_add(bytes, Ordering::SeqCst);
        self.ledger.0.fetch_sub(before, Ordering::SeqCst);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.ledger.0.fetch_sub(*self.bytes.get_mut(), Ordering::SeqCst);
    }
}

/// Returns the written bytes, copied if the buffer has much unused room, which would be held as long.
pub fn fitted(written: BytesMut) -> Bytes {
    const PART_MAX: usize = 8;
    if written.capacity() - written.len() > written.len() / PART_MAX {
        return Bytes::copy_from_slice(&written);
    }
    written.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_buffer_is_about_what_was_written() {
        for (room, written) in [(100, 100), (1000, 10), (64, 60), (10, 0)] {
            let mut buffer = BytesMut::with_capacity(room);
            buffer.resize(written, b'x');
            let kept = BytesMut::from(fitted(buffer));
            assert_eq!(kept.len(), written);
            assert!(kept.capacity() <= written + written / 8 + 1, "{room}, {written}: {}", kept.capacity());
        }
    }

    #[test]
    fn the_account_is_what_all_hold_until_they_are_dropped() {
        let ledger = Arc::new(Ledger::default());
        let (one, other) = (HeldBytes::on(ledger.clone()), HeldBytes::on(ledger.clone()));
        one.set(10);
        other.set(5);
        one.set(3);
        assert_eq!(ledger.total(), 8);
        drop(other);
        assert_eq!(ledger.total(), 3);
        drop(one);
        assert_eq!(ledger.total(), 0);
    }
}
