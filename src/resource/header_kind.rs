//! The four kinds of request headers (contract §11): what one header of a client means for the sharing of an answer.
//!
//! Requests, polls and `check --probe` all ask here. Must not know: how a request is answered.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::known_headers::{KNOWN, KNOWN_PREFIX, TRACING};
use super::matches_pattern;
use crate::config::{ClassValue, Route, Share, says_credential};

/// What a request header means. The kinds are decided in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeaderKind {
    /// The header means nothing for the content.
    Known,
    /// The header chooses the content: it is in the key, and on its polls.
    Choosing,
    /// The header is a credential: it identifies a user.
    Credential,
    /// The header may choose the content, and the route does not say whether it does.
    Doubt,
}

impl HeaderKind {
    /// The word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            HeaderKind::Known => "known",
            HeaderKind::Choosing => "choosing",
            HeaderKind::Credential => "credential",
            HeaderKind::Doubt => "doubt",
        }
    }
}

/// Whether the header is on the list of those that mean nothing, whatever a route says.
fn is_listed(name: &str) -> bool {
    name.starts_with(KNOWN_PREFIX) || KNOWN.binary_search_by(|(known, _)| (*known).cmp(name)).is_ok()
}

/// Why a header on the list means nothing. Returns `None` if it is not on it.
pub fn why_known(name: &str) -> Option<&'static str> {
    if name.starts_with(KNOWN_PREFIX) {
        return Some("only browsers write names that begin so, and scripts of a page cannot");
    }
    KNOWN.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|at| KNOWN[at].1)
}

const PREFER: HeaderName = HeaderName::from_static("prefer");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// The kind of one line of a request. `own_vary` has the names of the resource's own Vary that choose, as far as they
/// are known ([`crate::upstream::classify::secondary_names`]).
pub fn header_kind(
    route: &Route,
    own_vary: &[HeaderName],
    name: &HeaderName,
    value: &HeaderValue,
) -> HeaderKind {
    let rules = &route.headers;
    if chooses(route, own_vary, name, value) {
        return HeaderKind::Choosing;
    }
    let text = name.as_str();
    if rules.ignore.contains(name) || is_listed(text) || *name == X_REQUESTED_WITH {
        return HeaderKind::Known;
    }
    match name.as_str() {
        "cookie" => return cookie_kind(route, value),
        "prefer" if asks_only_to_wait(value) => return HeaderKind::Known,
        "wait" if route.switches.wait_header => return HeaderKind::Known,
        _ => {}
    }
    if is_credential(route, name) { HeaderKind::Credential } else { HeaderKind::Doubt }
}

/// Whether a line is in the key: `vary:` of the route, or the resource's own Vary.
fn chooses(route: &Route, own_vary: &[HeaderName], name: &HeaderName, value: &HeaderValue) -> bool {
    let rules = &route.headers;
    if rules.vary.contains(name) {
        return true;
    }
    // The user agent has a rule of its own (contract §3).
    if own_vary.contains(name) && *name != header::USER_AGENT {
        return *name != PREFER || !asks_only_to_wait(value);
    }
    *name == X_REQUESTED_WITH
        && value.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest")
        && !rules.ignore.contains(name)
}

/// Whether a name is that of a credential: by its parts, by the route's `credentials`, or since it names classes or
/// proves identities.
fn is_credential(route: &Route, name: &HeaderName) -> bool {
    says_credential(name.as_str())
        || route.credentials.contains(name)
        || matches!(&route.share, Share::By(values)
            if values.iter().any(|value| matches!(value, ClassValue::Header(header) if header == name)))
        || route.authenticate.as_ref().is_some_and(|who| {
            let keys = who.keys.as_ref().is_some_and(|keys| keys.header == *name);
            keys || who.forward.as_ref().is_some_and(|forward| forward.headers.contains(name))
        })
}

