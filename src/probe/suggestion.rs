//! A route made of what was seen, as YAML that `pollcast check` accepts.
//!
//! What the answers cannot tell stands there as a comment. Must not know: requests.

use std::time::Duration;

use serde_json::Value;

use super::aim::Aim;
use super::flapping::{Flaps, is_uuid};
use super::listing::Listing;

/// Longest interval that is suggested because an answer stays fresh that long.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is known about the resource.
#[derive(Debug, Default)]
pub(super) struct Suggestion {
    pub(super) max_age: Option<Duration>,
    /// As `share.by` takes them.
    pub(super) share_by: Vec<String>,
    /// Credentials were tried and mean nothing.
    pub(super) public: bool,
    /// There are signs that the answer is one user's, and nothing tells whose.
    pub(super) doubtful: bool,
    pub(super) flaps: Flaps,
    pub(super) listing: Option<Listing>,
}

/// The whole `routes:` section with this one route.
pub(super) fn yaml(aim: &Aim, suggestion: &Suggestion) -> String {
    let path = if aim.is_route { aim.route.path.clone() } else { pattern(&aim.path) };
    let mut lines = vec![
        "routes:".to_owned(),
        format!("  - path: {}", quoted(&path)),
        format!("    upstream: {}", quoted(&aim.route.upstream.name)),
        format!("    poll: {{ interval: {} }}", interval(aim, suggestion)),
    ];
    if !suggestion.share_by.is_empty() {
        let by: Vec<String> = suggestion.share_by.iter().map(|name| quoted(name)).collect();
        lines.push(format!("    share: {{ by: [{}] }}", by.join(", ")));
    } else if suggestion.public {
        lines.push("    share: public".to_owned());
    } else if suggestion.doubtful {
        lines.push(
            "    # share: public   # or { by: [authorization] }; without it such answers are not shared"
                .to_owned(),
        );
    }
    // Items of a feed count by their ids: there are no rules beside it.
    if aim.route.feed.is_none() {
        rules(aim, suggestion, &mut lines);
    }
    lines.join("\n") + "\n"
}

fn rules(aim: &Aim, suggestion: &Suggestion, lines: &mut Vec<String>) {
    let places = |is_noise: bool| {
        let members = suggestion.flaps.members.iter().filter(|member| member.is_noise == is_noise);
        members.map(|member| quoted(&member.place)).collect::<Vec<_>>()
    };
    let (noise, others) = (places(true), places(false));
    let select = aim.route.change.select.as_deref();
    let select = select.map_or(String::new(), |pointer| format!("select: {}, ", quoted(pointer)));
    if !noise.is_empty() {
        lines.push(format!("    change: {{ {select}ignore: [{}] }}", noise.join(", ")));
    }
    if !others.is_empty() {
        let all = [noise, others].concat().join(", ");
        lines
            .push(format!("    # change: {{ {select}ignore: [{all}] }}   # if they mean nothing to clients"));
    }
    if let Some(Listing { items, id, order, .. }) = &suggestion.listing {
        let order = order.map_or(String::new(), |order| format!(", order: {order}"));
        let (items, id) = (quoted(items), quoted(id));
        lines.push(
            "    # Each new item as an event of its own instead of the whole list, and then no change:"
                .to_owned(),
        );
        lines.push(format!("    # feed: {{ items: {items}, id: {id}{order} }}"));
    }
}

/// Double-quoted: YAML's escapes are a superset of JSON's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn interval(aim: &Aim, suggestion: &Suggestion) -> String {
    let own = aim.route.poll.interval;
    let interval = match suggestion.max_age {
        Some(age) if !aim.is_route => age.max(own).min(LONGEST.max(own)),
        _ => own,
    };
    match (aim.route.poll.adaptive_max, interval.subsec_nanos()) {
        (Some(max), _) => format!("{{ min: {}ms, max: {}ms }}", own.as_millis(), max.as_millis()),
        (None, 0) => format!("{}s", interval.as_secs()),
        (None, _) => format!("{}ms", interval.as_millis()),
    }
}

/// Segments that name one of many become parameters.
fn pattern(path: &str) -> String {
    let mut count = 0;
    let segment = |segment: &str| {
        let is_number = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
        if !is_number && !is_uuid(segment) {
            return segment.replace('{', "{{").replace('}', "}}");
        }
        count += 1;
        if count == 1 { "{id}".to_owned() } else { format!("{{id{count}}}") }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}
