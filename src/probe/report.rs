//! The report for people.
//!
//! Pure over what was observed. Must not know: how it was asked.

use http::{HeaderName, StatusCode, header};

use super::content::{content, no_document, types};
use super::destination::Destination;
use super::difference::Differences;
use super::fields::{self, Cors};
use super::findings::{Findings, findings};
use super::flapping::Flaps;
use super::identity::{self, Effect};
use super::polls::{Observed, Said};
use super::suggestion;
use super::{Item, Question};
use crate::config::{Auth, Plain};
use crate::resource::{HeaderKind, why_known};
use crate::upstream::Answer;
use crate::upstream::classify::vary_names;

/// Everything about one URL in one text, and the route that is suggested.
pub(super) fn report(destination: &Destination, question: &Question, observed: &Observed) -> Report {
    let found = findings(destination, question, observed);
    let mut lines = vec![heading(destination, question), String::new()];
    lines.push(line("looked", &looked(observed)));
    if let Some(ended) = &observed.ended {
        lines.push(line("content", &no_document(&ended.failure)));
    }
    if let Some(last) = observed.polls.last() {
        lines.push(line("answers", &answers(&observed.polls)));
        lines.push(line("content", &content(destination, last, !question.headers.is_empty())));
        match found.has_data {
            true => data(destination, question, observed, &found, last, &mut lines),
            false => refused(&found, last, &mut lines),
        }
    }
    if observed.has_socket {
        lines.push(line(
            "websocket",
            "the API has one of its own here: a handshake that offers subprotocols is the API's; for one that offers none \
             say `transports: [sse, long_poll, poll]`, or `poll: off` if nothing of this is to be polled",
        ));
    }
    if let Some(unpollable) = found.unpollable {
        lines.push(line("polling", &format!("{}. No route is suggested", unpollable.sentence())));
    }
    let item = (found.is_pollable() && observed.ended.is_none()).then(|| Item {
        path: suggestion::path(destination, &found.suggestion),
        is_new: !destination.is_route || found.suggestion.beside.is_some(),
        yaml: suggestion::item(destination, &found.suggestion),
    });
    if let Some(item) = &item {
        lines.push(line("plain", &plain(destination, &found, item)));
    }
    Report { has_data: item.is_some(), text: lines.join("\n").trim_end().to_owned() + "\n", item }
}

/// Writes the findings about data.
fn data(
    destination: &Destination,
    question: &Question,
    observed: &Observed,
    found: &Findings,
    last: &Answer,
    lines: &mut Vec<String>,
) {
    let suggestion = &found.suggestion;
    if let Some(types) = types(observed, last) {
        lines.push(line("type", &types));
    }
    lines.push(line("conditions", &fields::conditions(observed)));
    if let Some(why) = &found.revision {
        lines.push(line(
            "etag",
            &format!("looks like a revision that clients send back ({why}): plain requests are better left to the API"),
        ));
    }
    lines.push(line("caching", &caching(destination, last, suggestion.max_age)));
    let signs = fields::sharing(&last.headers);
    lines.push(line(
        "sharing",
        &if signs.is_empty() { "no sign that it is one user's".to_owned() } else { signs.join("; ") },
    ));
    lines.push(line("identity", &identity_line(observed, found)));
    lines.extend(header_lines(question, found).into_iter().map(|text| line("header", &text)));
    lines.extend(variations(last, found).map(|text| line("form", &text)));
    if let Some(cors) = fields::cors(observed) {
        lines.push(line("cors", cors_line(cors)));
    }
    lines.push(line("changes", &changes(&found.differences, &suggestion.flaps)));
    lines.push(line("flapping", &flapping(&suggestion.flaps)));
    if let Some(place) = &found.counter {
        let text = format!(
            "{place} rose by one with each poll: this GET may count, or do something, each time that it is asked. Then leave \
             it to the API"
        );
        lines.push(line("counter", &text));
    }
    lines.push(line("size", &size(last, observed)));
    lines.push(line("patches", &patches(&found.differences)));
    let limits = fields::rate_limits(&last.headers);
    lines.push(line("rate limits", if limits.is_empty() { "none said" } else { &limits }));
    if let Some(list) = &suggestion.listing {
        let place = if list.items.is_empty() { "the body" } else { &list.items };
        let order = if list.order == "none" { "in no order that shows" } else { list.order };
        let page = if list.is_page { "; it may be a page of a longer list: see `feed.pages`" } else { "" };
        let id = list.id.join(" and ");
        lines.push(line(
            "list",
            &format!("{place} has {} items with unique {id} ({order}): a feed{page}", list.count),
        ));
    }
}

