//! `upstream_path`: a path and query that hold the parameters of the route's path, each where it can be one value.
//!
//! Must not know: how values are escaped.

use std::sync::Arc;

use super::super::problem::{Findings, Place};
use super::super::upstream_path::{UpstreamPath, folded};
use super::super::{Route, raw};
use super::paths;
use super::value::Said;

/// Reads the key. The route's own path has been read.
pub fn apply((place, said): Said<'_, raw::Text>, route: &mut Route, findings: &mut Findings) {
    let Some(said) = said else { return };
    // A path that is malformed was reported where it was read.
    if paths::parameters(&route.path).is_err() {
        return;
    }
    match read(&route.path, &said.0) {
        Ok(to) => route.upstream_path = Some(Arc::new(to)),
        Err(message) => findings.bad(&place, &said.0, &message),
    }
}

fn read(path: &str, said: &str) -> Result<UpstreamPath, String> {
    let (own, query) = said.split_once('?').map_or((said, None), |(path, query)| (path, Some(query)));
    let known = paths::parameters(path)?;
    let mut used: Vec<&str> = paths::parameters(own)?;
    let to = UpstreamPath::new(path, said);
    for name in &used {
        let is_rest = |rest: &Option<String>| rest.as_deref() == Some(name);
        if known.contains(name) && is_rest(&to.client.rest) != is_rest(&to.path.rest) {
            return Err(format!(
                "has {{{name}}} in its path as another kind than the route's path: a {{*rest}} stays a {{*rest}}, a part of \
                 one segment stays one; in the query either may stand"
            ));
        }
    }
    let mut set: Vec<String> = Vec::new();
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`|;".contains(&byte);
        if name.is_empty() || !pair.bytes().all(is_plain) || name.contains(['{', '}']) {
            return Err("has a query that is none; write it like ?symbol={symbol}&format=json".to_owned());
        }
        if set.contains(&folded(name)) {
            return Err(format!("sets the query parameter {name:?} twice"));
        }
        set.push(folded(name));
        used.extend(parameter(value)?);
    }
    if let Some(unknown) = used.iter().find(|name| !known.contains(name)) {
        return Err(format!("has {{{unknown}}}, which the route's path has not"));
    }
    if let Some(missing) = known.iter().find(|name| !used.contains(name)) {
        return Err(format!(
            "has no {{{missing}}}: what the route's path tells apart would be one on the upstream"
        ));
    }
    Ok(to)
}

/// The parameter of a value in a query, if it has one.
fn parameter(value: &str) -> Result<Option<&str>, String> {
    let bad = || {
        "has a value in its query with braces that are no parameter; at most one stands in a value".to_owned()
    };
    let Some((before, rest)) = value.split_once('{') else {
        return if value.contains('}') { Err(bad()) } else { Ok(None) };
    };
    let (name, after) = rest.split_once('}').ok_or_else(bad)?;
    let name = name.strip_prefix('*').unwrap_or(name);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if before.contains('}') || after.contains(['{', '}']) || !is_name {
        return Err(bad());
    }
    Ok(Some(name))
}

/// Checks that the settings fit together once all are read.
pub fn together(place: &Place, route: &Route, findings: &mut Findings) {
    let Some(to) = &route.upstream_path else { return };
    if paths::has_escaped_slash(to.text.split('?').next().unwrap_or_default()) && !route.exact_spelling {
        let message = "has an escaped slash, which servers read differently; say spelling: exact if this API takes it for \
                       a part of a name";
        findings.bad(&place.key("upstream_path"), &to.text, message);
    }
    let sets = |name: &str| to.query.iter().any(|(set, _)| folded(set) == folded(name));
    let feed = route.feed.as_ref();
    let cursor = feed.and_then(|feed| feed.cursor.as_ref()).map(|cursor| cursor.query.as_str());
    let page = feed.and_then(|feed| feed.pages.as_ref()).and_then(|pages| pages.query.as_deref());
    let batch = route.poll.batch.as_ref().map(|batch| batch.query.as_str());
    let named = route.query.names.iter().flatten().map(|name| ("query", name.as_str()));
    let own = [("feed", cursor), ("feed", page), ("poll", batch)];
    for (key, name) in own.into_iter().filter_map(|(key, name)| Some((key, name?))).chain(named) {
        if sets(name) {
            findings.problem(
                &place.key(key),
                format!("names the query parameter {name:?}, which upstream_path sets"),
            );
        }
    }
}
