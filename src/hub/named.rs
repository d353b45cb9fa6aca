//! What clients of one topic say they have seen, until it is looked up on other nodes.
//!
//! Must not know: nodes, topics.

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

/// Names that are remembered until they are looked up: with more of them a poll has to say.
const NAMES_MAX: usize = 32;

/// What a topic knows of other nodes.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    pub(super) is_shared: AtomicBool,
    pub(super) named: Mutex<Named>,
}

/// What clients named that wait for a confirmation.
#[derive(Debug, Default, Clone)]
pub struct Named {
    /// Tags of versions.
    pub tags: Vec<[u8; 6]>,
    /// On a feed: items.
    pub items: Vec<Box<str>>,
    /// Something that no look-up finds: only a poll can say.
    pub needs_poll: bool,
}

/// What one client names.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// A version, or its tag.
    Tag([u8; 6]),
    /// An item of a feed.
    Item(&'a str),
    /// A name that is no version.
    Other,
}

impl Named {
    pub(super) fn add(&mut self, name: Name<'_>) {
        let is_full = self.tags.len() + self.items.len() >= NAMES_MAX;
        match name {
            Name::Tag(tag) if self.tags.contains(&tag) => {}
            Name::Item(id) if self.items.iter().any(|known| **known == *id) => {}
            Name::Tag(tag) if !is_full => self.tags.push(tag),
            Name::Item(id) if !is_full => self.items.push(id.into()),
            Name::Tag(_) | Name::Item(_) | Name::Other => self.needs_poll = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_names_than_are_remembered_need_a_poll() {
        let mut named = Named::default();
        (0..NAMES_MAX).for_each(|n| named.add(Name::Tag([n as u8; 6])));
        named.add(Name::Tag([0; 6]));
        assert!(!named.needs_poll, "it is among them");
        named.add(Name::Item("a"));
        assert!(named.needs_poll);
        assert_eq!((named.tags.len(), named.items.len()), (NAMES_MAX, 0));
    }
}
