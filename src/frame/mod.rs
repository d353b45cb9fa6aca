//! One change, encoded at most once per wire format and shared by every subscriber.
//!
//! A poll loop encodes the formats that have readers at publish time; a shard only clones `Bytes`. Must not know: the
//! clients of a frame, sockets, time.

mod batch;
mod condition;
mod deflate;
pub mod envelope;
mod format;
pub mod gzip;
mod item;
mod patch;
mod presence;
mod rules;
mod shared;
pub mod sse;
pub mod websocket;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

pub use batch::Batch;
pub use condition::{Condition, State};
pub use deflate::Tail;
pub use format::{Coding, Format};
pub use gzip::{GzipEvent, GzipStream};
pub use item::{Item, wire_id};
pub use patch::{Chain, Patch, PatchKind};
pub use presence::{PRESENCE, PresenceEvent};
pub use rules::{Compressions, Rules};
pub use shared::Shared;
pub use sse::{NotText, SseBytes};
pub use websocket::Deflated;

use crate::change;
use crate::resource::{HeldBytes, Snapshot, Version};

/// A snapshot with a local sequence number, what changed since the one before, and its encodings.
#[derive(Debug)]
pub struct Frame {
    /// Place in the topic's own order; never leaves the process.
    pub seq: u64,
    /// The content and its headers.
    pub snapshot: Arc<Snapshot>,
    /// On a feed: the items that are new in it, oldest first.
    pub batch: Option<Arc<Batch>>,
    rules: Arc<Rules>,
    shared: Arc<Shared>,
    own: Arc<OwnForms>,
}

/// The forms of a frame that depend on what came before it; each made at most once.
#[derive(Debug, Default)]
struct OwnForms {
    sse_gzip: OnceLock<Option<GzipEvent>>,
    whole_gzip: OnceLock<Option<GzipEvent>>,
    websocket_deflated: OnceLock<Option<Deflated>>,
    patches: [OnceLock<Option<Arc<Patch>>>; PatchKind::COUNT],
    held: HeldBytes,
}

impl Frame {
    /// Returns a frame of a content that no other frame shares.
    pub fn new(seq: u64, snapshot: Arc<Snapshot>, rules: Arc<Rules>) -> Frame {
        let shared = Shared::new(snapshot.clone(), HeldBytes::default());
        Frame::of(seq, snapshot, rules, Arc::new(shared))
    }

    /// Returns a frame over a content that other frames of the same rules may share.
    pub fn of(seq: u64, snapshot: Arc<Snapshot>, rules: Arc<Rules>, shared: Arc<Shared>) -> Frame {
        let own = Arc::new(OwnForms { held: shared.account(), ..OwnForms::default() });
        Frame { seq, snapshot, batch: None, rules, shared, own }
    }

    /// The same with the items that are new in it.
    pub fn with_batch(self, batch: Option<Arc<Batch>>) -> Frame {
        Frame { batch, ..self }
    }

    /// Returns the same content under newer headers, with the forms that were made.
    pub fn renewed(&self, snapshot: Arc<Snapshot>) -> Frame {
        debug_assert!(self.version() == snapshot.version);
        let (batch, rules) = (self.batch.clone(), self.rules.clone());
        let (shared, own) = (self.shared.clone(), self.own.clone());
        Frame { seq: self.seq, snapshot, batch, rules, shared, own }
    }

    /// Returns the name of the content (contract §2).
    pub fn version(&self) -> Version {
        self.snapshot.version
    }

