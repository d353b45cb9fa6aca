//! What clients say they have seen of a resource that other nodes publish, too (contract §13).
//!
//! A client may come from a node that was ahead. What it names is held against what all nodes together published
//! before it is answered. Must not know: nodes, how that is looked up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::later::LaterConfirmation;
use super::named::{Name, Named, OpenNames};
use super::poll_number::PollNumber;
use super::topic::Topic;
use super::view::View;
use crate::frame::Item;
use crate::resource::{Version, opaque_tag, version_of_tag};

/// Most tags that are looked up for one request.
const TAGS_MAX: usize = 16;

impl Topic {
    /// Other nodes publish the resource, too. Returns where they confirm what is shown without another view.
    pub fn is_shared_from_now_on(&self) -> Arc<LaterConfirmation> {
        let later = Arc::new(LaterConfirmation::new(self.epoch));
        self.view.send_modify(|view| Arc::make_mut(view).later = Some(later.clone()));
        let confirmed = self.view().confirmed;
        let mut names = self.elsewhere.names.lock();
        self.elsewhere.is_shared.store(true, Ordering::SeqCst);
        let awaited = self.wants.confirm.load(Ordering::SeqCst);
        if awaited > confirmed {
            // What clients named before is not known any more.
            names.say(Name::Other, awaited, confirmed);
        }
        later
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

    /// What the lines of an If-None-Match name, if all of it may be newer than what is held here: it was never held, neither
    /// by the version nor by the upstream's own tag. Returns `None` where one is known not to be newer, and where nothing
    /// is named or held.
    pub fn unknown_name<'a>(
        &self,
        view: &View,
        lines: impl Iterator<Item = &'a str>,
    ) -> Option<Name<'static>> {
        let frame = view.frame.as_ref()?;
        let tags = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|tag| !tag.is_empty());
        let mut named = None;
        for tag in tags.take(TAGS_MAX) {
            let version = version_of_tag(tag);
            let is_known = tag == "*"
                || version == Some(frame.version())
                || version.is_some_and(|version| self.is_not_newer(version))
                || self.is_tag_not_newer(opaque_tag(tag.as_bytes()));
            if is_known {
                return None;
            }
            named = Some(match (named, version) {
                (None, Some(version)) => Name::Tag(version.tag()),
                // Of several any one may be the newest.
                _ => Name::Other,
            });
        }
        named
    }

    /// Notes what a client has seen. It waits until a poll of this number confirms what is held here, or, where other
    /// nodes publish, too, until a look-up finds what it names.
    pub fn want_confirmed_for(&self, number: PollNumber, name: Name<'_>) -> Named {
        let confirmed = self.view().confirmed;
        let mut names = self.elsewhere.names.lock();
        if !self.is_shared() {
            self.want_confirmed(number);
            return Named::by_poll(number);
        }
        let named = names.say(name, number, confirmed);
        drop(names);
        self.wake();
        named
    }

    /// Whether the client that named this still has to wait.
    pub fn is_unconfirmed_for(&self, named: Named, view: &View) -> bool {
        view.confirmed < named.poll()
            && (!self.is_shared() || self.elsewhere.names.lock().is_open(named, view.confirmed))
    }

    /// Number of the newest poll that a client waits for that has seen what is not held here. No client waits if that is
    /// not above [`View::confirmed`].
    pub fn wanted_confirmation(&self) -> PollNumber {
        match self.is_shared() {
            true => self.elsewhere.names.lock().awaited(),
            false => self.wants.confirm.load(Ordering::SeqCst),
        }
    }

    /// How often clients named something that is to be looked up.
    pub fn names_said(&self) -> u64 {
        self.elsewhere.names.lock().said()
    }

    /// The names that are open: a look-up begins.
    pub fn begin_look_up(&self) -> OpenNames {
        let confirmed = self.view().confirmed;
        self.elsewhere.names.lock().begin_look_up(confirmed)
    }

    /// The items of a feed that are remembered, oldest first.
    pub fn remembered_items(&self) -> Vec<Arc<Item>> {
        self.items.lock().all()
    }
}
