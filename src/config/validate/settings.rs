//! The settings of a route, or of `defaults`: what the file says is put over what was there.
//!
//! Mappings go over mappings key by key; lists and plain values replace what was there.
//! Must not know: which of both it reads.

use std::time::Duration;

use http::HeaderValue;

use super::super::problem::{Findings, Place};
use super::super::{Compress, Plain, Route, SoftRefusal, Transports, raw};
use super::context::Context;
use super::units::{DAY, HOUR, MILLISECOND, MINUTE, SECOND};
use super::value::{Said, at};
use super::{access, auth, batch, change, headers, identity, paths, poll, presence, websocket};

/// Events that pollcast sends itself (contract §5).
const OWN_EVENTS: &[&str] =
    &["bye", "error", "fresh", "gone", "item", "patch", "presence", "reset", "snapshot", "stale", "sync"];

/// Puts what is said over the route.
pub fn apply(
    place: &Place,
    raw: &raw::RouteSettings,
    context: &Context<'_>,
    route: &mut Route,
    findings: &mut Findings,
) {
    poll::apply(at!(place, raw.poll), context, route, findings);
    let owners = [("share", Plain::Share), ("pass", Plain::Pass)];
    findings.choice(at!(place, raw.plain), &owners, &mut route.plain);
    change::apply(place, raw, route, findings);
    access::share(at!(place, raw.share), &mut route.share, findings);
    identity::authenticate(at!(place, raw.authenticate), context, &mut route.authenticate, findings);
    identity::recheck(at!(place, raw.authorize), &mut route.recheck, findings);
    transports(at!(place, raw.transports), &mut route.transports, findings);
    access::query(place, raw, route, findings);
    access::credentials(place, raw, route, findings);
    headers::apply(place, raw, &mut route.headers, findings);
    access::cors(at!(place, raw.cors), &mut route.cors, findings);
    let spellings = [("any", false), ("exact", true)];
    findings.choice(at!(place, raw.spelling), &spellings, &mut route.exact_spelling);
    websocket::apply(at!(place, raw.websocket), &mut route.websocket, findings);
    event_name(at!(place, raw.event_name), &mut route.event_name, findings);
    findings.choice(at!(place, raw.encoding), &[("text", false), ("base64", true)], &mut route.base64);
    findings.time(at!(place, raw.heartbeat), SECOND..=10 * MINUTE, &mut route.heartbeat);
    findings.time(at!(place, raw.first_answer), Duration::ZERO..=30 * SECOND, &mut route.first_answer);
    findings.time(at!(place, raw.max_wait), SECOND..=10 * MINUTE, &mut route.max_wait);
    findings.times(at!(place, raw.retry), 100 * MILLISECOND..=HOUR, &mut route.retry);
    findings.time(at!(place, raw.stale_after), Duration::ZERO..=DAY, &mut route.stale_after);
    findings.time(at!(place, raw.stale_if_error), Duration::ZERO..=7 * DAY, &mut route.stale_if_error);
    if let (place, Some(raw)) = at!(place, raw.history) {
        findings.count(at!(place, raw.versions), 1..=4096, &mut route.history_versions);
    }
    let refusals =
        [("browsers", SoftRefusal::Browsers), ("always", SoftRefusal::Always), ("never", SoftRefusal::Never)];
    findings.choice(at!(place, raw.soft_refusal), &refusals, &mut route.soft_refusal);
    downstream_cache(at!(place, raw.downstream_cache), &mut route.downstream_cache, findings);
    findings.flag(at!(place, raw.link), &mut route.link);
    findings.time_or_off(at!(place, raw.gone_after), SECOND..=30 * DAY, &mut route.gone_after);
    let compress = [("auto", Compress::Shared), ("on", Compress::Always), ("off", Compress::Never)];
    findings.choice(at!(place, raw.compress), &compress, &mut route.compress);
    findings.size(at!(place, raw.compress_min), 1..=1 << 30, &mut route.compress_min);
    findings.time_or_off(at!(place, raw.max_age), SECOND..=30 * DAY, &mut route.max_age);
    let many = 1..=10_000_000;
    findings.count_or_off(at!(place, raw.max_clients), many.clone(), &mut route.max_clients);
    let per_resource = at!(place, raw.max_clients_per_resource);
    findings.count_or_off(per_resource, many.clone(), &mut route.max_clients_per_resource);
    findings.count_or_off(at!(place, raw.max_resources), many, &mut route.max_resources);
    findings.list(at!(place, raw.refreshes), refreshed, &mut route.refreshes);
    findings.flag(at!(place, raw.refreshes_parent), &mut route.refreshes_parent);
    findings.time(at!(place, raw.write_wait), Duration::ZERO..=30 * SECOND, &mut route.write_wait);
    let holds = 100 * MILLISECOND..=8 * SECOND;
    findings.time_or_off(at!(place, raw.hold_not_modified), holds, &mut route.hold_not_modified);
    presence::apply(at!(place, raw.presence), &mut route.presence, findings);
    findings.choice(at!(place, raw.cluster), &[("auto", true), ("off", false)], &mut route.clustered);
}

