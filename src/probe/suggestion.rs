//! A route made of what was seen, as YAML that `pollcast check` accepts.
//!
//! What the answers cannot tell stands there as a comment. Must not know: requests.

use std::time::Duration;

use serde_json::Value;

use super::destination::Destination;
use super::fields::Cors;
use super::flapping::Flaps;
use super::listing::Listing;
use super::noise::is_uuid;
use crate::resource::{CanonicalPath, canonical_path};

/// Longest interval that is suggested because an answer stays fresh that long.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

const MIB: usize = 1 << 20;

/// The findings from which a route is suggested.
#[derive(Debug, Default)]
pub(super) struct Suggestion {
    pub(super) max_age: Option<Duration>,
    /// The API sends JSON only where `Accept` asks for it.
    pub(super) asks_for_json: bool,
    /// The length of a body that is longer than `poll.max_body`, bytes.
    pub(super) max_body: Option<usize>,
    /// The values for `share.by`.
    pub(super) share_by: Vec<String>,
    /// The API chooses by a cookie whose name is not known.
    pub(super) unnamed_cookie: bool,
    /// Credentials were tried and mean nothing.
    pub(super) public: bool,
    /// There are signs that the answer is one user's, and nothing tells whose.
    pub(super) doubtful: bool,
    /// Headers that choose the content.
    pub(super) vary: Vec<String>,
    /// Headers that mean nothing.
    pub(super) ignore_headers: Vec<String>,
    /// Names in the API's Vary that changed nothing here.
    pub(super) ignore_vary: Vec<String>,
    /// Names that the route's `ignore_vary` has already.
    pub(super) ignored_vary: Vec<String>,
    pub(super) cors: Option<Cors>,
    /// Bodies can be sent as text.
    pub(super) is_text: bool,
    /// Why plain requests are better left to the API. `None` if they are not.
    pub(super) plain_passes: Option<&'static str>,
    /// The wide route of the file beside which this one stands.
    pub(super) beside: Option<String>,
    pub(super) flaps: Flaps,
    pub(super) listing: Option<Listing>,
}

/// The path of the suggested route.
pub(super) fn path(destination: &Destination, suggestion: &Suggestion) -> String {
    match destination.is_route && suggestion.beside.is_none() {
        true => destination.route.path.clone(),
        false => pattern(&destination.path),
    }
}

/// Returns one item of the `routes:` section.
pub(super) fn item(destination: &Destination, suggestion: &Suggestion) -> String {
    let mut lines = vec![
        format!("  - path: {}", quoted(&path(destination, suggestion))),
        format!("    upstream: {}", quoted(&destination.route.upstream.name)),
    ];
    if let CanonicalPath::Doubtful = canonical_path(&destination.path) {
        lines
            .push("    spelling: exact   # this path has signs that servers read in several ways".to_owned());
    }
    poll(destination, suggestion, &mut lines);
    share(suggestion, &mut lines);
    headers(suggestion, &mut lines);
    // Items of a feed count by their ids: there are no rules beside it.
    if destination.route.feed.is_none() {
        rules(destination, suggestion, &mut lines);
    }
    lines.join("\n") + "\n"
}

