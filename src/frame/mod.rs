//! One change, encoded at most once per wire format and shared by every subscriber.
//!
//! The relay's side encodes at publish time the formats that have members; a shard only clones
//! `Bytes`. Must not know: who receives a frame, sockets, time.

mod condition;
pub mod sse;
pub mod websocket;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

pub use condition::{Condition, State};
pub use sse::SseBytes;

use crate::resource::{Snapshot, Version};

/// The wire formats that have members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Sse,
    WebSocket,
    /// The body as it is, behind a head of the client's own: long-poll.
    Body,
}

impl Format {
    pub const COUNT: usize = 3;
    pub const ALL: [Format; Format::COUNT] = [Format::Sse, Format::WebSocket, Format::Body];
}

/// What a route says about encoding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// SSE `event:` of snapshots.
    pub event_name: Option<String>,
    /// Bodies that are not text go out as base64.
    pub base64: bool,
}

/// A body that cannot be written in a text format, on a route that does not say `base64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

/// A snapshot with a local sequence number and its encodings.
#[derive(Debug)]
pub struct Frame {
    /// Place in the topic's own order; never leaves the process.
    pub seq: u64,
    pub snapshot: Arc<Snapshot>,
    rules: Arc<Rules>,
    sse: OnceLock<Result<SseBytes, NotText>>,
    websocket: OnceLock<Bytes>,
}

impl Frame {
    pub fn new(seq: u64, snapshot: Arc<Snapshot>, rules: Arc<Rules>) -> Frame {
        Frame { seq, snapshot, rules, sse: OnceLock::new(), websocket: OnceLock::new() }
    }

    pub fn version(&self) -> Version {
        self.snapshot.version
    }

    /// Makes sure that `format` is encoded. Called on the relay's side.
    pub fn encode(&self, format: Format) {
        match format {
            Format::Sse => drop(self.sse()),
            Format::WebSocket => drop(self.websocket()),
            Format::Body => {}
        }
    }

    /// The SSE event of this frame (contract §5, full mode).
    pub fn sse(&self) -> Result<&SseBytes, NotText> {
        self.sse.get_or_init(|| sse::snapshot(&self.snapshot, &self.rules)).as_ref().map_err(|e| *e)
    }

    /// The WebSocket message of this frame (contract §6, bare form).
    pub fn websocket(&self) -> Bytes {
        self.websocket.get_or_init(|| websocket::snapshot(&self.snapshot)).clone()
    }

    /// Bytes held by the encodings.
    pub fn encoded_bytes(&self) -> usize {
        let sse = self.sse.get().and_then(|e| e.as_ref().ok()).map_or(0, |e| e.chunk().len());
        sse + self.websocket.get().map_or(0, Bytes::len)
    }
}
