//! The words in which operators are told the steps of a decision (`/-/explain`). Names of fields and parameters are said,
//! their values are not.
//!
//! Pure but for the trace that takes the steps. Must not know: what follows from a step.

use http::{HeaderMap, HeaderName};

use super::access::reason::Reason;
use super::access::share::ClassValues;
use super::request::transport_choice::Form;
use super::services::Shared;
use super::trace::Subject;
use crate::config::{ClassValue, Plain, Route, Share};
use crate::frame::State;
use crate::hub::{Outcome, Topic, View};
use crate::identity::Identity;
use crate::resource::{HeaderKind, ResourceKey, Target, header_kind, why_known};

/// Notes what each field of a request means on its route (contract §11).
pub(super) fn note_headers(shared: &Shared, route: &Route, own_vary: &[HeaderName], headers: &HeaderMap) {
    if !shared.explains() {
        return;
    }
    for (name, value) in headers {
        let kind = header_kind(route, own_vary, name, value);
        let why = match kind {
            HeaderKind::Known if route.headers.ignore.contains(name) => "the route ignores it",
            HeaderKind::Known if *name == http::header::COOKIE => "all its cookies are ignored on this route",
            HeaderKind::Known => why_known(name.as_str()).unwrap_or("pollcast's own"),
            HeaderKind::Choosing => "it chooses the content: it is in the key, and on the polls",
            HeaderKind::Credential => "it says who asks",
            HeaderKind::Doubt => {
                "it may choose the content, and neither a Vary nor the route says whether it does (`vary`, \
                 `ignore_headers`)"
            }
        };
        shared.note(Subject::Header, || format!("{name} is {}: {why}", kind.word()));
    }
}

/// The parameters by which a query names a resource.
pub(super) fn of_query(raw: Option<&str>, target: &Target) -> String {
    let Some(raw) = raw else { return "there is no query".to_owned() };
    let kept = names(target.query.as_deref());
    let mut left_out = names(Some(raw));
    left_out.retain(|name| !kept.contains(name));
    let listed = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    format!("parameters in the key: {}; left out: {}", listed(&kept), listed(&left_out))
}

/// The names of a query's parameters, as they are written.
fn names(query: Option<&str>) -> Vec<&str> {
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    let mut names: Vec<&str> = pairs
        .map(|pair| pair.split('=').next().unwrap_or_default())
        .filter(|name| !name.is_empty())
        .collect();
    names.dedup();
    names
}

/// By which proof a client was let in.
pub(super) fn of_identity(identity: Option<&Identity>) -> String {
    match identity {
        Some(identity) => format!("the client proves an identity by {}", identity.principal.way.label()),
        None => "the route lets in all clients".to_owned(),
    }
}

/// With which clients a request shares, and why.
pub(super) fn of_share(route: &Route, class: &Result<ClassValues, Reason>) -> String {
    let says = match &route.share {
        Share::Unset => "unset".to_owned(),
        Share::Public => "public".to_owned(),
        Share::Authorize => "authorize".to_owned(),
        Share::By(values) => format!("by {}", values.iter().map(of_value).collect::<Vec<_>>().join(", ")),
    };
    let found = match class {
        Ok(values) if values.is_empty() => "it shares with all clients without a class".to_owned(),
        Ok(values) => {
            let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
            format!("it shares with those that have equal values of {}", names.join(", "))
        }
        Err(Reason::Doubt(name)) => format!("it shares with no other: {name} may choose the content"),
        Err(Reason::Credentials) => {
            "it shares with no other: it carries credentials, and `share` covers none of them".to_owned()
        }
        Err(Reason::OneRequest) => {
            "it shares with no other: its credential is good for this request or this connection alone"
                .to_owned()
        }
        Err(reason) => format!("it shares with no other: {}", reason.told(route).detail),
    };
    format!("share is {says}: {found}")
}

/// The name of a value by which classes are told apart, as the configuration has it.
fn of_value(value: &ClassValue) -> String {
    match value {
        ClassValue::Header(name) => name.to_string(),
        ClassValue::Cookie(name) => format!("cookie:{name}"),
        ClassValue::Identity { what, .. } => format!("identity:{what}"),
    }
}

/// The form that a request asks for.
pub(super) fn of_form(form: Form, media_type: &str) -> String {
    let asked = match form {
        Form::WebSocket => "it asks for a WebSocket (Upgrade)".to_owned(),
        Form::Sse => "it asks for an event stream (Accept names it, or the switch does)".to_owned(),
        Form::LongPoll(wait) => format!("it asks to be held for {} s", wait.as_secs()),
        Form::Poll => "it is a plain poll".to_owned(),
        Form::PassThrough => "it asks for a WebSocket, which the route does not allow".to_owned(),
        Form::NotAcceptable => "it accepts an event stream alone, which the route does not allow".to_owned(),
    };
    format!("{asked}; the resource is taken for {media_type}")
}

/// Whether a route answers plain polls.
pub(super) fn of_plain(route: &Route) -> String {
    let (word, means) = match route.plain {
        Plain::Share => ("share", "plain polls are answered from the snapshot"),
        Plain::Pass => ("pass", "plain polls are the API's"),
    };
    format!("plain is {word}: {means}")
}

/// The parts of the key of a resource, which clients with another value of one of them do not share.
pub(super) fn of_key(key: &ResourceKey) -> String {
    let parts = key.parts();
    let mut told = vec![parts.proto.to_owned()];
    told.extend(parts.host.clone());
    told.push(parts.path.clone());
    told.extend(parts.query.as_deref().map(|query| format!("parameters {}", names(Some(query)).join(", "))));
    told.extend(parts.class.iter().map(|(name, _)| format!("class by {name}")));
    told.extend(parts.vary.iter().map(|(name, _)| format!("chosen by {name}")));
    format!("its key is made of: {}", told.join("; "))
}

/// What is known of a resource.
pub(super) fn of_state(topic: &Topic, view: &View) -> String {
    let outcome = match &view.outcome {
        Outcome::Cold => "no poll has ended yet".to_owned(),
        Outcome::Data => "the last poll brought data".to_owned(),
        Outcome::Relay(relayed) => {
            format!("the last poll brought a {} that is relayed", relayed.status.as_u16())
        }
        Outcome::Failed(failure) => format!("the last poll failed ({})", failure.class),
    };
    let state = match &view.condition.state {
        State::Fresh => "fresh",
        State::Stale { .. } => "stale",
        State::Gone { .. } => "gone",
    };
    let age = view.confirmed_at().map(|at| at.elapsed()).map_or("never confirmed".to_owned(), |age| {
        format!("confirmed {} ms ago, young for {} ms", age.as_millis(), view.effective_interval.as_millis())
    });
    let young = if topic.is_young(view) { "young" } else { "not young" };
    let followers = topic.followers();
    format!("it is polled for {followers} follower(s); {outcome}; it is {state} and {young}: {age}")
}
