//! The push forms of a covered URL (contract §4–§6): admission, the state to begin with, and the way
//! out of Pingora into the fan-out. `sse`, `websocket` and `long_poll` have what differs.
//!
//! Must not know: what is written to a client, head or body.

pub(super) mod ask_first;
pub(super) mod cursor_hold;
pub(super) mod envelope;
mod envelope_auth;
mod envelope_messages;
mod envelope_subscribe;
pub(super) mod long_poll;
pub(super) mod long_poll_http2;
pub(super) mod repeats;
mod sse;
pub(super) mod sse_many;
mod websocket;
pub(super) mod websocket_handshake;
mod websocket_send;

use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora::Result;
use pingora::proxy::Session;

use super::access::authorize;
use super::access::reason::Reason;
use super::access::resource_limits::household;
use super::access::{admit, origin, resource_limits};
use super::covered::{Cover, VARY_TURNS};
use super::request::cors;
use super::request::transport_choice::Form;
use super::{Context, Fate, Front, Shared, refuse, respond};
use crate::config::{Route, Share};
use crate::fanout::{Arrival, Following, Messages, Record, Seat, Staying, Taken, bound_kernel_buffers};
use crate::frame::Format;
use crate::hub::{Attend, Attendance, Closing, Exception, ExceptionKind, Resume, Subscription, View};
use crate::listener::{accept_rate, descriptors, takeover};
use crate::metrics::Bypass;
use crate::resource::ResourceKey;
use crate::transport::Transport;

impl Cover<'_> {
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
                _ => admit::first_view(&self.route, &attendance, before).await,
            };
            if let Some(names) = admit::chosen_by(&view)
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
        seat(self.front, self.ctx, Some(&self.route), is_new)
    }

    pub(super) fn text(&self, name: header::HeaderName) -> Option<String> {
        self.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
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

/// A place for one more client, of a route or of many. `is_new`: it has to pass the turnstile.
///
/// # Errors
/// There is none for now: the limit that bites.
pub(super) fn seat(
    front: &Front,
    ctx: &mut Context,
    route: Option<&Route>,
    is_new: bool,
) -> std::result::Result<Seat, &'static str> {
    let shared = &front.shared;
    let limits = &shared.config.limits;
    let address = limits.clients_per_address.zip(ctx.client.map(household));
    let subject = limits.clients_per_subject.zip(ctx.subject);
    let (index, of_route) = route.map_or((usize::MAX, None), |route| (route.index, route.max_clients));
    let seat = shared.fanout.seat(limits.clients, index, of_route, address, subject).ok_or("clients")?;
    // Last, so that a client without a seat uses up no turn.
    if is_new && shared.turnstile.as_ref().is_some_and(|turnstile| !turnstile.lets_in(Instant::now())) {
        return Err("accept-rate");
    }
    ctx.let_in |= is_new;
    // From now on it counts as a client.
    ctx.in_progress = None;
    Ok(seat)
}

/// What the client of a seat stays by, for one that lives in a task.
pub(super) fn staying(shared: &Shared, seat: &Seat) -> Staying {
    Staying { pass: seat.pass().cloned(), expulsions: shared.fanout.expulsions() }
}

/// A connection that is about to leave Pingora, and what it becomes.
pub(super) struct Departure {
    pub(super) shard: u16,
    pub(super) greeting: Bytes,
    pub(super) transport: Transport,
    pub(super) following: Following,
    pub(super) seat: Option<Seat>,
    pub(super) messages: Option<Messages>,
}

/// Takes a connection out of Pingora and hands it to its shard.
pub(super) async fn depart(
    front: &Front,
    session: &mut Session,
    ctx: &mut Context,
    departure: Departure,
) -> Result<Fate> {
    let Departure { shard, greeting, transport, following, seat, messages } = departure;
    let shared = front.shared.clone();
    ctx.answer = transport.name();
    let Some((stream, read)) = takeover::take(session).await? else {
        return Ok(Fate::Answered);
    };
    ctx.taken = true;
    let limits = &shared.config.limits;
    let plain = front.listener.is_bare();
    let home = match &transport {
        Transport::LongPoll(_) | Transport::Plain(_) => front.home.get().cloned(),
        _ => None,
    };
    let taken = if plain { Taken::socket(stream, home) } else { Ok(Taken::Stream(stream, home)) };
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            tracing::warn!("a connection could not be taken over: {error}");
            return Ok(Fate::Answered);
        }
    };
    // The number is one of its own by now, and a higher one.
    if let Taken::Socket(socket, _) = &taken
        && !shared.descriptors.admit(socket.as_raw_fd())
    {
        descriptors::count_refused(&shared.metrics);
        return Ok(Fate::Answered);
    }
    if let Err(error) = bound_kernel_buffers(&taken, limits.send_buffer, limits.stall_timeout) {
        tracing::debug!("the kernel's buffers of a stream could not be bounded: {error}");
    }
    let record = Record::new(ctx.client);
    let arrival = Arrival { taken, read, greeting, transport, following, record, seat, messages };
    shared.fanout.add(shard, arrival);
    Ok(Fate::Answered)
}
