//! Which of the ways to read a covered URL a request asks for (contract §1).
//!
//! Pure. Must not know: routes' resources, connections.

use std::time::Duration;

use http::{HeaderMap, Method, header};

use crate::config::{Route, Switches};
use crate::frame::{Coding, Format};
use crate::resource::switch;
use crate::transport::prefer;

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Form {
    WebSocket,
    Sse,
    /// Held this long at most, as asked.
    LongPoll(Duration),
    Poll,
    /// WebSocket on a route that does not allow it.
    PassThrough,
    /// Only an event stream is accepted, and the route does not allow it.
    NotAcceptable,
}

impl Form {
    /// What is made of a state for those who follow it in this form. Returns `None` if nothing is.
    pub(in crate::front) fn format(self) -> Option<Format> {
        match self {
            Form::WebSocket => Some(Format::WebSocket(Coding::Plain)),
            Form::Sse => Some(Format::Sse(Coding::Plain)),
            Form::LongPoll(_) | Form::Poll | Form::PassThrough | Form::NotAcceptable => None,
        }
    }
}

/// What a request line and its fields say. `media_type`: of the snapshot, as far as is known.
pub(in crate::front) fn form(
    route: &Route,
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
    media_type: &str,
) -> Form {
    let allowed = route.transports;
    if method == Method::GET && is_websocket(headers) {
        return if allowed.websocket { Form::WebSocket } else { Form::PassThrough };
    }
    let asked = switch(query, route.switches.push.as_deref());
    let accept = Accept::of(headers);
    let wants_sse = match asked.as_deref() {
        Some("sse") => true,
        Some(_) => false,
        None => accept.prefers_event_stream(media_type),
    };
    if wants_sse && method == Method::GET {
        if allowed.sse {
            return Form::Sse;
        }
        if !accept.admits(media_type) {
            return Form::NotAcceptable;
        }
    }
    match wait(route, headers, query) {
        Some(wait) if allowed.long_poll && method == Method::GET && asked.as_deref() != Some("poll") => {
            Form::LongPoll(wait)
        }
        _ => Form::Poll,
    }
}

/// Whether a request may ask for another form than an ordinary poll. In doubt it may: then [`form`] decides.
pub(in crate::front) fn may_push(
    route: &Route,
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
) -> bool {
    let names_event_stream = |line: &http::HeaderValue| {
        let line = line.as_bytes();
        line.windows(b"event-stream".len()).any(|part| part.eq_ignore_ascii_case(b"event-stream"))
    };
    method == Method::GET
        && (headers.get_all(header::ACCEPT).iter().any(names_event_stream)
            || headers.contains_key("prefer")
            || headers.contains_key("wait")
            || is_websocket(headers)
            || may_hold_switches(query, &route.switches))
}

/// Whether a client can do nothing with another answer than an event stream, as a browser's EventSource.
pub(in crate::front) fn takes_only_events(method: &Method, headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers);
    method == Method::GET
        && accept.prefers_event_stream("application/json")
        && !accept.admits("application/json")
}

fn wait(route: &Route, headers: &HeaderMap, query: Option<&str>) -> Option<Duration> {
    let preferred = prefer::wait(headers.get_all("prefer").iter().map(|v| v.as_bytes()));
    let header = || {
        let value = headers.get("wait").filter(|_| route.switches.wait_header)?;
        prefer::seconds(value.to_str().ok()?)
    };
    let switched = || prefer::switch(&switch(query, route.switches.wait.as_deref())?);
    preferred.or_else(header).or_else(switched).filter(|wait| !wait.is_zero())
}

/// `Upgrade: websocket` with `Connection: upgrade`. Any other upgrade is ignored.
pub(in crate::front) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.contains_key(&header::UPGRADE)
        && has_token(headers, header::UPGRADE, "websocket")
        && has_token(headers, header::CONNECTION, "upgrade")
}

pub(in crate::front) fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name);
    let mut tokens = lines.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    tokens.any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// An `Accept` field (RFC 9110 §12.5.1).
pub(in crate::front) struct Accept {
    /// Lower-case ranges without parameters, and their weights in thousandths.
    ranges: Vec<(String, u32)>,
    absent: bool,
}

/// Most ranges that are looked at.
const RANGES_MAX: usize = 64;

impl Accept {
    pub(in crate::front) fn of(headers: &HeaderMap) -> Accept {
        let lines = headers.get_all(header::ACCEPT);
        let texts = lines.iter().filter_map(|line| line.to_str().ok());
        let members = texts.flat_map(|text| text.split(',')).take(RANGES_MAX);
        let ranges: Vec<(String, u32)> = members
            .map(|member| {
                let mut parts = member.split(';').map(str::trim);
                let range = parts.next().unwrap_or_default().to_ascii_lowercase();
                let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
                (range, weight.map_or(1000, thousandths))
            })
            .filter(|(range, _)| !range.is_empty())
            .collect();
        let absent = ranges.is_empty();
        Accept { ranges, absent }
    }

    /// The weight of a type: of the most specific range that matches it; 0: not accepted.
    fn weight(&self, essence: &str) -> u32 {
        if self.absent {
            return 1000;
        }
        let kind = essence.split('/').next().unwrap_or_default();
        let of = |wanted: &str| self.ranges.iter().find(|(range, _)| range == wanted).map(|(_, q)| *q);
        of(essence).or_else(|| of(&format!("{kind}/*"))).or_else(|| of("*/*")).unwrap_or(0)
    }

    /// Whether the type may be sent.
    pub(in crate::front) fn admits(&self, essence: &str) -> bool {
        self.weight(essence) > 0
    }

    /// `text/event-stream` by name, with a weight not lower than the best one of the type. Never
    /// through a wildcard.
    fn prefers_event_stream(&self, essence: &str) -> bool {
        let named = self.ranges.iter().find(|(range, _)| range == "text/event-stream");
        let other = if self.absent { 0 } else { self.weight(essence) };
        named.is_some_and(|(_, weight)| *weight > 0 && *weight >= other)
    }
}

/// A weight as thousandths; what cannot be read counts as 1 like no weight at all.
fn thousandths(text: &str) -> u32 {
    match text.trim().parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u32,
        _ => 1000,
    }
}

#[cfg(test)]
#[path = "transport_choice_tests.rs"]
mod tests;

/// Whether a query may hold one of the route's switches, which never reach the upstream. In doubt it may: then the
/// query is read.
pub(in crate::front) fn may_hold_switches(query: Option<&str>, switches: &Switches) -> bool {
    // Where a stream resumes is no switch on anything that is the API's at once.
    let named = [&switches.push, &switches.wait, &switches.delta];
    query.is_some_and(|query| {
        query.contains('%') || named.into_iter().flatten().any(|name| query.contains(name.as_str()))
    })
}
