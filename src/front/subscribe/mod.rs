//! The push forms of a covered URL (contract §4–§6): admission, the state to begin with, and the way
//! out of Pingora into the fan-out. `sse`, `websocket` and `long_poll` have what differs.
//!
//! Must not know: what is written to a client, head or body.

pub(super) mod alike;
pub(super) mod ask_first;
pub(super) mod asking;
pub(super) mod cursor_hold;
pub(super) mod cursor_wait;
pub(super) mod envelope;
mod envelope_auth;
mod envelope_messages;
mod envelope_subscribe;
pub(super) mod long_poll;
pub(super) mod long_poll_http2;
mod sse;
pub(super) mod sse_many;
mod websocket;
pub(super) mod websocket_handshake;
mod websocket_send;

use std::ops::ControlFlow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora::Result;

use super::access::reason::Reason;
use super::access::{admit, authorize, client_limit, origin, resource_limits};
use super::covered_request::CoveredRequest;
use super::decision::Fate;
use super::hand_over::{Departure, depart};
use super::request::cors;
use super::request::transport_choice::Form;
use super::resource_key::VARY_TURNS;
use super::{freshness, refuse, resource_key, respond};
use crate::config::Share;
use crate::fanout::{Following, Seat};
use crate::frame::Format;
use crate::hub::{Attend, Attendance, Closing, Exception, ExceptionKind, Resume, Subscription, View};
use crate::listener::accept_rate;
use crate::metrics::Bypass;
use crate::resource::ResourceKey;
use crate::transport::Transport;

