//! A request that becomes a WebSocket (contract §6): the 101, or a close code where a status would
//! not be seen.
//!
//! Must not know: frames, but for the one that closes.

use std::ops::ControlFlow;
use std::time::Instant;

use super::fallback::{AskFirst, Fallback};
use super::websocket_handshake;
use crate::fanout::ClientPermit;
use crate::frame::{Coding, Format, State};
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::Decision;
use crate::front::freshness;
use crate::front::request::content_coding;
use crate::hub::{Attendance, Outcome, Resume, View};
use crate::metrics::Bypass;
use crate::resource::ResourceKey;
use crate::transport::{Step, Transport, WebSocket, answer, close, code};

/// Whether the upstream answered the poll in a way that says: no document here, perhaps a WebSocket (contract §1). Its
/// 401, 403 and 410 are about who asks, and about the past.
fn has_nothing_to_send(view: &View) -> bool {
    let is_gone = matches!(view.condition.state, State::Gone { .. });
    let Outcome::Relay(relayed) = &view.outcome else { return false };
    (view.frame.is_none() || is_gone)
        && view.closing.is_none()
        && relayed.status.is_client_error()
        && !matches!(relayed.status.as_u16(), 401 | 403 | 410)
}

/// What a client gets in the place of a WebSocket.
pub(super) enum Instead {
    Decided(Decision),
    /// One that is closed at once with this code and this text.
    Closed(u16, &'static str),
}

impl CoveredRequest<'_> {
    /// Whether the handshake looks like the API's own, and the API was not asked yet.
    pub(in crate::front) fn offers_others(&self) -> bool {
        websocket_handshake::offers_others(&self.headers)
            && !matches!(self.ctx.ask_first, AskFirst::Discarded(_))
    }

    /// Decides about a WebSocket of a resource that may be followed.
    pub(super) fn websocket(
        &mut self,
        attendance: Attendance,
        view: &View,
        permit: ClientPermit,
    ) -> Decision {
        match self.instead_of_websocket(attendance.topic().key(), view) {
            Some(Instead::Decided(decision)) => return decision,
            Some(Instead::Closed(code, text)) => return self.closed(code, text, permit),
            None => {}
        }
        if websocket_handshake::offers_ours(&self.headers) {
            return self.envelope(attendance, view, permit);
        }
        let key = attendance.topic().key();
        let deflate = match answer::is_compressed(key, &self.route) {
            true => content_coding::deflate(&self.headers),
            false => None,
        };
        let greeting = match websocket_handshake::greeting(self.connection.head(), deflate) {
            ControlFlow::Continue(greeting) => greeting,
            ControlFlow::Break(decision) => return decision,
        };
        let rules = &self.route.websocket;
        let rate = rules.send.as_ref().map_or(0, |send| send.rate);
        let websocket = WebSocket::new(rules.ping, rules.pong, rules.max_message, rate, Instant::now())
            .of_frames(rules.frame_rate, rules.max_fragments);
        let (websocket, coding) = match deflate {
            Some(deflate) => (websocket.of_deflate(deflate.window, deflate.keeps_window), Coding::Deflated),
            None => (websocket, Coding::Plain),
        };
        // A state is always sent whole; of a feed the client may have some.
        let resume = if self.route.feed.is_some() { self.resume() } else { Resume::Start };
        let shard = self.front.shared.fanout.choose();
        let subscription = self.subscribe(attendance, Some(shard), Format::WebSocket(coding), resume, view);
        self.hand_over(shard, greeting, Transport::WebSocket(websocket), Some(subscription), permit)
    }

    /// What a client gets in the place of a WebSocket that would begin with this view. Returns `None` if it gets that.
    pub(super) fn instead_of_websocket(&mut self, key: &ResourceKey, view: &View) -> Option<Instead> {
        if !websocket_handshake::offers_ours(&self.headers) && has_nothing_to_send(view) {
            return Some(Instead::Decided(self.ask_first(Fallback::CloseNotFound)));
        }
        let relayed = freshness::refusal(view)?;
        if relayed.status.is_redirection() && !key.is_private() {
            let relayed = self.relay_to_push(relayed);
            return Some(Instead::Decided(relayed.unwrap_or(Decision::PassThrough(Bypass::NotShareable))));
        }
        let close = match relayed.status.as_u16() {
            404 | 410 => code::NOT_FOUND,
            403 => code::FORBIDDEN,
            _ => code::UNAUTHORIZED,
        };
        Some(Instead::Closed(close, "the upstream refuses"))
    }

    /// Accepts a handshake only to close with a code: browsers see no status.
    pub(in crate::front) fn closed(
        &mut self,
        code: u16,
        text: &'static str,
        permit: ClientPermit,
    ) -> Decision {
        let greeting = match websocket_handshake::greeting(self.connection.head(), None) {
            ControlFlow::Continue(greeting) => greeting,
            ControlFlow::Break(decision) => return decision,
        };
        let Step::Finish(frame, _) = close(code, text, "refused") else {
            return Decision::PassThrough(Bypass::Transport);
        };
        let greeting = [greeting, frame.first].concat();
        let rules = &self.route.websocket;
        let websocket = WebSocket::new(rules.ping, rules.pong, rules.max_message, 0, Instant::now());
        let shard = self.front.shared.fanout.choose();
        self.hand_over(shard, greeting.into(), Transport::WebSocket(websocket), None, permit)
    }
}
