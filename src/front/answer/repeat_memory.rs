//! The last plain poll of each connection: whether the next one asks the same again.
//!
//! Must not know: how repeats are answered.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections that are remembered, each by its last head. Two in one place forget each other, which costs
/// them the short path and nothing else.
const PLACES_COUNT: usize = 1 << 14;

/// The last ordinary poll of each connection.
pub struct Repeats {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Repeats {
    fn default() -> Self {
        let places = (0..PLACES_COUNT).map(|_| AtomicU64::new(0)).collect();
        Repeats { places, hasher: RandomState::new() }
    }
}

impl Repeats {
    /// A number that tells a client's connection from others, most likely.
    pub(in crate::front) fn number(&self, client: SocketAddr) -> u64 {
        self.hasher.hash_one(client)
    }

    /// Remembers a connection's head. True: its last one was the same.
    pub(super) fn is_second(&self, client: SocketAddr, head: u64) -> bool {
        let place = self.hasher.hash_one(client);
        let known = head ^ place;
        self.places[place as usize % PLACES_COUNT].swap(known, Ordering::Relaxed) == known
    }
}
