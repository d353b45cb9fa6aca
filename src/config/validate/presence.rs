//! `presence`: what is told of those who follow a resource, and to whom.
//!
//! Must not know: how followers are counted.

use std::time::Duration;

use super::super::problem::{Findings, Place};
use super::super::{Presence, PresenceNotify, Route, raw};
use super::paths;
use super::units::{HOUR, MILLISECOND, MINUTE};
use super::value::{Said, at};

/// Reads `presence`.
pub fn apply(
    (place, said): Said<'_, raw::PresenceSetting>,
    to: &mut Option<Presence>,
    findings: &mut Findings,
) {
    let raw = match said {
        None => return,
        Some(raw::PresenceSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::PresenceSetting::Word(word)) => {
            return findings.bad(&place, &word.0, "is neither off nor { names, notify }");
        }
        Some(raw::PresenceSetting::On(raw)) => raw,
    };
    let to = to.get_or_insert_default();
    findings.flag(at!(place, raw.names), &mut to.names);
    findings.time(at!(place, raw.interval), 100 * MILLISECOND..=HOUR, &mut to.interval);
    findings.time(at!(place, raw.linger), Duration::ZERO..=10 * MINUTE, &mut to.linger);
    findings.count(at!(place, raw.subjects), 1..=100_000, &mut to.subjects);
    match at!(place, raw.notify) {
        (_, None) => {}
        (_, Some(raw::PresenceNotifySetting::Word(word))) if word.0 == "off" => to.notify = None,
        (place, Some(raw::PresenceNotifySetting::Word(word))) => {
            findings.bad(&place, &word.0, "is neither off nor { path }");
        }
        (place, Some(raw::PresenceNotifySetting::On(raw))) => {
            notify(&place, raw, to.notify.get_or_insert_default(), findings);
        }
    }
}

fn notify(place: &Place, raw: &raw::PresenceNotify, to: &mut PresenceNotify, findings: &mut Findings) {
    match at!(place, raw.path) {
        (place, Some(said)) => {
            if let Err(message) = paths::parameters(&said.0) {
                findings.bad(&place, &said.0, message);
            }
            to.path.clone_from(&said.0);
        }
        (_, None) if to.path.is_empty() => {
            findings.problem(place, "needs a path: where the upstream is told, as path: /presence");
        }
        (_, None) => {}
    }
    findings.time(at!(place, raw.debounce), Duration::ZERO..=10 * MINUTE, &mut to.debounce);
    findings.count(at!(place, raw.queue), 1..=1_000_000, &mut to.queue);
}

/// Checks that `presence` fits the rest of its route. `parameters`: of the route's path.
pub fn together(place: &Place, route: &mut Route, parameters: &[&str], findings: &mut Findings) {
    if !route.polled {
        // It has no followers to tell of.
        route.presence = None;
    }
    let Some(presence) = &route.presence else {
        // A parameter of this name is the API's.
        route.switches.presence = None;
        return;
    };
    if presence.names && route.authenticate.is_none() {
        let message = "needs authenticate: without it no client has a subject to be named by";
        findings.problem(&place.key("names"), message);
    }
    let Some(notify) = &presence.notify else { return };
    let place = place.key("notify");
    if route.authenticate.is_none() {
        let message =
            "needs authenticate: without it no client has a subject that the upstream could be told of";
        findings.problem(&place, message);
    }
    // A value that is no path was reported where it was read.
    let used = paths::parameters(&notify.path).unwrap_or_default();
    if let Some(unknown) = used.iter().find(|used| !parameters.contains(used)) {
        let message = format!("has {{{unknown}}}, which the route's path has not");
        findings.bad(&place.key("path"), &notify.path, &message);
    }
}
