//! The flow of a covered GET or HEAD (contract §1, §3, §11): its key, its form, and the answer to
//! an ordinary poll. `subscribe` has the other forms.
//!
//! A covered URL never works worse than an uncovered one: in every doubt a plain request passes
//! through. Must not know: how bytes are written to push clients.

use http::{HeaderMap, StatusCode, header};
use pingora::Result;

use super::access::reason::{Reason, token_field};
use super::access::share::ClassValues;
use super::access::{authenticate, client_limit, share};
use super::covered_request::CoveredRequest;
use super::decision::Fate;
use super::passthrough::bypass;
use super::request::transport_choice::{Form, form};
use super::request::{target, transport_choice};
use super::subscribe::asking::Otherwise;
use super::{passthrough, refuse, resource_key};
use crate::config::{Plain, Share};
use crate::identity::{Denied, Proof, strip};
use crate::metrics::{Bypass, DoubtOutcome};
use crate::resource::{QueryProblem, ResourceKey, Target, canonical_query, first_doubt, has_resume};

impl CoveredRequest<'_> {
    /// Serves the request in the form it asks for.
    pub(super) async fn serve(mut self) -> Result<Fate> {
        passthrough::note_forwarded(self.front, self.session);
        if let Err(denied) = self.identify().await {
            return Box::pin(self.told(&Reason::Denied(denied))).await;
        }
        self.take_token()?;
        let mut target = match self.target(bypass::is_read(&self.method) && self.route.polled) {
            Ok(target) => target,
            // What names a resource is no question where there are none.
            Err(_) if !self.route.polled => Target { query: None, without_switches: self.query.clone() },
            Err(problem) => {
                return self.told(&Reason::UnknownParameter(problem.parameter)).await;
            }
        };
        if !self.route.polled {
            return Ok(Fate::PassThrough(Bypass::PollOff));
        }
        let class = self.sharing(&target.query);
        let values = if let Ok(values) = &class { &values[..] } else { &[] };
        self.ctx.subject = self.front.shared.subjects.asker(self.ctx.identity.as_ref(), values);
        self.ctx.key = self.key_of_tags(&class, &target.query);
        if !bypass::is_read(&self.method) {
            return Ok(Fate::PassThrough(Bypass::Method));
        }
        if !self.session.is_body_empty() {
            return Ok(Fate::PassThrough(Bypass::Body));
        }
        let expected = self.expected_type();
        let form = form(&self.route, &self.method, &self.headers, self.query.as_deref(), &expected);
        if !self.resumes(form) && has_resume(self.query.as_deref(), &self.route.switches) {
            // A parameter of that name is the API's own (contract §1).
            if let Ok(own) = self.target(false) {
                self.ctx.key = self.key_of_tags(&class, &own.query);
                target = own;
            }
        }
        if form == Form::Poll && self.route.plain == Plain::Pass {
            return Ok(Fate::PassThrough(Bypass::Plain));
        }
        if form == Form::Poll && self.headers.contains_key(header::RANGE) {
            return Ok(Fate::PassThrough(Bypass::Range));
        }
        // RFC 9110 §13.1: a GET that fails these is 412, by the API's own tags and dates.
        let is_bound = |name| self.headers.contains_key(name);
        if form == Form::Poll && (is_bound(header::IF_MATCH) || is_bound(header::IF_UNMODIFIED_SINCE)) {
            return Ok(Fate::PassThrough(Bypass::Condition));
        }
        if form == Form::Poll && self.has_cursor() {
            return Ok(Fate::PassThrough(Bypass::Cursor));
        }
        match (form, class) {
            (Form::PassThrough, _) => Ok(Fate::PassThrough(Bypass::Transport)),
            (Form::WebSocket, _) if self.offers_others() => Ok(self.ask_first(Otherwise::OwnWebSocket)),
            (Form::NotAcceptable, _) => {
                let detail = "this route has no event stream, and nothing else is accepted";
                refuse::with(self.session, self.ctx, StatusCode::NOT_ACCEPTABLE, detail).await
            }
            (Form::Poll, Err(reason)) => {
                self.note(&reason, DoubtOutcome::Passed);
                Ok(Fate::PassThrough(reason.bypass()))
            }
            (_, Err(reason)) if reason.asks_first() => {
                self.note(&reason, DoubtOutcome::Asked);
                self.unshared().await
            }
            (_, Err(reason)) => self.told(&reason).await,
            (Form::Poll, Ok(class)) => {
                let key = self.base_key(target.query, class);
                self.poll(&key).await
            }
            (form, Ok(class)) => {
                let key = self.base_key(target.query, class);
                self.push(&key, form).await
            }
        }
    }

    /// The canonical query, noted for what passes through. `resumes`: the names that say where a stream resumes are
    /// switches.
    fn target(&mut self, resumes: bool) -> std::result::Result<Target, QueryProblem> {
        let (query, route) = (self.query.as_deref(), &self.route);
        let target = canonical_query(query, &route.query, &route.switches, resumes)?;
        let request = self.session.req_header();
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
    fn sharing(&self, query: &Option<String>) -> std::result::Result<ClassValues, Reason> {
        let shared = &self.front.shared;
        let own_vary = |class: &ClassValues| {
            resource_key::own_vary(shared, &self.base_key(query.clone(), class.clone()))
        };
        let sharing = {
            let identity = self.ctx.identity.as_ref();
            share::sharing(&self.route, &self.headers, identity, self.ctx.bond.is_some(), own_vary)
        };
        if self.route.share == Share::Public
            && let Some(name) = first_doubt(&self.route, &[], &self.headers)
        {
            shared.doubts.note(&shared.metrics, &self.route, name, DoubtOutcome::Counted);
        }
        sharing
    }

    /// The resource whose names of versions this client may be using. Before a client is let in to a resource, nothing
    /// that is known of it is used for them (contract §2).
    fn key_of_tags(
        &self,
        sharing: &std::result::Result<ClassValues, Reason>,
        query: &Option<String>,
    ) -> Option<ResourceKey> {
        match sharing {
            Ok(values) => Some(self.base_key(query.clone(), values.clone())),
            // Its answers are its own, but a tag that it sends back may be everybody's.
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

    /// Authenticates the client, where the route has `authenticate`.
    async fn identify(&mut self) -> std::result::Result<(), Denied> {
        if self.route.authenticate.is_none() {
            return Ok(());
        }
        let certificate = self.certificate();
        let proof = Proof {
            headers: &self.headers,
            query: self.query.as_deref(),
            certificate: certificate.as_deref(),
        };
        let shared = &self.front.shared;
        // Boxed: most requests are asked nothing, and carry no room for it.
        let identified = Box::pin(authenticate::identify(shared, &self.route, &self.path, &proof)).await?;
        self.ctx.identity = identified;
        Ok(())
    }

    /// A token of the query goes no further as such: it moves to where tokens belong.
    fn take_token(&mut self) -> Result<()> {
        let places = self.route.authenticate.as_ref().map(|who| &who.token);
        let Some((name, query)) =
            places.and_then(|places| places.query.as_deref()).zip(self.query.as_deref())
        else {
            return Ok(());
        };
        let field = token_field(&self.route, Some(query), &self.headers);
        self.query = strip(query, name).map(std::borrow::Cow::into_owned);
        if let Some(field) = field {
            self.session.req_header_mut().insert_header(header::AUTHORIZATION, field.clone())?;
            self.headers.insert(header::AUTHORIZATION, field);
        }
        Ok(())
    }

    /// Tells a client that it may not share or follow. A WebSocket is told by a close code where the reason has one, as
    /// browsers see no status.
    pub(super) async fn told(&mut self, reason: &Reason) -> Result<Fate> {
        let told = reason.told(&self.route);
        if let Some(label) = told.counted {
            self.front.shared.metrics.refusals.with_label_values(&[label]).inc();
        }
        if let Some((code, text)) = told.close
            && transport_choice::is_websocket(&self.headers)
            && self.route.transports.websocket
        {
            return match client_limit::seat(&self.front.shared, self.ctx, Some(&self.route), true) {
                Ok(seat) => self.closed(code, text, seat).await,
                Err(full) => refuse::for_now(self.session, self.ctx, Some(&self.route), false, full).await,
            };
        }
        let more = match reason {
            Reason::Denied(denied) => authenticate::challenge(denied),
            _ => HeaderMap::new(),
        };
        refuse::with_headers(self.session, self.ctx, told.status, &told.detail, more).await
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
