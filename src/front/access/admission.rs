//! How a route lets a client in (contract §6, §11): which identity it proves, with which clients it shares, and which
//! subject it counts for. A request of its own, one resource of many and a new token take the same steps.
//!
//! `follow` is what comes after them. Must not know: resources, polls, how a refusal is told.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::authenticate;
use super::reason::Reason;
use super::share::{self, ClassValues};
use crate::config::Route;
use crate::front::services::Shared;
use crate::identity::{Identity, Proof, query_token, strip};

/// A client, as a route and the API behind it know it.
#[derive(Clone, Copy)]
pub(in crate::front) struct Client<'a> {
    pub(in crate::front) headers: &'a HeaderMap,
    /// Its identity, where the route has `authenticate`.
    pub(in crate::front) identity: Option<&'a Identity>,
    /// The API may know it by its connection, whatever its requests say (contract §10).
    pub(in crate::front) is_bound: bool,
}

/// What a client has proved to a route.
#[derive(Default)]
pub(in crate::front) struct Proven {
    /// Its identity, where the route has `authenticate`.
    pub(in crate::front) identity: Option<Identity>,
    /// The token of its query, as the field in which tokens belong: so it goes on to the upstream, and so classes and
    /// checks read it. `None` where the route takes none from there, or the request has that field.
    pub(in crate::front) authorization: Option<HeaderValue>,
}

/// With which clients a client shares, and which subject it counts for.
pub(in crate::front) struct Membership {
    /// The values of its class, or why it shares with no other.
    pub(in crate::front) class: Result<ClassValues, Reason>,
    /// A number for its identity or its class. `None` if it is no client in particular.
    pub(in crate::front) subject: Option<u64>,
}

/// Asks a client for what the route's `authenticate` wants to see, if it has any. `path`: in canonical form.
///
/// # Errors
/// The client does not prove an identity, or one that may not read this.
pub(in crate::front) async fn prove(
    shared: &Shared,
    route: &Route,
    path: &str,
    proof: &Proof<'_>,
) -> Result<Proven, Reason> {
    let identity = authenticate::identify(shared, route, path, proof).await.map_err(Reason::Denied)?;
    Ok(Proven { identity, authorization: token_field(route, proof.query, proof.headers) })
}

impl Client<'_> {
    /// Returns with which clients it shares on a route. `own_vary` gives the names of the resource's own Vary, as far as
    /// they are known; it is asked only where a header is in doubt.
    pub(in crate::front) fn membership(
        &self,
        shared: &Shared,
        route: &Route,
        own_vary: impl FnOnce(&ClassValues) -> Vec<HeaderName>,
    ) -> Membership {
        let class = share::sharing(route, self.headers, self.identity, self.is_bound, own_vary);
        let subject = shared.subjects.asker(self.identity, class.as_deref().unwrap_or_default());
        Membership { class, subject }
    }
}

/// Returns the query of a resource: without the token that a client may show in it.
pub(in crate::front) fn without_token<'a>(route: &Route, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    match query_parameter_of_token(route) {
        Some(name) => strip(query?, name),
        None => query.map(Cow::Borrowed),
    }
}

fn token_field(route: &Route, query: Option<&str>, headers: &HeaderMap) -> Option<HeaderValue> {
    let name = query_parameter_of_token(route)?;
    if headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let mut field = HeaderValue::try_from(format!("Bearer {}", query_token(query?, name)?)).ok()?;
    field.set_sensitive(true);
    Some(field)
}

fn query_parameter_of_token(route: &Route) -> Option<&str> {
    route.authenticate.as_ref()?.token.query.as_deref()
}
