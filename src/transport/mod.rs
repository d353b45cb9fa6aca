//! The protocols as state machines: what a client gets when a delivery comes, when it sends bytes, when time passes,
//! and at an end.
//!
//! No sockets, clocks or tasks, so that the tests are tables: time comes in, bytes come out.
//! Must not know: shards, Pingora.

pub mod answer;
pub mod close_code;
mod compact_instant;
mod end;
mod envelope;
mod long_poll;
mod plain_heads;
mod plain_poll;
pub mod prefer;
mod repeat;
mod sse;
mod sse_many;
mod step;
mod websocket;
mod websocket_reader;

use std::time::Instant;

pub use close_code as code;
pub use compact_instant::Moment;
pub use end::{End, Expulsion};
pub use envelope::{Envelope, message};
pub use long_poll::{Answer, Common, Have, Held, LongPoll, hold};
pub use plain_heads::Heads;
pub use plain_poll::{Answered, Plain};
pub use repeat::{Differing, Next, Repeat};
pub use sse::{Framing, Sse};
pub use sse_many::{SseMany, tags};
pub use step::{Output, Step};
pub use websocket::{WebSocket, close};

use crate::hub::{Delivery, View};
use crate::metrics;
use crate::resource::Version;

/// One client's protocol.
#[derive(Debug)]
pub enum Transport {
    /// Server-sent events of one resource (contract §5).
    Sse(Sse),
    /// A WebSocket of one resource (contract §6).
    WebSocket(WebSocket),
    /// A held poll (contract §4).
    LongPoll(LongPoll),
    /// Many resources. Boxed: few clients have it.
    Envelope(Box<Envelope>),
    /// Server-sent events of several resources. Boxed: few clients have it.
    SseMany(Box<SseMany>),
    /// Ordinary polls, one after the other.
    Plain(Box<Plain>),
}

impl Transport {
    /// The label in metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Transport::Sse(_) => metrics::SSE,
            Transport::WebSocket(_) => metrics::WEBSOCKET,
            Transport::LongPoll(_) => metrics::LONG_POLL,
            Transport::Envelope(_) => metrics::ENVELOPE,
            Transport::SseMany(_) => metrics::SSE_MANY,
            Transport::Plain(_) => metrics::POLL,
        }
    }

    /// How many kinds there are.
    pub const KINDS_COUNT: usize = 6;

    /// Returns the number of the kind.
    pub fn kind(&self) -> usize {
        match self {
            Transport::Sse(_) => 0,
            Transport::WebSocket(_) => 1,
            Transport::LongPoll(_) => 2,
            Transport::Envelope(_) => 3,
            Transport::SseMany(_) => 4,
            Transport::Plain(_) => 5,
        }
    }

    /// Returns what a delivery writes.
    pub fn deliver(&mut self, delivery: &Delivery, view: &View, now: Instant) -> Step {
        if let Delivery::Closing(closing) = delivery {
            return self.end(End::Topic(*closing), Some(view));
        }
        match self {
            Transport::Sse(sse) => sse.deliver(delivery, now),
            Transport::WebSocket(websocket) => websocket.deliver(delivery, now),
            Transport::LongPoll(long_poll) => long_poll.deliver(delivery, view),
            // Deliveries of connections with many resources name the resource; ordinary polls are answered when they
            // ask.
            Transport::Envelope(_) | Transport::SseMany(_) | Transport::Plain(_) => Step::Wait,
        }
    }

    /// Returns what a delivery of one of many resources writes: `name` is the client's name for it, `index` its place
    /// in the request, `seen` the state that the client has afterwards.
    pub fn deliver_of(
        &mut self,
        (name, index): (&str, usize),
        seen: Option<Version>,
        delivery: &Delivery,
        now: Instant,
    ) -> Step {
        match self {
            Transport::Envelope(envelope) => envelope.deliver_of(name, delivery, now),
            Transport::SseMany(many) => many.deliver_of((name, index), seen, delivery, now),
            Transport::Sse(_) | Transport::WebSocket(_) | Transport::LongPoll(_) | Transport::Plain(_) => {
                Step::Wait
            }
        }
    }

    /// The request that may come next without a new decision.
    pub fn repeat(&self) -> Option<&Repeat> {
        match self {
            Transport::LongPoll(long_poll) => long_poll.repeat(),
            Transport::Plain(plain) => Some(&plain.repeat),
            _ => None,
        }
    }

    /// Takes bytes that the client sent. The caller calls it again without bytes until it returns `Wait`.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Step {
        match self {
            // Clients of these protocols send nothing that counts: bytes are read and dropped (SSE), or kept for the
            // next request (long-poll).
            Transport::Sse(_) | Transport::LongPoll(_) | Transport::SseMany(_) | Transport::Plain(_) => {
                Step::Wait
            }
            Transport::WebSocket(websocket) => websocket.receive(bytes, now),
            Transport::Envelope(envelope) => envelope.receive(bytes, now),
        }
    }

    /// Notes that the client is not read for now, so that its silence does not count against it.
    pub fn heard(&mut self, now: Instant) {
        match self {
            Transport::WebSocket(websocket) => websocket.heard(now),
            Transport::Envelope(envelope) => envelope.heard(now),
            Transport::Sse(_) | Transport::LongPoll(_) | Transport::SseMany(_) | Transport::Plain(_) => {}
        }
    }

    /// Whether the client has nothing to send while it is served.
    pub fn is_silent(&self) -> bool {
        !matches!(self, Transport::WebSocket(_) | Transport::Envelope(_))
    }

    /// When `expired` is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Transport::Sse(sse) => sse.deadline(),
            Transport::WebSocket(websocket) => websocket.deadline(),
            Transport::LongPoll(long_poll) => Some(long_poll.deadline()),
            Transport::Envelope(envelope) => envelope.deadline(),
            Transport::SseMany(many) => many.deadline(),
            Transport::Plain(plain) => Some(plain.deadline()),
        }
    }

    /// Whether its last words depend on the state of the resource.
    pub fn ends_with_view(&self) -> bool {
        matches!(self, Transport::LongPoll(_))
    }

    /// Notes that time has passed. Before the deadline it does nothing. `view`: see [`Transport::ends_with_view`].
    pub fn expired(&mut self, now: Instant, view: Option<&View>) -> Step {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Step::Wait;
        }
        match self {
            Transport::Sse(sse) => sse.expired(now),
            Transport::WebSocket(websocket) => websocket.expired(now),
            Transport::LongPoll(long_poll) => long_poll.expired(view),
            Transport::Envelope(envelope) => envelope.expired(now),
            Transport::SseMany(many) => many.expired(now),
            Transport::Plain(_) => Step::Wait,
        }
    }

    /// Ends the connection. `view`: see [`Transport::ends_with_view`].
    pub fn end(&mut self, end: End, view: Option<&View>) -> Step {
        match self {
            Transport::Sse(sse) => sse.end(end),
            Transport::WebSocket(websocket) => websocket.end(end),
            Transport::LongPoll(long_poll) => long_poll.end(end, view),
            Transport::Envelope(envelope) => envelope.end(end),
            Transport::SseMany(many) => many.end(end),
            Transport::Plain(plain) => plain.end(end.reason()),
        }
    }
}

#[cfg(test)]
mod tests;
