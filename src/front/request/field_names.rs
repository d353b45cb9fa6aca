//! One reading of each field name (contract §12), decided at the edge before anything reads a field.
//!
//! CGI, WSGI, Rack and PHP know fields as variables, in which `-`, `_` and `.` are the same: a name in another
//! spelling is the field that pollcast sets, or that is a credential, to them. Must not know: values.

use std::collections::BTreeSet;
use std::sync::Mutex;

use http::{HeaderMap, HeaderName, header};
use pingora::http::RequestHeader;

use super::framing::BadHead;
use crate::config::{ClassValue, FRAMING_NAMES, Route, Share};
use crate::resource::alphanumerics_and;

/// Fields that pollcast sets on what it sends to an upstream, besides the families below.
const SET: [&str; 3] = ["forwarded", "host", "x-real-ip"];

/// Fields whose whole family is pollcast's word, or a trusted proxy's.
const FAMILIES: [&str; 2] = ["x-forwarded-", OWN];

/// How the names begin of what only pollcast says.
const OWN: &str = "x-pollcast-";

/// Credentials that every route has.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

const SPELLING: BadHead = BadHead("a field name in a spelling that servers take for another field");
const TWICE: BadHead = BadHead("a field that says who asks is there twice");

/// Which bytes are in names that have one spelling. Each name of each request is held against it.
const PLAIN: [bool; 256] = alphanumerics_and(b"-");

/// Checks the names of a request's fields. `route`: what covers it, if anything does.
///
/// # Errors
/// A name in another spelling than the one that pollcast sets, that frames, or that the route lists; two lines of
/// a credential, on a route with `authenticate`.
pub(in crate::front) fn check(headers: &HeaderMap, route: Option<&Route>) -> Result<(), BadHead> {
    for name in headers.keys() {
        let name = name.as_str();
        if name.bytes().all(|byte| PLAIN[usize::from(byte)]) {
            continue;
        }
        let read = dashed(name);
        let is_ours = SET.contains(&read.as_str()) || FAMILIES.iter().any(|family| read.starts_with(family));
        let frames = FRAMING_NAMES.contains(&read.as_str());
        let is_listed =
            || CREDENTIALS.contains(&read.as_str()) || route.is_some_and(|route| lists(route, name, &read));
        if is_ours || frames || is_listed() {
            return Err(SPELLING);
        }
    }
    let asks = route.is_some_and(|route| route.authenticate.is_some());
    let is_twice = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    if asks && [header::AUTHORIZATION, header::PROXY_AUTHORIZATION].iter().any(is_twice) {
        return Err(TWICE);
    }
    Ok(())
}

/// A name as a server reads it that knows no sign but `-`.
fn dashed(name: &str) -> String {
    name.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '-' }).collect()
}

/// Whether a route lists a field that is read like this one and is not spelt so. What the route names with a
/// `_` is itself.
fn lists(route: &Route, name: &str, read: &str) -> bool {
    let mut is_itself = false;
    let mut is_read = false;
    let mut see = |listed: &HeaderName| {
        is_itself |= listed.as_str() == name;
        is_read |= dashed(listed.as_str()) == read;
    };
    if let Share::By(values) = &route.share {
        for value in values {
            match value {
                ClassValue::Header(header) | ClassValue::Identity { header, .. } => see(header),
                ClassValue::Cookie(_) => {}
            }
        }
    }
    if let Some(who) = &route.authenticate {
        who.keys.iter().for_each(|keys| see(&keys.header));
        who.forward
            .iter()
            .flat_map(|forward| forward.headers.iter().chain([&forward.subject]))
            .for_each(&mut see);
    }
    route.credentials.iter().for_each(see);
    is_read && !is_itself
}

/// Most names that are said in the log.
const SAID_NAMES_MAX: usize = 64;

/// What was said, in this process.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Removes what a client may not say. What only pollcast says to an upstream (`X-Pollcast-*`): a client's word for it is
/// nothing, whether its request passes through, is in a class, or is checked by what its own credentials get. And unless
/// the connection is `trusted`, what only a trusted proxy may say of a client: `X-Forwarded-*`, `X-Real-IP` and `Forwarded`
/// of others are no proxy's word, and each is said once in the log.
pub(in crate::front) fn remove_unproven(request: &mut RequestHeader, trusted: bool) {
    let is_unproven = |name: &&HeaderName| match name.as_str() {
        // Most names begin with another letter.
        name if !name.starts_with(['x', 'f']) => false,
        name => name.starts_with(OWN) || (!trusted && is_forwarded(name)),
    };
    // Most requests have none, and nothing is copied for them.
    if !request.headers.keys().any(|name| is_unproven(&name)) {
        return;
    }
    let names: Vec<HeaderName> = request.headers.keys().filter(is_unproven).cloned().collect();
    for name in names {
        request.remove_header(&name);
        if is_forwarded(name.as_str()) {
            say(name.as_str());
        }
    }
}

fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded"
}

fn say(name: &str) {
    let Ok(mut said) = SAID.lock() else { return };
    if said.len() < SAID_NAMES_MAX && said.insert(name.to_owned()) {
        tracing::warn!(
            name,
            "a field of clients that only a trusted proxy may set is removed: if a proxy of yours sets it, name its \
             address in trusted_proxies"
        );
    }
}

#[cfg(test)]
#[path = "field_names_tests.rs"]
mod tests;
