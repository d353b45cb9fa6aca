//! The findings about one URL: a pure function from the answers to the suggestion.
//!
//! Must not know: how it was asked, how it is printed.

use http::{HeaderMap, HeaderName, StatusCode, header};
use serde_json::Value;

use super::destination::Destination;
use super::difference::{self, Differences};
use super::flapping::{Flaps, flaps};
use super::identity::{self, Effect};
use super::listing::listing;
use super::pollable::{self, Unpollable};
use super::polls::{Observed, Said};
use super::suggestion::Suggestion;
use super::{Question, fields};
use crate::config::{ClassValue, Plain, Share};
use crate::front::is_good_for_one;
use crate::resource::{HeaderKind, MediaType, decoded, header_kind};
use crate::upstream::Answer;
use crate::upstream::classify::{not_shareable, secondary_names, vary_names};

/// Everything that is known of one URL.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) unpollable: Option<Unpollable>,
    pub(super) differences: Differences,
    pub(super) effects: Vec<(Said, Effect)>,
    /// Each header of the question, once, and its kind.
    pub(super) kinds: Vec<(HeaderName, HeaderKind)>,
    /// The credentials of the question are good for one request.
    pub(super) is_for_one_request: bool,
    /// A member that rose by one with each poll.
    pub(super) counter: Option<String>,
    /// Why the ETag looks like what clients send back.
    pub(super) revision: Option<String>,
    /// The last answer is data.
    pub(super) has_data: bool,
    pub(super) suggestion: Suggestion,
}

impl Findings {
    /// Whether a route is suggested.
    pub(super) fn is_pollable(&self) -> bool {
        self.has_data && self.unpollable.is_none()
    }
}

/// What is suggested from what was seen.
pub(super) fn findings(destination: &Destination, question: &Question, observed: &Observed) -> Findings {
    let bodies = pollable::bodies(&observed.polls).unwrap_or_default();
    let flaps = flaps(&published(destination, &bodies));
    let rules = difference::rules(destination, &flaps.members);
    let differences = difference::differences(destination, &rules, &observed.polls);
    let effects = identity::effects(observed, &rules);
    let headers: HeaderMap = question.headers.iter().cloned().collect();
    let last = observed.polls.last();
    let own_vary = last.map(|last| secondary_names(&last.headers, &destination.route)).unwrap_or_default();
    let mut kinds: Vec<(HeaderName, HeaderKind)> = Vec::new();
    for (name, value) in &question.headers {
        if kinds.iter().all(|(known, _)| known != name) {
            kinds.push((name.clone(), header_kind(&destination.route, &own_vary, name, value)));
        }
    }
    let mut found = Findings {
        unpollable: pollable::unpollable(&observed.polls, &destination.route),
        differences,
        is_for_one_request: is_good_for_one(&destination.route, &headers),
        counter: counter(&flaps, &published(destination, &bodies)),
        revision: pollable::revision(&observed.polls),
        has_data: last
            .is_some_and(|last| last.status.is_success() || last.status == StatusCode::NOT_MODIFIED),
        suggestion: Suggestion { flaps, listing: bodies.last().and_then(listing), ..Suggestion::default() },
        effects,
        kinds,
    };
    if let Some(last) = last {
        sharing(destination, question, &mut found, last);
        choosing(destination, &mut found, last);
        asking(destination, &mut found, observed, last);
    }
    found
}

/// The member that rose by one with each poll, of three polls or more: it may count them.
fn counter(flaps: &Flaps, bodies: &[Value]) -> Option<String> {
    let counts = |place: &str| {
        let values: Option<Vec<u64>> = bodies.iter().map(|body| body.pointer(place)?.as_u64()).collect();
        values.is_some_and(|values| values.len() > 2 && values.windows(2).all(|pair| pair[1] == pair[0] + 1))
    };
    let mut places =
        flaps.members.iter().map(|member| member.place.as_str()).filter(|place| place.starts_with('/'));
    places.find(|place| counts(place)).map(str::to_owned)
}

/// What the route's `change` speaks of.
fn published(destination: &Destination, bodies: &[Value]) -> Vec<Value> {
    let pointer = destination.route.change.select.as_deref().unwrap_or_default();
    bodies.iter().filter_map(|body| body.pointer(pointer)).cloned().collect()
}

fn matters(effect: Option<Effect>) -> bool {
    matches!(effect, Some(Effect::Status(_) | Effect::Content))
}

/// Which clients may share.
fn sharing(destination: &Destination, question: &Question, found: &mut Findings, last: &Answer) {
    let doubtful = not_shareable(&last.headers, &destination.route).is_some();
    let varying = fields::varying_credentials(&last.headers, &destination.route.credentials);
    let set = fields::cookies(&last.headers, &destination.route.ignore_cookies);
    let all_same = found.effects.iter().all(|(said, effect)| match said {
        Said::Without(_) => *effect == Effect::Same,
        Said::With(..) => true,
    });
    let has_credential = found.kinds.iter().any(|(_, kind)| *kind == HeaderKind::Credential);
    let by = if found.is_for_one_request {
        Vec::new()
    } else {
        share_by(destination, question, found, &varying, &set)
    };
    let suggestion = &mut found.suggestion;
    suggestion.public = destination.route.share == Share::Public
        || (has_credential && !doubtful && varying.is_empty() && all_same && !question.headers.is_empty());
    let cookie_is_named = by.iter().any(|name| name.starts_with("cookie:"));
    suggestion.unnamed_cookie = varying.contains(&header::COOKIE) && !cookie_is_named;
    suggestion.doubtful = doubtful;
    suggestion.share_by = by;
}