    /// Makes sure that `format` is encoded. A poll loop or a follower's request calls it. `before` is the frame that
    /// most followers have: it makes the compressed forms small.
    pub fn encode(&self, format: Format, before: Option<&Frame>) {
        let batches = || (self.batch.as_deref(), before.and_then(|frame| frame.batch.as_deref()));
        match (format, batches()) {
            (Format::Sse(Coding::Plain), (Some(batch), _)) => drop(batch.sse()),
            (Format::Sse(Coding::Deflated), (Some(batch), before)) => batch.encode_gzip(before, &self.rules),
            (Format::WebSocket(Coding::Plain), (Some(batch), _)) => drop(batch.websocket()),
            (Format::WebSocket(Coding::Deflated), (Some(batch), _)) => {
                batch.encode_deflated(&self.rules);
            }
            (Format::Named, (Some(batch), _)) => drop(batch.named()),
            (Format::Envelope(_), (Some(batch), _)) => drop(batch.envelope()),
            (Format::Sse(Coding::Plain), _) => drop(self.sse()),
            (Format::Sse(Coding::Deflated), _) => self.encode_gzip(before),
            (Format::SseDelta(_, Coding::Plain), _) => drop(self.whole()),
            (Format::SseDelta(kind, Coding::Deflated), _) => self.encode_delta_gzip(kind, before),
            (Format::WebSocket(Coding::Plain), _) => drop(self.websocket()),
            (Format::WebSocket(Coding::Deflated), _) => self.encode_deflated(before),
            (Format::Named, _) => drop(self.named()),
            (Format::Envelope(_), _) => drop(self.envelope()),
            (Format::Body(Coding::Deflated), _) => drop(self.gzip()),
            (Format::Body(Coding::Plain) | Format::BodyDelta, _) => {}
        }
    }

