//! The poll of the resource that a request is about, and its schedule, for operators. Fields are named, and their values
//! are not said.
//!
//! Must not know: how polls are sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::outcome::{Does, Outcome};
use crate::config::{Auth, Route};
use crate::front::services::Shared;
use crate::hub::{Outcome as Ended, Topic};
use crate::poll;
use crate::resource::{ResourceKey, shown_target};
use crate::upstream::schedule::Why;

/// How a resource is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Polled {
    pub(super) method: String,
    pub(super) upstream: String,
    pub(super) host: String,
    /// Path and query, without what looks like a credential.
    pub(super) target: String,
    /// The names of its fields.
    pub(super) fields: Vec<String>,
    /// What else has its part in it.
    pub(super) notes: Vec<String>,
    /// Whether the request that is explained waits for such a poll.
    pub(super) is_awaited: bool,
}

/// When a resource is polled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scheduled {
    pub(super) interval: Duration,
    /// The interval that counts now.
    pub(super) effective: Duration,
    pub(super) why: &'static str,
    pub(super) next: Option<Duration>,
    pub(super) followers: usize,
    pub(super) polls: u64,
    /// How the last poll ended. `None` if there was none.
    pub(super) last: Option<String>,
    /// The upstream counts as down, so that polls are not made.
    pub(super) is_broken: bool,
}

/// How and when the resource of a request is polled. Returns nothing for what is not polled.
pub(super) fn of(
    shared: &Shared,
    route: Option<&Arc<Route>>,
    key: Option<&ResourceKey>,
    outcome: &Outcome,
) -> (Option<Polled>, Option<Scheduled>) {
    let Some((route, key)) = route.filter(|route| route.polled).zip(key) else { return (None, None) };
    let topic = shared.hub.get(key);
    if topic.is_none() && matches!(outcome.does, Does::Refuses | Does::PassesThrough) {
        return (None, None);
    }
    (Some(polled(route, key, topic.as_deref(), outcome)), Some(scheduled(shared, route, topic.as_deref())))
}

fn polled(route: &Route, key: &ResourceKey, topic: Option<&Topic>, outcome: &Outcome) -> Polled {
    let view = topic.map(Topic::view);
    let frame = view.as_ref().and_then(|view| view.frame.as_ref());
    let ask = poll::poll(key, route, frame.map(|frame| &frame.snapshot.validators), 0);
    let mut fields: Vec<String> = ask.headers.iter().map(|(name, _)| name.to_string()).collect();
    fields.extend(route.poll.header_files.iter().map(|(name, _)| name.to_string()));
    fields.extend(route.poll.auth.as_ref().map(|_| "authorization".to_owned()));
    let mut notes = Vec::new();
    notes.extend(route.poll.auth.as_ref().map(|auth| format!("it authenticates by {}", auth_word(auth))));
    if route.poll.cookie_jar && !key.is_private() {
        notes.push("it carries the cookies that the API gave the poller (poll.cookie_jar)".to_owned());
    }
    if route.poll.batch.is_some() {
        notes.push("it is one of several resources that one request asks for (poll.batch)".to_owned());
    }
    if key.is_private() {
        let names: Vec<&str> = key.parts().class.iter().map(|(name, _)| name.as_str()).collect();
        notes.push(format!("it carries the client's own {}", names.join(", ")));
    }
    Polled {
        method: ask.method.to_string(),
        upstream: route.upstream.name.clone(),
        host: ask.host,
        target: shown_target(&ask.path_and_query),
        fields,
        notes,
        is_awaited: outcome.after.is_some_and(|after| matches!(after, "poll" | "write" | "confirmation")),
    }
}

fn auth_word(auth: &Auth) -> &'static str {
    match auth {
        Auth::Static(_) => "a fixed Authorization field",
        Auth::ClientCredentials(_) => "a token of a token server",
        Auth::Digest(_) => "Digest",
        Auth::File(_) => "a secret in a file",
    }
}

fn scheduled(shared: &Shared, route: &Route, topic: Option<&Topic>) -> Scheduled {
    let interval = route.poll.interval;
    let client = shared.clients.get(&route.upstream.name);
    let is_broken = client.is_some_and(|client| client.standing().breaker_open);
    let Some(topic) = topic else {
        let why = if route.poll.adaptive_max.is_some() { Why::Adaptive } else { Why::Interval };
        return Scheduled {
            interval,
            effective: interval,
            why: why.word(),
            next: None,
            followers: 0,
            polls: 0,
            last: None,
            is_broken,
        };
    };
    let view = topic.view();
    let last = match &view.outcome {
        Ended::Cold => None,
        Ended::Data => Some("data".to_owned()),
        Ended::Relay(relayed) => Some(format!("{} relayed", relayed.status.as_u16())),
        Ended::Failed(failure) => Some(failure.class.to_owned()),
    };
    Scheduled {
        interval,
        effective: view.effective_interval,
        why: view.why.word(),
        next: view.next_poll().map(|at| at.saturating_duration_since(Instant::now())),
        followers: topic.followers(),
        polls: topic.started(),
        last,
        is_broken,
    }
}
