//! Who may share, and who asks: credentials, classes, origins, client addresses (contract §11, §12).
//!
//! When in doubt whether two clients may share an answer, they may not. Must not know: how a
//! request is answered.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::config::{ClassValue, ClientAddress, Listener, Route, Share};
use crate::identity::Identity;
use crate::resource::matches_pattern;

/// What the route's `share` says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Class {
    /// It may share with requests of equal class values; none: with everybody.
    Shared(Vec<(HeaderName, HeaderValue)>),
    /// It carries credentials and the route does not say who may share.
    Unshared,
    /// A class value is there twice: nobody knows which one the upstream takes.
    Ambiguous,
    /// The identity has no such claim: it belongs to no class.
    Nameless,
}

/// The class of a request on a route.
pub(super) fn class(route: &Route, headers: &HeaderMap, identity: Option<&Identity>) -> Class {
    match &route.share {
        Share::Public | Share::Authorize => Class::Shared(Vec::new()),
        // Who is known by a certificate, or by a header of another name, is told the upstream all the same.
        Share::Unset if identity.is_some() || has_credentials(route, headers) => Class::Unshared,
        Share::Unset => Class::Shared(Vec::new()),
        Share::By(values) => by(values, headers, identity),
    }
}

fn by(values: &[ClassValue], headers: &HeaderMap, identity: Option<&Identity>) -> Class {
    let mut class = Vec::new();
    let mut cookies = Vec::new();
    for value in values {
        match value {
            ClassValue::Header(name) => {
                let mut found = headers.get_all(name).iter();
                // Copied: a value as parsed would keep the whole head of this request in memory.
                let own = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
                class.extend(found.next().and_then(own).map(|value| (name.clone(), value)));
                if found.next().is_some() {
                    return Class::Ambiguous;
                }
            }
            ClassValue::Identity { what, header } => {
                match identity.and_then(|identity| identity.said(what)) {
                    Some(value) => class.push((header.clone(), value)),
                    None => return Class::Nameless,
                }
            }
            ClassValue::Cookie(name) => {
                let mut found = cookie_pairs(headers).filter(|(n, _)| n == name);
                cookies.extend(found.next().map(|(name, value)| format!("{name}={value}")));
                if found.next().is_some() {
                    return Class::Ambiguous;
                }
            }
        }
    }
    if !cookies.is_empty() {
        match HeaderValue::try_from(cookies.join("; ")) {
            Ok(value) => class.push((header::COOKIE, value)),
            Err(_) => return Class::Ambiguous,
        }
    }
    for (_, value) in &mut class {
        value.set_sensitive(true);
    }
    Class::Shared(class)
}

/// Whether a request says who it is. A Cookie field that cannot be read says so too.
fn has_credentials(route: &Route, headers: &HeaderMap) -> bool {
    if route.credentials.iter().any(|name| headers.contains_key(name)) {
        return true;
    }
    let unreadable = headers.get_all(header::COOKIE).iter().any(|value| value.to_str().is_err());
    let means_nothing =
        |name: &str| route.ignore_cookies.iter().any(|pattern| matches_pattern(pattern, name));
    unreadable || cookie_pairs(headers).any(|(name, _)| !means_nothing(name))
}

fn cookie_pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        // A pair without a name is a value that some servers read as a name.
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether a WebSocket handshake with this Origin is let in (contract §6).
pub(super) fn origin_allowed(route: &Route, origin: Option<&str>, authority: Option<&str>) -> bool {
    match (&route.websocket.origins, origin) {
        (Some(allowed), Some(origin)) => allowed.iter().any(|a| a == "*" || a.eq_ignore_ascii_case(origin)),
        (_, None) => true,
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some_and(|host| authority.is_some_and(|a| a.eq_ignore_ascii_case(host)))
        }
    }
}

/// The client's address: the peer (the one that a PROXY header named, where there is one), or behind trusted
/// proxies the right-most entry of X-Forwarded-For that is none of them (contract §12).
pub(super) fn client_address(
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    listener: &Listener,
) -> Option<IpAddr> {
    let peer = peer?.ip().to_canonical();
    let trusted = &listener.trusted_proxies;
    if listener.client_address != ClientAddress::Forwarded || !is_trusted(peer, trusted) {
        return Some(peer);
    }
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    // Bytes: a line left out because of one letter would bring what a client wrote before it to the right.
    for entry in lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        match std::str::from_utf8(entry).ok().and_then(|entry| address(entry.trim())) {
            Some(address) if is_trusted(address, trusted) => {}
            Some(address) => return Some(address),
            None => return Some(peer),
        }
    }
    Some(peer)
}

pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]:80`.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim_matches('"');
    entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|a| a.ip()))
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address| address.to_canonical())
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
