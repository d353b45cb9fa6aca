//! WebSocket, bare form (contract §6, RFC 6455): each state one message, pings, close codes.
//!
//! Must not know: the handshake (front), where a client's message goes.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::close_code as code;
use super::compact_instant::{Moment, millis};
use super::websocket_reader::{Event, Inbound};
use super::{End, Expulsion, Output, Step};
use crate::frame::{Deflated, Tail, websocket};
use crate::hub::{Closing, Delivery};

/// Base-two logarithm of DEFLATE's window: messages made for it may refer to the one before.
const FULL_WINDOW_LOG2: u8 = 15;

/// One client's WebSocket after its handshake: what it has sent, when it is pinged, and which coding its messages
/// have.
#[derive(Debug)]
pub struct WebSocket {
    inbound: Inbound,
    ping_ms: u32,
    pong_ms: u32,
    /// When the client was last heard or written to.
    quiet_since: Moment,
    /// When a ping was sent that has no answer yet.
    pinged: Option<Moment>,
    /// Most messages a second that are forwarded for the client; 0 if messages are ignored.
    rate: u32,
    /// Most frames of any kind that may come in a second.
    frame_rate: u32,
    /// Messages and frames in the second that began then.
    sent: u32,
    frames: u32,
    second: Option<Moment>,
    /// Base-two logarithm of the window of the client's decoder; 0 if it has none.
    window: u8,
    /// The decoder keeps what it read from message to message.
    keeps_window: bool,
    /// The compressed message that it read last.
    tail: Tail,
}

impl WebSocket {
    /// `max_message` is the most bytes of a client's message. `rate` is `websocket.send.rate`; 0 ignores messages.
    pub fn new(ping: Duration, pong: Duration, max_message: usize, rate: u32, now: Instant) -> WebSocket {
        WebSocket {
            inbound: Inbound::new(max_message),
            ping_ms: millis(ping),
            pong_ms: millis(pong),
            quiet_since: now.into(),
            pinged: None,
            rate,
            frame_rate: u32::MAX,
            sent: 0,
            frames: 0,
            second: None,
            window: 0,
            keeps_window: false,
            tail: Tail::UNKNOWN,
        }
    }

    /// The same with permessage-deflate (RFC 7692), as it was agreed on: the base-two logarithm of the
    /// client's window, and whether it is kept between messages.
    pub fn of_deflate(self, window: u8, keeps_window: bool) -> WebSocket {
        WebSocket { inbound: self.inbound.of_deflate(), window, keeps_window, ..self }
    }

    /// The same with bounds on what the client sends: frames of any kind in a second, and frames of one
    /// message.
    pub fn of_frames(self, rate: u32, max_fragments: u16) -> WebSocket {
        WebSocket { frame_rate: rate, inbound: self.inbound.of_fragments(max_fragments), ..self }
    }

    /// The same for a client of the envelope protocol, which speaks text only.
    pub fn of_text(self) -> WebSocket {
        WebSocket { inbound: self.inbound.of_text(), ..self }
    }

    /// Notes that the client was heard, or was not read.
    pub(super) fn heard(&mut self, now: Instant) {
        (self.pinged, self.quiet_since) = (None, now.into());
    }

    /// Notes that something is written.
    pub(super) fn touch(&mut self, now: Instant) {
        self.quiet_since = now.into();
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery, now: Instant) -> Step {
        match delivery {
            Delivery::Frame(frame) => {
                self.quiet_since = now.into();
                let deflated = self.deflated(frame.websocket_deflated());
                Step::Write(Output::one(deflated.unwrap_or_else(|| frame.websocket())))
            }
            Delivery::Items(batch) => {
                self.quiet_since = now.into();
                let deflated = self.deflated(batch.deflated());
                Step::Write(Output::one(deflated.unwrap_or_else(|| batch.websocket())))
            }
            // The bare form has no messages about a resource's condition or its followers, and no patches.
            Delivery::Condition(_) | Delivery::Presence(_) | Delivery::Reset(_) | Delivery::Patches(_) => {
                Step::Wait
            }
            Delivery::Closing(closing) => self.end(End::Topic(*closing)),
        }
    }

