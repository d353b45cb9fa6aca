//! What the header fields of the answers say: conditions, caching, sharing, rate limits.
//!
//! Must not know: bodies beyond their equality.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::asking::Observed;
use crate::upstream::schedule::directive;

/// What became of the conditional request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// There is no validator.
    None,
    NotModified,
    /// The same body again in full.
    Ignored,
    /// The body was another one: no telling.
    Changed,
    Other(StatusCode),
}

pub(super) fn condition(observed: &Observed) -> Condition {
    let (Some(conditional), Some(last)) = (&observed.conditional, observed.polls.last()) else {
        return Condition::None;
    };
    match conditional.status {
        StatusCode::NOT_MODIFIED => Condition::NotModified,
        status if status != last.status => Condition::Other(status),
        _ if conditional.body == last.body => Condition::Ignored,
        _ => Condition::Changed,
    }
}

/// The validators and whether they work.
pub(super) fn conditions(observed: &Observed) -> String {
    let Some(last) = observed.polls.last() else { return String::new() };
    let etag = last.headers.get(header::ETAG).map(|tag| match tag.as_bytes().starts_with(b"W/") {
        true => "ETag (weak)",
        false => "ETag (strong)",
    });
    let date = last.headers.contains_key(header::LAST_MODIFIED).then_some("Last-Modified");
    let names: Vec<&str> = etag.into_iter().chain(date).collect();
    let result = match condition(observed) {
        Condition::None => return "no validator: every poll costs the whole body".to_owned(),
        Condition::NotModified => {
            "a conditional request got 304: a poll without news costs a head".to_owned()
        }
        Condition::Ignored => {
            "but a conditional request got the same body again: they are of no use here".to_owned()
        }
        Condition::Changed => {
            "a conditional request got another body, so it cannot be told whether 304 works".to_owned()
        }
        Condition::Other(status) => format!("but a conditional request got {status}"),
    };
    let moving = observed.polls.windows(2).any(|pair| {
        pair[0].body == pair[1].body && pair[0].headers.get(header::ETAG) != pair[1].headers.get(header::ETAG)
    });
    let moving = if moving { "; the ETag changes without the body" } else { "" };
    format!("{}; {result}{moving}", names.join(" and "))
}

/// The fields about caching, as they came.
pub(super) fn caching(headers: &HeaderMap) -> String {
    let fields = [header::CACHE_CONTROL, header::EXPIRES, header::AGE, header::PRAGMA];
    let said = named(headers, |name| fields.contains(name));
    if said.is_empty() { "nothing said".to_owned() } else { said }
}

/// The signs that an answer is one user's: those that pollcast goes by, and what may be in the key.
pub(super) fn sharing(headers: &HeaderMap) -> Vec<String> {
    let mut signs = Vec::new();
    for name in ["private", "no-store"] {
        if directive(headers, name).is_some() {
            signs.push(format!("Cache-Control: {name}"));
        }
    }
    let vary = named(headers, |name| name == header::VARY);
    if !vary.is_empty() {
        signs.push(vary);
    }
    let cookies = headers.get_all(header::SET_COOKIE).iter();
    let name = |value: &http::HeaderValue| {
        value.to_str().unwrap_or_default().split(['=', ';']).next().unwrap_or_default().trim().to_owned()
    };
    let cookies: Vec<String> = cookies.map(name).collect();
    if !cookies.is_empty() {
        signs.push(format!("Set-Cookie ({})", cookies.join(", ")));
    }
    signs
}

/// The names in `Vary` that are credentials.
pub(super) fn varying_credentials(headers: &HeaderMap, credentials: &[HeaderName]) -> Vec<HeaderName> {
    let lines = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let names =
        lines.flat_map(|line| line.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok());
    names.filter(|name| credentials.contains(name)).collect()
}

/// The fields that limit how often one may ask.
pub(super) fn rate_limits(headers: &HeaderMap) -> String {
    named(headers, |name| {
        let name = name.as_str();
        name == "retry-after" || name.contains("ratelimit") || name.contains("rate-limit")
    })
}

/// How long an answer is fresh.
pub(super) fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let seconds = directive(headers, "max-age")?.parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|age| !age.is_zero())
}

fn named(headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> String {
    let fields = headers.iter().filter(|(name, _)| wanted(name));
    let fields = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")));
    fields.collect::<Vec<_>>().join("; ")
}
