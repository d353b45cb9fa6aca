//! Cross-origin requests (contract §12, the Fetch standard): preflights and the fields of own
//! answers. Without `cors` on the route nothing is added and preflights pass through; the answers
//! that pass through a route with `cors` are completed, as their preflights were answered here.
//!
//! Must not know: what is answered.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::{Config, Cors, Route};
use crate::front::context::Context;
use crate::front::decision::Decision;
use crate::front::resource_key::full_key;
use crate::hub::{Audience, Outcome, View};

const EXPOSED: &str = "ETag, Age, Link, Cache-Status, Preference-Applied, Retry-After, Delta-Base";

/// An OPTIONS request that asks for permission, on a route that gives it.
pub(in crate::front) fn is_preflight(request: &RequestHeader, route: &Route) -> bool {
    route.cors.is_some() && asks(request)
}

/// An OPTIONS request that asks for permission.
pub(in crate::front) fn asks(request: &RequestHeader) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(header::ORIGIN)
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The origin to allow: this request's, if the route lists it.
fn allowed(cors: &Cors, request: &HeaderMap) -> Option<HeaderValue> {
    let origin = request.get(header::ORIGIN)?;
    if cors.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
        return Some(origin.clone());
    }
    // Validation refuses `*` together with credentials.
    cors.origins.iter().any(|allowed| allowed == "*").then(|| HeaderValue::from_static("*"))
}

/// Adds the fields of an own answer.
pub(in crate::front) fn add(headers: &mut HeaderMap, route: &Route, request: &HeaderMap) {
    add_of_all(headers, [route], request);
}

/// Adds the fields of an own answer about a resource that is not its snapshot: the route's, or else those that the
/// upstream gives with the resource.
pub(in crate::front) fn add_beside(
    headers: &mut HeaderMap,
    route: &Route,
    request: &HeaderMap,
    view: Option<&View>,
) {
    if route.cors.is_some() {
        return add(headers, route, request);
    }
    let Some(said) = view.and_then(said_with) else { return };
    let of_cors = |name: &HeaderName| name.as_str().starts_with("access-control-");
    for (name, value) in said.iter().filter(|(name, _)| of_cors(name)) {
        headers.append(name.clone(), value.clone());
    }
    if said.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|allowed| allowed != "*") {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// The fields of the state that is held, or else of the answer that is passed on to all clients that ask.
fn said_with(view: &View) -> Option<&HeaderMap> {
    match (&view.frame, &view.outcome) {
        (Some(frame), _) => Some(&frame.snapshot.headers),
        (None, Outcome::Relay(relayed)) if matches!(relayed.audience, Audience::All | Audience::Push) => {
            Some(&relayed.headers)
        }
        (None, _) => None,
    }
}

/// Adds the fields of a refusal of a covered request.
pub(in crate::front) fn add_to_refusal(
    headers: &mut HeaderMap,
    route: &Route,
    request: &HeaderMap,
    ctx: &Context,
) {
    // Only a page of another origin looks at them.
    let key = ctx.key.as_ref().filter(|_| route.cors.is_none() && request.contains_key(header::ORIGIN));
    let key = key.map(|base| full_key(&ctx.shared, route, base, request));
    let view = key.and_then(|key| ctx.shared.hub.get(&key)).map(|topic| topic.view());
    add_beside(headers, route, request, view.as_deref());
}

/// Adds the fields of an answer that speaks of several routes: what each of them allows, and nothing if one
/// has no `cors`.
pub(in crate::front) fn add_of_all<'a>(
    headers: &mut HeaderMap,
    routes: impl IntoIterator<Item = &'a Route>,
    request: &HeaderMap,
) {
    let Some(rules) = routes.into_iter().map(|route| route.cors.as_ref()).collect::<Option<Vec<_>>>() else {
        return;
    };
    if !rules.is_empty() {
        grant(headers, &rules, request);
    }
}

/// Adds the fields of an answer that speaks of no route yet, at the public prefix: an Origin that some route
/// allows may know what it is told. Each resource is judged by its own route.
pub(in crate::front) fn add_of_any(headers: &mut HeaderMap, config: &Config, request: &HeaderMap) {
    let rules = config.routes.iter().filter_map(|route| route.cors.as_ref());
    let allowing = rules.clone().filter_map(|cors| Some((cors, allowed(cors, request)?)));
    // What the most generous grants: which resources it may then have is said by each of them.
    let most = allowing.max_by_key(|(cors, origin)| (cors.credentials, origin != "*"));
    let rule = most.map(|(cors, _)| cors).or(rules.clone().next());
    if let Some(rule) = rule {
        grant(headers, &[rule], request);
    }
}

fn grant(headers: &mut HeaderMap, rules: &[&Cors], request: &HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origins) = rules.iter().map(|cors| allowed(cors, request)).collect::<Option<Vec<_>>>() else {
        return;
    };
    // The narrowest: one that is named before `*`.
    let Some(origin) = origins.iter().find(|origin| *origin != "*").or(origins.first()) else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if rules.iter().all(|cors| cors.credentials) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Completes an answer that passes through a route with `cors`: its preflight was answered here, so that
/// the upstream may know nothing of other origins. One that does is left to its own rules.
pub(in crate::front) fn complete(
    response: &mut ResponseHeader,
    route: &Route,
    request: &HeaderMap,
) -> Result<()> {
    if response.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        return Ok(());
    }
    let mut headers = HeaderMap::new();
    add(&mut headers, route, request);
    for (name, value) in &headers {
        response.append_header(name.clone(), value.clone())?;
    }
    Ok(())
}

/// The answer to a preflight on a route.
pub(in crate::front) fn preflight(request: &HeaderMap, route: &Route) -> Decision {
    let mut headers = HeaderMap::new();
    add(&mut headers, route, request);
    let max_age = route.cors.as_ref().map_or(Duration::ZERO, |cors| cors.max_age);
    permit(request, headers, max_age)
}

/// The answer to a preflight at the public prefix.
pub(in crate::front) fn preflight_of_any(request: &HeaderMap, config: &Config) -> Decision {
    let mut headers = HeaderMap::new();
    add_of_any(&mut headers, config, request);
    let ages = config.routes.iter().filter_map(|route| route.cors.as_ref()).map(|cors| cors.max_age);
    permit(request, headers, ages.min().unwrap_or_default())
}

fn permit(request: &HeaderMap, mut headers: HeaderMap, max_age: Duration) -> Decision {
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        let methods = request.get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned();
        let methods = methods.unwrap_or(HeaderValue::from_static("GET"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(max_age.as_secs()));
    }
    let asked = "Access-Control-Request-Method, Access-Control-Request-Headers";
    headers.append(header::VARY, HeaderValue::from_static(asked));
    Decision::answer(StatusCode::NO_CONTENT, headers, Bytes::new())
}
