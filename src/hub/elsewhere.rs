//! What clients say they have seen of a resource that other nodes publish, too (contract §13).
//!
//! A client may come from a node that was ahead. What it names is held against what all nodes together published
//! before it is answered. Must not know: nodes, how that is looked up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::named::{Name, Named};
use super::topic::Topic;
use crate::frame::Item;
use crate::resource::{Version, opaque_tag};

impl Topic {
    /// Other nodes publish the resource, too.
    pub fn is_shared_from_now_on(&self) {
        self.elsewhere.is_shared.store(true, Ordering::SeqCst);
    }

    /// Whether other nodes publish the resource, too.
    pub fn is_shared(&self) -> bool {
        self.elsewhere.is_shared.load(Ordering::SeqCst)
    }

    /// Whether a client that has this version surely has nothing newer than what is held here. A version of the past may
    /// have recurred on another node, so that only the current one is sure where there are others.
    pub fn is_not_newer(&self, version: Version) -> bool {
        if self.is_shared() {
            return self.view().frame.as_ref().is_some_and(|frame| frame.version() == version);
        }
        self.has_held(version)
    }

    /// The same for a tag of the upstream's.
    pub fn is_tag_not_newer(&self, opaque: &[u8]) -> bool {
        if !self.is_shared() {
            return self.has_held_tag(opaque);
        }
        let view = self.view();
        let tag = view.frame.as_ref().and_then(|frame| frame.snapshot.validators.etag.as_ref());
        tag.is_some_and(|tag| opaque_tag(tag.as_bytes()) == opaque)
    }

    /// Asks for this poll as [`Topic::want_confirmed`] does, for a client that has seen what it names.
    pub fn want_confirmed_for(&self, number: u64, name: Name<'_>) {
        if self.is_shared() {
            self.elsewhere.named.lock().add(name);
        }
        self.want_confirmed(number);
    }

    /// Takes what was named since the last time.
    pub fn take_named(&self) -> Named {
        std::mem::take(&mut *self.elsewhere.named.lock())
    }

    /// The items of a feed that are remembered, oldest first.
    pub fn remembered_items(&self) -> Vec<Arc<Item>> {
        self.items.lock().all()
    }
}
