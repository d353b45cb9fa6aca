//! Which client may follow which resource, whatever carries the answer: keys, attendance, the state to begin with.
//!
//! `covered` and `subscribe` use it for a request of its own, `Visitor` for the many resources of one
//! connection: both are admitted by the same rules (contract §6, §11). Must not know: connections.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::time::timeout;

use super::authorize::{self, Client};
use super::reason::{Reason, token_field};
use super::resource_limits::{Asker, attend, await_turn};
use super::share::{self, ClassValues};
use super::{authenticate, origin};
use crate::config::Route;
use crate::fanout::{Hold, Pass};
use crate::frame::{Format, State};
use crate::front::answer::plain_poll::is_remembered;
use crate::front::covered::VARY_TURNS;
use crate::front::request::origin_key::with_origin;
use crate::front::request::{accept, field_names};
use crate::front::{Match, Shared};
use crate::hub::{Attend, Attendance, Closing, ExceptionKind, Full, Outcome, Relayed, Topic, View};
use crate::identity::{CertificateName, Denied, Identity, Proof, strip};
use crate::metrics::{DoubtOutcome, VARY_USER_AGENT};
use crate::resource::{KeyParts, ResourceKey, canonical_query, check_target, choosing};

/// The part of a key that does not depend on the upstream's `Vary`. `authority`: the client's.
#[allow(clippy::too_many_arguments, reason = "the parts of a key")]
pub(in crate::front) fn base_key(
    route: &Route,
    proto: &'static str,
    authority: Option<String>,
    path: String,
    query: Option<String>,
    class: ClassValues,
    headers: &HeaderMap,
) -> ResourceKey {
    let fixed = route.upstream.host.is_some();
    ResourceKey::new(KeyParts {
        route: route.index,
        proto,
        host: authority.filter(|_| !fixed),
        path,
        query,
        class,
        vary: choosing(route, &[], headers),
    })
}

/// The key with the values of the fields that the upstream is known to vary by.
pub(in crate::front) fn full_key(
    shared: &Shared,
    route: &Route,
    base: &ResourceKey,
    headers: &HeaderMap,
) -> ResourceKey {
    let known = shared.vary.get(base).map(|names| choosing(route, &names, headers));
    // Most requests are of no other origin, and of what varies by nothing.
    if known.is_none() && !headers.contains_key(header::ORIGIN) {
        return base.clone();
    }
    let chosen = known.unwrap_or_else(|| base.parts().vary.clone());
    let vary = with_origin(shared, route, base, chosen, headers);
    ResourceKey::new(KeyParts { vary, ..base.parts().clone() })
}

/// The names of a resource's own Vary, as far as they are known: remembered, or those of what is held.
pub(in crate::front) fn own_vary(shared: &Shared, base: &ResourceKey) -> Vec<HeaderName> {
    if let Some(names) = shared.vary.get(base) {
        return names.to_vec();
    }
    let view = shared.hub.get(base).map(|topic| topic.view());
    view.as_deref().and_then(chosen_by).map(<[HeaderName]>::to_vec).unwrap_or_default()
}

/// The fields by which the upstream chose what a view has to give. Returns `None` if the view has nothing.
pub(in crate::front) fn chosen_by(view: &View) -> Option<&[HeaderName]> {
    match (&view.frame, &view.outcome) {
        (Some(frame), _) => Some(&frame.snapshot.vary),
        (None, Outcome::Relay(relayed)) => Some(&relayed.vary),
        (None, _) => None,
    }
}

/// Whether an answer that was chosen by these is the one that a request with these fields selects; if not, the
/// next key will know (RFC 9111 §4.1).
pub(in crate::front) fn selects(
    shared: &Shared,
    route: &Route,
    base: &ResourceKey,
    key: &ResourceKey,
    chosen_by: &[HeaderName],
    headers: &HeaderMap,
) -> bool {
    let chosen = choosing(route, chosen_by, headers);
    if with_origin(shared, route, base, chosen, headers) == key.parts().vary {
        return true;
    }
    shared.vary.insert(base, chosen_by, &shared.metrics);
    false
}

