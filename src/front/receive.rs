//! The first look at a request: its head, its host, its path. Whether pollcast or the API answers is decided here (contract §1, §11, §12).
//!
//! Must not know: the forms of answers.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use pingora::Result;
use pingora::http::RequestHeader;

use super::answer::presence;
use super::application::Front;
use super::connection::Connection;
use super::context::Context;
use super::covered_request::CoveredRequest;
use super::decision::{Afterwards, Decision, Prospect, Refusal};
use super::passthrough::{self, bypass, upstream_path, validators};
use super::request::framing::BadHead;
use super::request::route::Match;
use super::request::{client_address, cors, field_names, framing, hosts, limits, target, transport_choice};
use super::subscribe::fallback::{AskFirst, Fallback};
use super::subscribe::{envelope, sse_many};
use super::trace::Subject;
use crate::config::{Route, Upstream};
use crate::listener::trusted_proxies;
use crate::metrics::{Bypass, RefusalReason};
use crate::resource::{CanonicalPath, Readings, canonical_path, upstream_target};

impl Front {
    /// Decides about a request, to the end: what passes through has its place, and speaks of the API's own entity tags.
    pub(super) async fn decide(&self, mut connection: Connection<'_>, ctx: &mut Context) -> Result<Decision> {
        let decision = match self.receive(connection.again(), ctx).await? {
            Decision::PassThrough(reason) => passthrough::admit(connection.again(), ctx, reason).await?,
            decision => decision,
        };
        match decision {
            Decision::PassThrough(reason) => {
                validators::check(self, connection.head_mut(), ctx, reason).await
            }
            decision => Ok(decision),
        }
    }

    /// Decides about a request. What answers is boxed: this is a part of the future of every request that
    /// passes through, and stays small enough to cost little there. `act` does what is decided.
    async fn receive(&self, mut connection: Connection<'_>, ctx: &mut Context) -> Result<Decision> {
        let (peer, headers) = (connection.peer(), &connection.head().headers);
        ctx.is_from(client_address::client_address(peer, headers, &self.listener));
        let size = match limits::check(&self.shared, &connection) {
            Ok(size) => size,
            Err(excess) => return Ok(excess.refusal().decision()),
        };
        if self.shared.is_draining() {
            connection.ends_afterwards();
        }
        if let Some(bad) = to_one_form(&mut connection)? {
            return Ok(self.unfit(bad));
        }
        if let Err(reason) = ctx.enter() {
            return Ok(Decision::refuse_for_now(None, false, reason));
        }
        field_names::remove_unproven(connection.head_mut(), self.trusts(peer));
        let request = connection.head();
        let path = target::path(request);
        self.shared.note(Subject::Limits, || size.told().to_owned());
        self.shared.note(Subject::Path, || readings(&path));
        if let Some(name) = path.strip_prefix(&self.shared.config.public_prefix) {
            let name = name.to_owned();
            return Box::pin(self.helper(&name, connection, ctx)).await;
        }
        let said = hosts::host(request);
        if !hosts::is_served(&self.listener, said, || connection.own_address()) {
            self.shared.metrics.refused(RefusalReason::Host);
            let detail = "other hosts are served here (listeners[].hosts)";
            return Ok(Decision::refuse(RefusalReason::Host, StatusCode::MISDIRECTED_REQUEST, detail));
        }
        let host = hosts::routed(&self.listener, said);
        let found = self.shared.routes.find(host, &path);
        self.shared.note(Subject::Route, || of_route(host, &found));
        let route = if let Match::Covered { route, .. } = &found { Some(&**route) } else { None };
        if let Err(bad) = field_names::check(&request.headers, route) {
            return Ok(self.unfit(bad));
        }
        Ok(match found {
            Match::Ambiguous => self.ambiguous(),
            Match::Uncovered => self.uncovered(request, ctx, None, Bypass::Uncovered),
            Match::Doubtful { upstream } => self.uncovered(request, ctx, upstream, Bypass::Path),
            Match::Covered { route, path } if size == limits::Size::ManyParameters => {
                self.without_key(request, ctx, route, &path)
            }
            Match::Covered { route, path } => {
                return Box::pin(self.covered(connection, ctx, route, path)).await;
            }
        })
    }

    /// Decides about a request under the public prefix.
    async fn helper(&self, name: &str, connection: Connection<'_>, ctx: &mut Context) -> Result<Decision> {
        match name {
            // What they answer depends on each resource that is named.
            "events" | "ws" | "presence" if self.shared.explains() => {
                Ok(Decision::foreseen(Prospect::Helper, None))
            }
            "events" => Box::pin(sse_many::serve(self, connection, ctx)).await,
            "ws" => Ok(envelope::serve(self, &connection, ctx)),
            "presence" => Ok(Box::pin(presence::serve(self, &connection, ctx)).await),
            _ => {
                let detail = "nothing of this name lives under the public prefix";
                Ok(Decision::refuse(RefusalReason::PublicPrefix, StatusCode::NOT_FOUND, detail))
            }
        }
    }

