//! Brings the paths in an answer of a mapped route back to those that clients see (contract §10): `Location`,
//! `Content-Location`, `Link`, `Refresh`, and the paths of cookies.
//!
//! `mapping` has the other direction. Pure. Must not know: how answers are had or written.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::mapping::{for_segment, is_under, upstream_target};
use super::reference::{absolute, authority_of, is_one, resolved, split};
use super::target::{decode_lossy, tidied};
use crate::config::Route;
use crate::config::upstream_path::{Pattern, UpstreamPath};

/// Longest field value that is looked at, bytes; a longer one is left as it is.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// The request that an answer is for.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The route whose mapping is undone.
    pub route: &'a Route,
    /// Its path and query as the client says them.
    pub path: &'a str,
    /// The query of the client's request.
    pub query: Option<&'a str>,
    /// The authority by which clients name it.
    pub authority: Option<&'a str>,
}

/// The fields of an answer that clients have to see otherwise, with their new values.
#[must_use]
pub fn as_clients_see(headers: &HeaderMap, answered: &Answered<'_>) -> Vec<(HeaderName, Vec<HeaderValue>)> {
    let Some(to) = &answered.route.upstream_path else { return Vec::new() };
    type Rewrite = fn(&Seen<'_>, &str) -> Option<String>;
    let fields: [(HeaderName, Rewrite); 5] = [
        (header::LOCATION, |seen, value| seen.reference(value)),
        (header::CONTENT_LOCATION, |seen, value| seen.reference(value)),
        (header::LINK, |seen, value| seen.link(value)),
        (header::REFRESH, |seen, value| seen.refresh(value)),
        (header::SET_COOKIE, |seen, value| seen.cookie(value)),
    ];
    let mut changed = Vec::new();
    let mut seen = None;
    for (name, rewrite) in fields.into_iter().filter(|(name, _)| headers.contains_key(name)) {
        let seen = seen.get_or_insert_with(|| Seen::new(answered, to));
        let mut is_changed = false;
        let values = headers.get_all(&name).iter().map(|value| {
            let text = value.to_str().ok().filter(|text| text.len() <= VALUE_BYTES_MAX);
            let new =
                text.and_then(|text| rewrite(seen, text)).and_then(|new| HeaderValue::try_from(new).ok());
            is_changed |= new.is_some();
            new.unwrap_or_else(|| value.clone())
        });
        let values: Vec<HeaderValue> = values.collect();
        changed.extend(is_changed.then_some((name, values)));
    }
    changed
}

/// Puts these values in the place of those that are there.
pub fn replace(headers: &mut HeaderMap, changed: Vec<(HeaderName, Vec<HeaderValue>)>) {
    for (name, values) in changed {
        headers.remove(&name);
        for value in values {
            headers.append(name.clone(), value);
        }
    }
}

/// The client's path of a target on the upstream. Returns `None` if no client's path leads there.
#[must_use]
pub fn client_target(route: &Route, target: &str) -> Option<String> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    match &route.upstream_path {
        Some(to) => back(to, path, query),
        None => Some(target.to_owned()),
    }
}

/// The target of a client on the upstream, where a reference of its request leads: `Destination`. Returns `None` if it
/// leads out of the route.
#[must_use]
pub fn destination(answered: &Answered<'_>, reference: &str) -> Option<String> {
    let (before, path) = split(reference);
    let is_own =
        before.is_empty() || authority_of(before).is_some_and(|found| is_one(found, answered.authority));
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    if !is_own || super::mapping::check_target(answered.route, path, query).is_err() {
        return None;
    }
    Some(format!("{before}{}", upstream_target(answered.route, path, query)?))
}

/// The mapping from the upstream's side to the client's, for one answer.
struct Seen<'a> {
    to: &'a UpstreamPath,
    answered: &'a Answered<'a>,
    /// Path and query that the upstream was asked for.
    asked: String,
}

