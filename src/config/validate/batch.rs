//! `poll.batch`: many resources in one request.
//!
//! Must not know: when it is made.

use super::super::problem::{Findings, Place};
use super::super::{Batch, Route, Share, raw};
use super::paths;
use super::units::{MILLISECOND, SECOND};
use super::value::{Said, at};

/// Reads `poll.batch`. Path and parameter that it leaves out stay empty: they follow from the route.
pub fn batch((place, said): Said<'_, raw::BatchSetting>, to: &mut Option<Batch>, findings: &mut Findings) {
    let raw = match said {
        Some(raw::BatchSetting::On(raw)) => raw,
        Some(raw::BatchSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::BatchSetting::Word(word)) => {
            return findings.bad(&place, &word.0, "is neither off nor { param, items, key }");
        }
        None => return,
    };
    let to = to.get_or_insert_with(Batch::unsaid);
    if let (place, Some(said)) = at!(place, raw.param)
        && let Some(name) = findings.parameter(&place, &said.0)
    {
        to.query = name;
    }
    if let (place, Some(said)) = at!(place, raw.separator) {
        if said.0.is_empty() || said.0.len() > 8 || !said.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            findings.bad(&place, &said.0, "cannot stand between two names: 1 to 8 visible ASCII characters");
        }
        to.separator = said.0.clone();
    }
    findings.count(at!(place, raw.max), 1..=1000, &mut to.max);
    if let (place, Some(said)) = at!(place, raw.items)
        && let Some(pointer) = findings.pointer(&place, &said.0, true)
    {
        to.items = pointer;
    }
    if let (place, Some(said)) = at!(place, raw.key)
        && let Some(pointer) = findings.pointer(&place, &said.0, true)
    {
        to.key = pointer;
    }
    if let (place, Some(said)) = at!(place, raw.path) {
        if let Err(message) = paths::parameters(&said.0) {
            findings.bad(&place, &said.0, message);
        }
        to.path = said.0.clone();
    }
    if let (_, Some(said)) = at!(place, raw.parameter) {
        to.parameter = said.0.clone();
    }
    findings.time(at!(place, raw.window), MILLISECOND..=SECOND, &mut to.window);
}

/// Checks that the settings fit together once all are read.
pub fn together(place: &Place, route: &mut Route, parameters: &[&str], findings: &mut Findings) {
    let (is_feed, by_user) = (route.feed.is_some(), matches!(route.share, Share::By(_)));
    // The request is the upstream's.
    let path = route.upstream_path.as_ref().map_or(route.path.as_str(), |to| to.text.as_str());
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let Some(batch) = &mut route.poll.batch else { return };
    let place = place.key("batch");
    if is_feed {
        findings.problem(&place, "cannot stand beside feed: an item of a batch is a resource of its own");
    }
    if by_user {
        findings.problem(
            &place,
            "cannot stand beside share.by: one request would carry the values of several users",
        );
    }
    let (parent, last) = path.rsplit_once('/').unwrap_or(("", &path));
    if batch.parameter.is_empty() {
        match last.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !name.starts_with('*') => name.clone_into(&mut batch.parameter),
            _ => {
                findings.problem(&place, "the route's last segment is no {parameter}; say path and parameter")
            }
        }
    } else if !parameters.contains(&batch.parameter.as_str()) {
        let message = "is not a parameter of the route's path";
        findings.bad(&place.key("parameter"), &batch.parameter.clone(), message);
    }
    if batch.path.is_empty() {
        (if parent.is_empty() { "/" } else { parent }).clone_into(&mut batch.path);
    }
    // A value that is no path was reported where it was read.
    let used = paths::parameters(&batch.path).unwrap_or_default();
    let unknown = used.iter().find(|used| !parameters.contains(used) || **used == batch.parameter);
    if let Some(unknown) = unknown {
        let message =
            format!("has {{{unknown}}}, which is not among the other parameters of the route's path");
        findings.bad(&place.key("path"), &batch.path, &message);
    }
}