/// Whether a route reads anything in the headers by which tracing names each request, though they mean nothing elsewhere.
pub fn reads_tracing(route: &Route) -> bool {
    let is_tracing =
        |name: &HeaderName| KNOWN.iter().any(|(known, reason)| *reason == TRACING && *known == name.as_str());
    let by_class = match &route.share {
        Share::By(values) => values.iter().any(|value| match value {
            ClassValue::Header(name) => is_tracing(name),
            ClassValue::Cookie(_) | ClassValue::Identity { .. } => false,
        }),
        _ => false,
    };
    by_class || route.headers.vary.iter().chain(&route.credentials).any(is_tracing)
}

/// Cookies of load balancers and the like identify no user; a field that cannot be read may.
fn cookie_kind(route: &Route, value: &HeaderValue) -> HeaderKind {
    let Ok(text) = value.to_str() else { return HeaderKind::Credential };
    let means_nothing =
        |name: &str| route.ignore_cookies.iter().any(|pattern| matches_pattern(pattern, name));
    let tells = pairs(text).any(|(name, _)| !means_nothing(name));
    if tells { HeaderKind::Credential } else { HeaderKind::Known }
}

/// Name and value of each cookie that a request sends and that can be read.
pub fn cookie_pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(pairs)
}

fn pairs(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split(';')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        // A pair without a name is a value that some servers read as a name.
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether a Prefer line has no preference but `wait`, which is pollcast's own.
fn asks_only_to_wait(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| preferences(text).next().is_none())
}

/// The preferences of a Prefer line that are not `wait`.
fn preferences(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(str::trim).filter(|preference| {
        let name = preference.split(['=', ';']).next().unwrap_or_default().trim();
        !name.is_empty() && !name.eq_ignore_ascii_case("wait")
    })
}

/// The headers of a request that choose its content, in order of their names: what is in its key beside the path, and
/// what its polls carry.
pub fn choosing(
    route: &Route,
    own_vary: &[HeaderName],
    headers: &HeaderMap,
) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let mut found: Vec<(HeaderName, Option<HeaderValue>)> = Vec::new();
    for name in route.headers.vary.iter().chain(own_vary).chain([&X_REQUESTED_WITH]) {
        // Most requests have no such header: nothing is allocated for them.
        if headers.contains_key(name) && found.iter().all(|(known, _)| known != name) {
            let value = value_in_key(route, own_vary, headers, name);
            found.extend(value.map(|value| (name.clone(), Some(value))));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    found
}

/// Returns the lines of a field that choose, as one value; `wait` is left out of Prefer. Returns `None` if no line
/// chooses.
fn value_in_key(
    route: &Route,
    own_vary: &[HeaderName],
    headers: &HeaderMap,
    name: &HeaderName,
) -> Option<HeaderValue> {
    let lines = headers.get_all(name).iter().filter(|value| chooses(route, own_vary, name, value));
    let mut joined: Vec<u8> = Vec::new();
    let mut any = false;
    for line in lines {
        if any {
            joined.extend_from_slice(b", ");
        }
        any = true;
        match line.to_str() {
            Ok(text) if *name == PREFER => {
                let kept: Vec<&str> = preferences(text).collect();
                joined.extend_from_slice(kept.join(", ").as_bytes());
            }
            _ => joined.extend_from_slice(line.as_bytes()),
        }
    }
    // The value is copied, as every value of a key is: a part of the request would keep its whole head in memory.
    if any { HeaderValue::from_bytes(&joined).ok() } else { None }
}

/// The first header of a request that may choose its content, while the route does not say whether it does.
pub fn first_doubt<'a>(
    route: &Route,
    own_vary: &[HeaderName],
    headers: &'a HeaderMap,
) -> Option<&'a HeaderName> {
    let doubts = |(name, value): &(&HeaderName, &HeaderValue)| {
        header_kind(route, own_vary, name, value) == HeaderKind::Doubt
    };
    headers.iter().find(doubts).map(|(name, _)| name)
}

/// Returns the lines of a request that are credentials.
pub fn credentials<'a>(
    route: &'a Route,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    headers.iter().filter(|(name, value)| header_kind(route, &[], name, value) == HeaderKind::Credential)
}

#[cfg(test)]
#[path = "header_kind_tests.rs"]
mod tests;
