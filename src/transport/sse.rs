//! Server-sent events (contract §5): full bodies, control events, heartbeats, a proper end.
//!
//! Must not know: the head of the response (front writes it), HTTP/2.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;

use super::compact_instant::{Moment, millis};
use super::{End, Output, Step};
use crate::frame::sse::{self, HEARTBEAT, HEARTBEAT_CHUNK, LAST_CHUNK};
use crate::frame::{Chain, GzipEvent, GzipStream, SseBytes, gzip};
use crate::hub::Delivery;

/// How the payload is framed on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1.1.
    Chunked,
    /// HTTP/1.0, whose end is the connection's, and HTTP/2, which frames by itself.
    Bare,
}

/// The state machine of an event stream of one resource (contract §5).
#[derive(Debug)]
pub struct Sse {
    framing: Framing,
    last_write: Moment,
    heartbeat_ms: u32,
    retry_ms: u32,
    /// The client reads patches: whole bodies are named.
    patches: bool,
    /// The stream is compressed.
    gzip: Option<GzipStream>,
}

impl Sse {
    /// `retry` is this client's own reconnect delay.
    pub fn new(framing: Framing, heartbeat: Duration, retry: Duration, now: Instant) -> Sse {
        let (heartbeat_ms, retry_ms) = (millis(heartbeat), millis(retry));
        Sse { framing, last_write: now.into(), heartbeat_ms, retry_ms, patches: false, gzip: None }
    }

    /// The same for a client that reads patches (contract §5, delta).
    pub fn of_patches(self) -> Sse {
        Sse { patches: true, ..self }
    }

    /// The same for a client that takes gzip.
    pub fn compressed(self) -> Sse {
        Sse { gzip: Some(GzipStream::default()), ..self }
    }

    /// What follows the head at once.
    pub fn opening(&mut self) -> Bytes {
        let opening = sse::opening(u64::from(self.retry_ms));
        if self.gzip.is_none() {
            return self.framed(&opening);
        }
        let header = self.framed(&sse::coded(gzip::HEADER));
        [header, self.own(&opening)].concat().into()
    }

    fn framed(&self, bytes: &SseBytes) -> Bytes {
        match self.framing {
            Framing::Chunked => bytes.chunk().clone(),
            Framing::Bare => bytes.payload(),
        }
    }

    /// An event that all clients share. `gzip`: its compressed form, if there is one.
    fn shared(&mut self, plain: &SseBytes, gzip: Option<&GzipEvent>) -> Bytes {
        match (&mut self.gzip, gzip) {
            (Some(stream), Some(event)) => {
                let bytes = stream.event(event);
                match self.framing {
                    Framing::Chunked => bytes.chunk().clone(),
                    Framing::Bare => bytes.payload(),
                }
            }
            _ => self.own(plain),
        }
    }

    /// Returns an event that was not compressed. A compressed stream stores it without a coding.
    fn own(&mut self, plain: &SseBytes) -> Bytes {
        match &mut self.gzip {
            None => self.framed(plain),
            Some(stream) => {
                let stored = stream.stored(&plain.payload());
                self.framed(&sse::coded(&stored))
            }
        }
    }

    /// Several patches in one write.
    fn chained(&mut self, chain: &Chain) -> Bytes {
        match chain {
            Chain::One(patch) => self.shared(patch.sse(), patch.gzip()),
            Chain::Many(patches) => {
                let mut events = BytesMut::new();
                patches.iter().for_each(|patch| events.put_slice(&self.shared(patch.sse(), patch.gzip())));
                events.freeze()
            }
        }
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery, now: Instant) -> Step {
        let bytes = match delivery {
            Delivery::Frame(frame) => {
                let (plain, gzip) = match self.patches {
                    true => (frame.whole(), frame.whole_gzip()),
                    false => (frame.sse(), frame.sse_gzip()),
                };
                match plain {
                    Ok(plain) => self.shared(plain, gzip),
                    // The content is not text any more, and the route does not say `encoding: base64`.
                    Err(crate::frame::NotText) => return self.bye("not-text", false, None),
                }
            }
            Delivery::Patches(chain) => self.chained(chain),
            Delivery::Items(batch) => self.shared(batch.sse(), batch.gzip()),
            Delivery::Reset(reason) => self.own(&sse::control("reset", &json!({ "reason": reason }))),
            Delivery::Condition(condition) => self.own(condition.sse()),
            Delivery::Presence(event) => self.own(event.sse()),
            Delivery::Closing(closing) => return self.end(End::Topic(*closing)),
        };
        self.last_write = now.into();
        Step::Write(Output::one(bytes))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(Instant::from(self.last_write) + Duration::from_millis(self.heartbeat_ms.into()))
    }

    pub(super) fn expired(&mut self, now: Instant) -> Step {
        self.last_write = now.into();
        Step::Write(Output::one(match (&self.gzip, self.framing) {
            (Some(_), _) => self.own(&sse::heartbeat()),
            (None, Framing::Chunked) => Bytes::from_static(HEARTBEAT_CHUNK),
            (None, Framing::Bare) => Bytes::from_static(HEARTBEAT),
        }))
    }

    pub(super) fn end(&mut self, end: End) -> Step {
        let retry = match end {
            End::Drain { retry } => Some(retry),
            End::Topic(_) | End::MaxAge | End::Expelled(_) => None,
        };
        self.bye(end.reason(), end.reconnect(), retry)
    }

    fn bye(&mut self, reason: &'static str, reconnect: bool, retry: Option<Duration>) -> Step {
        let retry_ms = retry.map_or(u64::from(self.retry_ms), |retry| retry.as_millis() as u64);
        let data = json!({ "reason": reason, "retry_ms": retry_ms, "reconnect": reconnect });
        let bye = sse::control_with_retry("bye", &data, retry_ms);
        let mut bytes = BytesMut::from(&self.own(&bye)[..]);
        if let Some(stream) = &self.gzip {
            let end = sse::coded(&stream.end());
            bytes.put_slice(&self.framed(&end));
        }
        if self.framing == Framing::Chunked {
            bytes.put_slice(LAST_CHUNK);
        }
        Step::Finish(Output::one(bytes.freeze()), reason)
    }
}