/// Returns the values that the route says, else the credentials that matter, or that `Vary` names.
fn share_by(
    destination: &Destination,
    question: &Question,
    found: &Findings,
    varying: &[HeaderName],
    set: &[String],
) -> Vec<String> {
    if let Share::By(values) = &destination.route.share {
        let name = |value: &ClassValue| match value {
            ClassValue::Header(name) => name.to_string(),
            ClassValue::Cookie(name) => format!("cookie:{name}"),
            ClassValue::Identity { what, .. } => format!("identity:{what}"),
        };
        return values.iter().map(name).collect();
    }
    let says_who = |name: &HeaderName| {
        let is_credential = found.kinds.iter().any(|(n, kind)| n == name && *kind == HeaderKind::Credential);
        let is_refused = matches!(
            identity::without(&found.effects, name),
            Some(Effect::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
        );
        is_credential || is_refused
    };
    let mut names: Vec<HeaderName> =
        identity::that_matter(&found.effects).into_iter().filter(says_who).collect();
    names.extend(varying.iter().cloned());
    let mut by: Vec<String> = Vec::new();
    for name in names {
        if name != header::COOKIE {
            by.push(name.to_string());
            continue;
        }
        let values = question.headers.iter().filter(|(name, _)| name == header::COOKIE);
        let pairs = values.filter_map(|(_, value)| value.to_str().ok()).flat_map(|value| value.split(';'));
        let sent = pairs.filter_map(|pair| Some(pair.split_once('=')?.0.trim().to_owned()));
        by.extend(sent.chain(set.iter().cloned()).map(|name| format!("cookie:{name}")));
    }
    let mut seen = Vec::new();
    by.retain(|name| {
        !seen.contains(name) && {
            seen.push(name.clone());
            true
        }
    });
    by
}

/// Which headers choose the content, and which mean nothing.
fn choosing(destination: &Destination, found: &mut Findings, last: &Answer) {
    let named: Vec<String> = vary_names(&last.headers).collect();
    let rules = &destination.route.headers;
    let (mut vary, mut ignore_headers) = (Vec::new(), Vec::new());
    for (name, kind) in &found.kinds {
        let effect = identity::without(&found.effects, name);
        let says_who = found.suggestion.share_by.iter().any(|by| by == name.as_str());
        if *kind != HeaderKind::Doubt || says_who {
            continue;
        }
        if matters(effect) {
            vary.push(name.to_string());
        } else if effect == Some(Effect::Same) && !found.suggestion.public {
            ignore_headers.push(name.to_string());
        }
    }
    // The resource's own Vary is in the key, but for User-Agent; X-Requested-With always is.
    let agent = (header::USER_AGENT, true);
    for (name, even_if_named) in [agent, (header::ACCEPT_LANGUAGE, false)] {
        let is_handled = named.iter().any(|vary| vary == name.as_str()) && !even_if_named;
        if matters(identity::with(&found.effects, &name)) && !is_handled {
            vary.push(name.to_string());
        }
    }
    let tried = [header::USER_AGENT, header::ACCEPT_LANGUAGE, HeaderName::from_static("x-requested-with")];
    let means_nothing = |name: &&HeaderName| {
        named.iter().any(|vary| vary == name.as_str())
            && identity::with(&found.effects, name) == Some(Effect::Same)
            && !rules.ignores_vary(name)
    };
    found.suggestion.ignore_vary = tried.iter().filter(means_nothing).map(ToString::to_string).collect();
    let said = |names: &[HeaderName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    found.suggestion.vary = union(said(&rules.vary), vary);
    found.suggestion.ignore_headers = union(said(&rules.ignore), ignore_headers);
    found.suggestion.ignored_vary = said(&rules.ignore_vary);
}

fn union(mut names: Vec<String>, more: Vec<String>) -> Vec<String> {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// How it is asked, and what becomes of plain requests.
fn asking(destination: &Destination, found: &mut Findings, observed: &Observed, last: &Answer) {
    let media_type = media_type(last);
    let json = observed.trials.iter().find(|trial| {
        matches!(&trial.said, Said::With(name, value) if *name == header::ACCEPT && *value == "application/json")
    });
    let gives_json =
        json.is_some_and(|trial| trial.answer.status.is_success() && media_type_is_json(&trial.answer));
    let suggestion = &mut found.suggestion;
    suggestion.max_age = fields::max_age(&last.headers);
    suggestion.asks_for_json = gives_json && !media_type.as_ref().is_some_and(MediaType::is_json);
    suggestion.max_body = observed.too_large;
    suggestion.cors = fields::cors(observed).filter(|_| destination.route.cors.is_none());
    suggestion.is_text = decoded(media_type.as_ref(), &last.body).is_some();
    let wide = Plain::of_path(&destination.route.path) == Plain::Pass;
    suggestion.beside = (destination.is_route && wide).then(|| destination.route.path.clone());
    // A route that names its resources shares plain requests unless it says otherwise, whatever the wide one beside it says.
    let shares = suggestion.beside.is_some() || destination.route.plain == Plain::Share;
    suggestion.plain_passes = match (found.revision.is_some(), suggestion.asks_for_json) {
        _ if !shares => None,
        (true, _) => Some("the API's ETags mean something to clients that send them back"),
        (false, true) => Some("clients that state no preference get another type from the API than polls"),
        (false, false) => None,
    };
}

/// The type that an answer says.
pub(super) fn media_type(answer: &Answer) -> Option<MediaType> {
    answer.headers.get(header::CONTENT_TYPE).and_then(|value| MediaType::parse(value.to_str().ok()?))
}

fn media_type_is_json(answer: &Answer) -> bool {
    media_type(answer).is_some_and(|media_type| media_type.is_json())
}
