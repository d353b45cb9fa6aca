//! One resource as a row of the list.
//!
//! Credentials are named and never shown, and so are query parameters that look like credentials.
//! Must not know: the list.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::clock::Clock;
use crate::admin::resources::outcome;
use crate::config::{Share, says_credential};
use crate::frame::{Format, PatchKind, State};
use crate::hub::{Hub, Outcome, Topic, View};
use crate::metrics::{ENVELOPE, LONG_POLL, SSE, SSE_MANY, WEBSOCKET};

/// Returns the row of a resource.
pub(super) fn describe(hub: &Hub, topic: &Topic, clock: &Clock) -> Value {
    let (view, route, key) = (topic.view(), topic.route(), topic.key().parts());
    let frame = view.frame.as_deref();
    let (outcome, reason) = outcome(&view);
    let (changed, polls) = topic.outcomes().changed();
    json!({
        "id": topic.id(),
        "path": topic.key().shown(),
        "host": key.host,
        "route": route.path,
        "upstream": route.upstream.name,
        "class": key.class.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        "followers": topic.followers(),
        "transports": transports(topic),
        "presence": route.presence.as_ref().map(|_| hub.presences().count(topic.key())),
        "state": state(&view),
        "outcome": outcome,
        "reason": reason,
        "interval_ms": view.effective_interval.as_millis() as u64,
        "why": view.why.word(),
        "outcomes": topic.outcomes().list(),
        "changed": changed,
        "polls": polls,
        "changes_per_minute": changes_per_minute(topic, &view),
        "confirmed_at": view.confirmed_at().map(|at| clock.unix_ms(at)),
        "next_at": view.next_poll().map(|at| clock.unix_ms(at)),
        "bytes": frame.map(|frame| frame.snapshot.body.len()),
        "version": frame.map(|frame| frame.version().to_string()),
        "patch_ratio": frame.and_then(|frame| {
            let patch = PatchKind::ALL.into_iter().find_map(|kind| frame.patch(kind))?;
            let ratio = patch.text.len() as f64 / frame.snapshot.body.len().max(1) as f64;
            Some((ratio * 1000.0).round() / 1000.0)
        }),
        "is_shown": is_for_all(topic),
    })
}

/// The state and the place of it in the order of trouble: failing first.
pub(super) fn state(view: &View) -> &'static str {
    match (&view.condition.state, &view.outcome) {
        (State::Gone { .. }, _) => "gone",
        (State::Stale { .. }, _) => "stale",
        (State::Fresh, Outcome::Failed(_)) => "failing",
        (State::Fresh, Outcome::Cold) => "cold",
        (State::Fresh, _) => "fresh",
    }
}

/// Changes a minute, by the polls that are remembered and the interval that counts now. 0 if nothing was polled.
pub(super) fn changes_per_minute(topic: &Topic, view: &View) -> f64 {
    let (changed, polls) = topic.outcomes().changed();
    let interval = view.effective_interval.max(Duration::from_millis(1)).as_secs_f64();
    let rate = changed as f64 / polls.max(1) as f64 * 60.0 / interval;
    (rate * 10.0).round() / 10.0
}

/// Followers by transport, those with none left out.
fn transports(topic: &Topic) -> BTreeMap<&'static str, usize> {
    let mut readers = BTreeMap::new();
    for format in Format::ALL {
        let count = topic.readers(format);
        if count > 0 {
            *readers.entry(transport(format)).or_default() += count;
        }
    }
    readers
}

fn transport(format: Format) -> &'static str {
    match format {
        Format::Sse(_) | Format::SseDelta(..) => SSE,
        Format::WebSocket(_) => WEBSOCKET,
        Format::Body(_) | Format::BodyDelta => LONG_POLL,
        Format::Named => SSE_MANY,
        Format::Envelope(_) => ENVELOPE,
    }
}

/// Whether every client may read the resource, so that its content may be shown to operators. In doubt it may not: it has
/// a class, its route asks who a client is, its URL or what it varies by looks like a credential.
pub(super) fn is_for_all(topic: &Topic) -> bool {
    let (route, key) = (topic.route(), topic.key());
    matches!(route.share, Share::Public | Share::Unset)
        && route.authenticate.is_none()
        && key.parts().class.is_empty()
        && key.parts().vary.iter().all(|(name, _)| !says_credential(name.as_str()))
        && key.shown() == key.target()
}
