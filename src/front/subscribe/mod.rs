//! The push forms of a covered URL (contract §4–§6): admission, the state to begin with, and the way
//! out of Pingora into the fan-out. `sse`, `websocket` and `long_poll` have what differs.
//!
//! Must not know: what is written to a client, head or body.

pub(super) mod ask_first;
pub(super) mod cursor_hold;
pub(super) mod cursor_wait;
pub(super) mod envelope;
mod envelope_auth;
mod envelope_messages;
mod envelope_subscribe;
mod explanation;
pub(super) mod fallback;
pub(super) mod long_poll;
pub(super) mod long_poll_interner;
mod sse;
pub(super) mod sse_many;
mod websocket;
pub(super) mod websocket_handshake;
mod websocket_send;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::access::follow::{Follow, Followable};
use super::access::reason::Reason;
use super::access::{client_limit, origin};
use super::covered_request::CoveredRequest;
use super::decision::{Decision, Departure};
use super::request::transport_choice::Form;
use super::request::{cors, presence_choice};
use crate::fanout::{ClientPermit, Following};
use crate::frame::Format;
use crate::hub::{Attend, Attendance, ExceptionKind, Resume, Subscription, View};
use crate::metrics::{Bypass, RefusalReason};
use crate::resource::ResourceKey;
use crate::transport::Transport;

/// What a client is told that may not follow a resource.
enum NotFollowed {
    Decided(Decision),
    /// Its WebSocket is closed with this code and this text.
    Closed(u16, &'static str),
}

impl CoveredRequest<'_> {
    /// Decides about a push form of a resource that may be shared.
    pub(super) async fn push(&mut self, base: &ResourceKey, form: Form) -> Decision {
        if form == Form::WebSocket && self.is_of_another_origin() {
            return self.of_another_origin();
        }
        let permit = match self.permit(form) {
            Ok(permit) => permit,
            Err(reason) => {
                return Decision::refuse_for_now(Some(self.route.clone()), form == Form::Sse, reason);
            }
        };
        let permit = match &self.ctx.identity {
            Some(identity) => {
                permit.with_entitlement(self.front.shared.subjects.entitlement(&self.route, identity))
            }
            None => permit,
        };
        let mut writes = self.writes;
        let followable = self.follow(base, form).begin(&mut writes).await;
        self.writes = writes;
        match followable {
            Ok(followable) => self.followed(followable, form, permit).await,
            Err(reason) => match self.not_followed(&reason, form) {
                NotFollowed::Decided(decision) => decision,
                NotFollowed::Closed(code, text) => self.closed(code, text, permit),
            },
        }
    }

    /// Whether it comes from a page of an origin that the route does not let in.
    fn is_of_another_origin(&self) -> bool {
        let origin = self.text(header::ORIGIN);
        !origin::origin_allowed(&self.route, origin.as_deref(), self.authority().as_deref())
    }

    /// The client of a push form, as it wants to follow a resource.
    fn follow<'a>(&'a self, base: &'a ResourceKey, form: Form) -> Follow<'a> {
        Follow {
            shared: &self.front.shared,
            route: &self.route,
            base,
            client: self.client(),
            asker: self.asker(),
            attends: Attend::Follow,
            format: form.format(),
            waits_for_cover: form == Form::Sse,
        }
    }

    /// Decides about a resource that the client may follow.
    async fn followed(&mut self, followable: Followable, form: Form, permit: ClientPermit) -> Decision {
        let Followable { key, attendance, view, is_confirmed, revocable } = followable;
        let permit = match revocable {
            Some(revocable) => permit.until_revoked(revocable),
            None => permit,
        };
        match form {
            Form::Sse => self.sse(attendance, &view, is_confirmed, permit),
            Form::WebSocket => self.websocket(attendance, &view, permit),
            Form::LongPoll(wait) => self.long_poll(&key, attendance, &view, is_confirmed, wait, permit).await,
            Form::Poll | Form::PassThrough | Form::NotAcceptable => Decision::PassThrough(Bypass::Transport),
        }
    }

