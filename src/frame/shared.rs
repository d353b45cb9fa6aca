//! The content of a frame, and the forms of it that depend on nothing else. It is held once for all resources of a
//! route with the same content.
//!
//! Must not know: which resources these are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{NotText, SseBytes, sse};
use crate::resource::{HeldBytes, Snapshot};

/// A content that is held once.
#[derive(Debug)]
pub struct Shared {
    /// The first snapshot with it.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) forms: Forms,
    /// Bytes that are kept free for forms that are not made yet.
    reserved: AtomicUsize,
    held: HeldBytes,
}

/// The forms of a content on each wire. Each is made at most once.
#[derive(Debug, Default)]
pub(super) struct Forms {
    pub(super) sse: OnceLock<Result<SseBytes, NotText>>,
    pub(super) whole: OnceLock<Result<SseBytes, NotText>>,
    pub(super) websocket: OnceLock<Bytes>,
    pub(super) gzip: OnceLock<Option<Bytes>>,
    pub(super) named: OnceLock<Result<sse::Tail, NotText>>,
    pub(super) envelope: OnceLock<Bytes>,
}

impl Shared {
    /// Shares a snapshot, whose bytes are charged to `held`.
    pub fn new(snapshot: Arc<Snapshot>, held: HeldBytes) -> Shared {
        let shared = Shared { snapshot, forms: Forms::default(), reserved: AtomicUsize::new(0), held };
        shared.settle();
        shared
    }

    /// Returns this snapshot over the content that is held already, if both are the same.
    pub fn with(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        snapshot.over(&self.snapshot)
    }

    /// Accounts for what is held now.
    pub(super) fn settle(&self) {
        self.held.set(self.weight());
    }

    /// Returns another account, which counts to the same total.
    pub(super) fn account(&self) -> HeldBytes {
        self.held.beside()
    }

    /// Accounts for one form before it is made: each is about as long as the content.
    pub(super) fn reserve_form(&self) {
        self.reserved.store(self.snapshot.body.len(), Ordering::Relaxed);
        self.settle();
    }

    /// Bytes that one more form would take beyond what is accounted for.
    pub(super) fn next_form(&self) -> usize {
        let (made, reserved) = (self.forms.weight(), self.reserved.load(Ordering::Relaxed));
        (made + self.snapshot.body.len()).saturating_sub(made.max(reserved))
    }

    /// Bytes of the content and its forms, roughly.
    pub(super) fn weight(&self) -> usize {
        let forms = self.forms.weight().max(self.reserved.load(Ordering::Relaxed));
        self.snapshot.content_weight() + forms
    }
}

impl Forms {
    pub(super) fn weight(&self) -> usize {
        let of = |event: &OnceLock<Result<SseBytes, NotText>>| {
            event.get().and_then(|e| e.as_ref().ok()).map_or(0, |e| e.chunk().len())
        };
        let named = self.named.get().and_then(|e| e.as_ref().ok()).map_or(0, sse::Tail::weight);
        let envelope = self.envelope.get().map_or(0, Bytes::len);
        let websocket = self.websocket.get().map_or(0, Bytes::len);
        let gzip = self.gzip.get().and_then(Option::as_ref).map_or(0, Bytes::len);
        of(&self.sse) + of(&self.whole) + named + envelope + websocket + gzip
    }
}
