//! The push forms of a covered URL: SSE, WebSocket and the held long-poll (contract §4–§6).
//!
//! Decides, writes the head, and hands the connection to the fan-out. Must not know: what is sent
//! after the head.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version as HttpVersion, header};
use pingora::Result;
use tokio::time::timeout;

use super::cover::{Cover, VARY_TURNS, is_remembered, is_young};
use super::form::Form;
use super::{Fate, access, cors, handshake, hold, refuse, respond, takeover};
use crate::fanout::{Arrival, Record, Seat, Stream, Taken, bound_kernel_buffers, drive};
use crate::frame::{Format, State};
use crate::hub::{Attend, Attendance, Closing, ExceptionKind, Outcome, Resume, Subscription, View};
use crate::resource::{IfNoneMatch, RESUME_SWITCHES, ResourceKey, Version, switch, version_of_tag};
use crate::transport::{Framing, LongPoll, Sse, Step, Transport, WebSocket, answer, close, code};

impl Cover<'_> {
    /// Serves a push form.
    pub(super) async fn push(&mut self, base: &ResourceKey, form: Form) -> Result<Fate> {
        if let Form::WebSocket = form {
            let origin = self.text(header::ORIGIN);
            if !access::origin_allowed(&self.route, origin.as_deref(), self.authority().as_deref()) {
                self.front
                    .shared
                    .metrics
                    .refusals
                    .with_label_values(&["origin"])
                    .inc();
                let detail = "the Origin of this WebSocket is not let in (websocket.origins)";
                return refuse::with(self.session, self.ctx, StatusCode::FORBIDDEN, detail).await;
            }
        }
        let Some(mut seat) = self.seat() else {
            let event_stream = form == Form::Sse;
            return refuse::for_now(self.session, self.ctx, &self.route, event_stream, "clients").await;
        };
        for _ in 0..VARY_TURNS {
            let key = self.full_key(base);
            seat = match self.excepted(&key, form, seat).await? {
                ControlFlow::Continue(seat) => seat,
                ControlFlow::Break(fate) => return Ok(fate),
            };
            // Polls up to this one started before the request came.
            let before = self.front.shared.hub.get(&key).map_or(0, |topic| topic.started());
            let Ok(attendance) = self.attend(&key, Attend::Follow) else {
                let event_stream = form == Form::Sse;
                return refuse::for_now(self.session, self.ctx, &self.route, event_stream, "resources").await;
            };
            let (view, is_confirmed) = self.first_view(&attendance, before).await;
            if let Some(frame) = &view.frame
                && !self.selects(base, &key, &frame.snapshot)
            {
                continue;
            }
            seat = match self.excepted(&key, form, seat).await? {
                ControlFlow::Continue(seat) => seat,
                ControlFlow::Break(fate) => return Ok(fate),
            };
            return match form {
                Form::Sse => self.sse(attendance, &view, is_confirmed, seat).await,
                Form::WebSocket => self.websocket(attendance, &view, seat).await,
                Form::LongPoll(wait) => {
                    self.long_poll(&key, attendance, &view, is_confirmed, wait, seat)
                        .await
                }
                Form::Poll | Form::PassThrough | Form::NotAcceptable => Ok(Fate::PassThrough),
            };
        }
        Ok(Fate::PassThrough)
    }

    fn seat(&self) -> Option<Seat> {
        let shared = &self.front.shared;
        let limits = &shared.config.limits;
        let address = limits.clients_per_address.zip(self.ctx.client);
        shared
            .fanout
            .seat(limits.clients, self.route.index, self.route.max_clients, address)
    }

    pub(super) fn text(&self, name: header::HeaderName) -> Option<String> {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    }

    /// Acts on what is known against covering the key.
    async fn excepted(
        &mut self,
        key: &ResourceKey,
        form: Form,
        seat: Seat,
    ) -> Result<ControlFlow<Fate, Seat>> {
        let fate = match (self.exception(key), form) {
            (None, _) | (Some(ExceptionKind::Uncoverable), Form::Sse) => {
                return Ok(ControlFlow::Continue(seat));
            }
            (Some(ExceptionKind::NotShareable), _) => {
                let exception = self.front.shared.hub.exception(key);
                let reason = exception.map(|e| e.reason).unwrap_or_default();
                let detail = format!(
                    "{reason}: set `share: public` or `share: {{by: [...]}}` on route {}",
                    self.route.path
                );
                refuse::with(self.session, self.ctx, StatusCode::FORBIDDEN, &detail).await?
            }
            // The one status that tells an EventSource not to come back.
            (Some(ExceptionKind::Gone), Form::Sse) => {
                let mut headers = HeaderMap::new();
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                cors::add(&mut headers, &self.route, &self.headers);
                self.ctx.answer = "gone";
                respond::respond(self.session, StatusCode::NO_CONTENT, &headers, Bytes::new()).await?;
                Fate::Answered
            }
            (Some(ExceptionKind::Gone), Form::WebSocket) => {
                self.closed(code::NOT_FOUND, "gone", seat).await?
            }
            (Some(ExceptionKind::Uncoverable), Form::WebSocket) => {
                self.closed(code::INTERNAL, "uncoverable", seat).await?
            }
            (Some(ExceptionKind::Uncoverable | ExceptionKind::Gone), _) => Fate::PassThrough,
        };
        Ok(ControlFlow::Break(fate))
    }

    /// The state a push client begins with: young, or after `first_answer` whatever there is.
    /// True: a poll later than number `before` confirmed it, one that started after this request
    /// came, so that no version of the client's can be newer (contract §2).
    async fn first_view(&self, attendance: &Attendance, before: u64) -> (Arc<View>, bool) {
        let topic = attendance.topic();
        let view = topic.view();
        let settled = is_young(&view) || is_remembered(&view, self.route.poll.interval);
        if settled || (topic.followers() > 1 && view.ended > 0) {
            return (view, false);
        }
        let number = topic.want_poll();
        let ended = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
        let view = match timeout(self.route.first_answer, ended).await {
            Ok(view) => view,
            Err(_) => topic.view(),
        };
        let is_confirmed = view.confirmed > before;
        (view, is_confirmed)
    }

    /// What the upstream said, where it is an end rather than a failure: passed on as a status.
    fn refusal(&self, view: &View) -> Option<StatusCode> {
        let Outcome::Relay(relayed) = &view.outcome else {
            return None;
        };
        let gone = matches!(view.condition.state, State::Gone { .. });
        let ends = matches!(relayed.status.as_u16(), 401 | 403 | 404 | 410);
        let private = view.closing == Some(Closing::Credentials);
        ((view.frame.is_none() || gone || private) && (ends || private)).then_some(relayed.status)
    }

    // --- SSE ---

    async fn sse(
        &mut self,
        attendance: Attendance,
        view: &View,
        is_confirmed: bool,
        seat: Seat,
    ) -> Result<Fate> {
        if self.refusal(view).is_some()
            && let Outcome::Relay(relayed) = &view.outcome
        {
            return self.relay(relayed).await;
        }
        if view.frame.as_ref().is_some_and(|frame| frame.sse().is_err()) {
            let detail = "the body is not text, and route says no `encoding: base64`";
            return refuse::with(self.session, self.ctx, StatusCode::NOT_ACCEPTABLE, detail).await;
        }
        let framing = match self.version {
            HttpVersion::HTTP_11 => Framing::Chunked,
            _ => Framing::Bare,
        };
        let heartbeat = self.route.heartbeat.mul_f64(0.9 + fastrand::f64() * 0.2);
        let sse = Sse::new(framing, heartbeat, self.retry(), Instant::now());
        let mut headers = refuse::event_stream_head();
        cors::add(&mut headers, &self.route, &self.headers);
        let resume = match self.resume() {
            // Its version is not the current one, and nothing more is to be waited for.
            Resume::From(version) if is_confirmed && !attendance.topic().has_held(version) => Resume::Start,
            resume => resume,
        };
        if self.session.is_http2() {
            let subscription = self.subscribe(attendance, None, Format::Sse, resume, view);
            return self.stream(headers, sse, subscription, seat).await;
        }
        match framing {
            Framing::Chunked => {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
            }
            Framing::Bare => headers.insert(header::CONNECTION, HeaderValue::from_static("close")),
        };
        let http10 = framing == Framing::Bare;
        let mut greeting = answer::head_bytes(StatusCode::OK, &headers, b"", http10);
        greeting.extend_from_slice(&sse.opening());
        let shard = self.front.shared.fanout.choose();
        let subscription = self.subscribe(attendance, Some(shard), Format::Sse, resume, view);
        self.hand_over(
            shard,
            greeting.freeze(),
            Transport::Sse(sse),
            Some(subscription),
            seat,
        )
        .await
    }

    /// Where an event stream comes from: the header first, then the names polyfills use.
    fn resume(&self) -> Resume {
        let header = self.text(header::HeaderName::from_static("last-event-id"));
        let query = || {
            RESUME_SWITCHES
                .iter()
                .find_map(|name| switch(self.query.as_deref(), Some(name)))
        };
        let id = header.filter(|id| !id.is_empty()).or_else(query);
        id.and_then(|id| version_of_tag(&id))
            .map_or(Resume::Start, Resume::From)
    }

    fn retry(&self) -> Duration {
        let (least, most) = self.route.retry;
        least + most.saturating_sub(least).mul_f64(fastrand::f64())
    }

    fn subscribe(
        &self,
        attendance: Attendance,
        shard: Option<u16>,
        format: Format,
        resume: Resume,
        view: &View,
    ) -> Subscription {
        let current = view.frame.as_ref().map(|frame| frame.version());
        let outcome = match resume {
            Resume::Start => "none",
            Resume::From(version) if Some(version) == current => "current",
            Resume::From(version) if attendance.topic().has_held(version) => "known",
            Resume::From(_) => "unknown",
        };
        self.front
            .shared
            .metrics
            .resumes
            .with_label_values(&[outcome])
            .inc();
        Subscription::new(attendance, shard, format, resume)
    }

    /// One HTTP/2 stream: it stays in Pingora's task.
    async fn stream(
        &mut self,
        headers: HeaderMap,
        sse: Sse,
        subscription: Subscription,
        seat: Seat,
    ) -> Result<Fate> {
        let shared = self.front.shared.clone();
        let head = respond::head(StatusCode::OK, &headers)?;
        self.session.write_response_header(Box::new(head), false).await?;
        let opening = sse.opening();
        let transport = Transport::Sse(sse);
        let metrics = shared.metrics.stream(transport.name(), &self.route.path);
        self.ctx.taken = true;
        self.ctx.answer = transport.name();
        let record = Record::new(self.ctx.client);
        let stream = Stream {
            session: &mut self.session.downstream_session,
            transport,
            subscription,
            record,
            metrics,
            stall_timeout: shared.config.limits.stall_timeout,
            ending: shared.ending.clone(),
        };
        drive(stream, opening, shared.config.log.access).await;
        drop(seat);
        Ok(Fate::Answered)
    }

    // --- WebSocket ---

    async fn websocket(&mut self, attendance: Attendance, view: &View, seat: Seat) -> Result<Fate> {
        if let Some(status) = self.refusal(view) {
            let close = match status.as_u16() {
                404 | 410 => code::NOT_FOUND,
                403 => code::FORBIDDEN,
                _ => code::UNAUTHORIZED,
            };
            return self.closed(close, "the upstream refuses", seat).await;
        }
        let greeting = match self.handshake().await? {
            Ok(greeting) => greeting,
            Err(fate) => return Ok(fate),
        };
        let rules = &self.route.websocket;
        let rate = rules.send.as_ref().map_or(0, |send| send.rate);
        let websocket = WebSocket::new(rules.ping, rules.pong, rules.max_message, rate, Instant::now());
        let shard = self.front.shared.fanout.choose();
        let subscription = self.subscribe(attendance, Some(shard), Format::WebSocket, Resume::Start, view);
        self.hand_over(
            shard,
            greeting,
            Transport::WebSocket(websocket),
            Some(subscription),
            seat,
        )
        .await
    }

    /// The 101 of this request, or what it got instead.
    async fn handshake(&mut self) -> Result<std::result::Result<Bytes, Fate>> {
        match handshake::accept(&self.headers, self.version == HttpVersion::HTTP_11) {
            Ok(headers) => {
                let head = answer::head_bytes(StatusCode::SWITCHING_PROTOCOLS, &headers, b"", false);
                Ok(Ok(head.freeze()))
            }
            Err(bad) => {
                let more = handshake::refusal(bad.status);
                let fate = refuse::with_headers(self.session, self.ctx, bad.status, bad.detail, more).await?;
                Ok(Err(fate))
            }
        }
    }

    /// Accepts a handshake only to close with a code: browsers see no status.
    async fn closed(&mut self, code: u16, text: &'static str, seat: Seat) -> Result<Fate> {
        let greeting = match self.handshake().await? {
            Ok(greeting) => greeting,
            Err(fate) => return Ok(fate),
        };
        let Step::Finish(frame, _) = close(code, text, "refused") else {
            return Ok(Fate::PassThrough);
        };
        let greeting = [greeting, frame.first].concat();
        let rules = &self.route.websocket;
        let websocket = WebSocket::new(rules.ping, rules.pong, rules.max_message, 0, Instant::now());
        let shard = self.front.shared.fanout.choose();
        self.hand_over(
            shard,
            greeting.into(),
            Transport::WebSocket(websocket),
            None,
            seat,
        )
        .await
    }

    // --- Long-poll ---

    async fn long_poll(
        &mut self,
        key: &ResourceKey,
        attendance: Attendance,
        view: &View,
        is_confirmed: bool,
        asked: Duration,
        seat: Seat,
    ) -> Result<Fate> {
        let (Some(have), Some(frame)) = (self.has(view), &view.frame) else {
            return self.answer(key, view, is_confirmed).await;
        };
        let known = is_confirmed || attendance.topic().has_held(have);
        let differs = frame.version() != have && known && is_young(view);
        if self.refusal(view).is_some() || differs {
            return self.answer(key, view, is_confirmed).await;
        }
        if !self.admits(&frame.snapshot) {
            return Ok(Fate::PassThrough);
        }
        let wait = asked.min(self.route.max_wait);
        let deadline = Instant::now() + wait.mul_f64(1.0 - fastrand::f64() / 16.0);
        let applied = format!("wait={}", wait.as_secs());
        if self.session.is_http2() {
            let subscription = self.subscribe(attendance, None, Format::Body, Resume::From(have), view);
            return hold::hold(self, key, subscription, have, deadline, &applied).await;
        }
        let keep = self.keeps_alive();
        let http10 = self.version != HttpVersion::HTTP_11;
        let extra = self.held_fields(&applied, keep, http10);
        let held = LongPoll::new(
            deadline,
            // The topic's own: a key of each request would be held as long as the request.
            attendance.topic().key().clone(),
            self.route.clone(),
            have,
            extra,
            http10,
            keep,
        );
        let shard = self.front.shared.fanout.choose();
        let subscription = self.subscribe(attendance, Some(shard), Format::Body, Resume::From(have), view);
        self.hand_over(
            shard,
            Bytes::new(),
            Transport::LongPoll(held),
            Some(subscription),
            seat,
        )
        .await
    }

    /// The version that a long-poll says it has; of several the current one.
    fn has(&self, view: &View) -> Option<Version> {
        let lines = self
            .headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .map(|v| v.as_bytes());
        let current = view.frame.as_ref().map(|frame| frame.version());
        let condition = IfNoneMatch::parse(lines)?;
        current
            .filter(|version| condition.matches(*version))
            .or(condition.first())
    }

    /// Whether the connection serves another request after this one.
    fn keeps_alive(&self) -> bool {
        let says = |token| super::form::has_token(&self.headers, header::CONNECTION, token);
        self.version == HttpVersion::HTTP_11 && !says("close") && !self.front.shared.is_draining()
    }

    /// The lines of this client alone.
    fn held_fields(&self, applied: &str, keep: bool, http10: bool) -> Bytes {
        let mut headers = HeaderMap::new();
        if let Ok(applied) = HeaderValue::try_from(applied) {
            headers.insert("preference-applied", applied);
        }
        cors::add(&mut headers, &self.route, &self.headers);
        if !keep || http10 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer::lines(&headers)
    }

    // --- The way out of Pingora ---

    async fn hand_over(
        &mut self,
        shard: u16,
        greeting: Bytes,
        transport: Transport,
        subscription: Option<Subscription>,
        seat: Seat,
    ) -> Result<Fate> {
        let shared = self.front.shared.clone();
        self.ctx.answer = transport.name();
        let Some((stream, read)) = takeover::take(self.session).await? else {
            return Ok(Fate::Answered);
        };
        self.ctx.taken = true;
        let limits = &shared.config.limits;
        let plain = self.front.listener.tls.is_none();
        let home = match &transport {
            Transport::LongPoll(_) => self.front.home.get().cloned(),
            Transport::Sse(_) | Transport::WebSocket(_) => None,
        };
        let taken = if plain {
            Taken::socket(stream, home)
        } else {
            Ok(Taken::Stream(stream, home))
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!("a connection could not be taken over: {error}");
                return Ok(Fate::Answered);
            }
        };
        if let Err(error) = bound_kernel_buffers(&taken, limits.send_buffer, limits.stall_timeout) {
            tracing::debug!("the kernel's buffers of a stream could not be bounded: {error}");
        }
        let messages = match (&transport, &self.route.websocket.send, &subscription) {
            (Transport::WebSocket(_), Some(send), Some(_)) => self.outbox(shard, send),
            _ => None,
        };
        let record = Record::new(self.ctx.client);
        let arrival = Arrival {
            taken,
            read,
            greeting,
            transport,
            subscription,
            record,
            seat,
            messages,
        };
        shared.fanout.add(shard, arrival);
        Ok(Fate::Answered)
    }
}