/// Checks that the settings fit together once all are read.
pub fn together(place: &Place, raw: &raw::RouteSettings, route: &mut Route, findings: &mut Findings) {
    let parameters = paths::parameters(&route.path).unwrap_or_default();
    if route.poll.always && !parameters.is_empty() {
        let message = "needs a path without parameters: else it is not known which resources to poll";
        findings.problem(&place.key("poll").key("always"), message);
    }
    plain(place, raw, route, findings);
    poll::together(&place.key("poll"), route, findings);
    let owned: Vec<String> = parameters.iter().map(|name| (*name).to_owned()).collect();
    let parameters: Vec<&str> = owned.iter().map(String::as_str).collect();
    auth::together(&place.key("poll"), route, findings);
    batch::together(&place.key("poll"), route, &parameters, findings);
    change::together(place, raw, route, findings);
    identity::together(place, route, &parameters, findings);
    presence::together(&place.key("presence"), route, &parameters, findings);
    access::together(place, route, findings);
    headers::together(place, route, findings);
    if let Some(send) = &mut route.websocket.send {
        let place = place.key("websocket").key("send");
        if send.rate > route.websocket.frame_rate {
            let message =
                format!("is never reached: websocket.frame_rate is {}/s", route.websocket.frame_rate);
            findings.problem(&place.key("rate"), &message);
        }
        let own = (route.path.as_str(), route.upstream_path.is_some());
        websocket::send_path(&place, send, own, &parameters, findings);
    }
}

/// Reads `plain`, and reports settings that need plain requests to be answered from the snapshot.
fn plain(place: &Place, raw: &raw::RouteSettings, route: &Route, findings: &mut Findings) {
    if !route.polled {
        if raw.plain.as_ref().is_some_and(|said| said.0 == "share") {
            let message = "has nothing to share: nothing of this route is polled (poll: off)";
            findings.problem(&place.key("plain"), message);
        }
        return;
    }
    if route.plain == Plain::Pass && (route.poll.auth.is_some() || !route.poll.headers.is_empty()) {
        let carried = if route.poll.auth.is_some() { "auth" } else { "headers" };
        let message = "is on polls alone: plain requests of this route are the API's and carry nothing of yours, so \
                       that a stream may say something else; plain: share answers both from one snapshot";
        findings.warning(&place.key("poll").key(carried), message);
    }
    if route.plain == Plain::Pass && route.hold_not_modified.is_some() {
        let message =
            "needs plain: share; this route leaves plain requests to the API, which pollcast does not hold";
        findings.problem(&place.key("hold_not_modified"), message);
    }
}

/// The path of a resource, or a pattern.
fn refreshed(findings: &mut Findings, place: &Place, said: &str) -> Option<String> {
    match paths::parameters(said) {
        Ok(_) => Some(said.to_owned()),
        Err(message) => {
            findings.bad(place, said, message);
            None
        }
    }
}

fn transports((place, said): Said<'_, raw::List<raw::Text>>, to: &mut Transports, findings: &mut Findings) {
    let Some(said) = said else { return };
    if said.is_empty() {
        findings.problem(&place, "is empty; leave the route out if no client may read it");
    }
    let choices = [("sse", "sse"), ("websocket", "websocket"), ("long_poll", "long_poll"), ("poll", "poll")];
    let mut named = Vec::new();
    findings.list(
        (place, Some(said)),
        |findings, place, said| findings.read_choice(place, said, &choices),
        &mut named,
    );
    let has = |name: &str| named.contains(&name);
    *to = Transports {
        sse: has("sse"),
        websocket: has("websocket"),
        long_poll: has("long_poll"),
        poll: has("poll"),
    };
}

fn event_name((place, said): Said<'_, raw::Text>, to: &mut Option<String>, findings: &mut Findings) {
    let Some(said) = said.map(|said| said.0.as_str()) else {
        return;
    };
    if OWN_EVENTS.contains(&said) {
        findings.bad(&place, said, "is an event of pollcast's own; clients could not tell them apart");
    } else if said.is_empty() || said.len() > 64 || said.chars().any(char::is_control) || said.trim() != said
    {
        findings.bad(&place, said, "is not the name of an event: 1 to 64 bytes on one line");
    }
    *to = (said != "off").then(|| said.to_owned());
}

fn downstream_cache(
    (place, said): Said<'_, raw::Text>,
    to: &mut Option<HeaderValue>,
    findings: &mut Findings,
) {
    match said.map(|said| said.0.as_str()) {
        Some("off") => *to = None,
        Some(said) => *to = findings.header_value(&place, said),
        None => {}
    }
}
