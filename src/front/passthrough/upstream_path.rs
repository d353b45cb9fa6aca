//! Requests of routes with `upstream_path` that pass through (contract §10): where they go, and what their answers say.
//!
//! `resource` has the rules. Must not know: polls.

use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, OrErr, Result};

use crate::config::Route;
use crate::front::context::Context;
use crate::front::decision::Decision;
use crate::front::request::target;
use crate::metrics::RefusalReason;
use crate::resource::{
    Answered, NoTarget, as_clients_see, check_target, destination, forwarded_prefix, upstream_target,
};

const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// Refuses a request that has no target on the upstream, and notes the path of one that has. `path`: as it is covered.
/// Returns `None` if the request goes on.
pub(in crate::front) fn admit(
    request: &RequestHeader,
    ctx: &mut Context,
    route: &Route,
    path: &str,
) -> Option<Decision> {
    route.upstream_path.as_ref()?;
    match reached(request, route, path) {
        Ok(()) => {
            ctx.path = Some(path.to_owned());
            None
        }
        Err(detail) => {
            ctx.shared.metrics.refused(RefusalReason::UpstreamPath);
            Some(Decision::refuse(RefusalReason::UpstreamPath, StatusCode::BAD_REQUEST, detail))
        }
    }
}

fn reached(request: &RequestHeader, route: &Route, path: &str) -> std::result::Result<(), String> {
    check_target(route, path, target::query(request).as_deref()).map_err(|no| no.detail())?;
    let answered = answered(request, route, path, None);
    for said in request.headers.get_all(&DESTINATION) {
        let leads = said.to_str().ok().and_then(|said| destination(&answered, said.trim()));
        leads.ok_or_else(|| format!("Destination leads out of the route: {}", NoTarget::Leaves.detail()))?;
    }
    Ok(())
}

fn answered<'a>(
    request: &'a RequestHeader,
    route: &'a Route,
    path: &'a str,
    query: Option<&'a str>,
) -> Answered<'a> {
    let host = request.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = host.or(request.uri.authority().map(|authority| authority.as_str()));
    Answered { route, path, query, authority }
}

/// Sends a request where it belongs on the upstream. Does nothing on other routes.
pub(in crate::front) fn request(
    client: &RequestHeader,
    sent: &mut RequestHeader,
    ctx: &Context,
) -> Result<()> {
    let Some((route, path)) = mapped(ctx) else { return Ok(()) };
    // Without switches, where those were taken out.
    let query = match &ctx.target {
        Some(own) => own.split_once('?').map(|(_, query)| query.to_owned()),
        None => target::query(client).map(std::borrow::Cow::into_owned),
    };
    let to = upstream_target(route, path, query.as_deref());
    let Some(to) = to else {
        return Error::e_explain(ErrorType::HTTPStatus(400), "a path that has no place on the upstream");
    };
    sent.set_raw_path(to.as_bytes())?;
    if let Some(prefix) = forwarded_prefix(route, path) {
        // Of a trusted proxy: what it has taken away stands before.
        let before = sent.headers.get(&X_FORWARDED_PREFIX).map(HeaderValue::as_bytes).unwrap_or_default();
        let before = before.trim_ascii();
        let whole = [before.strip_suffix(b"/").unwrap_or(before), prefix.as_bytes()].concat();
        let whole =
            HeaderValue::try_from(whole).or_err(ErrorType::InvalidHTTPHeader, "X-Forwarded-Prefix")?;
        sent.insert_header(X_FORWARDED_PREFIX, whole)?;
    }
    let answered = answered(client, route, path, None);
    let said: Vec<HeaderValue> = client.headers.get_all(&DESTINATION).iter().cloned().collect();
    sent.remove_header(&DESTINATION);
    for said in said {
        let leads = said.to_str().ok().and_then(|said| destination(&answered, said.trim()));
        let Some(leads) = leads else {
            return Error::e_explain(ErrorType::HTTPStatus(400), "Destination leads out of the route");
        };
        sent.append_header(DESTINATION, leads)?;
    }
    Ok(())
}

/// Brings the references of an answer back to what clients see. Does nothing on other routes.
pub(in crate::front) fn answer(
    client: &RequestHeader,
    response: &mut ResponseHeader,
    ctx: &Context,
) -> Result<()> {
    let Some((route, path)) = mapped(ctx) else { return Ok(()) };
    let query = target::query(client);
    let changed = as_clients_see(&response.headers, &answered(client, route, path, query.as_deref()));
    for (name, values) in changed {
        response.remove_header(&name);
        for value in values {
            response.append_header(name.clone(), value)?;
        }
    }
    Ok(())
}

fn mapped(ctx: &Context) -> Option<(&Route, &str)> {
    let route = ctx.route.as_deref().filter(|route| route.upstream_path.is_some())?;
    // Never without its path: what is not noted does not go out.
    Some((route, ctx.path.as_deref().unwrap_or_default()))
}
