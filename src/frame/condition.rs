//! The condition of a resource beside its content: the control events of contract §5.
//!
//! Must not know: why a poll failed beyond the words it is given.

use std::time::SystemTime;

use http::StatusCode;
use serde_json::json;

use super::sse::{self, SseBytes};

/// The state of a resource as its subscribers see it.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// The last poll succeeded.
    Fresh,
    /// Polls fail or are overdue; subscribers keep the last content.
    Stale {
        /// When the resource became stale.
        since: SystemTime,
        /// The upstream's status, where it gave one.
        status: Option<StatusCode>,
        /// What failed, in words for clients.
        reason: String,
        /// Milliseconds until the next poll.
        next_poll_ms: u64,
    },
    /// The upstream says that the resource is no more (404, 410).
    Gone {
        /// The status with which the resource was gone.
        status: StatusCode,
    },
}

impl State {
    /// Whether the upstream says that the resource does not exist any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, State::Gone { .. })
    }

    /// The name of its control event.
    pub fn word(&self) -> &'static str {
        match self {
            State::Fresh => "fresh",
            State::Stale { .. } => "stale",
            State::Gone { .. } => "gone",
        }
    }

    /// Returns the data of the event.
    pub fn data(&self) -> serde_json::Value {
        match self {
            State::Fresh => json!({}),
            State::Stale { since, status, reason, next_poll_ms } => json!({
                "since": humantime::format_rfc3339_millis(*since).to_string(),
                "status": status.map(|s| s.as_u16()),
                "reason": reason,
                "next_poll_ms": next_poll_ms,
            }),
            State::Gone { status } => json!({ "status": status.as_u16() }),
        }
    }
}

/// A state with its place in the topic's order and its one encoding.
#[derive(Debug)]
pub struct Condition {
    /// The number of this condition; a later one has a higher number.
    pub seq: u64,
    /// The state of the upstream as far as this resource shows it.
    pub state: State,
    sse: SseBytes,
}

impl Condition {
    /// A condition with its number; its events are encoded when they are first asked for.
    pub fn new(seq: u64, state: State) -> Condition {
        let sse = sse::control(state.word(), &state.data());
        Condition { seq, state, sse }
    }

    /// The event of this condition for event streams.
    pub fn sse(&self) -> &SseBytes {
        &self.sse
    }
}
