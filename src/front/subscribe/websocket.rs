//! A request that becomes a WebSocket (contract §6): the 101, or a close code where a status would
//! not be seen.
//!
//! Must not know: frames, but for the one that closes.

use std::time::Instant;

use bytes::Bytes;
use http::{StatusCode, Version as HttpVersion};
use pingora::Result;

use super::asking::{Asking, Otherwise};
use super::websocket_handshake;
use crate::fanout::Seat;
use crate::frame::{Coding, Format, State};
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::Fate;
use crate::front::request::content_coding::{self, Deflate};
use crate::front::{freshness, refuse};
use crate::hub::{Attendance, Outcome, Resume, View};
use crate::metrics::Bypass;
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

impl CoveredRequest<'_> {
    /// Whether the handshake looks like the API's own, and the API was not asked yet.
    pub(in crate::front) fn offers_others(&self) -> bool {
        websocket_handshake::offers_others(&self.headers) && !matches!(self.ctx.asking, Asking::Unwanted(_))
    }

    pub(super) async fn websocket(
        &mut self,
        attendance: Attendance,
        view: &View,
        seat: Seat,
    ) -> Result<Fate> {
        let is_ours = websocket_handshake::offers_ours(&self.headers);
        if !is_ours && has_nothing_to_send(view) {
            return Ok(self.ask_first(Otherwise::CloseNotFound));
        }
        if let Some(relayed) = freshness::refusal(view) {
            if relayed.status.is_redirection() && !attendance.topic().key().is_private() {
                return Ok(self
                    .relay_to_push(relayed)
                    .await?
                    .unwrap_or(Fate::PassThrough(Bypass::NotShareable)));
            }
            let close = match relayed.status.as_u16() {
                404 | 410 => code::NOT_FOUND,
                403 => code::FORBIDDEN,
                _ => code::UNAUTHORIZED,
            };
            return self.closed(close, "the upstream refuses", seat).await;
        }
        if is_ours {
            return self.envelope(attendance, view, seat).await;
        }
        let key = attendance.topic().key();
        let deflate = match answer::is_compressed(key, &self.route) {
            true => content_coding::deflate(&self.headers),
            false => None,
        };
        let greeting = match self.handshake(deflate).await? {
            Ok(greeting) => greeting,
            Err(fate) => return Ok(fate),
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
        self.hand_over(shard, greeting, Transport::WebSocket(websocket), Some(subscription), seat).await
    }

    /// The 101 of this request, or what it got instead.
    async fn handshake(&mut self, deflate: Option<Deflate>) -> Result<std::result::Result<Bytes, Fate>> {
        match websocket_handshake::accept(&self.headers, self.version == HttpVersion::HTTP_11, deflate) {
            Ok(headers) => {
                let head = answer::head_bytes(StatusCode::SWITCHING_PROTOCOLS, &headers, b"", false);
                Ok(Ok(head.freeze()))
            }
            Err(bad) => {
                let more = websocket_handshake::refusal(bad.status);
                let fate = refuse::with_headers(self.session, self.ctx, bad.status, bad.detail, more).await?;
                Ok(Err(fate))
            }
        }
    }

    /// Accepts a handshake only to close with a code: browsers see no status.
    pub(in crate::front) async fn closed(
        &mut self,
        code: u16,
        text: &'static str,
        seat: Seat,
    ) -> Result<Fate> {
        let greeting = match self.handshake(None).await? {
            Ok(greeting) => greeting,
            Err(fate) => return Ok(fate),
        };
        let Step::Finish(frame, _) = close(code, text, "refused") else {
            return Ok(Fate::PassThrough(Bypass::Transport));
        };
        let greeting = [greeting, frame.first].concat();
        let rules = &self.route.websocket;
        let websocket = WebSocket::new(rules.ping, rules.pong, rules.max_message, 0, Instant::now());
        let shard = self.front.shared.fanout.choose();
        self.hand_over(shard, greeting.into(), Transport::WebSocket(websocket), None, seat).await
    }
}
