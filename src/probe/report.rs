//! The report for people.
//!
//! Pure over what was observed. Must not know: how it was asked.

use http::{StatusCode, header};
use serde_json::Value;

use super::aim::Aim;
use super::asking::Observed;
use super::difference::{self, Differences};
use super::flapping::{Flaps, flaps};
use super::identity::{self, Effect};
use super::listing::listing;
use super::suggestion::{Suggestion, yaml};
use super::{Question, Report, fields};
use crate::config::{Auth, ClassValue, Share};
use crate::resource::MediaType;
use crate::upstream::Answer;
use crate::upstream::judge::{Terms, Verdict, judge, not_shareable};

/// Everything in one text.
pub(super) fn report(aim: &Aim, question: &Question, observed: &Observed) -> Report {
    let Some(last) = observed.polls.last() else {
        return Report { text: String::new(), has_data: false };
    };
    let bodies = identity::bodies(&observed.polls).unwrap_or_default();
    let flaps = flaps(&published(aim, &bodies));
    let rules = difference::rules(aim, &flaps.members);
    let private = !question.headers.is_empty();
    let differences = difference::differences(aim, &rules, &observed.polls);
    let effects = identity::effects(observed, &rules);
    let listing = bodies.last().and_then(listing);
    let signs = fields::sharing(&last.headers);
    let doubtful = not_shareable(&last.headers, &aim.route).is_some();
    let varying = fields::varying_credentials(&last.headers, &aim.route.credentials);
    let suggestion = Suggestion {
        max_age: fields::max_age(&last.headers),
        share_by: share_by(aim, question, observed, &effects),
        public: private
            && !doubtful
            && varying.is_empty()
            && effects.iter().all(|(_, effect)| *effect == Effect::Same),
        doubtful,
        flaps,
        listing,
    };
    let has_data = last.status.is_success() || last.status == StatusCode::NOT_MODIFIED;
    let mut lines = vec![
        heading(aim, question),
        String::new(),
        line("answers", &answers(&observed.polls)),
        line("content", &content(aim, last, private)),
        line("conditions", &fields::conditions(observed)),
        line("caching", &fields::caching(&last.headers)),
        line(
            "sharing",
            &if signs.is_empty() { "no sign that it is one user's".to_owned() } else { signs.join("; ") },
        ),
        line("identity", &identity_line(observed, &effects)),
        line("changes", &changes(&differences, &suggestion.flaps)),
        line("flapping", &flapping(&suggestion.flaps)),
        line("size", &size(last)),
        line("patches", &patches(&differences)),
    ];
    let limits = fields::rate_limits(&last.headers);
    lines.push(line("rate limits", if limits.is_empty() { "none said" } else { &limits }));
    if let Some(found) = &suggestion.listing {
        let place = if found.items.is_empty() { "the body" } else { &found.items };
        let order = found.order.map_or("in no order that shows", |order| order);
        lines.push(line(
            "list",
            &format!("{place} has {} items with unique {} ({order}): a feed", found.count, found.id),
        ));
    }
    if has_data {
        let title = match aim.is_route {
            true => "The route with what this suggests; what else it says in the file can stay:",
            false => "A route:",
        };
        lines.extend([String::new(), title.to_owned(), String::new(), yaml(aim, &suggestion)]);
    }
    Report { text: lines.join("\n").trim_end().to_owned() + "\n", has_data }
}

/// What the route's `change` speaks of.
fn published(aim: &Aim, bodies: &[Value]) -> Vec<Value> {
    let pointer = aim.route.change.select.as_deref().unwrap_or_default();
    bodies.iter().filter_map(|body| body.pointer(pointer)).cloned().collect()
}

fn line(label: &str, text: &str) -> String {
    format!("{label:<12}{text}")
}

/// Queries carry the keys of many an API: they are not printed.
fn heading(aim: &Aim, question: &Question) -> String {
    let query = if aim.query.is_some() { "?…" } else { "" };
    let route = match aim.is_route {
        true => format!("route {}", aim.route.path),
        false => "no route of the file".to_owned(),
    };
    let names: Vec<&str> = question.headers.iter().map(|(name, _)| name.as_str()).collect();
    let with = if names.is_empty() { String::new() } else { format!(", with {}", names.join(", ")) };
    let (path, upstream) = (&aim.path, &aim.route.upstream.name);
    let token = match &aim.route.poll.auth {
        Some(Auth::ClientCredentials(_)) => "; without the token that `poll.auth` would get",
        _ => "",
    };
    format!("GET {path}{query}: upstream {upstream}, {route}{with}; {} polls{token}", question.polls)
}

fn answers(polls: &[Answer]) -> String {
    let statuses: Vec<&str> = polls.iter().map(|answer| answer.status.as_str()).collect();
    let mut times: Vec<u128> = polls.iter().map(|answer| answer.elapsed.as_millis()).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    format!("{}; {median} ms (median)", statuses.join(" "))
}