    /// Finds what changed since `base`, the snapshot before this one. Nothing is stored if the patch is not worth
    /// sending.
    pub fn diff(&self, base: &Snapshot, kind: PatchKind) {
        self.own.patches[kind as usize].get_or_init(|| {
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
        self.own.patches[kind as usize].get()?.as_ref()
    }

    /// The SSE event of this frame (contract §5, full mode).
    pub fn sse(&self) -> Result<&SseBytes, NotText> {
        let event = self.shared.forms.sse.get_or_init(|| sse::snapshot(&self.snapshot, &self.rules));
        event.as_ref().map_err(|e| *e)
    }

    /// Whether the content can be an event. Nothing is encoded.
    pub fn is_text(&self) -> bool {
        self.rules.base64 || self.snapshot.text().is_some()
    }

    /// The event of [`Frame::sse`] compressed, if that was made.
    pub fn sse_gzip(&self) -> Option<&GzipEvent> {
        self.own.sse_gzip.get()?.as_ref()
    }

    fn encode_gzip(&self, before: Option<&Frame>) {
        self.own.sse_gzip.get_or_init(|| {
            let before = before.and_then(|frame| frame.sse_gzip().zip(frame.sse().ok()));
            self.rules.compressed(GzipEvent::new(self.sse().ok()?, before), GzipEvent::weight)
        });
    }

    /// The event of this frame on a stream of patches: `event: snapshot`.
    pub fn whole(&self) -> Result<&SseBytes, NotText> {
        let event = self.shared.forms.whole.get_or_init(|| sse::whole(&self.snapshot, &self.rules));
        event.as_ref().map_err(|e| *e)
    }

    /// The same compressed, if that was made.
    pub fn whole_gzip(&self) -> Option<&GzipEvent> {
        self.own.whole_gzip.get()?.as_ref()
    }

    fn encode_delta_gzip(&self, kind: PatchKind, before: Option<&Frame>) {
        if let Some(patch) = self.patch(kind) {
            let before = before.and_then(|frame| frame.patch(kind));
            patch.encode_gzip(before.map(|patch| &**patch), &self.rules);
        }
        self.own.whole_gzip.get_or_init(|| {
            self.rules.compressed(GzipEvent::new(self.whole().ok()?, None), GzipEvent::weight)
        });
    }

    /// The WebSocket message of this frame (contract §6, bare form).
    pub fn websocket(&self) -> Bytes {
        self.shared.forms.websocket.get_or_init(|| websocket::snapshot(&self.snapshot)).clone()
    }

    /// The same compressed, if that was made and is worth it.
    pub fn websocket_deflated(&self) -> Option<&Deflated> {
        self.own.websocket_deflated.get()?.as_ref()
    }

    fn encode_deflated(&self, before: Option<&Frame>) {
        self.websocket();
        self.own.websocket_deflated.get_or_init(|| {
            if websocket::content(&self.snapshot).1.len() < self.rules.compress_min {
                return None;
            }
            let before = before.and_then(|frame| frame.websocket_deflated().zip(Some(&*frame.snapshot)));
            self.rules.compressed(Deflated::new(&self.snapshot, before), Deflated::weight)
        });
    }

    /// The body as a gzip file. Returns `None` if it is small, would not become smaller, or must not be changed.
    pub fn gzip(&self) -> Option<&Bytes> {
        let coded = self.shared.forms.gzip.get_or_init(|| {
            let body = &self.snapshot.body;
            if body.len() < self.rules.compress_min || self.snapshot.forbids_transformation() {
                return None;
            }
            self.rules.compressed(deflate::gzip(body), Bytes::len)
        });
        coded.as_ref().filter(|_| !self.snapshot.forbids_transformation())
    }

    /// The same, if that was made.
    pub fn gzip_made(&self) -> Option<&Bytes> {
        self.shared.forms.gzip.get()?.as_ref().filter(|_| !self.snapshot.forbids_transformation())
    }

    /// Whether that form was asked for, even if it is not used.
    pub fn gzip_tried(&self) -> bool {
        self.shared.forms.gzip.get().is_some()
    }

    /// On a stream of many resources: what follows the line that names this one.
    pub fn named(&self) -> Result<&sse::Tail, NotText> {
        let event = self.shared.forms.named.get_or_init(|| sse::named(&self.snapshot, &self.rules));
        event.as_ref().map_err(|e| *e)
    }

    /// What follows the resource's name in an envelope message.
    pub fn envelope(&self) -> &Bytes {
        self.shared.forms.envelope.get_or_init(|| envelope::snapshot(&self.snapshot))
    }

    /// Bytes of the forms that were made.
    pub fn encoded_bytes(&self) -> usize {
        self.own_forms() + self.shared.forms.weight()
    }

    fn own_forms(&self) -> usize {
        self.sse_gzip().map_or(0, GzipEvent::weight)
            + self.whole_gzip().map_or(0, GzipEvent::weight)
            + self.websocket_deflated().map_or(0, Deflated::weight)
            + self.batch.as_ref().map_or(0, |batch| batch.forms_weight())
    }

    /// Bytes that this frame holds alone, roughly, without what it shares.
    pub fn own_weight(&self) -> usize {
        self.snapshot.own_weight() + self.own_forms()
    }

    /// Bytes that it holds, roughly, with what others may have, too.
    pub fn weight(&self) -> usize {
        self.own_weight() + self.shared.weight()
    }

    /// Accounts for the forms that were made by now.
    pub fn settle(&self) {
        self.shared.settle();
        self.own.held.set(self.own_forms());
    }

    /// Accounts for one form before it is made, so that a content that found room has room for the form that its first
    /// follower reads.
    pub fn reserve_form(&self) {
        self.shared.reserve_form();
    }

    /// Bytes that this form would take beyond what is accounted for; 0 if it is made already, or is small.
    pub fn bytes_to_make(&self, format: Format) -> usize {
        let forms = &self.shared.forms;
        let is_made = match format {
            _ if self.batch.is_some() => true,
            Format::Sse(_) => forms.sse.get().is_some(),
            Format::SseDelta(..) => forms.whole.get().is_some(),
            Format::WebSocket(_) => forms.websocket.get().is_some(),
            Format::Named => forms.named.get().is_some(),
            Format::Envelope(_) => forms.envelope.get().is_some(),
            Format::Body(_) | Format::BodyDelta => true,
        };
        if is_made { 0 } else { self.shared.next_form() }
    }
}
