//! One change, encoded at most once per wire format and shared by every subscriber.
//!
//! The relay's side encodes at publish time the formats that have members; a shard only clones
//! `Bytes`. Must not know: who receives a frame, sockets, time.

mod condition;
pub mod envelope;
mod format;
mod item;
mod patch;
pub mod sse;
pub mod websocket;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

pub use condition::{Condition, State};
pub use format::Format;
pub use item::{Batch, Item, wire_id};
pub use patch::{Chain, Patch, PatchKind};
pub use sse::SseBytes;

use crate::change;
use crate::resource::{Snapshot, Version};

/// What a route says about encoding.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// SSE `event:` of snapshots.
    pub event_name: Option<String>,
    /// Bodies that are not text go out as base64.
    pub base64: bool,
    /// A patch larger than this part of the body is not worth sending.
    pub patch_max_ratio: f64,
}

/// A body that cannot be written in a text format, on a route that does not say `base64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

/// A snapshot with a local sequence number, what changed since the one before, and its encodings.
#[derive(Debug)]
pub struct Frame {
    /// Place in the topic's own order; never leaves the process.
    pub seq: u64,
    pub snapshot: Arc<Snapshot>,
    /// On a feed: the items that are new in it, oldest first.
    pub batch: Option<Arc<Batch>>,
    rules: Arc<Rules>,
    sse: OnceLock<Result<SseBytes, NotText>>,
    whole: OnceLock<Result<SseBytes, NotText>>,
    websocket: OnceLock<Bytes>,
    named: OnceLock<Result<Bytes, NotText>>,
    envelope: OnceLock<Bytes>,
    patches: [OnceLock<Option<Arc<Patch>>>; PatchKind::COUNT],
}

impl Frame {
    pub fn new(seq: u64, snapshot: Arc<Snapshot>, rules: Arc<Rules>) -> Frame {
        Frame {
            seq,
            snapshot,
            batch: None,
            rules,
            sse: OnceLock::new(),
            whole: OnceLock::new(),
            websocket: OnceLock::new(),
            named: OnceLock::new(),
            envelope: OnceLock::new(),
            patches: Default::default(),
        }
    }

    /// The same with the items that are new in it.
    pub fn with_batch(self, batch: Option<Arc<Batch>>) -> Frame {
        Frame { batch, ..self }
    }

    pub fn version(&self) -> Version {
        self.snapshot.version
    }

    /// Makes sure that `format` is encoded. Called on the relay's side, or by a follower's request.
    pub fn encode(&self, format: Format) {
        match (format, &self.batch) {
            (Format::Sse, Some(batch)) => drop(batch.sse()),
            (Format::WebSocket, Some(batch)) => drop(batch.websocket()),
            (Format::Named, Some(batch)) => drop(batch.named()),
            (Format::Envelope(_), Some(batch)) => drop(batch.envelope()),
            (Format::Sse, None) => drop(self.sse()),
            (Format::SseDelta(_), _) => drop(self.whole()),
            (Format::WebSocket, None) => drop(self.websocket()),
            (Format::Named, None) => drop(self.named()),
            (Format::Envelope(_), None) => drop(self.envelope()),
            (Format::Body | Format::BodyDelta, _) => {}
        }
    }

    /// Finds what changed since `base`, the snapshot before this one. Nothing when the patch is not
    /// worth sending.
    pub fn diff(&self, base: &Snapshot, kind: PatchKind) {
        self.patches[kind as usize].get_or_init(|| {
            let most = (self.snapshot.body.len() as f64 * self.rules.patch_max_ratio) as usize;
            let text = match kind {
                PatchKind::Json => change::json_patch(base, &self.snapshot, most),
                PatchKind::Merge => change::merge_patch(base, &self.snapshot, most),
            }?;
            Some(Arc::new(Patch::new(kind, base.version, self.version(), text)))
        });
    }

    /// The patch from the version before, where one was asked for and is worth sending.
    pub fn patch(&self, kind: PatchKind) -> Option<&Arc<Patch>> {
        self.patches[kind as usize].get()?.as_ref()
    }

    /// The SSE event of this frame (contract §5, full mode).
    pub fn sse(&self) -> Result<&SseBytes, NotText> {
        self.sse.get_or_init(|| sse::snapshot(&self.snapshot, &self.rules)).as_ref().map_err(|e| *e)
    }

    /// The event of this frame on a stream of patches: `event: snapshot`.
    pub fn whole(&self) -> Result<&SseBytes, NotText> {
        self.whole.get_or_init(|| sse::whole(&self.snapshot, &self.rules)).as_ref().map_err(|e| *e)
    }

    /// The WebSocket message of this frame (contract §6, bare form).
    pub fn websocket(&self) -> Bytes {
        self.websocket.get_or_init(|| websocket::snapshot(&self.snapshot)).clone()
    }

    /// On a stream of many resources: what follows the line that names this one.
    pub fn named(&self) -> Result<&Bytes, NotText> {
        self.named.get_or_init(|| sse::named(&self.snapshot, &self.rules)).as_ref().map_err(|e| *e)
    }

    /// What follows the resource's name in an envelope message.
    pub fn envelope(&self) -> &Bytes {
        self.envelope.get_or_init(|| envelope::snapshot(&self.snapshot))
    }

    /// Bytes held by the encodings.
    pub fn encoded_bytes(&self) -> usize {
        let of = |event: &OnceLock<Result<SseBytes, NotText>>| {
            event.get().and_then(|e| e.as_ref().ok()).map_or(0, |e| e.chunk().len())
        };
        let named = self.named.get().and_then(|e| e.as_ref().ok()).map_or(0, Bytes::len);
        let envelope = self.envelope.get().map_or(0, Bytes::len);
        of(&self.sse) + of(&self.whole) + named + envelope + self.websocket.get().map_or(0, Bytes::len)
    }
}
