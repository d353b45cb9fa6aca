//! Which clients hold plain polls (`hold_not_modified`, contract §3), how many, and for how long they may.
//!
//! Clients are known by digests only. Must not know: how a request waits.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Clients that are remembered; the one that was not seen for longest is forgotten.
const CLIENTS_MAX: usize = 16 * 1024;

/// Holds of one client at a time on HTTP/1: browsers open six connections to a host.
const HTTP1_HOLDS_MAX: usize = 2;

/// Holds of one client at a time on HTTP/2.
const HTTP2_HOLDS_MAX: usize = 32;

/// A hold is halved at most this often.
const HALVINGS_MAX: u32 = 6;

/// So many holds that the client waited for double the next one again.
const PATIENT_HOLDS_MIN: u32 = 8;

/// Address, User-Agent and class of a client, as a digest with a key of this process.
pub(in crate::front) type ClientId = [u8; 16];

/// Which clients hold what.
pub struct Holds {
    clients: Mutex<LruCache<ClientId, Client>>,
    pub(super) key: [u8; 32],
}

impl Holds {
    /// A list in which no request is held yet.
    pub fn new() -> Holds {
        let mut key = [0; 32];
        key.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
        let most = NonZeroUsize::new(CLIENTS_MAX).unwrap_or(NonZeroUsize::MIN);
        Holds { clients: Mutex::new(LruCache::new(most)), key }
    }

    /// Returns `None` if the client holds enough. An older hold of the same resource is released.
    pub(super) fn enter(
        &self,
        client: ClientId,
        topic: u64,
        http1: bool,
        length: Duration,
    ) -> Option<Place<'_>> {
        let mut clients = self.clients.lock();
        let known = clients.get_or_insert_mut(client, Client::default);
        for older in known.held.extract_if(.., |hold| hold.topic == topic) {
            older.release.notify_one();
        }
        let most = if http1 { HTTP1_HOLDS_MAX } else { HTTP2_HOLDS_MAX };
        if known.held.iter().filter(|hold| hold.http1 == http1).count() >= most {
            return None;
        }
        let release = Arc::new(Notify::new());
        known.held.push(Hold { topic, http1, release: release.clone() });
        let length = length / (1 << known.halvings);
        Some(Place { holds: self, client, release, length, done: false })
    }
}

impl Default for Holds {
    fn default() -> Holds {
        Holds::new()
    }
}

#[derive(Default)]
pub(in crate::front) struct Client {
    held: Vec<Hold>,
    halvings: u32,
    /// Holds since the last abandoned one.
    patient: u32,
}

pub(in crate::front) struct Hold {
    /// Id of the topic.
    topic: u64,
    http1: bool,
    release: Arc<Notify>,
}

/// A place among the client's holds; free again when dropped, which counts as abandoned unless
/// `done` was called.
pub(in crate::front) struct Place<'a> {
    holds: &'a Holds,
    client: ClientId,
    pub(super) release: Arc<Notify>,
    pub(super) length: Duration,
    done: bool,
}

impl Place<'_> {
    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut clients = self.holds.clients.lock();
        let Some(client) = clients.peek_mut(&self.client) else {
            return;
        };
        client.held.retain(|hold| !Arc::ptr_eq(&hold.release, &self.release));
        if !self.done {
            client.halvings = (client.halvings + 1).min(HALVINGS_MAX);
            client.patient = 0;
            return;
        }
        client.patient += 1;
        if client.patient >= PATIENT_HOLDS_MIN {
            client.patient = 0;
            client.halvings = client.halvings.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(8);
    const ANN: ClientId = [1; 16];
    const BOB: ClientId = [2; 16];

    #[test]
    fn a_clients_third_hold_is_refused_on_http1() {
        let holds = Holds::new();
        let _one = holds.enter(ANN, 1, true, LONG).unwrap();
        let two = holds.enter(ANN, 2, true, LONG).unwrap();
        assert!(holds.enter(ANN, 3, true, LONG).is_none());
        assert!(holds.enter(BOB, 3, true, LONG).is_some());
        assert!(holds.enter(ANN, 4, false, LONG).is_some());
        two.done();
        assert!(holds.enter(ANN, 3, true, LONG).is_some());
    }

    #[test]
    fn a_newer_hold_takes_the_place_of_the_older() {
        let holds = Holds::new();
        let older = holds.enter(ANN, 1, true, LONG).unwrap();
        let _other = holds.enter(ANN, 2, true, LONG).unwrap();
        let _newer = holds.enter(ANN, 1, true, LONG).unwrap();
        older.done();
        assert!(holds.enter(ANN, 3, true, LONG).is_none(), "the older one frees no place of the newer");
    }

    #[test]
    fn an_abandoned_hold_halves_the_next_and_patience_doubles_it() {
        let holds = Holds::new();
        let length = || holds.enter(ANN, 1, true, LONG).unwrap();
        drop(length());
        drop(length());
        for _ in 0..PATIENT_HOLDS_MIN {
            let place = length();
            assert_eq!(place.length, LONG / 4);
            place.done();
        }
        let place = length();
        assert_eq!(place.length, LONG / 2);
        place.done();
    }
}
