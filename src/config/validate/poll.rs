//! `poll`: when and how the upstream is asked.
//!
//! Must not know: which clients may see the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::super::defaults::{KIB, MIB};
use super::super::environment::file_of;
use super::super::problem::{Findings, Place};
use super::super::{ClassValue, FRAMING_NAMES, Poll, Route, SecretForm, Share, raw};
use super::context::Context;
use super::units::{DAY, MILLISECOND, MINUTE, SECOND};
use super::value::{Said, at};
use super::{auth, batch};

/// Headers of a poll that are pollcast's own (contract §10), and what to do instead.
const OWN_HEADERS: &[(&str, &str)] = &[
    ("accept", "is said with poll.accept"),
    (
        "accept-encoding",
        "is chosen by pollcast, which has to read the answer; poll.accept_encoding: off asks for none",
    ),
    ("host", "is said with the upstream's host"),
    ("if-match", "is made by pollcast from the last answer"),
    ("if-modified-since", "is made by pollcast from the last answer"),
    ("if-none-match", "is made by pollcast from the last answer"),
    ("if-range", "is made by pollcast from the last answer"),
    ("if-unmodified-since", "is made by pollcast from the last answer"),
    ("range", "would make a part of the resource look like all of it"),
    ("forwarded", "is said with the upstream's forwarded"),
    ("x-forwarded-for", "is said with the upstream's forwarded: { for: ... }"),
    ("x-forwarded-host", "is said with the upstream's forwarded"),
    ("x-forwarded-proto", "is said with the upstream's forwarded"),
    ("x-pollcast-subscribers", "is made by pollcast"),
    ("x-real-ip", "is said with the upstream's forwarded: { for: ... }"),
];

/// Reads `poll`. With `off` the requests of the route pass through.
pub fn apply(
    (place, said): Said<'_, raw::PollSetting>,
    context: &Context<'_>,
    route: &mut Route,
    findings: &mut Findings,
) {
    let raw = match said {
        None => return,
        Some(raw::PollSetting::Word(word)) => {
            if word.0 != "off" {
                findings.bad(&place, &word.0, "is neither off nor a mapping, as { interval: 2s }");
            }
            route.polled = false;
            return;
        }
        Some(raw::PollSetting::On(raw)) => raw,
    };
    route.polled = true;
    let poll = &mut route.poll;
    interval(at!(place, raw.interval), poll, findings);
    findings.time(at!(place, raw.linger), Duration::ZERO..=DAY, &mut poll.linger);
    findings.flag(at!(place, raw.always), &mut poll.always);
    own_headers(at!(place, raw.headers), context, poll, findings);
    accept(at!(place, raw.accept), poll, findings);
    let codings = [("on", true), ("off", false)];
    findings.choice(at!(place, raw.accept_encoding), &codings, &mut poll.accept_codings);
    findings.time(at!(place, raw.timeout), 10 * MILLISECOND..=10 * MINUTE, &mut poll.timeout);
    findings.size(at!(place, raw.max_body), KIB..=64 * MIB, &mut poll.max_body);
    if let (place, Some(raw)) = at!(place, raw.expect) {
        findings.list(at!(place, raw.content_type), media_type, &mut poll.expect);
    }
    findings.flag(at!(place, raw.allow_close_delimited), &mut poll.allow_close_delimited);
    findings.flag(at!(place, raw.ignore_cache_control), &mut poll.ignore_cache_control);
    if let (place, Some(raw)) = at!(place, raw.backoff) {
        findings.time(at!(place, raw.min), 100 * MILLISECOND..=DAY, &mut poll.backoff.min);
        findings.time(at!(place, raw.max), 100 * MILLISECOND..=DAY, &mut poll.backoff.max);
        findings.time(at!(place, raw.retry_after_max), SECOND..=DAY, &mut poll.backoff.retry_after_max);
    }
    findings.flag(at!(place, raw.cookie_jar), &mut poll.cookie_jar);
    findings.time_or_off(at!(place, raw.max_session_polls), SECOND..=30 * DAY, &mut poll.max_session_polls);
    findings.count(at!(place, raw.follow_redirects), 0..=10, &mut poll.follow_redirects);
    auth::auth(at!(place, raw.auth), context, &mut poll.auth, findings);
    batch::batch(at!(place, raw.batch), &mut poll.batch, findings);
}

