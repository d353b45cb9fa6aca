//! Many resources on one WebSocket (contract §6, `pollcast.v1`): JSON messages that name their resource.
//!
//! A message is written as the client's own beginning and an end that all clients share. Must not know:
//! what a client's message asks for (front acts on it).

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::websocket::WebSocket;
use super::{End, Output, Step};
use crate::frame::{PRESENCE, envelope, websocket};
use crate::hub::{Closing, Delivery};

/// Messages a second that one client may send.
const MESSAGES_PER_SECOND_MAX: u32 = 100;

/// Reads and writes the messages of one connection that carries many resources (contract §6).
#[derive(Debug)]
pub struct Envelope {
    socket: WebSocket,
}

impl Envelope {
    /// See [`WebSocket::new`].
    pub fn new(ping: Duration, pong: Duration, max_message: usize, now: Instant) -> Envelope {
        Envelope { socket: WebSocket::new(ping, pong, max_message, MESSAGES_PER_SECOND_MAX, now).of_text() }
    }

    /// See [`WebSocket::of_frames`].
    pub fn of_frames(self, rate: u32, max_fragments: u16) -> Envelope {
        Envelope { socket: self.socket.of_frames(rate, max_fragments) }
    }

    /// Writes a delivery of the resource that the client calls `name`.
    pub(super) fn deliver_of(&mut self, name: &str, delivery: &Delivery, now: Instant) -> Step {
        self.socket.touch(now);
        Step::Write(match delivery {
            Delivery::Frame(frame) => two("snapshot", name, frame.envelope()),
            Delivery::Patches(chain) => {
                joined("patch", name, chain.patches().iter().map(|patch| patch.envelope()))
            }
            Delivery::Items(batch) => joined("item", name, batch.envelope().iter()),
            Delivery::Condition(condition) => {
                Output::one(message(condition.state.word(), name, condition.state.data()))
            }
            Delivery::Presence(event) => Output::one(message(PRESENCE, name, event.data().clone())),
            Delivery::Reset(reason) => Output::one(message("reset", name, json!({ "reason": reason }))),
            Delivery::Closing(closing) => Output::one(closed(name, *closing)),
        })
    }

    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) -> Step {
        self.socket.receive(bytes, now)
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.socket.heard(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.socket.deadline()
    }

    pub(super) fn expired(&mut self, now: Instant) -> Step {
        self.socket.expired(now)
    }

    pub(super) fn end(&mut self, end: End) -> Step {
        let retry_ms = match end {
            End::Drain { retry } => Some(retry.as_millis() as u64),
            End::Topic(_) | End::MaxAge | End::Expelled(_) => None,
        };
        let bye = json!({
            "type": "bye", "reason": end.reason(), "reconnect": end.reconnect(), "retry_ms": retry_ms,
        });
        match self.socket.end(end) {
            Step::Finish(close, reason) => {
                Step::Finish(Output::two(websocket::text(&bye.to_string()), close.first), reason)
            }
            other => other,
        }
    }
}

/// A message of one resource whose end is shared.
fn two(kind: &str, name: &str, tail: &Bytes) -> Output {
    let head = envelope::head(kind, name);
    Output::two(websocket::beginning(&head, tail.len()), tail.clone())
}

/// Several messages of one resource in one write.
fn joined<'a>(kind: &str, name: &str, tails: impl Iterator<Item = &'a Bytes>) -> Output {
    let tails: Vec<&Bytes> = tails.collect();
    if let [tail] = tails[..] {
        return two(kind, name, tail);
    }
    let head = envelope::head(kind, name);
    let mut all = BytesMut::new();
    for tail in tails {
        all.put_slice(&websocket::beginning(&head, tail.len()));
        all.put_slice(tail);
    }
    Output::one(all.freeze())
}

/// A message about one resource: what is said, beside type and resource.
pub fn message(kind: &str, name: &str, mut said: Value) -> Bytes {
    let mut all = json!({ "type": kind, "resource": name });
    if let (Some(all), Some(said)) = (all.as_object_mut(), said.as_object_mut()) {
        all.append(said);
    }
    websocket::text(&all.to_string())
}

/// The end of one resource; the connection goes on.
fn closed(name: &str, closing: Closing) -> Bytes {
    let reconnect = End::Topic(closing).reconnect();
    message("bye", name, json!({ "reason": closing.reason(), "reconnect": reconnect }))
}