    /// Decides about a resource that the client may not follow.
    fn not_followed(&mut self, reason: &Reason, form: Form) -> NotFollowed {
        NotFollowed::Decided(match (reason, form) {
            (Reason::EverNewVary, _) => Decision::PassThrough(reason.bypass()),
            // A limit that was counted when it bit.
            (Reason::Full(full), _) => {
                let route = Some(self.route.clone());
                Decision::refuse_counted(route, form == Form::Sse, full.reason())
            }
            // It is the API's own stream that the client follows (contract §1).
            (Reason::Exception(ExceptionKind::OwnStream, _), Form::Sse) => {
                Decision::PassThrough(reason.bypass())
            }
            (Reason::Exception(kind, _), Form::LongPoll(_)) if *kind != ExceptionKind::NotShareable => {
                Decision::PassThrough(reason.bypass())
            }
            _ => return self.told_with(reason, form),
        })
    }

    /// Tells a client that has its permit that it may not follow.
    fn told_with(&mut self, reason: &Reason, form: Form) -> NotFollowed {
        let told = reason.told(&self.route);
        if let Some(counted) = told.counted {
            self.front.shared.metrics.refused(counted);
        }
        if let (Form::Sse, Some(status)) = (form, told.event_source) {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            cors::add(&mut headers, &self.route, &self.headers);
            self.ctx.answer = told.close.map_or("refused", |(_, text)| text);
            return NotFollowed::Decided(Decision::answer(status, headers, Bytes::new()));
        }
        match (form, told.close) {
            (Form::WebSocket, Some((code, text))) => NotFollowed::Closed(code, text),
            _ => NotFollowed::Decided(Decision::refuse(reason.refusal(), told.status, told.detail)),
        }
    }

    fn permit(&mut self, form: Form) -> Result<ClientPermit, RefusalReason> {
        // A long-poll comes back with every change: only the first one of a connection is a newcomer.
        let is_new = match form {
            Form::LongPoll(_) if self.connection.is_http2() => self.connection.is_new_http2(),
            Form::LongPoll(_) => !self.ctx.let_in,
            _ => true,
        };
        client_limit::permit(&self.front.shared, self.ctx, Some(&self.route), is_new)
    }

    pub(super) fn subscribe(
        &self,
        attendance: Attendance,
        shard: Option<u16>,
        format: Format,
        resume: Resume,
        view: &View,
    ) -> Subscription {
        let mut attendance = attendance;
        self.take_seat(&mut attendance, false);
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
            Resume::Tag(_) | Resume::Item(_) | Resume::Other => "unknown",
        };
        self.front.shared.metrics.resumes.with_label_values(&[outcome]).inc();
        let mut subscription = Subscription::new(attendance, shard, format, resume);
        if presence_choice::asks(&self.route, &self.headers, self.query.as_deref()) {
            subscription.watch_presence();
        }
        subscription
    }

    /// Counts the client among those who follow the resource (`presence`). `lingers`: it comes by long-polls.
    pub(super) fn take_seat(&self, attendance: &mut Attendance, lingers: bool) {
        let principal = self.ctx.identity.as_ref().map(|identity| &identity.principal);
        self.front.shared.hub.seat(attendance, principal, lingers);
    }

    /// What leaves Pingora for a shard, to follow this resource there.
    pub(super) fn hand_over(
        &mut self,
        shard: u16,
        greeting: Bytes,
        transport: Transport,
        subscription: Option<Subscription>,
        permit: ClientPermit,
    ) -> Decision {
        let messages = match (&transport, &self.route.websocket.send, &subscription) {
            (Transport::WebSocket(_), Some(_), Some(_)) => self.outbox(shard),
            _ => None,
        };
        let following = subscription.map_or(Following::Nothing, Following::One);
        let permit = Some(permit);
        let departure = Departure { shard, greeting, transport, following, permit, messages, answered: None };
        Decision::HandOver(Box::new(departure))
    }
}
