//! One of the many resources that a client asks for on one connection: it is let in exactly as a request of its own would
//! be (contract §6, §11), by `admission` and `follow`.
//!
//! Must not know: how the connection carries the answers.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use super::admission::{self, Client, Membership, Proven, without_token};
use super::follow::{Follow, Followable};
use super::origin;
use super::reason::Reason;
use super::resource_limits::Asker;
use super::share::ClassValues;
use crate::config::Route;
use crate::fanout::{Entitlement, Owner, Revocable};
use crate::frame::Format;
use crate::front::application::Front;
use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::front::freshness::{PriorWrites, refusal};
use crate::front::request::route::Match;
use crate::front::request::{field_names, hosts, limits};
use crate::front::resource_key::{base_key, own_vary};
use crate::front::services::Shared;
use crate::hub::{Attend, Attendance};
use crate::identity::{CertificateName, Identity, Principal, Proof};
use crate::metrics::{DoubtOutcome, RefusalReason};
use crate::resource::{canonical_query, check_target};

/// How a resource is read on a connection of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Way {
    WebSocket,
    Sse,
    /// The client asks who follows it, and does not follow it itself.
    Presence,
}

impl Way {
    fn format(self) -> Option<Format> {
        match self {
            Way::WebSocket => Some(Format::Envelope(None)),
            Way::Sse => Some(Format::Named),
            Way::Presence => None,
        }
    }

    fn attends(self) -> Attend {
        match self {
            Way::WebSocket | Way::Sse => Attend::Follow,
            Way::Presence => Attend::Visit,
        }
    }
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
    pub(in crate::front) revocable: Option<Arc<Revocable>>,
    /// The client, where its route asks who it is.
    pub(in crate::front) principal: Option<Arc<Principal>>,
}

impl Admitted {
    /// Counts the client among those who follow the resource (`presence`).
    pub(in crate::front) fn take_seat(&mut self, shared: &Shared) {
        shared.hub.seat(&mut self.attendance, self.principal.as_ref(), false);
    }
}