/// Counts a push client of a resource whose API looks at the User-Agent: it gets the form for pollcast's own
/// (contract §3).
pub(in crate::front) fn note_agent(shared: &Shared, route: &Route, view: &View) {
    if chosen_by(view).is_some_and(|names| accept::depends_on_agent(route, names)) {
        shared.metrics.not_obeyed.with_label_values(&[&route.path, VARY_USER_AGENT]).inc();
        shared.doubts.note_agent(route);
    }
}

/// Waits until the writes so far are in the view, for `write_wait` at most (contract §9); not where there would always
/// be one to wait for. Returns whether it had to.
pub(in crate::front) async fn await_writes(route: &Route, topic: &Topic) -> bool {
    let view = topic.view();
    if !topic.is_unconfirmed(&view) || (view.frame.is_some() && topic.is_written_often()) {
        return false;
    }
    timeout(route.write_wait, topic.settled()).await.map_or(true, |_| true)
}

/// The state a push client begins with: young, or after `first_answer` whatever there is.
/// True: a poll later than number `before` confirmed it, one that started after this request
/// came, so that no version of the client's can be newer (contract §2).
pub(in crate::front) async fn first_view(
    route: &Route,
    attendance: &Attendance,
    before: u64,
) -> (Arc<View>, bool) {
    let topic = attendance.topic();
    let view = topic.view();
    let is_young = view.is_young() && (!topic.is_aged(&view) || topic.is_written_often());
    let is_overtaken = view.answered().is_some() && topic.is_aged(&view);
    let settled = is_young || (is_remembered(&view, route.poll.interval) && !is_overtaken);
    if settled || (topic.followers() > 1 && view.ended > 0) {
        return (view, false);
    }
    let number = topic.want_poll_after(&view);
    let ended = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
    let view = match timeout(route.first_answer, ended).await {
        Ok(view) => view,
        Err(_) => topic.view(),
    };
    let is_confirmed = view.confirmed > before;
    (view, is_confirmed)
}

/// What the upstream said, where it is an end rather than a failure: passed on as a status, a redirect among them.
pub(in crate::front) fn refusal(view: &View) -> Option<&Arc<Relayed>> {
    let relayed = view.answered()?;
    let gone = matches!(view.condition.state, State::Gone { .. });
    let leads = relayed.status.is_redirection() && relayed.headers.contains_key(header::LOCATION);
    let ends = leads || matches!(relayed.status.as_u16(), 401 | 403 | 404 | 410);
    let private = view.closing == Some(Closing::Credentials);
    ((view.frame.is_none() || gone || private) && (ends || private)).then_some(relayed)
}

/// How a resource is read on a connection of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Way {
    WebSocket,
    Sse,
}

/// Why a resource cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::front) struct Refused {
    pub(in crate::front) status: StatusCode,
    pub(in crate::front) detail: String,
}

/// A resource that may be followed.
pub(in crate::front) struct Admitted {
    pub(in crate::front) route: Arc<Route>,
    pub(in crate::front) attendance: Attendance,
    /// Its path in canonical form.
    pub(in crate::front) path: String,
    /// What it may be followed by, where its route checks that.
    pub(in crate::front) hold: Option<Arc<Hold>>,
}

/// One client, by the head it connected with.
#[derive(Clone)]
pub(in crate::front) struct Visitor {
    pub(in crate::front) shared: Arc<Shared>,
    pub(in crate::front) headers: HeaderMap,
    /// Of the request that opened the connection, raw: a token may stand in it.
    pub(in crate::front) query: Option<String>,
    /// Whom the client's certificate names.
    pub(in crate::front) certificate: Option<Arc<CertificateName>>,
    /// What it stays by; all its resources together.
    pub(in crate::front) pass: Arc<Pass>,
    /// `http` or `https`: of the listener.
    pub(in crate::front) proto: &'static str,
    pub(in crate::front) authority: Option<String>,
    /// The authority that its polls say.
    pub(in crate::front) host: Option<String>,
    pub(in crate::front) address: Option<IpAddr>,
    /// The API may know it by its connection.
    pub(in crate::front) is_bound: bool,
}

/// Longest path and query of a resource on a connection of many.
const MAX_RESOURCE: usize = 4096;

