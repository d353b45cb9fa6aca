//! The list of resources: how often each is polled, for how many clients, with what outcome, and when next.
//!
//! Must not know: HTTP.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Context, cluster};
use crate::cluster::Others;
use crate::config::Order;
use crate::frame::State;
use crate::hub::{Outcome, Topic, View};

/// Returns all resources, by path. Credentials are named and never shown, and so are query parameters that look like
/// credentials. Says which configuration counts, and how the last reload went. Of a node of a cluster it says, too, which
/// nodes there are, and what this one is for each resource.
pub fn list(context: &Context) -> Value {
    let (hub, others) = (&context.hub, context.cluster.as_deref());
    let mut topics = hub.topics();
    topics.sort_by_key(|topic| topic.key().target());
    let resources: Vec<Value> = topics.iter().map(|topic| describe_in(topic, others)).collect();
    let mut list = json!({ "count": resources.len(), "limit": hub.max_topics(), "resources": resources });
    list["configuration"] = (context.configuration)();
    if let Some(others) = others {
        list["cluster"] = cluster::describe(others);
    }
    list
}

fn describe_in(topic: &Topic, others: Option<&Others>) -> Value {
    let mut described = describe(topic);
    // A route that is not polled has nothing to share.
    if let Some(others) = others.filter(|_| topic.route().polled) {
        for (name, value) in cluster::members_of(&others.resource(topic.key(), &topic.route())) {
            described[name] = value;
        }
    }
    described
}

/// What the last poll came to in one word, and why if it failed.
pub(super) fn outcome(view: &View) -> (&'static str, Option<String>) {
    match &view.outcome {
        Outcome::Cold => ("none yet", None),
        Outcome::Data => ("data", None),
        Outcome::Relay(relayed) => match &relayed.failure {
            Some(failure) => (failure.class, Some(failure.reason.clone())),
            None => ("refused", Some(relayed.status.to_string())),
        },
        Outcome::Failed(failure) => (failure.class, Some(failure.reason.clone())),
    }
}

fn describe(topic: &Topic) -> Value {
    let view = topic.view();
    let now = Instant::now();
    let key = topic.key().parts();
    let ms_since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at).as_millis() as u64);
    let (outcome, reason) = outcome(&view);
    let state = match &view.condition.state {
        State::Fresh => "fresh",
        State::Stale { .. } => "stale",
        State::Gone { .. } => "gone",
    };
    json!({
        "path": topic.key().shown(),
        "route": topic.route().path,
        "upstream": topic.route().upstream.name,
        "host": key.host,
        "class": key.class.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        "followers": topic.followers(),
        "version": view.frame.as_ref().map(|frame| frame.version().to_string()),
        "bytes": view.frame.as_ref().map(|frame| frame.snapshot.body.len()),
        "state": state,
        "interval_ms": topic.route().poll.interval.as_millis() as u64,
        "effective_interval_ms": view.effective_interval.as_millis() as u64,
        "why": view.why.word(),
        "order": view.order.map(|order| match order {
            Order::NewestFirst => "newest_first",
            Order::OldestFirst => "oldest_first",
            Order::Unordered => "none",
        }),
        "polls": topic.started(),
        "last_outcome": outcome,
        "last_reason": reason,
        "last_poll_ms_ago": ms_since(view.ended_at.max(view.confirmed_at())),
        "confirmed_ms_ago": ms_since(view.confirmed_at()),
        "next_poll_in_ms": view.next_poll().map(|at| at.saturating_duration_since(now).as_millis() as u64),
    })
}
