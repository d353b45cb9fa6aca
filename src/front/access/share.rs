//! Which requests may share a poll: credentials and classes (contract §11).
//!
//! When in doubt whether two clients may share an answer, they may not. Must not know: how a
//! request is answered.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::reason::Reason;
use crate::config::{ClassValue, Route, Share};
use crate::identity::Identity;
use crate::resource::{cookie_pairs, credentials, first_doubt};
use crate::upstream::connection_auth;

/// The values by which a request is in a class; empty: it shows none of them.
pub(in crate::front) type ClassValues = Vec<(HeaderName, HeaderValue)>;

/// Decides who may share, for a request of its own, one resource of many, and a new token alike. `is_bound`: the API may
/// know its client by the connection, whatever the request says (contract §10). `own_vary` gives the
/// names of the resource's own Vary, as far as they are known; it is asked only where a header is in doubt.
///
/// # Errors
/// Why the request shares with no other.
pub(in crate::front) fn sharing(
    route: &Route,
    headers: &HeaderMap,
    identity: Option<&Identity>,
    is_bound: bool,
    own_vary: impl FnOnce(&ClassValues) -> Vec<HeaderName>,
) -> Result<ClassValues, Reason> {
    let is_known = || identity.is_some() || credentials(route, headers).next().is_some();
    let class = match &route.share {
        Share::Public => return Ok(Vec::new()),
        _ if is_bound => return Err(Reason::OneRequest),
        // The upstream learns of an identity by certificate, or by a header of another name, all the same.
        Share::Unset if is_known() => return Err(Reason::Credentials),
        Share::Unset => Vec::new(),
        Share::By(_) | Share::Authorize if is_good_for_one(route, headers) => {
            return Err(Reason::OneRequest);
        }
        Share::Authorize => Vec::new(),
        Share::By(values) => match by(values, headers, identity) {
            Ok(class) if class.is_empty() && is_known() => {
                return Err(Reason::Credentials);
            }
            Ok(class) => class,
            other => return other,
        },
    };
    if first_doubt(route, &[], headers).is_some()
        && let Some(name) = first_doubt(route, &own_vary(&class), headers)
    {
        return Err(Reason::Doubt(name.clone()));
    }
    Ok(class)
}

/// The class of a request on a route, whatever it asks for. Returns `None` if it has none of its own there.
pub(in crate::front) fn class(
    route: &Route,
    headers: &HeaderMap,
    identity: Option<&Identity>,
) -> Option<ClassValues> {
    let Share::By(values) = &route.share else { return None };
    match by(values, headers, identity) {
        Ok(class) if !is_good_for_one(route, headers) => Some(class),
        _ => None,
    }
}

/// Authentication schemes whose credentials are good for one request, in lower case; those with "hmac" in their name
/// sign one, too.
const FOR_ONE_REQUEST: [&str; 8] =
    ["digest", "dpop", "hawk", "sharedkey", "sharedkeylite", "signature", "aws", "acs"];

/// Whether a request proves itself by what is good for it, or for its connection, alone, so that pollcast cannot ask again
/// with it.
pub fn is_good_for_one(route: &Route, headers: &HeaderMap) -> bool {
    let signed = ["signature-input", "dpop"].iter().any(|name| headers.contains_key(*name));
    signed
        || connection_auth::is_carried(&route.upstream.connection_auth, headers)
        || [header::AUTHORIZATION, header::PROXY_AUTHORIZATION]
            .iter()
            .flat_map(|name| headers.get_all(name))
            .any(is_scheme_for_one)
}

/// Whether credentials, or a challenge for them, are of a scheme that proves one request or one connection.
pub fn is_scheme_for_one(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes().trim_ascii_start();
    let end = bytes.iter().position(|byte| matches!(byte, b' ' | b'\t' | b',')).unwrap_or(bytes.len());
    let (scheme, rest) = bytes.split_at(end);
    let Ok(scheme) = std::str::from_utf8(scheme).map(str::to_ascii_lowercase) else {
        return false;
    };
    match scheme.as_str() {
        // Version 1 signs each request (RFC 5849 §3.5.1); others send a plain token under the same name.
        "oauth" => rest.windows(6).any(|window| window == b"oauth_"),
        _ => FOR_ONE_REQUEST.contains(&scheme.as_str()) || scheme.contains("hmac"),
    }
}

/// The class of a request by these values.
fn by(
    values: &[ClassValue],
    headers: &HeaderMap,
    identity: Option<&Identity>,
) -> Result<ClassValues, Reason> {
    let mut class = Vec::new();
    let mut cookies = Vec::new();
    // A subject, and a claim, is a name within its issuer only.
    if values.iter().any(|value| matches!(value, ClassValue::Identity { .. })) {
        match identity.and_then(Identity::origin) {
            Some(origin) => class.extend(origin),
            None => return Err(Reason::Nameless),
        }
    }
    for value in values {
        match value {
            ClassValue::Header(name) => {
                let mut found = headers.get_all(name).iter();
                // Copied: a value as parsed would keep the whole head of this request in memory.
                let own = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
                class.extend(found.next().and_then(own).map(|value| (name.clone(), value)));
                if found.next().is_some() {
                    return Err(Reason::Ambiguous);
                }
            }
            ClassValue::Identity { what, header } => {
                match identity.and_then(|identity| identity.fields(what, header)) {
                    Some(fields) => class.extend(fields),
                    None => return Err(Reason::Nameless),
                }
            }
            ClassValue::Cookie(name) => {
                let mut found = cookie_pairs(headers).filter(|(n, _)| n == name);
                cookies.extend(found.next().map(|(name, value)| format!("{name}={value}")));
                if found.next().is_some() {
                    return Err(Reason::Ambiguous);
                }
            }
        }
    }
    if !cookies.is_empty() {
        match HeaderValue::try_from(cookies.join("; ")) {
            Ok(value) => class.push((header::COOKIE, value)),
            Err(_) => return Err(Reason::Ambiguous),
        }
    }
    for (_, value) in &mut class {
        value.set_sensitive(true);
    }
    Ok(class)
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
