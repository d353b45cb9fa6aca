//! The flow of a covered GET or HEAD (contract §1, §3, §11): its key, its form, and to which handler it goes. `answer`
//! has the ordinary polls, `subscribe` the other forms.
//!
//! A covered URL never works worse than an uncovered one: in every doubt a plain request passes
//! through. Must not know: how bytes are written to push clients.

use std::borrow::Cow;
use std::ops::ControlFlow;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::Result;

use super::access::admission::{self, Membership, without_token};
use super::access::reason::Reason;
use super::access::share::ClassValues;
use super::access::{authenticate, client_limit};
use super::covered_request::CoveredRequest;
use super::decision::{Awaited, Decision, Prospect, Refusal};
use super::passthrough::bypass;
use super::request::transport_choice::{Form, form};
use super::request::{target, transport_choice};
use super::subscribe::fallback::Fallback;
use super::trace::Subject;
use super::{passthrough, resource_key, steps};
use crate::config::{Plain, Share};
use crate::identity::Proof;
use crate::metrics::{Bypass, DoubtOutcome, RefusalReason};
use crate::resource::{QueryProblem, ResourceKey, Target, canonical_query, first_doubt, has_resume};

impl CoveredRequest<'_> {
    /// Decides about the request in the form that it asks for.
    ///
    /// # Errors
    /// The head takes no more fields.
    pub(super) async fn serve(mut self) -> Result<Decision> {
        passthrough::note_forwarded(self.front, &self.headers, self.connection.peer());
        match self.prove().await {
            Ok(authorization) => self.move_token(authorization)?,
            Err(Reason::Denied(denied)) if denied.is_unasked() => {
                return Ok(Decision::foreseen(Prospect::Answer, Some(Awaited::Identity)));
            }
            Err(reason) => return Ok(self.told(&reason)),
        }
        Ok(match self.asks() {
            ControlFlow::Break(decision) => decision,
            ControlFlow::Continue((form, key)) if self.front.shared.explains() => {
                Box::pin(self.foresee(&key, form)).await
            }
            ControlFlow::Continue((Form::Poll, key)) => self.poll(&key).await,
            ControlFlow::Continue((form, key)) => self.push(&key, form).await,
        })
    }

    /// What the request asks for: its form, and its resource before the upstream's own Vary. Breaks if that is known to
    /// be no answer from here.
    fn asks(&mut self) -> ControlFlow<Decision, (Form, ResourceKey)> {
        let mut target = match self.target(bypass::is_read(&self.method) && self.route.polled) {
            Ok(target) => target,
            // A route without polls has no resources, so that its parameters name none.
            Err(_) if !self.route.polled => Target { query: None, without_switches: self.query.clone() },
            Err(problem) => {
                return ControlFlow::Break(self.told(&Reason::UnknownParameter(problem.parameter)));
            }
        };
        if let Some(off) = bypass::of_unpolled(&self.route) {
            return ControlFlow::Break(Decision::PassThrough(off));
        }
        let shared = &self.front.shared;
        shared.note(Subject::Query, || steps::of_query(self.query.as_deref(), &target));
        let Membership { class, subject } = self.membership(&target.query);
        shared.note(Subject::Share, || steps::of_share(&self.route, &class));
        self.ctx.subject = subject;
        self.ctx.key = self.key_of_tags(&class, &target.query);
        if !bypass::is_read(&self.method) {
            return ControlFlow::Break(Decision::PassThrough(Bypass::Method));
        }
        if !self.connection.has_no_body() {
            return ControlFlow::Break(Decision::PassThrough(Bypass::Body));
        }
        let expected = self.expected_type();
        let form = form(&self.route, &self.method, &self.headers, self.query.as_deref(), &expected);
        self.front.shared.note(Subject::Transport, || steps::of_form(form, &expected));
        if !self.resumes(form) && has_resume(self.query.as_deref(), &self.route.switches) {
            // A parameter of that name is the API's own (contract §1).
            if let Ok(own) = self.target(false) {
                self.ctx.key = self.key_of_tags(&class, &own.query);
                target = own;
            }
        }
        if form == Form::Poll {
            self.front.shared.note(Subject::Plain, || steps::of_plain(&self.route));
        }
        if let Some(reason) = self.bypass_of_poll().filter(|_| form == Form::Poll) {
            return ControlFlow::Break(Decision::PassThrough(reason));
        }
        match (form, class) {
            (Form::PassThrough, _) => ControlFlow::Break(Decision::PassThrough(Bypass::Transport)),
            (Form::WebSocket, _) if self.offers_others() => {
                ControlFlow::Break(self.ask_first(Fallback::OwnWebSocket))
            }
            (Form::NotAcceptable, _) => {
                let detail = "this route has no event stream, and nothing else is accepted";
                ControlFlow::Break(Decision::refuse(
                    RefusalReason::Accept,
                    StatusCode::NOT_ACCEPTABLE,
                    detail,
                ))
            }
            (form, Err(reason)) => ControlFlow::Break(self.unshareable(form, &reason)),
            (form, Ok(class)) => ControlFlow::Continue((form, self.base_key(target.query, class))),
        }
    }

    /// Why a plain poll is the API's by what it asks for besides. Returns `None` if it may be answered here.
    fn bypass_of_poll(&self) -> Option<Bypass> {
        if self.route.plain == Plain::Pass {
            return Some(Bypass::Plain);
        }
        if self.headers.contains_key(header::RANGE) {
            return Some(Bypass::Range);
        }
        // RFC 9110 §13.1: a GET that fails these is 412, by the API's own tags and dates.
        let is_bound = |name| self.headers.contains_key(name);
        if is_bound(header::IF_MATCH) || is_bound(header::IF_UNMODIFIED_SINCE) {
            return Some(Bypass::Condition);
        }
        self.has_cursor().then_some(Bypass::Cursor)
    }

    /// What becomes of a request that may not share.
    fn unshareable(&mut self, form: Form, reason: &Reason) -> Decision {
        if form == Form::Poll {
            self.note(reason, DoubtOutcome::Passed);
            return Decision::PassThrough(reason.bypass());
        }
        if reason.asks_first() {
            self.note(reason, DoubtOutcome::Asked);
            return self.unshared();
        }
        self.told(reason)
    }

    /// The canonical query, noted for what passes through. `resumes`: the names that say where a stream resumes are
    /// switches.
    fn target(&mut self, resumes: bool) -> std::result::Result<Target, QueryProblem> {
        let (query, route) = (self.query.as_deref(), &self.route);
        let target = canonical_query(query, &route.query, &route.switches, resumes)?;
        let request = self.connection.head();
        // What passes through keeps where it resumes: the stream may be the API's own.
        let as_it_came = (resumes && has_resume(query, &route.switches))
            .then(|| canonical_query(query, &route.query, &route.switches, false).ok())
            .flatten()
            .map(|whole| whole.without_switches);
        let passing = as_it_came.as_ref().unwrap_or(&target.without_switches);
        let is_as_sent = passing.as_deref() == target::query(request).as_deref();
        self.ctx.target = (!is_as_sent).then(|| {
            let path = target::path(request);
            match passing {
                Some(query) => format!("{path}?{query}"),
                None => path.into_owned(),
            }
        });
        Ok(target)
    }

    /// Whether a query says where this form resumes: nothing else tells browsers' WebSockets on feeds.
    fn resumes(&self, form: Form) -> bool {
        match form {
            Form::Sse | Form::LongPoll(_) => true,
            Form::WebSocket => self.route.feed.is_some(),
            Form::Poll | Form::PassThrough | Form::NotAcceptable => false,
        }
    }

    /// What the route's `share` says about this request.
    fn membership(&self, query: &Option<String>) -> Membership {
        let shared = &self.front.shared;
        let membership = self.client().membership(shared, &self.route, |class: &ClassValues| {
            resource_key::own_vary(shared, &self.base_key(query.clone(), class.clone()))
        });
        if shared.explains() {
            let base = self.base_key(query.clone(), membership.class.clone().unwrap_or_default());
            if membership.class.is_ok() {
                shared.note_resource(&base);
            }
            steps::note_headers(shared, &self.route, &resource_key::own_vary(shared, &base), &self.headers);
        }
        if self.route.share == Share::Public
            && let Some(name) = first_doubt(&self.route, &[], &self.headers)
        {
            shared.doubts.note(&shared.metrics, &self.route, name, DoubtOutcome::Counted);
        }
        membership
    }

    /// The resource whose names of versions this client may be using. Before a client is let in to a resource, nothing
    /// that is known of it is used for them (contract §2).
    fn key_of_tags(
        &self,
        class: &std::result::Result<ClassValues, Reason>,
        query: &Option<String>,
    ) -> Option<ResourceKey> {
        match class {
            Ok(values) => Some(self.base_key(query.clone(), values.clone())),
            // No other client shares its answers, but the tag that it sends back may be of a public snapshot.
            Err(reason)
                if reason.asks_first()
                    && self.route.share == Share::Unset
                    && self.route.authenticate.is_none() =>
            {
                Some(self.base_key(query.clone(), Vec::new()))
            }
            Err(_) => None,
        }
    }

    /// Says once what keeps such requests from being shared.
    fn note(&self, reason: &Reason, outcome: DoubtOutcome) {
        let shared = &self.front.shared;
        match reason {
            Reason::Doubt(name) => shared.doubts.note(&shared.metrics, &self.route, name, outcome),
            Reason::Credentials | Reason::OneRequest if outcome == DoubtOutcome::Passed => {
                shared.doubts.note_credentials(&self.route, &self.headers);
            }
            _ => {}
        }
    }

    /// Asks the client who it is, where the route has `authenticate`.
    ///
    /// # Errors
    /// It is not let in.
    async fn prove(&mut self) -> std::result::Result<Option<HeaderValue>, Reason> {
        if self.route.authenticate.is_none() {
            return Ok(None);
        }
        let certificate = self.certificate();
        let proof = Proof {
            headers: &self.headers,
            query: self.query.as_deref(),
            certificate: certificate.as_deref(),
        };
        let shared = &self.front.shared;
        // Boxed: most requests are asked nothing, and carry no room for it.
        let proven = Box::pin(admission::prove(shared, &self.route, &self.path, &proof)).await?;
        shared.note(Subject::Authentication, || steps::of_identity(proven.identity.as_ref()));
        self.ctx.identity = proven.identity;
        Ok(proven.authorization)
    }

    /// A token of the query goes no further as such: it moves to where tokens belong.
    fn move_token(&mut self, authorization: Option<HeaderValue>) -> Result<()> {
        match without_token(&self.route, self.query.as_deref()) {
            Some(Cow::Borrowed(_)) => {}
            without => self.query = without.map(Cow::into_owned),
        }
        if let Some(field) = authorization {
            self.connection.say_authorization(field.clone())?;
            self.headers.insert(header::AUTHORIZATION, field);
        }
        Ok(())
    }

    /// Tells a client that it may not share or follow. A WebSocket is told by a close code where the reason has one, as
    /// browsers see no status.
    pub(super) fn told(&mut self, reason: &Reason) -> Decision {
        let told = reason.told(&self.route);
        if let Some(counted) = told.counted {
            self.front.shared.metrics.refused(counted);
        }
        if let Some((code, text)) = told.close
            && transport_choice::is_websocket(&self.headers)
            && self.route.transports.websocket
        {
            if self.front.shared.explains() {
                return self.foresee_close(code, text);
            }
            return match client_limit::permit(&self.front.shared, self.ctx, Some(&self.route), true) {
                Ok(permit) => self.closed(code, text, permit),
                Err(full) => Decision::refuse_for_now(Some(self.route.clone()), false, full),
            };
        }
        let more = match reason {
            Reason::Denied(denied) => authenticate::challenge(denied),
            _ => HeaderMap::new(),
        };
        Refusal::of(reason.refusal(), told.status, told.detail).with(more).decision()
    }

    /// The media type of the resource: of its snapshot, else as far as the route says.
    fn expected_type(&self) -> String {
        let topic = self.ctx.key.as_ref().map(|key| self.full_key(key));
        let topic = topic.and_then(|key| self.front.shared.hub.get(&key));
        let known = topic.and_then(|topic| topic.view().frame.clone());
        match known.and_then(|frame| frame.snapshot.media_type.clone()) {
            Some(media_type) => media_type.essence,
            None => self.route.poll.expect.first().cloned().unwrap_or_else(|| "application/json".to_owned()),
        }
    }
}