/// Writes what a refusal or an error says: its body and validators are not the resource's.
fn refused(found: &Findings, last: &Answer, lines: &mut Vec<String>) {
    if matches!(last.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let wanted = fields::wanted(last);
        let wanted = match wanted.is_empty() {
            true => "; it does not say by which header".to_owned(),
            false => format!("; it names {}", wanted.join(", ")),
        };
        let one =
            if found.is_for_one_request { "; those that were sent are good for one request" } else { "" };
        lines.push(line("identity", &format!("needs credentials{wanted}{one}")));
    }
    if last.status.is_redirection()
        && let Some(to) = last.headers.get(header::LOCATION).and_then(|value| value.to_str().ok())
    {
        let to = to.split(['?', '#']).next().unwrap_or_default();
        lines.push(line("redirect", &format!("to {to}: probe that, or say `poll.follow_redirects`")));
    }
    let limits = fields::rate_limits(&last.headers);
    if !limits.is_empty() {
        lines.push(line("rate limits", &limits));
    }
}

fn line(label: &str, text: &str) -> String {
    format!("{label:<12}{text}")
}

/// Queries carry the keys of many an API: they are not printed.
fn heading(destination: &Destination, question: &Question) -> String {
    let query = if destination.query.is_some() { "?…" } else { "" };
    let route = match destination.is_route {
        true => format!("route {}", destination.route.path),
        false => "no route of the file".to_owned(),
    };
    let names: Vec<&str> = question.headers.iter().map(|(name, _)| name.as_str()).collect();
    let with = if names.is_empty() { String::new() } else { format!(", with {}", names.join(", ")) };
    let (path, upstream) = (&destination.path, &destination.route.upstream.name);
    let token = match &destination.route.poll.auth {
        Some(Auth::ClientCredentials(_)) => "; without the token that `poll.auth` would get",
        Some(Auth::File(_)) => "; with the token of `poll.auth` as its file has it now",
        Some(Auth::Digest(_)) => "; without the password of `poll.auth.digest`",
        _ => "",
    };
    format!("GET {path}{query}: upstream {upstream}, {route}{with}; {} polls{token}", question.polls)
}

fn looked(observed: &Observed) -> String {
    let seconds = observed.looked.as_secs_f64();
    let time = if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") };
    format!("for {time} only: what changes more seldom does not show (--for 5m looks longer)")
}

fn answers(polls: &[Answer]) -> String {
    let mut statuses: Vec<(&str, usize)> = Vec::new();
    for answer in polls {
        match statuses.last_mut() {
            Some((status, count)) if *status == answer.status.as_str() => *count += 1,
            _ => statuses.push((answer.status.as_str(), 1)),
        }
    }
    let told = statuses.iter().map(|(status, count)| match count {
        1..=5 => vec![*status; *count].join(" "),
        _ => format!("{status} ({count} times)"),
    });
    let told: Vec<String> = told.collect();
    let mut times: Vec<u128> = polls.iter().map(|answer| answer.elapsed.as_millis()).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    format!("{}; {median} ms (median)", told.join(" "))
}

fn caching(destination: &Destination, last: &Answer, max_age: Option<std::time::Duration>) -> String {
    let said = fields::caching(&last.headers);
    let poll = &destination.route.poll;
    match max_age {
        Some(age) if age > poll.interval && !poll.ignore_cache_control => format!(
            "{said}: longer than the interval of {:?}, so it is asked every {} s (unless `poll.ignore_cache_control: true`)",
            poll.interval,
            age.as_secs()
        ),
        _ => said,
    }
}

fn identity_line(observed: &Observed, found: &Findings) -> String {
    let one = match found.is_for_one_request {
        true => {
            "the credentials are good for one request (Digest, DPoP, OAuth 1 and the like): no poll can carry them, and \
             requests with them are the API's; "
        }
        false => "",
    };
    let told: Vec<String> = found
        .effects
        .iter()
        .filter_map(|(said, effect)| {
            let Said::Without(names) = said else { return None };
            let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
            Some(format!("without {}: {}", names.join(" and "), outcome(*effect)))
        })
        .collect();
    if told.is_empty() {
        let denied = observed.polls.iter().any(|answer| matches!(answer.status.as_u16(), 401 | 403));
        return match denied {
            true => "needs credentials".to_owned(),
            false => {
                format!("{one}answers without credentials; --header 'Authorization: …' compares with them")
            }
        };
    }
    format!("{one}{}", told.join("; "))
}

