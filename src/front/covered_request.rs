//! One covered request (contract §1): what it says, read once, and what it is about.
//!
//! Must not know: what is answered.

use std::hash::BuildHasher;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version as HttpVersion, header};

use super::access::admission::Client;
use super::access::resource_limits::{self, Asker};
use super::access::share::ClassValues;
use super::application::Front;
use super::connection::Connection;
use super::context::Context;
use super::freshness::PriorWrites;
use super::request::{hosts, target, transport_choice};
use super::resource_key;
use super::services::Shared;
use crate::config::Route;
use crate::hub::{Attend, Attendance, ExceptionKind, Full};
use crate::identity::CertificateName;
use crate::resource::ResourceKey;

/// One covered request.
pub(super) struct CoveredRequest<'a> {
    pub(super) front: &'a Front,
    /// The connection that it came on.
    pub(super) connection: Connection<'a>,
    pub(super) ctx: &'a mut Context,
    pub(super) route: Arc<Route>,
    pub(super) path: String,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: Option<String>,
    pub(super) version: HttpVersion,
    /// `Preference-Applied` of the answer, when one was.
    pub(super) applied: Option<HeaderValue>,
    /// The writes before it.
    pub(super) writes: PriorWrites,
    /// It asks to be held: its repeats are to be, even if it is not.
    pub(super) is_patient: bool,
}

impl<'a> CoveredRequest<'a> {
    pub(super) fn new(
        front: &'a Front,
        connection: Connection<'a>,
        ctx: &'a mut Context,
        route: Arc<Route>,
        path: String,
    ) -> CoveredRequest<'a> {
        let request = connection.head();
        let (method, headers) = (request.method.clone(), request.headers.clone());
        let query = target::query(request).map(std::borrow::Cow::into_owned);
        let version = request.version;
        CoveredRequest {
            front,
            connection,
            ctx,
            route,
            path,
            method,
            headers,
            query,
            version,
            applied: None,
            writes: PriorWrites::default(),
            is_patient: false,
        }
    }

    /// The client, as its route and the API know it.
    pub(super) fn client(&self) -> Client<'_> {
        let (headers, identity) = (&self.headers, self.ctx.identity.as_ref());
        Client { headers, identity, is_bound: self.ctx.bond.is_some() }
    }

    /// Whom the client's certificate names.
    pub(super) fn certificate(&self) -> Option<Arc<CertificateName>> {
        self.connection.certificate()
    }

    /// Whether the route's feed is polled with the upstream's cursor: no answer is the whole list, and a request for
    /// that is the API's.
    pub(super) fn has_cursor(&self) -> bool {
        self.route.feed.as_ref().is_some_and(|feed| feed.cursor.is_some())
    }

    pub(super) fn base_key(&self, query: Option<String>, class: ClassValues) -> ResourceKey {
        let authority = hosts::polled(&self.front.listener, self.authority());
        let (proto, path) = (self.proto(), self.path.clone());
        resource_key::base_key(&self.route, proto, authority, path, query, class, &self.headers)
    }

    /// The scheme of the listener.
    pub(super) fn proto(&self) -> &'static str {
        if self.front.listener.tls.is_some() { "https" } else { "http" }
    }

    /// The request's authority, lower case.
    pub(super) fn authority(&self) -> Option<String> {
        let host = self.headers.get(header::HOST).and_then(|v| v.to_str().ok());
        let uri = self.connection.head().uri.authority().map(|a| a.as_str());
        host.or(uri).map(str::to_ascii_lowercase)
    }

    /// See [`resource_key::full_key`].
    pub(super) fn full_key(&self, base: &ResourceKey) -> ResourceKey {
        resource_key::full_key(&self.front.shared, &self.route, base, &self.headers)
    }

    /// See [`resource_key::selects`].
    pub(super) fn selects(&self, base: &ResourceKey, key: &ResourceKey, chosen_by: &[HeaderName]) -> bool {
        resource_key::selects(&self.front.shared, &self.route, base, key, chosen_by, &self.headers)
    }

    /// See [`resource_limits::attend`].
    pub(super) fn attend(&self, key: &ResourceKey, kind: Attend) -> std::result::Result<Attendance, Full> {
        resource_limits::attend(&self.front.shared, self.asker(), &self.route, key, kind)
    }

    /// Whom the request is from, as far as its limits go.
    pub(super) fn asker(&self) -> Asker {
        Asker { address: self.ctx.client, subject: self.ctx.subject }
    }

    /// What is known against covering a key.
    pub(super) fn exception(&self, key: &ResourceKey) -> Option<ExceptionKind> {
        self.front.shared.hub.exception(key).map(|exception| exception.kind)
    }

    pub(super) fn text(&self, name: header::HeaderName) -> Option<String> {
        self.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
    }

    /// Whether the connection serves another request after this one. One with a bond would come back without it.
    pub(super) fn keeps_alive(&self) -> bool {
        self.ctx.bond.is_none() && keeps_alive(&self.headers, self.version, &self.front.shared)
    }

    /// A number that tells the request's connection from others, most likely.
    pub(super) fn connection_number(&self) -> u64 {
        self.connection.peer().map_or(0, |peer| self.front.shared.connection_numbers.hash_one(peer))
    }
}

/// Whether the connection of a request with these fields serves another one.
pub(super) fn keeps_alive(headers: &HeaderMap, version: HttpVersion, shared: &Shared) -> bool {
    let is_last = transport_choice::has_token(headers, header::CONNECTION, "close");
    version == HttpVersion::HTTP_11 && !is_last && !shared.is_draining()
}
