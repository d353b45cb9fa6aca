//! What is the API's before anything is known of the resource, and what its answer says besides (contract §1, §3).
//!
//! Most requests of most routes are decided here, so that they cost little more than without a route. Must not know:
//! snapshots.

use http::{HeaderMap, HeaderValue, Method, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::{Plain, Route};
use crate::front::context::Context;
use crate::front::request::transport_choice::{self, may_hold_switches};
use crate::front::resource_key::full_key;
use crate::front::services::Shared;
use crate::hub::ExceptionKind;
use crate::metrics::Bypass;
use crate::upstream::fields::is_for_cdns;

/// Why a request is the API's, where nothing more has to be known of it. Returns `None` if it has to be looked at.
pub(in crate::front) fn at_once(
    shared: &Shared,
    route: &Route,
    request: &RequestHeader,
    path: &str,
) -> Option<Bypass> {
    of_head(route, request).filter(|_| {
        route.authenticate.is_none()
            && !may_hold_switches(request.uri.query(), &route.switches)
            // A resource that is followed may have sent entity tags of pollcast's own, which the API does not know.
            && !shared.hub.has_topics_at(path)
    })
}

/// Why a request is the API's, as far as its head says. Returns `None` if it may be answered here.
fn of_head(route: &Route, request: &RequestHeader) -> Option<Bypass> {
    if let Some(off) = of_unpolled(route) {
        return Some(off);
    }
    if !is_read(&request.method) {
        return Some(Bypass::Method);
    }
    let pushes = || transport_choice::may_push(route, &request.method, &request.headers, request.uri.query());
    (route.plain == Plain::Pass && !pushes()).then_some(Bypass::Plain)
}

/// Why all requests of a route are the API's. Returns `None` if the route is polled.
pub(in crate::front) fn of_unpolled(route: &Route) -> Option<Bypass> {
    match (route.polled, route.switched_off) {
        (true, _) => None,
        (false, None) => Some(Bypass::PollOff),
        (false, Some(_)) => Some(Bypass::SwitchedOff),
    }
}

/// Whether a method reads a resource, so that a snapshot might be the answer.
pub(in crate::front) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

impl From<ExceptionKind> for Bypass {
    fn from(kind: ExceptionKind) -> Bypass {
        match kind {
            ExceptionKind::Uncoverable | ExceptionKind::OwnStream => Bypass::Uncoverable,
            ExceptionKind::NotShareable | ExceptionKind::Denied => Bypass::NotShareable,
            ExceptionKind::Gone => Bypass::Gone,
            ExceptionKind::SessionIdle => Bypass::SessionIdle,
        }
    }
}

/// Adds to the answer of a covered GET or HEAD that passes through what contract §3 says.
pub(in crate::front) fn complete(
    response: &mut ResponseHeader,
    request: &RequestHeader,
    route: &Route,
    ctx: &Context,
) -> Result<()> {
    let Some(reason) = ctx.bypass.filter(|_| is_read(&request.method)) else {
        return Ok(());
    };
    tell(response, reason)?;
    if is_followed(request, ctx)
        && let Some(vary) = with_choosing_fields(&response.headers)
    {
        response.insert_header(header::VARY, vary)?;
    }
    if route.authenticate.is_some() {
        keep_private(response)?;
    }
    Ok(())
}

/// Says in Cache-Status why the answer is the API's own.
pub(in crate::front) fn tell(response: &mut ResponseHeader, reason: Bypass) -> Result<()> {
    response.append_header("cache-status", format!("pollcast; fwd=bypass; detail={}", reason.word()))?;
    Ok(())
}

/// Whether a push client or a held request follows the resource now: then other answers than this one have its URL.
fn is_followed(request: &RequestHeader, ctx: &Context) -> bool {
    let Some(base) = &ctx.key else { return false };
    let Some(route) = &ctx.route else { return false };
    let key = full_key(&ctx.shared, route, base, &request.headers);
    ctx.shared.hub.get(&key).is_some_and(|topic| topic.followers() > 0)
}

/// The upstream's Vary with the fields by which clients choose a stream or a held answer. Returns `None` if nothing
/// is missing.
fn with_choosing_fields(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = headers.get_all(header::VARY).iter().map(HeaderValue::as_bytes).collect();
    let names = |line: &'_ [u8]| -> Vec<Vec<u8>> {
        line.split(|byte| *byte == b',').map(|name| name.trim_ascii().to_ascii_lowercase()).collect()
    };
    let known: Vec<Vec<u8>> = lines.iter().flat_map(|line| names(line)).collect();
    if known.iter().any(|name| name == b"*") {
        return None;
    }
    let missing = ["Accept", "Prefer"]
        .into_iter()
        .filter(|name| !known.iter().any(|known| known.eq_ignore_ascii_case(name.as_bytes())));
    let all: Vec<&[u8]> = lines.iter().copied().chain(missing.map(str::as_bytes)).collect();
    (all.len() > lines.len()).then(|| HeaderValue::from_bytes(&all.join(&b", "[..])).ok()).flatten()
}

