//! A route's `upstream_path`: the target that a client's path and query become (contract §10), and which ones have none.
//!
//! A value of the client's stays where the pattern has its parameter, whatever a server may read in it (contract §11):
//! where it would not, the request has no target. `reverse_mapping` has the other direction. Pure.

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::ambiguous_path::{Readings, decode};
use super::target::{CanonicalPath, canonical_path, decode_lossy, tidied};
use crate::config::Route;
use crate::config::upstream_path::{Pattern, Piece, UpstreamPath, Values, folded, value};

/// The characters that are not escaped where a value of a path becomes one of a query, or the other way round.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a request of a route has no target on the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTarget {
    /// A server may read a part of the path elsewhere than at the pattern's parameter.
    Leaves,
    /// The query has a parameter that `upstream_path` sets.
    Sets(String),
}

impl NoTarget {
    /// The words for a client.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            NoTarget::Leaves => {
                "servers may read a part of this path as more than the part that it is (upstream_path)"
                    .to_owned()
            }
            NoTarget::Sets(name) => format!("the query parameter {name:?} is set here (upstream_path)"),
        }
    }
}

/// Path and query of a route's request on its upstream. Returns `None` if the path is none of the route's.
#[must_use]
pub fn upstream_target(route: &Route, path: &str, query: Option<&str>) -> Option<String> {
    let Some(to) = &route.upstream_path else {
        return Some(match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        });
    };
    let path = tidied(path);
    let values = to.client.values(&path)?;
    let mut target = to.path.fill(&values)?;
    let set = set_query(to, &values, None)?;
    let query = query.filter(|query| set.is_empty() || !query.is_empty());
    let both = [Some(set.as_str()).filter(|set| !set.is_empty()), query];
    for (part, mark) in both.into_iter().flatten().zip(['?', '&']) {
        target.push(mark);
        target.push_str(part);
    }
    Some(target)
}

/// The query parameters that `upstream_path` sets, with these values of a path in them; those that hold the parameter
/// `without` are left out. Returns `None` if a value is missing.
#[must_use]
pub fn set_query(to: &UpstreamPath, values: &[(&str, &str)], without: Option<&str>) -> Option<String> {
    let mut query = String::new();
    let is_wanted = |piece: &Piece| without.is_none() || piece.parameter.as_deref() != without;
    for (name, piece) in to.query.iter().filter(|(_, piece)| is_wanted(piece)) {
        let value = piece.fill(|name| value(values, name).map(for_query))?;
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        // A parameter without a value has no `=` unless the file has it.
        if !value.is_empty() || to.text.contains(&format!("{name}=")) {
            query.push('=');
            query.push_str(&value);
        }
    }
    Some(query)
}

/// A value of a path as the value of a query parameter.
fn for_query(value: &str) -> String {
    let bytes: Vec<u8> = percent_decode_str(value).collect();
    percent_encode(&bytes, VALUE).to_string()
}

/// A value of a query as a segment of a path. Returns `None` if no segment may hold it.
pub(super) fn for_segment(value: &str) -> Option<String> {
    let bytes: Vec<u8> = percent_decode_str(&value.replace('+', " ")).collect();
    let text = percent_encode(&bytes, VALUE).to_string();
    let is_plain = !bytes.iter().any(|byte| b"/\\\0".contains(byte)) && !matches!(&*text, "" | "." | "..");
    is_plain.then_some(text)
}

/// Whether a request of this path and query has a target on the route's upstream.
///
/// # Errors
/// Why it has none.
pub fn check_target(route: &Route, path: &str, query: Option<&str>) -> Result<(), NoTarget> {
    let Some(to) = &route.upstream_path else { return Ok(()) };
    let path = tidied(path);
    let values = to.client.values(&path).ok_or(NoTarget::Leaves)?;
    let target = to.path.fill(&values).ok_or(NoTarget::Leaves)?;
    if !stays(&to.path, &target, route.exact_spelling) || !stay_in_query(to, &values) {
        return Err(NoTarget::Leaves);
    }
    match query.and_then(|query| set_twice(to, query)) {
        Some(name) => Err(NoTarget::Sets(name)),
        None => Ok(()),
    }
}

/// Whether all readings of a path are what its pattern says: each value at its parameter, nothing else moved. With
/// `exact` the operator says that the API reads escapes as data, so that a value may hold what looks like several
/// segments.
#[must_use]
pub fn stays(pattern: &Pattern, path: &str, exact: bool) -> bool {
    if let CanonicalPath::Plain(plain) = canonical_path(path)
        && !plain.contains('%')
    {
        return pattern.values(path).is_some();
    }
    let decoded = pattern.each(decode_lossy);
    let fits = |reading: &str| {
        [pattern, &decoded].into_iter().any(|pattern| match exact {
            true if pattern.parameters().next().is_some() => {
                let prefix = pattern.fixed_prefix();
                reading.strip_prefix(prefix.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
            }
            _ => pattern.values(reading).is_some(),
        })
    };
    Readings::of(path).iter().all(fits)
}

/// Whether a path is a prefix or below it.
pub(super) fn is_under(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether each value that goes to the query is one value: it has no escape of an escape, and a path in it does not
/// lead out of itself.
fn stay_in_query(to: &UpstreamPath, values: &Values<'_>) -> bool {
    let used = to.query.iter().filter_map(|(_, piece)| value(values, piece.parameter.as_deref()?));
    used.into_iter().all(|value| {
        let once = decode_lossy(value);
        decode(&decode(value)) == once
            && Readings::of(&format!("/-/{value}")).iter().all(|path| is_under(path, "/-"))
    })
}

/// The parameter of a client's query that a server may take for one that is set here: PHP, Rails and ASP make one name of
/// several.
fn set_twice(to: &UpstreamPath, query: &str) -> Option<String> {
    if to.query.is_empty() {
        return None;
    }
    let set: Vec<String> = to.query.iter().map(|(name, _)| folded(&decode_lossy(name))).collect();
    // Some servers part pairs at `;` as well.
    let names = query.split(['&', ';']).map(|pair| pair.split('=').next().unwrap_or_default());
    names.map(|name| decode_lossy(&name.replace('+', " "))).find(|name| {
        [name.clone(), decode(name)].iter().any(|name| {
            let start = name.find(['[', '.', '\0']).map_or("", |end| &name[..end]);
            [start, name].into_iter().any(|name| set.contains(&folded(name)))
        })
    })
}

/// What the client's path has before the `{*rest}` that both patterns end in (`X-Forwarded-Prefix`). Returns `None` where
/// they do not.
#[must_use]
pub fn forwarded_prefix(route: &Route, path: &str) -> Option<HeaderValue> {
    let to = route.upstream_path.as_ref().filter(|to| to.is_prefix())?;
    let path = tidied(path);
    let prefix = to.client.base(&to.client.values(&path)?)?;
    HeaderValue::try_from(if prefix.is_empty() { "/".to_owned() } else { prefix }).ok()
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