impl<'a> Seen<'a> {
    fn new(answered: &'a Answered<'a>, to: &'a UpstreamPath) -> Seen<'a> {
        let asked = upstream_target(answered.route, answered.path, answered.query);
        Seen { to, answered, asked: asked.unwrap_or_else(|| "/".to_owned()) }
    }

    /// Returns a URI reference (RFC 3986 §4.1) as clients see it. `None` if it is left as it is.
    fn reference(&self, said: &str) -> Option<String> {
        let said = said.trim();
        let (reference, fragment) = said.find('#').map_or((said, ""), |at| said.split_at(at));
        let (before, path) = split(reference);
        let kept = match authority_of(before) {
            None if !before.is_empty() => return None,
            None => "",
            Some(found) if is_one(found, self.answered.authority) || self.is_said_authority(found) => before,
            // The upstream's own name means nothing to clients.
            Some(found) if self.is_upstreams(found) => "",
            Some(_) => return None,
        };
        if path.is_empty() && kept.is_empty() && before.is_empty() {
            return None;
        }
        let is_relative = before.is_empty() && !path.starts_with('/');
        let target = match is_relative {
            true => resolved(&self.asked, path),
            false => absolute(path),
        };
        let (path_alone, query) = target.split_once('?').map_or((&*target, None), |(p, q)| (p, Some(q)));
        let mapped = match back(self.to, path_alone, query) {
            Some(mapped) => mapped,
            // Clients do not know the name, but the path.
            None if kept.is_empty() && !before.is_empty() && is_clients(self.to, path_alone) => {
                target.clone()
            }
            None => return None,
        };
        if is_relative {
            let own = match self.answered.query {
                Some(query) => format!("{}?{query}", self.answered.path),
                None => self.answered.path.to_owned(),
            };
            if resolved(&own, path) == mapped {
                return None;
            }
        }
        Some(format!("{kept}{mapped}{fragment}"))
    }

    /// Whether it is the authority that the operator says clients use (`forwarded.host`).
    fn is_said_authority(&self, found: &str) -> bool {
        let said = self.answered.route.upstream.forwarded.as_ref();
        is_one(found, said.and_then(|said| said.host.as_deref()))
    }

    fn is_upstreams(&self, found: &str) -> bool {
        let upstream = &self.answered.route.upstream;
        let servers = upstream.servers.iter().map(|server| server.address.as_str());
        servers.chain(upstream.host.as_deref()).any(|own| is_one(found, Some(own)))
    }

    /// The targets of links (RFC 8288).
    fn link(&self, said: &str) -> Option<String> {
        let mut text = String::with_capacity(said.len());
        let (mut rest, mut is_changed, mut is_quoted) = (said, false, false);
        while let Some(at) = rest.find(['<', '"', '\\']) {
            let (before, found) = rest.split_at(at);
            text.push_str(before);
            let sign = &found[..1];
            match (sign, is_quoted) {
                ("\\", true) => {
                    // The second character of a quoted pair is no delimiter.
                    let end = found.char_indices().nth(2).map_or(found.len(), |(end, _)| end);
                    text.push_str(&found[..end]);
                    rest = &found[end..];
                    continue;
                }
                ("\"", _) => is_quoted = !is_quoted,
                ("<", false) => {
                    let Some((target, after)) = found[1..].split_once('>') else { break };
                    let mapped = self.reference(target);
                    is_changed |= mapped.is_some();
                    text.push('<');
                    text.push_str(mapped.as_deref().unwrap_or(target));
                    text.push('>');
                    rest = after;
                    continue;
                }
                _ => {}
            }
            text.push_str(sign);
            rest = &found[1..];
        }
        text.push_str(rest);
        is_changed.then_some(text)
    }

    /// `5; url=/path`, quoted or not.
    fn refresh(&self, said: &str) -> Option<String> {
        let at = said.find([';', ','])? + 1;
        let (time, rest) = said.split_at(at);
        let blank = rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        let (name, url) = match rest.split_once('=') {
            Some((name, url)) if name.trim().eq_ignore_ascii_case("url") => (&rest[..name.len() + 1], url),
            _ => ("", rest),
        };
        let url = url.trim();
        let quote =
            url.chars().next().filter(|first| matches!(first, '"' | '\'')).map_or("", |first| match first {
                '"' => "\"",
                _ => "'",
            });
        let bare = url.strip_prefix(quote).unwrap_or(url);
        let bare = if quote.is_empty() { bare } else { bare.split(quote).next().unwrap_or_default() };
        let mapped = self.reference(bare)?;
        Some(format!("{time}{}{name}{quote}{mapped}{quote}", " ".repeat(blank)))
    }

    /// A cookie for the client's paths alone, and for no other host than the one that it asks.
    fn cookie(&self, said: &str) -> Option<String> {
        let mut is_changed = false;
        let mut parts: Vec<String> = Vec::new();
        for (number, part) in said.split(';').enumerate() {
            let (name, value) = part.split_once('=').map_or((part, ""), |(name, value)| (name, value.trim()));
            let is = |wanted: &str| number > 0 && name.trim().eq_ignore_ascii_case(wanted);
            if is("domain") {
                is_changed = true;
                continue;
            }
            // A value without a leading slash is no path (RFC 6265 §5.2.4).
            if is("path") && value.starts_with('/') {
                let path = cookie_path(self.to, value);
                is_changed |= path != value;
                parts.push(format!("{name}={path}"));
                continue;
            }
            parts.push(part.to_owned());
        }
        is_changed.then(|| parts.join(";"))
    }
}

/// Returns the client's path and query for those of the upstream. `None` if they are left as they are: no client's path
/// leads there, or they are the client's already.
fn back(to: &UpstreamPath, path: &str, query: Option<&str>) -> Option<String> {
    if !is_upstream_first(to) && is_clients(to, path) {
        return None;
    }
    let path = tidied(path);
    let (mut values, left) = to.path.take(&path)?;
    match (&to.path.rest, left) {
        (Some(name), Some(rest)) => values.push((name, rest)),
        (None, None) | (Some(_), None) => {}
        (None, Some(_)) => return None,
    }
    let mut pairs: Vec<&str> = query.map(|query| query.split('&').collect()).unwrap_or_default();
    let mut found: Vec<(&str, String)> = Vec::new();
    for (name, piece) in &to.query {
        let is_it =
            |pair: &&str| decode_lossy(pair.split('=').next().unwrap_or_default()) == decode_lossy(name);
        let at = pairs.iter().position(is_it)?;
        let said = pairs.remove(at).split_once('=').map_or("", |(_, value)| value);
        let value = piece.value(said)?;
        if let Some(parameter) = &piece.parameter {
            let value = match to.client.rest.as_ref() == Some(parameter) {
                true => rest_of(value)?,
                false => for_segment(value)?,
            };
            found.push((parameter, value));
        }
    }
    values.extend(found.iter().map(|(name, value)| (*name, value.as_str())));
    let is_two =
        |(name, value): &(&str, &str)| values.iter().any(|(other, its)| other == name && its != value);
    if values.iter().any(is_two) {
        return None;
    }
    let mut target = match (left, to.is_prefix()) {
        (None, true) => {
            Some(to.client.base(&values)?).filter(|base| !base.is_empty()).unwrap_or_else(|| "/".into())
        }
        _ => to.client.fill(&values)?,
    };
    if !pairs.is_empty() {
        target = format!("{target}?{}", pairs.join("&"));
    }
    Some(target)
}

/// A value of a query as the end of a path, each segment by itself.
fn rest_of(value: &str) -> Option<String> {
    let text = decode_lossy(&value.replace('+', " "));
    let last = text.split('/').count();
    let segment = |(at, text): (usize, &str)| match text {
        "" if at + 1 == last => Some(String::new()),
        // A plus sign was decoded to a space before.
        text => for_segment(&text.replace('%', "%25").replace('+', "%2B")),
    };
    let segments: Option<Vec<String>> = text.split('/').enumerate().map(segment).collect();
    Some(segments?.join("/"))
}

/// Whether the upstream's paths are a part of the client's, so that a path of both is the upstream's.
fn is_upstream_first(to: &UpstreamPath) -> bool {
    let (client, upstream) = (to.client.fixed_prefix(), to.path.fixed_prefix());
    client != upstream && is_under(&upstream, &client)
}

/// Whether a path is one that clients say.
fn is_clients(to: &UpstreamPath, path: &str) -> bool {
    let is_base = |pattern: &Pattern| {
        pattern.rest.is_some() && pattern.take(path).is_some_and(|(_, left)| left.is_none())
    };
    to.client.values(path).is_some() || is_base(&to.client)
}

/// Returns the path of a cookie as clients see it.
fn cookie_path(to: &UpstreamPath, path: &str) -> String {
    let prefix = to.client.fixed_prefix();
    if !is_upstream_first(to) && is_under(path, &prefix) {
        return path.to_owned();
    }
    let below = to.path.take(path).filter(|_| to.is_prefix()).and_then(|(values, left)| {
        let base = to.client.base(&values)?;
        Some(match left {
            Some(rest) => format!("{base}/{rest}"),
            None if base.is_empty() => "/".to_owned(),
            None => base,
        })
    });
    // The path is the upstream's root, or lies beside it: no other part of this host belongs to the upstream.
    below.unwrap_or(prefix)
}

#[cfg(test)]
#[path = "reverse_mapping_tests.rs"]
mod tests;
