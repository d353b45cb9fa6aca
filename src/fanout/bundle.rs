//! The many resources that one member follows, by the client's own names for them.
//!
//! Must not know: sockets, groups beyond where each entry stands in them.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use crate::hub::Subscription;

/// One resource of such a member.
pub(super) struct Entry {
    /// As the client spelled it.
    pub(super) name: Arc<str>,
    /// The place of the resource in the client's request.
    pub(super) index: usize,
    pub(super) subscription: Subscription,
    /// Place in the shard's lists: the group, and the index among its members; `u32::MAX` if it has none.
    pub(super) group: u32,
    pub(super) place: u32,
}

/// All resources of such a member.
#[derive(Default)]
pub(super) struct Bundle {
    entries: Slab<Entry>,
    by_name: HashMap<Arc<str>, usize>,
}

impl Bundle {
    /// Adds one; returns its number, or `None` if the client follows something of this name already.
    pub(super) fn add(&mut self, name: Arc<str>, index: usize, subscription: Subscription) -> Option<usize> {
        if self.by_name.contains_key(&name) {
            return None;
        }
        let entry = Entry { name: name.clone(), index, subscription, group: u32::MAX, place: 0 };
        let number = self.entries.insert(entry);
        self.by_name.insert(name, number);
        Some(number)
    }

    pub(super) fn remove(&mut self, number: usize) -> Option<Entry> {
        let entry = self.entries.try_remove(number)?;
        self.by_name.remove(&entry.name);
        Some(entry)
    }

    pub(super) fn number_of(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Entry> {
        self.entries.get_mut(number)
    }

    pub(super) fn numbers(&self) -> Vec<usize> {
        self.entries.iter().map(|(number, _)| number).collect()
    }
}
