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
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::access::reason::Reason;
use super::access::{admit, authorize, client_limit, origin, resource_limits};
use super::covered_request::CoveredRequest;
use super::decision::{Decision, Departure};
use super::request::cors;
use super::request::transport_choice::Form;
use super::resource_key::VARY_TURNS;
use super::{freshness, resource_key};
use crate::config::Share;
use crate::fanout::{Following, Seat};
use crate::frame::Format;
use crate::hub::{Attend, Attendance, Closing, Exception, ExceptionKind, Resume, Subscription, View};
use crate::metrics::Bypass;
use crate::resource::ResourceKey;
use crate::transport::Transport;

impl CoveredRequest<'_> {
    /// Decides about a push form of a resource that may be shared.
    pub(super) async fn push(&mut self, base: &ResourceKey, form: Form) -> Decision {
        if let Form::WebSocket = form {
            let origin = self.text(header::ORIGIN);
            if !origin::origin_allowed(&self.route, origin.as_deref(), self.authority().as_deref()) {
                return self.of_another_origin();
            }
        }
        let seat = match self.seat(form) {
            Ok(seat) => seat,
            Err(reason) => {
                return Decision::refuse_for_now(Some(self.route.clone()), form == Form::Sse, reason);
            }
        };
        let seat = match &self.ctx.identity {
            Some(identity) => seat.with_pass(self.front.shared.subjects.pass(identity)),
            None => seat,
        };
        match self.follow(base, form, seat).await {
            ControlFlow::Break(decision) => decision,
            ControlFlow::Continue(()) => Decision::PassThrough(Bypass::Vary),
        }
    }

    /// Has the client follow the resource, once its key has all that the upstream chooses by. Goes on if that is ever new.
    async fn follow(&mut self, base: &ResourceKey, form: Form, mut seat: Seat) -> ControlFlow<Decision> {
        for _ in 0..VARY_TURNS {
            let key = self.full_key(base);
            seat = self.excepted(&key, form, seat)?;
            let (attendance, view, is_confirmed) = self.attended(&key, form).await?;
            if let Some(names) = resource_key::chosen_by(&view)
                && !self.selects(base, &key, names)
            {
                continue;
            }
            seat = self.excepted(&key, form, seat)?;
            let format = form.format();
            let has_room = format.is_none_or(|format| self.front.shared.hub.has_room_to_read(&view, format));
            if view.closing == Some(Closing::NoRoom) || !has_room {
                return ControlFlow::Break(self.full(form, Closing::NoRoom.reason()));
            }
            admit::note_agent(&self.front.shared, &self.route, &view);
            seat = self.authorized(&attendance, form, seat).await?;
            return ControlFlow::Break(match form {
                Form::Sse => self.sse(attendance, &view, is_confirmed, seat),
                Form::WebSocket => self.websocket(attendance, &view, seat),
                Form::LongPoll(wait) => {
                    self.long_poll(&key, attendance, &view, is_confirmed, wait, seat).await
                }
                Form::Poll | Form::PassThrough | Form::NotAcceptable => {
                    Decision::PassThrough(Bypass::Transport)
                }
            });
        }
        ControlFlow::Continue(())
    }

    /// Attends to the resource, and waits for the view that the client begins with. True: a poll that started after the
    /// request came has confirmed it.
    async fn attended(
        &mut self,
        key: &ResourceKey,
        form: Form,
    ) -> ControlFlow<Decision, (Attendance, Arc<View>, bool)> {
        // Polls up to this one started before the request came.
        let before = self.front.shared.hub.get(key).map_or(0, |topic| topic.started());
        let asker = self.asker();
        let turn = resource_limits::await_turn(&self.front.shared, asker, &self.route, key).await;
        let attendance = match turn.and_then(|()| self.attend(key, Attend::Follow)) {
            Ok(attendance) => attendance,
            Err(full) => return ControlFlow::Break(self.full(form, full.reason())),
        };
        self.await_writes(&attendance.topic().clone()).await;
        let known = attendance.topic().view();
        let (view, is_confirmed) = match self.exception(key) {
            // It is not polled for now.
            Some(ExceptionKind::Uncoverable) if known.ended > 0 => (known, false),
            _ => freshness::first_view(&self.route, &attendance, before).await,
        };
        ControlFlow::Continue((attendance, view, is_confirmed))
    }

    /// Refuses for now by a limit that was counted when it bit.
    fn full(&self, form: Form, reason: &'static str) -> Decision {
        Decision::refuse_counted(Some(self.route.clone()), form == Form::Sse, reason)
    }

    /// Goes on only if the client's own credentials get the same, where the route asks for it.
    async fn authorized(
        &mut self,
        attendance: &Attendance,
        form: Form,
        seat: Seat,
    ) -> ControlFlow<Decision, Seat> {
        if self.route.share != Share::Authorize {
            return ControlFlow::Continue(seat);
        }
        let admitted = authorize::admit(&self.front.shared, &self.route, attendance.topic(), self.client());
        match Box::pin(admitted).await {
            Ok(None) => ControlFlow::Continue(seat),
            Ok(Some(hold)) => ControlFlow::Continue(seat.held_by(hold)),
            Err(reason) => ControlFlow::Break(self.told_with(&reason, form, seat)),
        }
    }

    /// Tells a client that has its seat that it may not follow.
    fn told_with(&mut self, reason: &Reason, form: Form, seat: Seat) -> Decision {
        let told = reason.told(&self.route);
        if let Some(label) = told.counted {
            self.front.shared.metrics.refusals.with_label_values(&[label]).inc();
        }
        if let (Form::Sse, Some(status)) = (form, told.event_source) {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            cors::add(&mut headers, &self.route, &self.headers);
            self.ctx.answer = told.close.map_or("refused", |(_, text)| text);
            return Decision::answer(status, headers, Bytes::new());
        }
        match (form, told.close) {
            (Form::WebSocket, Some((code, text))) => self.closed(code, text, seat),
            _ => Decision::refuse(told.status, told.detail),
        }
    }

    fn seat(&mut self, form: Form) -> Result<Seat, &'static str> {
        // A long-poll comes back with every change: only the first one of a connection is a newcomer.
        let is_new = match form {
            Form::LongPoll(_) if self.connection.is_http2() => self.connection.is_new_http2(),
            Form::LongPoll(_) => !self.ctx.let_in,
            _ => true,
        };
        client_limit::seat(&self.front.shared, self.ctx, Some(&self.route), is_new)
    }

    /// Acts on what is known against covering the key.
    fn excepted(&mut self, key: &ResourceKey, form: Form, seat: Seat) -> ControlFlow<Decision, Seat> {
        let Some(Exception { kind, reason, .. }) = self.front.shared.hub.exception(key) else {
            return ControlFlow::Continue(seat);
        };
        ControlFlow::Break(match (kind, form) {
            // What a poll is refused says nothing yet: the next one is asked.
            (ExceptionKind::Denied, _) | (ExceptionKind::Uncoverable, Form::Sse) => {
                return ControlFlow::Continue(seat);
            }
            // It is the API's own stream that the client follows (contract §1).
            (ExceptionKind::OwnStream, Form::Sse) => Decision::PassThrough(Bypass::Uncoverable),
            (ExceptionKind::NotShareable, _) | (_, Form::Sse | Form::WebSocket) => {
                self.told_with(&Reason::Exception(kind, reason), form, seat)
            }
            (kind, _) => Decision::PassThrough(kind.into()),
        })
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

    /// What leaves Pingora for a shard, to follow this resource there.
    pub(super) fn hand_over(
        &mut self,
        shard: u16,
        greeting: Bytes,
        transport: Transport,
        subscription: Option<Subscription>,
        seat: Seat,
    ) -> Decision {
        let messages = match (&transport, &self.route.websocket.send, &subscription) {
            (Transport::WebSocket(_), Some(_), Some(_)) => self.outbox(shard),
            _ => None,
        };
        let following = subscription.map_or(Following::Nothing, Following::One);
        let seat = Some(seat);
        let departure = Departure { shard, greeting, transport, following, seat, messages, answered: None };
        Decision::HandOver(Box::new(departure))
    }
}