/// Reads `poll.interval`: a fixed one, or the bounds of an adaptive one.
fn interval((place, said): Said<'_, raw::Interval>, poll: &mut Poll, findings: &mut Findings) {
    match said {
        Some(raw::Interval::Fixed(said)) => {
            findings.time((place, Some(said)), 100 * MILLISECOND..=DAY, &mut poll.interval);
            poll.adaptive_max = None;
        }
        Some(raw::Interval::Adaptive(raw)) => {
            let mut read = |(place, said): Said<'_, raw::Time>| {
                said.and_then(|said| findings.read_time(&place, said, &(100 * MILLISECOND..=DAY)))
            };
            let bounds = (read(at!(place, raw.min)), read(at!(place, raw.max)));
            // One bound alone would be held against the other one of the defaults.
            if let (Some(min), Some(max)) = bounds {
                (poll.interval, poll.adaptive_max) = (min, Some(max));
            }
        }
        None => {}
    }
}

/// Reads `poll.accept`.
fn accept((place, said): Said<'_, raw::Text>, poll: &mut Poll, findings: &mut Findings) {
    let Some(value) = said.and_then(|said| findings.header_value(&place, &said.0)) else { return };
    if value.is_empty() {
        findings.problem(&place, "is empty; write */* for everything");
    }
    poll.accept = value;
}

/// Checks that the settings of `poll` fit together, and fit the rest of the route.
pub fn together(place: &Place, route: &Route, findings: &mut Findings) {
    let backoff = route.poll.backoff;
    if backoff.min > backoff.max {
        let message = format!(
            "min ({}) is longer than max ({})",
            super::value::time(backoff.min),
            super::value::time(backoff.max)
        );
        findings.problem(&place.key("backoff"), message);
    }
    if let Some(max) = route.poll.adaptive_max.filter(|max| *max < route.poll.interval) {
        let (min, max) = (super::value::time(route.poll.interval), super::value::time(max));
        findings.problem(&place.key("interval"), format!("min ({min}) is longer than max ({max})"));
    }
    let Share::By(values) = &route.share else { return };
    for (name, _) in &route.poll.headers {
        let of_class = values.iter().any(|value| match value {
            ClassValue::Header(header) => header == name,
            ClassValue::Cookie(_) => *name == http::header::COOKIE,
            ClassValue::Identity { header, .. } => header == name,
        });
        if of_class {
            let message = "comes from the clients by share.by; one of the two has to go";
            findings.problem(&place.key("headers").key(name.as_str()), message);
        }
    }
}

/// Headers of polls, those whose values stand in files among them.
fn own_headers(
    (place, said): Said<'_, BTreeMap<String, raw::FileText>>,
    context: &Context<'_>,
    poll: &mut Poll,
    findings: &mut Findings,
) {
    let mut plain = BTreeMap::new();
    for (name, said) in said.into_iter().flatten() {
        let mut text = said.0.clone();
        poll.header_files.retain(|(known, _)| !known.as_str().eq_ignore_ascii_case(name));
        if let Some(path) = file_of(&said.0) {
            let file =
                auth::secret_file(&place.key(name), path, SecretForm::Field, context.base_dir, findings);
            let Some(file) = file else { continue };
            text = file.first.to_str().unwrap_or_default().to_owned();
            poll.header_files.extend(name.parse().ok().map(|name: HeaderName| (name, Arc::new(file))));
        }
        plain.insert(name.clone(), raw::Text(text));
    }
    headers((place, Some(&plain)), OWN_HEADERS, &mut poll.headers, findings);
}

/// Headers to send, put over what was there. `own` are refused, with the reason.
pub fn headers(
    (place, said): Said<'_, BTreeMap<String, raw::Text>>,
    own: &[(&str, &str)],
    to: &mut Vec<(HeaderName, HeaderValue)>,
    findings: &mut Findings,
) {
    for (said_name, said) in said.into_iter().flatten() {
        let place = place.key(said_name);
        let Some(name) = findings.header_name(&place, said_name) else {
            continue;
        };
        if let Some((_, reason)) = own.iter().find(|(own, _)| name == *own) {
            findings.problem(&place, format!("not allowed here: this header {reason}"));
        } else if FRAMING_NAMES.contains(&name.as_str()) {
            findings.problem(&place, "not allowed here: this header is about one connection");
        }
        let Some(mut value) = findings.header_value(&place, &said.0) else {
            continue;
        };
        // Printed as `Sensitive`: headers of polls are mostly keys.
        value.set_sensitive(true);
        to.retain(|(other, _)| *other != name);
        to.push((name, value));
    }
}

/// `type/subtype` in lower case, without parameters.
pub fn media_type(findings: &mut Findings, place: &Place, said: &str) -> Option<String> {
    let token = |part: &str| !part.is_empty() && part.parse::<HeaderName>().is_ok();
    match said.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) && kind != "*" && subtype != "*" => {
            Some(said.to_ascii_lowercase())
        }
        _ => {
            findings.bad(
                place,
                said,
                "is not a media type; write it like application/json, without parameters",
            );
            None
        }
    }
}
