//! Where a follower of a feed stands in its topic, and which items followers miss.
//!
//! Must not know: how items are kept.

use std::sync::Arc;

use super::topic::Topic;
use crate::frame::Item;
use crate::resource::Version;

/// Most clients' own cursors that one poll asks the upstream about.
pub const MISSED_CURSORS_MAX: usize = 4;

impl Topic {
    /// Where a follower of a feed stands: after the item of this name, or after the newest item of
    /// the page of this version. Returns `None` if neither is remembered.
    pub(super) fn item_position(&self, id: &str) -> Option<u64> {
        if let Some(at) = self.items.lock().position(id) {
            return Some(at);
        }
        let version = Version::parse(id)?;
        let view = self.view();
        let current = view.frame.as_ref().filter(|frame| frame.version() == version);
        match current.and_then(|frame| frame.batch.as_ref()) {
            Some(batch) => Some(batch.until()),
            None => self.history.lock().find(version).map(|past| past.items_until),
        }
    }

    /// Whether this process remembers the item or version that a follower of a feed comes from.
    pub fn knows_position(&self, id: &str) -> bool {
        self.item_position(id).is_some()
    }

    /// Notes that a follower comes from an item that is not remembered here. The next poll asks the upstream about it;
    /// few are asked about at a time.
    pub(super) fn miss(&self, id: &str) {
        let mut missed = self.missed.lock();
        if missed.len() < MISSED_CURSORS_MAX && !missed.iter().any(|known| **known == *id) {
            missed.push(id.into());
        }
    }

    /// The items that followers came from and that are not remembered.
    pub fn take_missed(&self) -> Vec<Box<str>> {
        std::mem::take(&mut *self.missed.lock())
    }

    pub(super) fn earliest_item(&self, until: u64, most: usize) -> u64 {
        self.items.lock().earliest(until, most)
    }

    pub(super) fn items_after(&self, seq: u64, until: u64) -> Option<Vec<Arc<Item>>> {
        self.items.lock().after(seq, until)
    }
}