fn poll(destination: &Destination, suggestion: &Suggestion, lines: &mut Vec<String>) {
    let mut keys = vec![format!("interval: {}", interval(destination, suggestion))];
    if suggestion.asks_for_json {
        keys.push("accept: application/json".to_owned());
    }
    if let Some(length) = suggestion.max_body {
        // Room for it to grow.
        keys.push(format!("max_body: {}MiB", (length + length / 2).div_ceil(MIB).clamp(1, 64)));
    }
    let note = match suggestion.max_age {
        Some(age)
            if age > destination.route.poll.interval && !destination.route.poll.ignore_cache_control =>
        {
            format!("   # the API says max-age={}, and is not asked more often", age.as_secs())
        }
        _ => String::new(),
    };
    lines.push(format!("    poll: {{ {} }}{note}", keys.join(", ")));
    if let Some(reason) = suggestion.plain_passes {
        lines.push(format!("    plain: pass   # {reason}"));
    }
    if suggestion.beside.is_some()
        && (destination.route.poll.auth.is_some() || !destination.route.poll.headers.is_empty())
    {
        lines.push("    # poll.auth and poll.headers of the wide route are to be said here, too".to_owned());
    }
    if !suggestion.is_text && !destination.route.base64 {
        lines.push(
            "    # encoding: base64   # the body is no text: without it event streams get 406".to_owned(),
        );
    }
    if suggestion.cors == Some(Cors::WhenAsked) {
        lines.push(
            "    # cors: { origins: [\"https://page.example\"] }   # else each origin is polled for by itself".to_owned(),
        );
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn share(suggestion: &Suggestion, lines: &mut Vec<String>) {
    if !suggestion.share_by.is_empty() {
        lines.push(format!("    share: {{ by: [{}] }}", list(&suggestion.share_by)));
    } else if suggestion.public {
        lines.push("    share: public".to_owned());
    } else if suggestion.doubtful {
        lines.push(
            "    # share: public   # or { by: [authorization] }; without it such answers are not shared"
                .to_owned(),
        );
    }
    if suggestion.unnamed_cookie {
        lines.push(
            "    # The API chooses by a cookie, too: add \"cookie:NAME\" to share.by; --header 'Cookie: …' finds it"
                .to_owned(),
        );
    }
}

fn headers(suggestion: &Suggestion, lines: &mut Vec<String>) {
    for (key, names) in [("vary", &suggestion.vary), ("ignore_headers", &suggestion.ignore_headers)] {
        if !names.is_empty() {
            lines.push(format!("    {key}: [{}]", list(names)));
        }
    }
    let said = &suggestion.ignored_vary;
    if !said.is_empty() {
        lines.push(format!("    ignore_vary: [{}]", list(said)));
    }
    if !suggestion.ignore_vary.is_empty() {
        let all = [said.as_slice(), &suggestion.ignore_vary].concat();
        lines.push(format!(
            "    # ignore_vary: [{}]   # in the API's Vary, and changed nothing here",
            list(&all)
        ));
    }
}

fn rules(destination: &Destination, suggestion: &Suggestion, lines: &mut Vec<String>) {
    let places = |is_noise: bool| {
        let members = suggestion.flaps.members.iter().filter(|member| member.is_noise == is_noise);
        members.map(|member| quoted(&member.place)).collect::<Vec<_>>()
    };
    let (noise, others) = (places(true), places(false));
    let select = destination.route.change.select.as_deref();
    let select = select.map_or(String::new(), |pointer| format!("select: {}, ", quoted(pointer)));
    if !noise.is_empty() {
        lines.push(format!("    change: {{ {select}ignore: [{}] }}", noise.join(", ")));
    }
    // If every value differs each time, no value would be left to follow.
    if !others.is_empty() && !suggestion.flaps.are_all {
        let all = [noise, others].concat().join(", ");
        lines
            .push(format!("    # change: {{ {select}ignore: [{all}] }}   # if they mean nothing to clients"));
    }
    if let Some(Listing { items, id, order, .. }) = &suggestion.listing {
        let id = match id.as_slice() {
            [one] => quoted(one),
            several => format!("[{}]", list(several)),
        };
        lines.push(
            "    # Each new item as an event of its own instead of the whole list, and then no change:"
                .to_owned(),
        );
        lines.push(format!("    # feed: {{ items: {}, id: {id}, order: {order} }}", quoted(items)));
    }
}

/// Double-quoted: YAML's escapes are a superset of JSON's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn interval(destination: &Destination, suggestion: &Suggestion) -> String {
    let own = destination.route.poll.interval;
    let interval = match suggestion.max_age {
        Some(age) if !destination.is_route || suggestion.beside.is_some() => {
            age.max(own).min(INTERVAL_MAX.max(own))
        }
        _ => own,
    };
    match (destination.route.poll.adaptive_max, interval.subsec_nanos()) {
        (Some(max), _) => format!("{{ min: {}ms, max: {}ms }}", own.as_millis(), max.as_millis()),
        (None, 0) => format!("{}s", interval.as_secs()),
        (None, _) => format!("{}ms", interval.as_millis()),
    }
}

/// Segments that name one of many become parameters.
fn pattern(path: &str) -> String {
    let mut count = 0;
    // One segment that stands for all would cover what has nothing to do with this one.
    let is_alone = path.split('/').filter(|segment| !segment.is_empty()).count() == 1;
    let segment = |segment: &str| {
        let is_number = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
        // What stands for a slash, or for a parameter of the segment, is no part of a pattern.
        let lower = segment.to_ascii_lowercase();
        let is_data = ["%2f", "%5c", ";"].iter().any(|sign| lower.contains(sign));
        if is_alone && !is_data || !is_number && !is_data && !is_uuid(segment) {
            return segment.replace('{', "{{").replace('}', "}}");
        }
        count += 1;
        if count == 1 { "{id}".to_owned() } else { format!("{{id{count}}}") }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn a_segment_that_stands_alone_is_no_parameter() {
        for (path, wanted) in [
            ("/204", "/204"),
            ("/orders/7", "/orders/{id}"),
            ("/rooms/1/messages/2", "/rooms/{id}/messages/{id2}"),
            ("/{a}", "/{{a}}"),
        ] {
            assert_eq!(pattern(path), wanted);
        }
    }
}