impl CoveredRequest<'_> {
    /// Serves a push form.
    pub(super) async fn push(&mut self, base: &ResourceKey, form: Form) -> Result<Fate> {
        if let Form::WebSocket = form {
            let origin = self.text(header::ORIGIN);
            if !origin::origin_allowed(&self.route, origin.as_deref(), self.authority().as_deref()) {
                return self.of_another_origin().await;
            }
        }
        let mut seat = match self.seat(form) {
            Ok(seat) => match &self.ctx.identity {
                Some(identity) => seat.with_pass(self.front.shared.subjects.pass(identity)),
                None => seat,
            },
            Err(reason) => {
                let event_stream = form == Form::Sse;
                return refuse::for_now(self.session, self.ctx, Some(&self.route), event_stream, reason)
                    .await;
            }
        };
        for _ in 0..VARY_TURNS {
            let key = self.full_key(base);
            seat = match self.excepted(&key, form, seat).await? {
                ControlFlow::Continue(seat) => seat,
                ControlFlow::Break(fate) => return Ok(fate),
            };
            // Polls up to this one started before the request came.
            let before = self.front.shared.hub.get(&key).map_or(0, |topic| topic.started());
            let asker = self.asker();
            let turn = resource_limits::await_turn(&self.front.shared, asker, &self.route, &key).await;
            let attendance = match turn.and_then(|()| self.attend(&key, Attend::Follow)) {
                Ok(attendance) => attendance,
                Err(full) => {
                    let (event_stream, reason) = (form == Form::Sse, full.reason());
                    return refuse::counted(self.session, self.ctx, Some(&self.route), event_stream, reason)
                        .await;
                }
            };
            self.await_writes(&attendance.topic().clone()).await;
            let known = attendance.topic().view();
            let (view, is_confirmed) = match self.exception(&key) {
                // It is not polled for now.
                Some(ExceptionKind::Uncoverable) if known.ended > 0 => (known, false),
                _ => freshness::first_view(&self.route, &attendance, before).await,
            };
            if let Some(names) = resource_key::chosen_by(&view)
                && !self.selects(base, &key, names)
            {
                continue;
            }
            seat = match self.excepted(&key, form, seat).await? {
                ControlFlow::Continue(seat) => seat,
                ControlFlow::Break(fate) => return Ok(fate),
            };
            let format = form.format();
            let has_room = format.is_none_or(|format| self.front.shared.hub.has_room_to_read(&view, format));
            if view.closing == Some(Closing::NoRoom) || !has_room {
                let (event_stream, reason) = (form == Form::Sse, Closing::NoRoom.reason());
                return refuse::counted(self.session, self.ctx, Some(&self.route), event_stream, reason)
                    .await;
            }
            admit::note_agent(&self.front.shared, &self.route, &view);
            seat = match self.authorized(&attendance, form, seat).await? {
                ControlFlow::Continue(seat) => seat,
                ControlFlow::Break(fate) => return Ok(fate),
            };
            return match form {
                Form::Sse => self.sse(attendance, &view, is_confirmed, seat).await,
                Form::WebSocket => self.websocket(attendance, &view, seat).await,
                Form::LongPoll(wait) => {
                    self.long_poll(&key, attendance, &view, is_confirmed, wait, seat).await
                }
                Form::Poll | Form::PassThrough | Form::NotAcceptable => {
                    Ok(Fate::PassThrough(Bypass::Transport))
                }
            };
        }
        Ok(Fate::PassThrough(Bypass::Vary))
    }

    /// Goes on only if the client's own credentials get the same, where the route asks for it.
    async fn authorized(
        &mut self,
        attendance: &Attendance,
        form: Form,
        seat: Seat,
    ) -> Result<ControlFlow<Fate, Seat>> {
        if self.route.share != Share::Authorize {
            return Ok(ControlFlow::Continue(seat));
        }
        let admitted = authorize::admit(&self.front.shared, &self.route, attendance.topic(), self.client());
        match Box::pin(admitted).await {
            Ok(None) => Ok(ControlFlow::Continue(seat)),
            Ok(Some(hold)) => Ok(ControlFlow::Continue(seat.held_by(hold))),
            Err(reason) => Ok(ControlFlow::Break(self.told_with(&reason, form, seat).await?)),
        }
    }

    /// Tells a client that has its seat that it may not follow.
    async fn told_with(&mut self, reason: &Reason, form: Form, seat: Seat) -> Result<Fate> {
        let told = reason.told(&self.route);
        if let Some(label) = told.counted {
            self.front.shared.metrics.refusals.with_label_values(&[label]).inc();
        }
        if let (Form::Sse, Some(status)) = (form, told.event_source) {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            cors::add(&mut headers, &self.route, &self.headers);
            self.ctx.answer = told.close.map_or("refused", |(_, text)| text);
            respond::respond(self.session, status, &headers, Bytes::new()).await?;
            return Ok(Fate::Answered);
        }
        match (form, told.close) {
            (Form::WebSocket, Some((code, text))) => self.closed(code, text, seat).await,
            _ => refuse::with(self.session, self.ctx, told.status, &told.detail).await,
        }
    }

    fn seat(&mut self, form: Form) -> std::result::Result<Seat, &'static str> {
        // A long-poll comes back with every change: only the first one of a connection is a newcomer.
        let is_new = match form {
            Form::LongPoll(_) if self.session.is_http2() => accept_rate::is_new_http2(self.session),
            Form::LongPoll(_) => !self.ctx.let_in,
            _ => true,
        };
        client_limit::seat(&self.front.shared, self.ctx, Some(&self.route), is_new)
    }

    /// Acts on what is known against covering the key.
    async fn excepted(
        &mut self,
        key: &ResourceKey,
        form: Form,
        seat: Seat,
    ) -> Result<ControlFlow<Fate, Seat>> {
        let Some(Exception { kind, reason, .. }) = self.front.shared.hub.exception(key) else {
            return Ok(ControlFlow::Continue(seat));
        };
        let fate = match (kind, form) {
            // What a poll is refused says nothing yet: the next one is asked.
            (ExceptionKind::Denied, _) | (ExceptionKind::Uncoverable, Form::Sse) => {
                return Ok(ControlFlow::Continue(seat));
            }
            // It is the API's own stream that the client follows (contract §1).
            (ExceptionKind::OwnStream, Form::Sse) => Fate::PassThrough(Bypass::Uncoverable),
            (ExceptionKind::NotShareable, _) | (_, Form::Sse | Form::WebSocket) => {
                self.told_with(&Reason::Exception(kind, reason), form, seat).await?
            }
            (kind, _) => Fate::PassThrough(kind.into()),
        };
        Ok(ControlFlow::Break(fate))
    }

    pub(super) fn subscribe(
        &self,
        attendance: Attendance,
        shard: Option<u16>,
        format: Format,
        resume: Resume,
        view: &View,
    ) -> Subscription {
        let current = view.frame.as_ref().map(|frame| frame.version());
        let topic = attendance.topic();
        let outcome = match &resume {
            Resume::Start => "none",
            Resume::From(version) | Resume::FromConfirmed(version) => match current {
                Some(current) if *version == current => "current",
                _ if topic.has_held(*version) => "known",
                _ => "unknown",
            },
            Resume::Item(id) if topic.knows_position(id) => "known",
            Resume::Tag(_) | Resume::Item(_) => "unknown",
        };
        self.front.shared.metrics.resumes.with_label_values(&[outcome]).inc();
        Subscription::new(attendance, shard, format, resume)
    }

    // --- The way out of Pingora ---

    pub(super) async fn hand_over(
        &mut self,
        shard: u16,
        greeting: Bytes,
        transport: Transport,
        subscription: Option<Subscription>,
        seat: Seat,
    ) -> Result<Fate> {
        let messages = match (&transport, &self.route.websocket.send, &subscription) {
            (Transport::WebSocket(_), Some(_), Some(_)) => self.outbox(shard),
            _ => None,
        };
        let following = subscription.map_or(Following::Nothing, Following::One);
        let seat = Some(seat);
        let departure = Departure { shard, greeting, transport, following, seat, messages };
        depart(self.front, self.session, self.ctx, departure).await
    }
}