fn outcome(effect: Effect) -> String {
    match effect {
        Effect::Same => "the same".to_owned(),
        Effect::Status(status) => status.as_str().to_owned(),
        Effect::Content => "other content".to_owned(),
        Effect::Unclear => "it changed meanwhile, no telling".to_owned(),
    }
}

/// The kind of each header that was sent (contract §11).
fn header_lines(question: &Question, found: &Findings) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, kind) in found.kinds.iter().filter(|_| !question.headers.is_empty()) {
        let means = match kind {
            HeaderKind::Known => {
                format!("means nothing: {}", why_known(name.as_str()).unwrap_or("the route says so"))
            }
            HeaderKind::Choosing => "chooses the content: in the key, and on its polls".to_owned(),
            HeaderKind::Credential => "says who asks: see `share`".to_owned(),
            HeaderKind::Doubt => {
                "may choose the content: a request with it is the API's, unless `vary` or `ignore_headers` names it".to_owned()
            }
        };
        lines.push(format!("{name} is {}: {means}", kind.word()));
    }
    lines
}

/// Returns the headers that would have changed the answer.
fn variations<'a>(last: &'a Answer, found: &'a Findings) -> impl Iterator<Item = String> + 'a {
    let named: Vec<String> = vary_names(&last.headers).collect();
    let x_requested_with = HeaderName::from_static("x-requested-with");
    [header::ACCEPT_LANGUAGE, x_requested_with, header::USER_AGENT].into_iter().filter_map(move |name| {
        let effect = identity::with(&found.effects, &name)?;
        let is_named = named.iter().any(|vary| vary == name.as_str());
        match effect {
            Effect::Same if is_named => Some(format!("another {name} (named in Vary): the same")),
            Effect::Same => None,
            Effect::Unclear => None,
            effect => {
                let vary = if is_named { "named in Vary" } else { "and no Vary names it" };
                Some(format!("another {name}: {} ({vary})", outcome(effect)))
            }
        }
    })
}

fn cors_line(cors: Cors) -> &'static str {
    match cors {
        Cors::Everybody => {
            "the API lets pages of all origins read it (*), and that is kept: no `cors` is needed"
        }
        Cors::WhenAsked => {
            "the API answers it only when asked with an Origin: that is kept, and each origin is polled for by itself; \
             with `cors` they share a poll"
        }
    }
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
    if !others.is_empty() && flaps.are_all {
        told.push(format!("{others} differ on every poll, and are all there is: they are the data"));
    } else if !others.is_empty() {
        told.push(format!("{others} differ on every poll; ignore them if they mean nothing"));
    }
    format!("{}; nothing else differed in {} of {} polls", told.join("; "), flaps.alone, flaps.steps)
}

fn size(last: &Answer, observed: &Observed) -> String {
    let (head, wire, body) = (last.head_bytes, last.body_bytes, last.body.len());
    let coded = if wire == body { String::new() } else { format!(" ({wire} on the wire)") };
    let large = match observed.too_large {
        Some(_) => ": more than `poll.max_body`, which has to be raised for it to be pushed",
        None => "",
    };
    format!("head {head} bytes, body {body} bytes{coded}{large}")
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

/// Returns what becomes of plain requests with the suggested route (contract §3).
fn plain(destination: &Destination, found: &Findings, item: &Item) -> String {
    let plain = match (destination.is_route && !item.is_new, found.suggestion.plain_passes.is_some()) {
        (_, true) => Plain::Pass,
        (true, false) => destination.route.plain,
        (false, false) => Plain::of_path(&item.path),
    };
    match plain {
        Plain::Share => "with this route plain requests are answered from the snapshot (plain: pass leaves them to the API)",
        Plain::Pass => "with this route plain requests are the API's (plain: share answers them from the snapshot)",
    }
    .to_owned()
}

/// The report about one URL.
#[derive(Debug)]
pub struct Report {
    /// The text that is printed.
    pub text: String,
    /// A route is suggested.
    pub has_data: bool,
    /// The route that is suggested. `None` if the URL gave no data to suggest one from.
    pub item: Option<Item>,
}
