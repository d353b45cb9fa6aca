//! The content of a frame and those of its forms that depend on nothing else: held once for all resources of a route
//! whose content is the same.
//!
//! Must not know: which resources these are.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{NotText, SseBytes, sse};
use crate::resource::{HeldBytes, Snapshot};

/// Equal content, once.
#[derive(Debug)]
pub struct Shared {
    /// The first one with it.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) forms: Forms,
    held: HeldBytes,
}

/// What a content looks like on each wire; each made at most once.
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
    pub fn new(snapshot: Arc<Snapshot>, held: HeldBytes) -> Shared {
        let shared = Shared { snapshot, forms: Forms::default(), held };
        shared.settle();
        shared
    }

    /// This snapshot with the content that is held already, if it is the same.
    pub fn with(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        snapshot.over(&self.snapshot)
    }

    /// Accounts for what is held by now.
    pub(super) fn settle(&self) {
        self.held.set(self.weight());
    }

    /// Bytes of the content and its forms, roughly.
    pub(super) fn weight(&self) -> usize {
        self.snapshot.content_weight() + self.forms.weight()
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