    /// Whether the connection comes from a proxy of the operator's.
    fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| {
            trusted_proxies::is_trusted(peer.ip().to_canonical(), &self.listener.trusted_proxies)
        })
    }

    /// Refuses a path of which some reading is guarded, and not every one by the same route.
    fn ambiguous(&self) -> Decision {
        self.shared.metrics.refused(RefusalReason::AmbiguousPath);
        let (status, detail) = Match::Ambiguous.refusal();
        Decision::refuse(RefusalReason::AmbiguousPath, status, detail)
    }

    /// Refuses a head that does not say one thing to all readers.
    fn unfit(&self, bad: BadHead) -> Decision {
        self.shared.metrics.refused(RefusalReason::Framing);
        Refusal::of(RefusalReason::Framing, StatusCode::BAD_REQUEST, bad.0)
            .and_then(Afterwards::Shutdown)
            .decision()
    }

    /// A request whose query is too long to name a resource: nothing of it is looked at, so that no client may be let
    /// in by it.
    fn without_key(
        &self,
        request: &RequestHeader,
        ctx: &mut Context,
        route: Arc<Route>,
        path: &str,
    ) -> Decision {
        if route.authenticate.is_some() {
            self.shared.metrics.refused(RefusalReason::QueryParameters);
            let detail =
                "the query has more parameters than limits.query_parameters, and its path is protected";
            return Decision::refuse(RefusalReason::QueryParameters, StatusCode::BAD_REQUEST, detail);
        }
        if let Some(refused) = upstream_path::admit(request, ctx, &route, path) {
            return refused;
        }
        ctx.upstream = self.shared.clients.get(&route.upstream.name).cloned();
        ctx.route = Some(route);
        Decision::PassThrough(Bypass::QueryParameters)
    }

    async fn covered(
        &self,
        connection: Connection<'_>,
        ctx: &mut Context,
        route: Arc<Route>,
        path: String,
    ) -> Result<Decision> {
        ctx.route = Some(route.clone());
        let request = connection.head();
        if cors::is_preflight(request, &route) {
            ctx.answer = "preflight";
            return Ok(cors::preflight(&request.headers, &route));
        }
        ctx.upstream = self.shared.clients.get(&route.upstream.name).cloned();
        if let Some(refused) = upstream_path::admit(request, ctx, &route, &path) {
            return Ok(refused);
        }
        if route.upstream_path.is_some() {
            let reached = || upstream_target(&route, &path, None).unwrap_or_default();
            self.shared.note(Subject::UpstreamPath, || format!("its path on the API is {}", reached()));
        }
        if let Some(reason) = bypass::at_once(&self.shared, &route, request, &path) {
            self.shared.note(Subject::Plain, || {
                format!("its head alone says that it is the API's: {}", reason.word())
            });
            return Ok(Decision::PassThrough(reason));
        }
        CoveredRequest::new(self, connection, ctx, route, path).serve().await
    }

    /// A request of no route. `upstream`: the one that all readings of its path have in common, though no route.
    fn uncovered(
        &self,
        request: &RequestHeader,
        ctx: &mut Context,
        upstream: Option<Arc<Upstream>>,
        reason: Bypass,
    ) -> Decision {
        let upstream = upstream.as_ref().or(self.shared.config.passthrough.as_ref());
        ctx.upstream = upstream.and_then(|u| self.shared.clients.get(&u.name)).cloned();
        if ctx.upstream.is_none() {
            let detail = "no route covers this path, and nothing is passed through";
            return Decision::refuse(RefusalReason::Uncovered, StatusCode::NOT_FOUND, detail);
        }
        if reason == Bypass::Path && transport_choice::takes_only_events(&request.method, &request.headers) {
            ctx.ask_first = AskFirst::Sent(Fallback::NameTheReadings);
        }
        Decision::PassThrough(reason)
    }
}

/// How servers read a path, for operators.
fn readings(path: &str) -> String {
    let CanonicalPath::Plain(canonical) = canonical_path(path) else {
        let readings = Readings::of(path);
        let all: Vec<&str> = readings.iter().take(READINGS_SHOWN_MAX).collect();
        return format!("servers read it in several ways: {}", all.join("  "));
    };
    match canonical == path {
        true => format!("it has one reading: {canonical}"),
        false => format!("it has one reading, by RFC 3986 the same as {canonical}"),
    }
}

/// Most readings of a path that are shown.
const READINGS_SHOWN_MAX: usize = 16;

/// What covers a path, for operators.
fn of_route(host: Option<&str>, found: &Match) -> String {
    let on = host.map(|host| format!(" on host {host}")).unwrap_or_default();
    match found {
        Match::Covered { route, path } => format!("{} covers {path}{on}", route.path),
        Match::Uncovered => format!("no route covers it{on}"),
        Match::Doubtful { .. } => {
            "some reading of it is covered, but not every one by the same route".to_owned()
        }
        Match::Ambiguous => "some reading of it is protected, and not every one".to_owned(),
    }
}

/// Brings a request into the one form that everything behind this reads. Returns why it has none.
///
/// # Errors
/// The target names no host.
fn to_one_form(connection: &mut Connection<'_>) -> Result<Option<BadHead>> {
    let formed = if connection.is_http2() {
        framing::to_http1_form(connection.head_mut())
    } else {
        framing::to_origin_form(connection.head_mut())?;
        Ok(())
    };
    Ok(formed.and_then(|()| framing::check_host(connection.head())).err())
}