/// One client, by the head it connected with.
#[derive(Clone)]
pub(in crate::front) struct Visitor {
    pub(in crate::front) shared: Arc<Shared>,
    /// Its listener's place in the configuration.
    pub(in crate::front) place: usize,
    pub(in crate::front) headers: HeaderMap,
    /// Of the request that opened the connection, raw: a token may stand in it.
    pub(in crate::front) query: Option<String>,
    /// Whom the client's certificate names.
    pub(in crate::front) certificate: Option<Arc<CertificateName>>,
    /// What it stays by; all its resources together.
    pub(in crate::front) entitlement: Arc<Entitlement>,
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
const RESOURCE_BYTES_MAX: usize = 4096;

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
            place: front.place,
            headers,
            query: request.uri.query().map(str::to_owned),
            certificate: connection.certificate(),
            entitlement: Arc::default(),
            proto: if front.listener.tls.is_some() { "https" } else { "http" },
            authority,
            address: ctx.client,
            is_bound: ctx.bond.is_some(),
        }
    }

    /// The same client under the configuration that counts now. Returns `None` if there was no reload.
    pub(in crate::front) fn renewed(&self) -> Option<Visitor> {
        let shared = self.shared.newest();
        if shared.generation == self.shared.generation {
            return None;
        }
        let listener = shared.config.listeners.get(self.place)?;
        let host = hosts::polled(listener, self.authority.clone());
        Some(Visitor { host, shared, ..self.clone() })
    }

    /// Admits to a resource exactly as a request for it by this client would be.
    pub(in crate::front) async fn admit(&self, resource: &str, way: Way) -> Result<Admitted, Refused> {
        let refused = |status, detail: &str| Refused { status, detail: detail.to_owned() };
        let plain = resource.bytes().all(|byte| byte.is_ascii_graphic());
        if !resource.starts_with('/')
            || resource.len() > RESOURCE_BYTES_MAX
            || !plain
            || resource.contains('#')
        {
            let detail = "a resource is a path with an optional query, at most 4096 visible ASCII characters";
            return Err(refused(StatusCode::BAD_REQUEST, detail));
        }
        if limits::has_many_parameters(resource.as_bytes(), &self.shared.config.limits) {
            self.shared.metrics.refused(RefusalReason::QueryParameters);
            let detail = "the query has more parameters than limits.query_parameters";
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
        if route.switched_off.is_some() {
            let detail = "an operator has switched this route off for now: ask for the resource itself";
            return Err(refused(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        if !route.polled {
            return Err(refused(StatusCode::NOT_FOUND, "nothing of this route is polled (poll: off)"));
        }
        if let Err(bad) = field_names::check(&self.headers, Some(&route)) {
            return Err(refused(StatusCode::BAD_REQUEST, bad.0));
        }
        self.is_allowed(&route, way)?;
        let proven = Box::pin(admission::prove(&self.shared, &route, &path, &self.proof())).await;
        let Proven { identity, authorization } = proven.map_err(|reason| self.refused(&route, reason))?;
        // As a request of its own would say it.
        let of_token = authorization.map(|field| {
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
        let query = without_token(&route, query);
        check_target(&route, &path, query.as_deref())
            .map_err(|no| self.refused(&route, Reason::NoTarget(no)))?;
        let target = canonical_query(query.as_deref(), &route.query, &route.switches, false)
            .map_err(|problem| self.refused(&route, Reason::UnknownParameter(problem.parameter)))?;
        let base = |class: ClassValues| {
            let (authority, query) = (self.host.clone(), target.query.clone());
            base_key(&route, self.proto, authority, path.clone(), query, class, &self.headers)
        };
        let own = |class: &ClassValues| own_vary(&self.shared, &base(class.clone()));
        let client = self.client(identity.as_ref());
        let Membership { class, subject } = client.membership(&self.shared, &route, own);
        let base = base(class.map_err(|reason| self.refused(&route, reason))?);
        if way.attends() == Attend::Follow {
            self.count_for(&route, subject).map_err(|reason| self.refused(&route, reason))?;
        }
        let follow = Follow {
            shared: &self.shared,
            route: &route,
            base: &base,
            client,
            asker: Asker { address: self.address, subject },
            attends: way.attends(),
            format: way.format(),
            waits_for_cover: false,
        };
        let followable = Box::pin(follow.begin(&mut PriorWrites::default())).await;
        let Followable { attendance, view, revocable, .. } =
            followable.map_err(|reason| self.refused(&route, reason))?;
        if let Some(relayed) = refusal(&view) {
            return Err(self.refused(&route, Reason::Upstream(relayed.status)));
        }
        if let Some(identity) = &identity {
            for revocable in self.shared.subjects.revocables(&route, identity) {
                self.entitlement.add(identity.expires, Some(revocable));
            }
        }
        let principal = identity.map(|identity| identity.principal);
        Ok(Admitted { route, attendance, path, revocable, principal })
    }

    /// What a client of many is told of one resource.
    fn refused(&self, route: &Route, reason: Reason) -> Refused {
        if let Reason::Doubt(name) = &reason {
            self.shared.doubts.note(&self.shared.metrics, route, name, DoubtOutcome::Asked);
        }
        let told = reason.told(route);
        if let Some(counted) = told.counted {
            self.shared.metrics.refused(counted);
        }
        Refused { status: told.status, detail: told.detail.into_owned() }
    }

    /// What it shows to a route that asks who it is.
    pub(in crate::front) fn proof(&self) -> Proof<'_> {
        let certificate = self.certificate.as_deref();
        Proof { headers: &self.headers, query: self.query.as_deref(), certificate }
    }

    /// The client, as a route and its API know it.
    pub(in crate::front) fn client<'a>(&'a self, identity: Option<&'a Identity>) -> Client<'a> {
        Client { headers: &self.headers, identity, is_bound: self.is_bound }
    }

    /// Counts it for a route and a subject that were not known when it took its place (`max_clients`,
    /// `limits.clients_per_subject`).
    ///
    /// # Errors
    /// The route or the subject has as many clients as may be.
    pub(in crate::front) fn count_for(&self, route: &Route, subject: Option<u64>) -> Result<(), Reason> {
        let fanout = &self.shared.fanout;
        let count = |owner, limit| self.entitlement.counts_for(owner, |owner| fanout.claim(limit, owner));
        let of_subject = self.shared.config.limits.clients_per_subject.zip(subject);
        if of_subject.is_some_and(|(limit, subject)| !count(Owner::Subject(subject), limit)) {
            return Err(Reason::SubjectFull);
        }
        if route.max_clients.is_some_and(|limit| !count(Owner::Route(route.index), limit)) {
            return Err(Reason::RouteFull);
        }
        Ok(())
    }

    fn is_allowed(&self, route: &Route, way: Way) -> Result<(), Refused> {
        let (allowed, status, word) = match way {
            Way::WebSocket => (route.transports.websocket, StatusCode::NOT_ACCEPTABLE, "WebSocket"),
            Way::Sse => (route.transports.sse, StatusCode::NOT_ACCEPTABLE, "event stream"),
            Way::Presence => (route.presence.is_some(), StatusCode::NOT_FOUND, "presence"),
        };
        if !allowed {
            return Err(Refused { status, detail: format!("this route has no {word}") });
        }
        let origin = self.headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
        let let_in = match way {
            Way::WebSocket => origin::origin_allowed(route, origin, self.authority.as_deref()),
            // A page of another origin could not read a stream of this route alone without its CORS.
            Way::Sse | Way::Presence => match (origin, &route.cors) {
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
            self.shared.metrics.refused(RefusalReason::Origin);
            let detail = "the Origin of this connection is not let in on this route".to_owned();
            return Err(Refused { status: StatusCode::FORBIDDEN, detail });
        }
        Ok(())
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
