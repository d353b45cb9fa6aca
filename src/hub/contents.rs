//! The contents of all snapshots: equal ones are held once, and all of them are accounted for
//! (`limits.snapshot_bytes`).
//!
//! Must not know: the followers, what happens when there is no more room.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::frame::Shared;
use crate::resource::{HeldBytes, Ledger, Snapshot, Version};

/// Names of contents that may be gone are kept up to this many before they are looked through.
const NAMES_MIN: usize = 64;

/// All contents that a snapshot holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    ledger: Arc<Ledger>,
    /// 0 before it is set.
    bytes_max: AtomicUsize,
    /// By route, whose rules the forms follow, and version.
    known: DashMap<(usize, Version), Weak<Shared>>,
    /// How many names there may be before those of contents that are gone are looked for.
    sweep_at: AtomicUsize,
}

impl Contents {
    /// Sets the most bytes that there may be.
    pub(super) fn bound(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max.max(1), Ordering::Relaxed);
    }

    /// Returns a new account, whose bytes count in the total.
    pub(super) fn account(&self) -> HeldBytes {
        HeldBytes::on(self.ledger.clone())
    }

    /// Bytes of all snapshots.
    pub(super) fn total(&self) -> usize {
        self.ledger.total()
    }

    /// By how many bytes the bound is exceeded once `more` are added. Returns `None` if it is within the bound.
    pub(super) fn excess(&self, more: usize) -> Option<usize> {
        let most = self.bytes_max.load(Ordering::Relaxed);
        let excess = (self.total() + more).checked_sub(most)?;
        (most > 0 && excess > 0).then_some(excess)
    }

    /// Returns the snapshot of a route over the one content that all equal snapshots share.
    pub(super) fn share(&self, route: usize, snapshot: Arc<Snapshot>) -> (Arc<Snapshot>, Arc<Shared>) {
        self.sweep();
        let mut entry = match self.known.entry((route, snapshot.version)) {
            Entry::Vacant(entry) => {
                let shared = Arc::new(Shared::new(snapshot.clone(), self.account()));
                entry.insert(Arc::downgrade(&shared));
                return (snapshot, shared);
            }
            Entry::Occupied(entry) => entry,
        };
        let held = entry.get().upgrade();
        if let Some(shared) = &held
            && let Some(same) = shared.with(&snapshot)
        {
            return (Arc::new(same), shared.clone());
        }
        let shared = Arc::new(Shared::new(snapshot.clone(), self.account()));
        if held.is_none() {
            entry.insert(Arc::downgrade(&shared));
        }
        // Of contents that differ only in what does not count, the first one is shared.
        (snapshot, shared)
    }

    /// Forgets the names of contents that are gone. It runs only when half of the names may be such, so that its cost
    /// is spread.
    fn sweep(&self) {
        let at = self.sweep_at.load(Ordering::Relaxed).max(NAMES_MIN);
        if self.known.len() < at {
            return;
        }
        self.known.retain(|_, shared| shared.strong_count() > 0);
        self.sweep_at.store(2 * self.known.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::resource::{Validators, VersionNamer};

    fn snapshot(body: &str, etag: &'static str) -> Arc<Snapshot> {
        let version = VersionNamer::new(None).name(200, None, body.as_bytes());
        let etag = Some(http::HeaderValue::from_static(etag));
        let validators = Validators { etag, last_modified: None };
        let body = Bytes::from(body.to_owned());
        Arc::new(Snapshot::new(version, StatusCode::OK, None, HeaderMap::new(), validators, Vec::new(), body))
    }

    #[test]
    fn equal_contents_are_held_once_whatever_their_fields() {
        let contents = Contents::default();
        let body = "x".repeat(1000);
        let (first, kept) = contents.share(0, snapshot(&body, "\"1\""));
        let once = contents.total();
        let (second, also) = contents.share(0, snapshot(&body, "\"2\""));
        assert_eq!(contents.total(), once);
        assert_eq!(first.body.as_ptr(), second.body.as_ptr());
        assert_ne!(first.validators, second.validators);
        assert!(Arc::ptr_eq(&kept, &also));
        let (other, apart) = contents.share(1, snapshot(&body, "\"1\""));
        assert_eq!(contents.total(), 2 * once, "another route has other forms");
        drop((first, second, kept, also, other, apart));
        assert_eq!(contents.total(), 0);
    }

    #[test]
    fn names_of_what_is_gone_are_forgotten() {
        let contents = Contents::default();
        for number in 0..10_000 {
            drop(contents.share(0, snapshot(&number.to_string(), "\"1\"")));
        }
        assert!(contents.known.len() <= NAMES_MIN);
    }

    #[test]
    fn more_than_the_bound_is_too_much() {
        let contents = Contents::default();
        contents.bound(1500);
        let body = "x".repeat(1000);
        let (_first, _kept) = contents.share(0, snapshot(&body, "\"1\""));
        assert_eq!(contents.excess(0), None);
        assert!(contents.excess(1000).is_some());
        let (_second, _also) = contents.share(0, snapshot(&format!("{body}y"), "\"1\""));
        assert!(contents.excess(0).is_some());
    }
}
