//! Who follows a resource, as an event: encoded once for all that asked for it.
//!
//! Must not know: how followers are counted, which of them are told.

use serde_json::Value;

use super::sse::{self, SseBytes};

/// The name of the event on event streams, and the type of the message in the envelope protocol.
pub const PRESENCE: &str = "presence";

/// One `presence` event (contract §5).
#[derive(Debug)]
pub struct PresenceEvent {
    data: Value,
    sse: SseBytes,
}

impl PresenceEvent {
    /// An event with this data.
    pub fn new(data: Value) -> PresenceEvent {
        let sse = sse::control(PRESENCE, &data);
        PresenceEvent { data, sse }
    }

    /// Its data.
    pub fn data(&self) -> &Value {
        &self.data
    }

    /// The event for event streams of one resource.
    pub fn sse(&self) -> &SseBytes {
        &self.sse
    }
}