impl Visitor {
    /// Admits to a resource exactly as a request for it by this client would be.
    pub(in crate::front) async fn admit(&self, resource: &str, way: Way) -> Result<Admitted, Refused> {
        let refused = |status, detail: &str| Refused { status, detail: detail.to_owned() };
        let plain = resource.bytes().all(|byte| byte.is_ascii_graphic());
        if !resource.starts_with('/') || resource.len() > MAX_RESOURCE || !plain || resource.contains('#') {
            let detail = "a resource is a path with an optional query, at most 4096 visible ASCII characters";
            return Err(refused(StatusCode::BAD_REQUEST, detail));
        }
        let cut = resource.split_once('?');
        let (path, query) = cut.map_or((resource, None), |(path, query)| (path, Some(query)));
        let (route, path) = match self.shared.routes.find(self.host.as_deref(), path) {
            Match::Covered { route, path } => (route, path),
            other => {
                let (status, detail) = other.refusal();
                return Err(refused(status, detail));
            }
        };
        if !route.polled {
            return Err(refused(StatusCode::NOT_FOUND, "nothing of this route is polled (poll: off)"));
        }
        if let Err(bad) = field_names::check(&self.headers, Some(&route)) {
            return Err(refused(StatusCode::BAD_REQUEST, bad.0));
        }
        self.is_allowed(&route, way)?;
        let identified = self.identify(&route, &path).await;
        let identity = identified.map_err(|denied| self.refused(&route, Reason::Denied(denied)))?;
        // As a request of its own would say it.
        let of_token = token_field(&route, self.query.as_deref(), &self.headers).map(|field| {
            let mut visitor = self.clone();
            visitor.headers.insert(header::AUTHORIZATION, field);
            visitor
        });
        let visitor = of_token.as_ref().unwrap_or(self);
        let known = Known { route, path, query, identity, way };
        visitor.follow(known).await
    }

    /// Lets a client whose identity is known follow a resource.
    async fn follow(&self, known: Known<'_>) -> Result<Admitted, Refused> {
        let Known { route, path, query, identity, way } = known;
        let query = match route.authenticate.as_ref().and_then(|who| who.token.query.as_deref()) {
            Some(name) => query.and_then(|query| strip(query, name)),
            None => query.map(std::borrow::Cow::Borrowed),
        };
        check_target(&route, &path, query.as_deref())
            .map_err(|no| self.refused(&route, Reason::NoTarget(no)))?;
        let target = canonical_query(query.as_deref(), &route.query, &route.switches, false)
            .map_err(|problem| self.refused(&route, Reason::UnknownParameter(problem.parameter)))?;
        let base = |class: ClassValues| {
            let (authority, query) = (self.host.clone(), target.query.clone());
            base_key(&route, self.proto, authority, path.clone(), query, class, &self.headers)
        };
        let own = |class: &ClassValues| own_vary(&self.shared, &base(class.clone()));
        let class = share::sharing(&route, &self.headers, identity.as_ref(), self.is_bound, own)
            .map_err(|reason| self.refused(&route, reason))?;
        let subject = self.shared.subjects.asker(identity.as_ref(), &class);
        if !self.may_count_for(subject) {
            return Err(self.refused(&route, Reason::SubjectFull));
        }
        let base = base(class);
        let attended = self.attend(route.clone(), &base, path.clone(), (subject, way)).await;
        let admitted = attended.map_err(|reason| self.refused(&route, reason))?;
        let topic = admitted.attendance.topic();
        let client = Client { headers: &self.headers, identity: identity.as_ref() };
        let hold = Box::pin(authorize::admit(&self.shared, &route, topic, client)).await;
        let hold = hold.map_err(|reason| self.refused(&route, reason))?;
        if let Some(identity) = identity {
            let subject = self.shared.subjects.hold(&identity.principal);
            self.pass.add(identity.expires, Some(subject));
        }
        Ok(Admitted { hold, ..admitted })
    }

    /// What a client of many is told of one resource.
    fn refused(&self, route: &Route, reason: Reason) -> Refused {
        if let Reason::Doubt(name) = &reason {
            self.shared.doubts.note(&self.shared.metrics, route, name, DoubtOutcome::Asked);
        }
        let told = reason.told(route);
        if let Some(label) = told.counted {
            self.shared.metrics.refusals.with_label_values(&[label]).inc();
        }
        Refused { status: told.status, detail: told.detail.into_owned() }
    }