fn content(aim: &Aim, last: &Answer, private: bool) -> String {
    let said = last.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = said.and_then(MediaType::parse);
    let parses = serde_json::from_slice::<serde::de::IgnoredAny>(&last.body);
    let json = match (media_type.is_some_and(|media_type| media_type.is_json()), parses) {
        _ if last.body.is_empty() => "no body".to_owned(),
        (true, Ok(_)) => "parses".to_owned(),
        (true, Err(error)) => format!("says it is JSON but does not parse: {error}"),
        (false, Ok(_)) => "it is JSON all the same".to_owned(),
        (false, Err(_)) => "compared as bytes".to_owned(),
    };
    let verdict = match judge(last, &Terms { route: &aim.route, private, known_type: None }) {
        Verdict::Data(_) => String::new(),
        Verdict::NotModified => "; not modified, though nothing was asked for".to_owned(),
        Verdict::Gone => "; pollcast would take it for gone".to_owned(),
        Verdict::Denied => {
            "; access is denied: --header 'Authorization: …' tries it with credentials".to_owned()
        }
        Verdict::Refused => "; the request is refused".to_owned(),
        Verdict::Failed { reason: why, .. } | Verdict::Unfit { reason: why, .. } => {
            format!("; not usable: {why}")
        }
        Verdict::Uncoverable(why) => format!("; not for a route: {why}"),
        Verdict::NotShareable(sign) => format!("; not shared as the route is now ({sign}): see `share`"),
        Verdict::SessionRotated => "; it replaces the session's cookie".to_owned(),
    };
    format!("{}, {json}{verdict}", said.unwrap_or("no type"))
}

fn identity_line(observed: &Observed, effects: &[(Vec<http::HeaderName>, Effect)]) -> String {
    if effects.is_empty() {
        let denied = observed.polls.iter().any(|answer| matches!(answer.status.as_u16(), 401 | 403));
        return match denied {
            true => "needs credentials".to_owned(),
            false => "answers without credentials; --header 'Authorization: …' compares with them".to_owned(),
        };
    }
    let told = effects.iter().map(|(names, effect)| {
        let names: Vec<&str> = names.iter().map(http::HeaderName::as_str).collect();
        let names = names.join(" and ");
        match effect {
            Effect::Same => format!("without {names}: the same"),
            Effect::Status(status) => format!("without {names}: {}", status.as_str()),
            Effect::Content => format!("without {names}: other content"),
            Effect::Unclear => format!("without {names}: it changed meanwhile, no telling"),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Who may share: what the route says, else the headers that matter or that `Vary` names.
fn share_by(
    aim: &Aim,
    question: &Question,
    observed: &Observed,
    effects: &[(Vec<http::HeaderName>, Effect)],
) -> Vec<String> {
    if let Share::By(values) = &aim.route.share {
        let name = |value: &ClassValue| match value {
            ClassValue::Header(name) => name.to_string(),
            ClassValue::Cookie(name) => format!("cookie:{name}"),
            ClassValue::Identity { what, .. } => format!("identity:{what}"),
        };
        return values.iter().map(name).collect();
    }
    let mut names = identity::that_matter(effects);
    if let (true, Some(last)) = (names.is_empty(), observed.polls.last()) {
        names = fields::varying_credentials(&last.headers, &aim.route.credentials);
    }
    let mut by = Vec::new();
    for name in names {
        if name != header::COOKIE {
            by.push(name.to_string());
            continue;
        }
        let values = question.headers.iter().filter(|(name, _)| name == header::COOKIE);
        let pairs = values.filter_map(|(_, value)| value.to_str().ok()).flat_map(|value| value.split(';'));
        let cookies = pairs.filter_map(|pair| Some(format!("cookie:{}", pair.split_once('=')?.0.trim())));
        by.extend(cookies);
    }
    by.dedup();
    by
}

fn changes(differences: &Differences, flaps: &Flaps) -> String {
    let apart =
        if flaps.members.iter().any(|member| member.is_noise) { ", what looks like noise apart" } else { "" };
    match differences {
        Differences { unfit: Some(why), .. } => format!("the route's `change` does not fit: {why}"),
        Differences { steps: 0, .. } => "nothing to compare".to_owned(),
        Differences { steps, changed, .. } => {
            format!("{changed} of {steps} polls brought something new{apart}")
        }
    }
}

fn flapping(flaps: &Flaps) -> String {
    if flaps.members.is_empty() {
        return "no member differs on every poll".to_owned();
    }
    let places = |is_noise: bool| {
        let members = flaps.members.iter().filter(|member| member.is_noise == is_noise);
        members.map(|member| member.place.as_str()).collect::<Vec<_>>().join(" ")
    };
    let (noise, others) = (places(true), places(false));
    let mut told = Vec::new();
    if !noise.is_empty() {
        told.push(format!("{noise} differ on every poll and look like noise: `change.ignore`"));
    }
    if !others.is_empty() {
        told.push(format!("{others} differ on every poll; ignore them if they mean nothing"));
    }
    format!("{}; nothing else differed in {} of {} polls", told.join("; "), flaps.alone, flaps.steps)
}

fn size(last: &Answer) -> String {
    let (head, wire, body) = (last.head_bytes, last.body_bytes, last.body.len());
    let coded = if wire == body { String::new() } else { format!(" ({wire} on the wire)") };
    format!("head {head} bytes, body {body} bytes{coded}")
}

fn patches(differences: &Differences) -> String {
    match differences.patches {
        _ if differences.changed == 0 => "no change, no patch".to_owned(),
        None => "none: the body is not JSON".to_owned(),
        Some((patches, bodies)) => {
            let count = differences.changed;
            let percent = (patches * 100).div_ceil(bodies.max(1));
            format!("{} bytes a change, {percent} % of the body", patches / count)
        }
    }
}
