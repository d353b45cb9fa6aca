//! Which fields of an upstream's answer belong to its content, which go with the answer alone, and which may be
//! a user's credential (contract §3).
//!
//! Pure. Must not know: what an answer is judged to be, who gets it.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::schedule::directive;
use crate::config::Route;
use crate::resource::detached;

/// Fields that never belong to a snapshot, besides those by pattern below. `Vary`, `Cache-Control` and
/// `Content-Encoding` are looked at one by one.
static NEVER: [HeaderName; 23] = [
    header::SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    header::ETAG,
    header::AGE,
    header::DATE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("authentication-control"),
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
    header::EXPIRES,
    header::PRAGMA,
    header::ALT_SVC,
    header::ACCEPT_RANGES,
    HeaderName::from_static("cache-status"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-runtime"),
    HeaderName::from_static("server-timing"),
];

/// Fields of one connection (RFC 9110 §7.6.1), besides those that `Connection` names.
static HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Digests of the body as it was sent: wrong once it is decoded, coded or rewritten.
const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

/// Parts of names by which a field is taken for a credential.
const CREDENTIAL_WORDS: [&str; 18] = [
    "token",
    "session",
    "sessid",
    "csrf",
    "xsrf",
    "secret",
    "password",
    "passwd",
    "credential",
    "api-key",
    "apikey",
    "access-key",
    "private-key",
    "jwt",
    "saml",
    "oidc",
    "client-cert",
    "authorization",
];

/// Whole names of such fields, whose words mean other things in other names.
const CREDENTIAL_NAMES: [&str; 6] = ["auth", "x-auth", "x-cookie", "x-oauth", "x-set-cookie", "x-sid"];

/// Fields by which caches of CDNs are told other lifetimes than `Cache-Control` says (RFC 9213), besides those named
/// after it.
const FOR_CDNS: [&str; 3] = ["surrogate-control", "edge-control", "x-accel-expires"];

/// Whether a field is a digest of the bytes that were sent.
pub fn is_digest(name: &HeaderName) -> bool {
    DIGESTS.contains(&name.as_str())
}

/// Whether a field tells a CDN's cache how long it may keep the answer, before `Cache-Control` is asked.
pub fn is_for_cdns(name: &HeaderName) -> bool {
    FOR_CDNS.contains(&name.as_str()) || name.as_str().ends_with("-cache-control")
}

/// Whether a field of an answer may be a user's credential. Such a field is never published, and where `share` is
/// unset it says that the answer is one user's. `keep_fields` of the route says which are content all the same.
pub fn may_be_credential(name: &HeaderName, route: &Route) -> bool {
    let text = name.as_str();
    // Servers that know fields as variables see no difference between `-` and `_`.
    let dashed = text.contains('_').then(|| text.replace('_', "-"));
    let read = dashed.as_deref().unwrap_or(text);
    let looks_so = CREDENTIAL_NAMES.contains(&read)
        || route.credentials.iter().any(|credential| credential == read)
        || CREDENTIAL_FINDER.is_match(read);
    // Asked last, as next to no name looks so.
    looks_so
        && !(route.keep_fields.contains(name) || is_rate_limit(text) || text.starts_with("access-control-"))
}

/// Finds one of the words in one pass: each name of each answer is looked through for all of them.
static CREDENTIAL_FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let kind = Some(AhoCorasickKind::DFA);
    AhoCorasick::builder().kind(kind).build(CREDENTIAL_WORDS).expect("the words are few and short")
});

fn is_rate_limit(name: &str) -> bool {
    name.contains("limit") && (name.contains("ratelimit") || name.contains("rate-limit"))
}

/// The fields of an answer of this status that belong to its content, as a snapshot keeps them.
///
/// `Vary` is kept as it came, of `Cache-Control` what a downstream has to obey, and `Content-Encoding` only
/// beside `no-transform`, where it matters that the content was coded.
pub fn of_snapshot(headers: &HeaderMap, route: &Route, status: StatusCode) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len());
    let rewritten = headers.contains_key(header::CONTENT_ENCODING) || route.change.has_rules();
    let named = named_by_connection(headers);
    let no_transform = directive(headers, "no-transform").is_some();
    for (name, value) in headers {
        let text = name.as_str();
        let dropped = match *name {
            header::CACHE_CONTROL => true,
            header::CONTENT_ENCODING => !no_transform,
            // How long to wait is a part of "not yet".
            header::RETRY_AFTER => status != StatusCode::ACCEPTED,
            _ => {
                NEVER.contains(name)
                    || HOP_BY_HOP.contains(name)
                    || (route.cors.is_some() && text.starts_with("access-control-"))
                    || is_rate_limit(text)
                    || is_for_cdns(name)
                    || named.iter().any(|named| named == text)
                    || (rewritten && is_digest(name))
                    || may_be_credential(name, route)
            }
        };
        if !dropped {
            kept.append(name.clone(), value.clone());
        }
    }
    if let Some(value) = kept_cache_control(headers) {
        kept.insert(header::CACHE_CONTROL, value);
    }
    kept
}

/// What of the upstream's `Cache-Control` goes on to clients.
fn kept_cache_control(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name| directive(headers, name).is_some();
    match (has("no-store"), has("no-transform")) {
        (true, true) => Some(HeaderValue::from_static("no-store, no-transform")),
        (true, false) => Some(HeaderValue::from_static("no-store")),
        (false, true) => Some(HeaderValue::from_static("no-transform")),
        (false, false) => None,
    }
}

/// The fields of a snapshot after a 304: it renews those that it names (RFC 9111 §4.3.4), but not what
/// describes the content (`Content-*`, digests), nor what is never in a snapshot.
pub fn renewed(held: &HeaderMap, answered: &HeaderMap, route: &Route, status: StatusCode) -> HeaderMap {
    let fresh = of_snapshot(answered, route, status);
    let mut renewed = held.clone();
    if answered.contains_key(header::CACHE_CONTROL) {
        renewed.remove(header::CACHE_CONTROL);
    }
    let describes_content = |name: &HeaderName| name.as_str().starts_with("content-") || is_digest(name);
    for name in fresh.keys().filter(|name| !describes_content(name)) {
        renewed.remove(name);
        for value in fresh.get_all(name) {
            renewed.append(name.clone(), value.clone());
        }
    }
    renewed
}

/// The fields of an answer that is given as it came: all but those of the connection and of the coding that was
/// taken off. `to_many`: several clients get it, so that no cookie and no credential is in it.
pub fn of_relay(headers: &HeaderMap, route: &Route, to_many: bool) -> HeaderMap {
    let coded = headers.contains_key(header::CONTENT_ENCODING);
    let named = named_by_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let text = name.as_str();
        let dropped = HOP_BY_HOP.contains(name)
            || *name == header::CONTENT_LENGTH
            || (coded && (*name == header::CONTENT_ENCODING || is_digest(name)))
            || named.iter().any(|named| named == text)
            // The route's own word takes their place.
            || (route.cors.is_some() && text.starts_with("access-control-"))
            || (to_many && (text.starts_with("set-cookie") || may_be_credential(name, route)));
        if !dropped {
            kept.append(name.clone(), detached(value));
        }
    }
    kept
}

/// The fields that `Connection` names, lower case.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    // What most answers say; it is no field of a snapshot by itself.
    let others =
        tokens(headers, header::CONNECTION).filter(|token| !token.eq_ignore_ascii_case("keep-alive"));
    others.map(str::to_ascii_lowercase).collect()
}

/// The comma-separated members of a field. One that is no text does not take the others with it.
pub(super) fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|member| str::from_utf8(member).ok())
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
