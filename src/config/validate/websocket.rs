//! `websocket`: which pages may connect, how its life is watched, where its messages go.
//!
//! Must not know: the other transports.

use http::Method;

use super::super::defaults::MIB;
use super::super::problem::{Findings, Place};
use super::super::{Send, Websocket, raw};
use super::units::{MINUTE, SECOND};
use super::value::{Said, at};
use super::{access, paths, poll};

/// Headers of a sent message that are said elsewhere.
const OWN_HEADERS: &[(&str, &str)] =
    &[("content-type", "is said with send.content_type"), ("host", "is said with the upstream's host")];

/// Reads `websocket`.
pub fn apply((place, said): Said<'_, raw::Websocket>, to: &mut Websocket, findings: &mut Findings) {
    let Some(raw) = said else { return };
    match at!(place, raw.origins) {
        (_, Some(raw::WebsocketOrigins::Word(word))) if word.0 == "same" => to.origins = None,
        (place, Some(raw::WebsocketOrigins::Word(word))) => {
            findings.bad(&place, &word.0, "is neither same nor a list of origins");
        }
        (place, Some(raw::WebsocketOrigins::List(said))) => {
            let mut origins = Vec::new();
            findings.list((place, Some(said)), access::origin, &mut origins);
            to.origins = Some(origins);
        }
        (_, None) => {}
    }
    findings.time(at!(place, raw.ping), SECOND..=10 * MINUTE, &mut to.ping);
    findings.time(at!(place, raw.pong), SECOND..=10 * MINUTE, &mut to.pong);
    findings.size(at!(place, raw.max_message), 1..=MIB, &mut to.max_message);
    findings.rate(at!(place, raw.frame_rate), 1..=10_000, &mut to.frame_rate);
    let mut fragments = usize::from(to.max_fragments);
    findings.count(at!(place, raw.max_fragments), 1..=10_000, &mut fragments);
    to.max_fragments = fragments as u16;
    match at!(place, raw.send) {
        (_, Some(raw::SendSetting::Word(word))) if word.0 == "off" => to.send = None,
        (place, Some(raw::SendSetting::Word(word))) => {
            findings.bad(&place, &word.0, "is neither off nor { method, path }");
        }
        // An empty path means the route's own, which `defaults` cannot know.
        (place, Some(raw::SendSetting::On(raw))) => {
            send(&place, raw, to.send.get_or_insert_with(|| Send::to("")), findings);
        }
        (_, None) => {}
    }
}

fn send(place: &Place, raw: &raw::Send, to: &mut Send, findings: &mut Findings) {
    let methods = ["POST", "PUT", "PATCH", "DELETE"].map(|name| (name, name));
    let mut method = "";
    findings.choice(at!(place, raw.method), &methods, &mut method);
    if let Ok(method) = Method::from_bytes(method.as_bytes()) {
        to.method = method;
    }
    if let (place, Some(said)) = at!(place, raw.path) {
        if said.0.is_empty() {
            findings.problem(&place, "is empty; leave it out for the route's own path");
        } else if let Err(message) = paths::parameters(&said.0) {
            findings.bad(&place, &said.0, message);
        }
        to.path = said.0.clone();
    }
    if let (place, Some(said)) = at!(place, raw.content_type)
        && let Some(value) = findings.header_value(&place, &said.0)
    {
        to.content_type = value;
    }
    poll::headers(at!(place, raw.headers), OWN_HEADERS, &mut to.headers, findings);
    findings.rate(at!(place, raw.rate), 1..=1000, &mut to.rate);
    findings.flag(at!(place, raw.errors), &mut to.errors);
}

/// Fills in the route's own path, or holds the one that was said against the route's parameters.
pub fn send_path(
    place: &Place,
    send: &mut Send,
    (route, is_mapped): (&str, bool),
    parameters: &[&str],
    findings: &mut Findings,
) {
    if send.path.is_empty() {
        // Messages go to the path of the resource itself.
        if !is_mapped {
            route.clone_into(&mut send.path);
        }
        return;
    }
    // A value that is no path was reported where it was read.
    let used = paths::parameters(&send.path).unwrap_or_default();
    if let Some(unknown) = used.iter().find(|used| !parameters.contains(used)) {
        let message = format!("has {{{unknown}}}, which the route's path has not");
        findings.bad(&place.key("path"), &send.path, &message);
    }
}
