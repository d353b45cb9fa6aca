//! Cross-origin requests (contract §12, the Fetch standard): preflights and the fields of own
//! answers. Without `cors` on the route nothing is added and preflights pass through.
//!
//! Must not know: what is answered.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::{Context, Fate, respond};
use crate::config::{Cors, Route};

const EXPOSED: &str = "ETag, Age, Link, Cache-Status, Preference-Applied, Retry-After, Delta-Base";

/// An OPTIONS request that asks for permission, on a route that gives it.
pub(super) fn is_preflight(request: &RequestHeader, route: &Route) -> bool {
    route.cors.is_some()
        && request.method == Method::OPTIONS
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
pub(super) fn add(headers: &mut HeaderMap, route: &Route, request: &HeaderMap) {
    let Some(cors) = &route.cors else { return };
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = allowed(cors, request) else {
        return;
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if cors.credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Answers a preflight.
pub(super) async fn preflight(session: &mut Session, ctx: &mut Context, route: &Route) -> Result<Fate> {
    let request = session.req_header().headers.clone();
    let mut headers = HeaderMap::new();
    add(&mut headers, route, &request);
    if let Some(cors) = &route.cors
        && headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    {
        let copy = |from: HeaderName, fallback: &'static str| {
            request.get(from).cloned().unwrap_or(HeaderValue::from_static(fallback))
        };
        let methods = copy(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
    }
    let asked = "Access-Control-Request-Method, Access-Control-Request-Headers";
    headers.append(header::VARY, HeaderValue::from_static(asked));
    ctx.answer = "preflight";
    respond::respond(session, StatusCode::NO_CONTENT, &headers, Default::default()).await?;
    Ok(Fate::Answered)
}