    /// Whether a client whose subject was not known when it took its seat may count for this one.
    fn may_count_for(&self, subject: Option<u64>) -> bool {
        let limit = self.shared.config.limits.clients_per_subject;
        limit.zip(subject).is_none_or(|(limit, subject)| {
            self.pass.counts_for(subject, || self.shared.fanout.claim(limit, subject))
        })
    }

    async fn identify(&self, route: &Route, path: &str) -> Result<Option<Identity>, Denied> {
        let certificate = self.certificate.as_deref();
        let proof = Proof { headers: &self.headers, query: self.query.as_deref(), certificate };
        Box::pin(authenticate::identify(&self.shared, route, path, &proof)).await
    }

    fn is_allowed(&self, route: &Route, way: Way) -> Result<(), Refused> {
        let (allowed, word) = match way {
            Way::WebSocket => (route.transports.websocket, "WebSocket"),
            Way::Sse => (route.transports.sse, "event stream"),
        };
        if !allowed {
            let detail = format!("this route has no {word}");
            return Err(Refused { status: StatusCode::NOT_ACCEPTABLE, detail });
        }
        let origin = self.headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
        let let_in = match way {
            Way::WebSocket => origin::origin_allowed(route, origin, self.authority.as_deref()),
            // A page of another origin could not read a stream of this route alone without its CORS.
            Way::Sse => match (origin, &route.cors) {
                (None, _) => true,
                (Some(origin), Some(cors)) => cors.origins.iter().any(|o| o == "*" || o == origin),
                (Some(origin), None) => {
                    let host = origin.split_once("://").map(|(_, host)| host);
                    host.is_some_and(|host| {
                        self.authority.as_ref().is_some_and(|a| a.eq_ignore_ascii_case(host))
                    })
                }
            },
        };
        if !let_in {
            self.shared.metrics.refusals.with_label_values(&["origin"]).inc();
            let detail = "the Origin of this connection is not let in on this route".to_owned();
            return Err(Refused { status: StatusCode::FORBIDDEN, detail });
        }
        Ok(())
    }

    async fn attend(
        &self,
        route: Arc<Route>,
        base: &ResourceKey,
        path: String,
        (subject, way): (Option<u64>, Way),
    ) -> Result<Admitted, Reason> {
        let shared = &self.shared;
        let format = if way == Way::Sse { Format::Named } else { Format::Envelope(None) };
        let asker = Asker { address: self.address, subject };
        for _ in 0..VARY_TURNS {
            let key = full_key(shared, &route, base, &self.headers);
            self.excepted(&key)?;
            let before = shared.hub.get(&key).map_or(0, |topic| topic.started());
            let turn = await_turn(shared, asker, &route, &key).await;
            let attendance = turn
                .and_then(|()| attend(shared, asker, &route, &key, Attend::Follow))
                .map_err(Reason::Full)?;
            await_writes(&route, attendance.topic()).await;
            let (view, _) = first_view(&route, &attendance, before).await;
            if let Some(names) = chosen_by(&view)
                && !selects(shared, &route, base, &key, names, &self.headers)
            {
                continue;
            }
            self.excepted(&key)?;
            if view.closing == Some(Closing::NoRoom) || !shared.hub.has_room_to_read(&view, format) {
                return Err(Reason::Full(Full::Bytes));
            }
            if let Some(relayed) = refusal(&view) {
                return Err(Reason::Upstream(relayed.status));
            }
            note_agent(shared, &route, &view);
            return Ok(Admitted { route, attendance, path, hold: None });
        }
        Err(Reason::EverNewVary)
    }

    fn excepted(&self, key: &ResourceKey) -> Result<(), Reason> {
        match self.shared.hub.exception(key) {
            None => Ok(()),
            Some(exception) if exception.kind == ExceptionKind::Denied => Ok(()),
            Some(exception) => Err(Reason::Exception(exception.kind, exception.reason)),
        }
    }
}

/// A resource that a client of many asks for, once the client is authenticated.
struct Known<'a> {
    route: Arc<Route>,
    /// In canonical form.
    path: String,
    query: Option<&'a str>,
    identity: Option<Identity>,
    way: Way,
}