    /// The compressed form of a message for this client. Returns `None` if it goes out as it is, which its
    /// decoder does not notice.
    fn deflated(&mut self, message: Option<&Deflated>) -> Option<Bytes> {
        if self.window == 0 {
            return None;
        }
        if !self.keeps_window || self.window < FULL_WINDOW_LOG2 {
            self.tail = Tail::UNKNOWN;
        }
        message?.after(&mut self.tail, self.window).cloned()
    }

    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) -> Step {
        if !bytes.is_empty() {
            self.heard(now);
        }
        let mut rest = bytes;
        loop {
            let event = self.inbound.next(rest);
            rest = &[];
            if self.is_flooded(now) {
                return close(code::TOO_MANY, "too many frames a second", "frame-rate");
            }
            match event {
                Ok(None) => return Step::Wait,
                Ok(Some(Event::Ping(payload))) => return Step::Write(Output::one(websocket::pong(&payload))),
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Message(message))) => {
                    if let Some(step) = self.message(message) {
                        return step;
                    }
                }
                Ok(Some(Event::Close(code))) => {
                    let echo = websocket::close(code.unwrap_or(1000), "");
                    return Step::Finish(Output::one(echo), "client-closed");
                }
                Err(fault) if fault.code == code::POLICY => {
                    return close(fault.code, fault.reason, "fragments");
                }
                Err(fault) => return close(fault.code, fault.reason, "protocol"),
            }
        }
    }

    fn message(&mut self, message: Bytes) -> Option<Step> {
        if self.rate == 0 {
            return None;
        }
        self.sent += 1;
        if self.sent > self.rate {
            return Some(close(code::TOO_MANY, "too many messages a second", "rate"));
        }
        Some(Step::Forward(message))
    }

    /// Counts the frames that came. Returns true if there are more than may come in a second.
    fn is_flooded(&mut self, now: Instant) -> bool {
        let came = self.inbound.take_frames();
        if came == 0 {
            return false;
        }
        let began = self.second.map(Instant::from);
        if began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            (self.second, self.sent, self.frames) = (Some(now.into()), 0, 0);
        }
        self.frames = self.frames.saturating_add(came);
        self.frames > self.frame_rate
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let (since, wait) = match self.pinged {
            Some(at) => (at, self.pong_ms),
            None => (self.quiet_since, self.ping_ms),
        };
        Some(Instant::from(since) + Duration::from_millis(wait.into()))
    }

    pub(super) fn expired(&mut self, now: Instant) -> Step {
        if self.pinged.is_some() {
            return Step::Finish(Output::default(), "no-pong");
        }
        self.pinged = Some(now.into());
        Step::Write(Output::one(websocket::ping()))
    }

    pub(super) fn end(&mut self, end: End) -> Step {
        let code = match end {
            End::Drain { .. } | End::MaxAge => code::GOING_AWAY,
            End::Topic(Closing::NotShareable | Closing::SessionIdle) => code::POLICY,
            End::Topic(Closing::Credentials) | End::Expelled(Expulsion::Expired | Expulsion::Revoked) => {
                code::UNAUTHORIZED
            }
            End::Expelled(Expulsion::Forbidden) => code::FORBIDDEN,
            End::Topic(
                Closing::SessionRotated | Closing::Reconfigured | Closing::SwitchedOff | Closing::Internal,
            ) => code::RESTART,
            End::Topic(Closing::Gone) => code::NOT_FOUND,
            End::Topic(Closing::NoRoom) => code::TRY_AGAIN,
        };
        close(code, end.reason(), end.reason())
    }
}

/// Ends a WebSocket with a close frame.
pub fn close(code: u16, text: &str, reason: &'static str) -> Step {
    Step::Finish(Output::one(websocket::close(code, text)), reason)
}