/// Keeps caches in front from answering a client that the route would not have let in.
fn keep_private(response: &mut ResponseHeader) -> Result<()> {
    let named: Vec<_> = response.headers.keys().filter(|name| is_for_cdns(name)).cloned().collect();
    for name in named {
        response.remove_header(&name);
    }
    let said = response.headers.get_all(header::CACHE_CONTROL).iter().map(HeaderValue::as_bytes);
    let said: Vec<&[u8]> = said.collect();
    if let Some(private) = private(&said.join(&b", "[..])) {
        response.insert_header(header::CACHE_CONTROL, private)?;
    }
    Ok(())
}

/// The same for an answer that is given here as it came.
pub(in crate::front) fn keep_relay_private(headers: &mut HeaderMap) {
    let named: Vec<_> = headers.keys().filter(|name| is_for_cdns(name)).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    let said: Vec<&[u8]> = headers.get_all(header::CACHE_CONTROL).iter().map(HeaderValue::as_bytes).collect();
    if let Some(private) = private(&said.join(&b", "[..])) {
        headers.insert(header::CACHE_CONTROL, private);
    }
}

/// A Cache-Control that keeps shared caches from storing: without `public` and `s-maxage`, with `private`. Returns
/// `None` if the one that is there will do. One that cannot be read as a list of `token[=value]` is replaced.
fn private(said: &[u8]) -> Option<HeaderValue> {
    let only_private = HeaderValue::from_static("private");
    let Ok(said) = std::str::from_utf8(said) else { return Some(only_private) };
    let directives: Vec<&str> =
        said.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    let name = |directive: &str| directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_token =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    // A quoted value may hold commas: what is between them is none of ours to judge.
    if said.contains('"') || !directives.iter().all(|directive| is_token(&name(directive))) {
        return Some(only_private);
    }
    let kept: Vec<&str> = directives
        .iter()
        .copied()
        .filter(|directive| !matches!(name(directive).as_str(), "public" | "s-maxage"))
        .collect();
    let is_private = kept.iter().any(|directive| matches!(name(directive).as_str(), "private" | "no-store"));
    if is_private && kept.len() == directives.len() {
        return None;
    }
    let added = (!is_private).then_some("private");
    let all: Vec<&str> = added.into_iter().chain(kept).collect();
    HeaderValue::try_from(all.join(", ")).ok().or(Some(only_private))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shared_cache_may_store_becomes_private() {
        for (said, wanted) in [
            ("", Some("private")),
            ("max-age=60", Some("private, max-age=60")),
            ("public, max-age=60", Some("private, max-age=60")),
            ("Public,S-MaxAge=60,max-age=5", Some("private, max-age=5")),
            ("private, s-maxage=60", Some("private")),
            ("no-cache", Some("private, no-cache")),
            ("private, max-age=60", None),
            ("no-store", None),
            ("public; max-age=60", Some("private")),
            ("private=\"set-cookie, x\", max-age=60", Some("private")),
        ] {
            assert_eq!(private(said.as_bytes()), wanted.map(HeaderValue::from_static), "{said:?}");
        }
    }

    #[test]
    fn the_choosing_fields_are_added_to_a_vary_and_never_twice() {
        for (said, wanted) in [
            (&[][..], Some("Accept, Prefer")),
            (&["Cookie"][..], Some("Cookie, Accept, Prefer")),
            (&["cookie, ACCEPT", "origin"][..], Some("cookie, ACCEPT, origin, Prefer")),
            (&["accept,prefer"][..], None),
            (&["*"][..], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in said {
                headers.append(header::VARY, HeaderValue::from_static(line));
            }
            assert_eq!(with_choosing_fields(&headers), wanted.map(HeaderValue::from_static), "{said:?}");
        }
    }
}
