//! Which client may follow which resource, whatever carries the answer: keys, attendance, the state to begin with.
//!
//! `covered` and `subscribe` use it for a request of its own, `Visitor` for the many resources of one
//! connection: both are admitted by the same rules (contract §6, §11). Must not know: connections.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use super::authorize::Client;
use super::reason::{Reason, token_field};
use super::resource_limits::{Asker, attend, await_turn};
use super::share::ClassValues;
use super::{authenticate, authorize, origin, share};
use crate::config::Route;
use crate::fanout::{Hold, Pass};
use crate::frame::Format;
use crate::front::application::Front;
use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::front::freshness::{await_writes, first_view, refusal};
use crate::front::request::route::Match;
use crate::front::request::{accept, field_names, hosts};
use crate::front::resource_key::{VARY_TURNS, base_key, chosen_by, full_key, own_vary, selects};
use crate::front::services::Shared;
use crate::hub::{Attend, Attendance, Closing, ExceptionKind, Full, View};
use crate::identity::{CertificateName, Denied, Identity, Proof, strip};
use crate::metrics::{DoubtOutcome, VARY_USER_AGENT};
use crate::resource::{ResourceKey, canonical_query, check_target};

/// Counts a push client of a resource whose API looks at the User-Agent: it gets the form for pollcast's own
/// (contract §3).
pub(in crate::front) fn note_agent(shared: &Shared, route: &Route, view: &View) {
    if chosen_by(view).is_some_and(|names| accept::depends_on_agent(route, names)) {
        shared.metrics.not_obeyed.with_label_values(&[&route.path, VARY_USER_AGENT]).inc();
        shared.doubts.note_agent(route);
    }
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
    /// The client of a request, as its many resources see it.
    pub(in crate::front) fn of(front: &Front, connection: &Connection<'_>, ctx: &Context) -> Visitor {
        let request = connection.head();
        let authority = hosts::host(request).map(str::to_ascii_lowercase);
        let mut headers = request.headers.clone();
        // It speaks of the list in this request's body, and of no resource.
        headers.remove(header::CONTENT_TYPE);
        Visitor {
            host: hosts::polled(&front.listener, authority.clone()),
            shared: front.shared.clone(),
            headers,
            query: request.uri.query().map(str::to_owned),
            certificate: connection.certificate(),
            pass: Arc::default(),
            proto: if front.listener.tls.is_some() { "https" } else { "http" },
            authority,
            address: ctx.client,
            is_bound: ctx.bond.is_some(),
        }
    }

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
