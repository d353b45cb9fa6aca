//! The first look at a request: its head, its host, its path. Whether pollcast or the API answers is decided here (contract §1, §11, §12).
//!
//! Must not know: the forms of answers.

use std::sync::Arc;

use http::StatusCode;
use pingora::Result;
use pingora::proxy::Session;

use super::application::Front;
use super::context::Context;
use super::covered_request::CoveredRequest;
use super::decision::Fate;
use super::passthrough::{bypass, upstream_path};
use super::request::route::Match;
use super::request::{cors, field_names, framing, hosts, limits, target, transport_choice};
use super::subscribe::asking::{Asking, Otherwise};
use super::subscribe::{envelope, sse_many};
use super::{passthrough, refuse};
use crate::config::{Route, Upstream};
use crate::listener::trusted_proxies;
use crate::metrics::Bypass;

impl Front {
    /// Decides about a request. What answers is boxed: this is a part of the future of every request that
    /// passes through, and stays small enough to cost little there.
    pub(super) async fn receive(&self, session: &mut Session, ctx: &mut Context) -> Result<Fate> {
        ctx.is_from(self.client_of(session));
        let size = match limits::check(&self.shared, session) {
            Ok(size) => size,
            Err(excess) if excess.closes => {
                return refuse::closing(session, ctx, excess.status, excess.detail).await;
            }
            Err(excess) => return refuse::with(session, ctx, excess.status, excess.detail).await,
        };
        if self.shared.is_draining() {
            session.set_keepalive(None);
        }
        passthrough::to_origin_form(session)?;
        let formed = framing::to_http1_form(session).and_then(|()| framing::check_host(session.req_header()));
        if let Err(bad) = formed {
            return refuse::unfit(session, ctx, bad).await;
        }
        if let Err(reason) = ctx.enter() {
            return refuse::for_now(session, ctx, None, false, reason).await;
        }
        field_names::remove_own(session.req_header_mut());
        if !self.trusts_peer(session) {
            field_names::remove_forwarded(session.req_header_mut());
        }
        let request = session.req_header();
        let path = target::path(request).into_owned();
        if path.starts_with(&self.shared.config.public_prefix) {
            match path.strip_prefix(&self.shared.config.public_prefix) {
                Some("events") => return Box::pin(sse_many::serve(self, session, ctx)).await,
                Some("ws") => return Box::pin(envelope::serve(self, session, ctx)).await,
                _ => {}
            }
            let detail = "nothing of this name lives under the public prefix";
            return refuse::with(session, ctx, StatusCode::NOT_FOUND, detail).await;
        }
        if !hosts::is_served(&self.listener, hosts::host(request), || hosts::own_address(session)) {
            self.shared.metrics.refusals.with_label_values(&["host"]).inc();
            let detail = "other hosts are served here (listeners[].hosts)";
            return refuse::with(session, ctx, StatusCode::MISDIRECTED_REQUEST, detail).await;
        }
        let found = self.shared.routes.find(hosts::routed(&self.listener, hosts::host(request)), &path);
        let route = if let Match::Covered { route, .. } = &found { Some(&**route) } else { None };
        if let Err(bad) = field_names::check(&request.headers, route) {
            return refuse::unfit(session, ctx, bad).await;
        }
        match found {
            Match::Ambiguous => self.ambiguous(session, ctx).await,
            Match::Uncovered => self.uncovered(session, ctx, None, Bypass::Uncovered).await,
            Match::Doubtful { upstream } => self.uncovered(session, ctx, upstream, Bypass::Path).await,
            Match::Covered { route, path } if size == limits::Size::ManyParameters => {
                self.without_key(session, ctx, route, path).await
            }
            Match::Covered { route, path } => Box::pin(self.covered(session, ctx, route, path)).await,
        }
    }

    /// Whether the connection comes from a proxy of the operator's.
    fn trusts_peer(&self, session: &Session) -> bool {
        let peer = session.client_addr().and_then(|address| address.as_inet());
        peer.is_some_and(|peer| {
            trusted_proxies::is_trusted(peer.ip().to_canonical(), &self.listener.trusted_proxies)
        })
    }

    /// Refuses a path of which some reading is guarded, and not every one by the same route.
    async fn ambiguous(&self, session: &mut Session, ctx: &mut Context) -> Result<Fate> {
        self.shared.metrics.refusals.with_label_values(&["ambiguous-path"]).inc();
        let (status, detail) = Match::Ambiguous.refusal();
        refuse::with(session, ctx, status, detail).await
    }

    /// A request whose query is too long to name a resource: nothing of it is looked at, so that no client may be let
    /// in by it.
    async fn without_key(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        route: Arc<Route>,
        path: String,
    ) -> Result<Fate> {
        if route.authenticate.is_some() {
            self.shared.metrics.refusals.with_label_values(&["query-parameters"]).inc();
            let detail =
                "the query has more parameters than limits.query_parameters, and its path is protected";
            return refuse::with(session, ctx, StatusCode::BAD_REQUEST, detail).await;
        }
        if let Some(refused) = upstream_path::admit(session, ctx, &route, &path).await? {
            return Ok(refused);
        }
        ctx.upstream = self.shared.clients.get(&route.upstream.name).cloned();
        ctx.route = Some(route);
        Ok(Fate::PassThrough(Bypass::QueryParameters))
    }

    async fn covered(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        route: Arc<Route>,
        path: String,
    ) -> Result<Fate> {
        ctx.route = Some(route.clone());
        if cors::is_preflight(session.req_header(), &route) {
            return cors::preflight(session, ctx, &route).await;
        }
        ctx.upstream = self.shared.clients.get(&route.upstream.name).cloned();
        if let Some(refused) = upstream_path::admit(session, ctx, &route, &path).await? {
            return Ok(refused);
        }
        if let Some(reason) = bypass::at_once(&self.shared, &route, session.req_header(), &path) {
            return Ok(Fate::PassThrough(reason));
        }
        CoveredRequest::new(self, session, ctx, route, path).serve().await
    }

    /// A request of no route. `upstream`: the one that all readings of its path have in common, though no route.
    async fn uncovered(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        upstream: Option<Arc<Upstream>>,
        reason: Bypass,
    ) -> Result<Fate> {
        let upstream = upstream.as_ref().or(self.shared.config.passthrough.as_ref());
        ctx.upstream = upstream.and_then(|u| self.shared.clients.get(&u.name)).cloned();
        if ctx.upstream.is_none() {
            let detail = "no route covers this path, and nothing is passed through";
            return refuse::with(session, ctx, StatusCode::NOT_FOUND, detail).await;
        }
        let request = session.req_header();
        if reason == Bypass::Path && transport_choice::takes_only_events(&request.method, &request.headers) {
            ctx.asking = Asking::First(Otherwise::NameTheReadings);
        }
        Ok(Fate::PassThrough(reason))
    }
}
