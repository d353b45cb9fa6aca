//! The header fields of the answers: conditions, caching, sharing, rate limits.
//!
//! Must not know: bodies beyond their equality.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::polls::{Observed, Said};
use crate::config::says_credential;
use crate::front::is_scheme_for_one;
use crate::resource::matches_pattern;
use crate::upstream::Answer;
use crate::upstream::classify::vary_names;
use crate::upstream::schedule::directive;

/// How much of a refusal's body is read for names of headers.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The outcome of the conditional request.
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

/// Returns the names in `Vary` that are credentials.
pub(super) fn varying_credentials(headers: &HeaderMap, credentials: &[HeaderName]) -> Vec<HeaderName> {
    let names = vary_names(headers).filter_map(|name| HeaderName::try_from(name).ok());
    names.filter(|name| credentials.contains(name) || says_credential(name.as_str())).collect()
}

/// Returns the cookies that an answer sets and that may identify a user.
pub(super) fn cookies(headers: &HeaderMap, ignore_cookies: &[String]) -> Vec<String> {
    let lines = headers.get_all(header::SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
    let names = lines.map(|line| line.split(['=', ';']).next().unwrap_or_default().trim().to_owned());
    names.filter(|name| !ignore_cookies.iter().any(|pattern| matches_pattern(pattern, name))).collect()
}

/// Returns what a refusal says it wants, without any part that may be secret.
pub(super) fn wanted(answer: &Answer) -> Vec<String> {
    let challenges = answer.headers.get_all(header::WWW_AUTHENTICATE).iter();
    let mut wanted: Vec<String> = Vec::new();
    for value in challenges {
        let scheme = value.to_str().unwrap_or_default().split([' ', ',']).next().unwrap_or_default();
        let binds = ["ntlm", "negotiate"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        let note = if binds || is_scheme_for_one(value) {
            ", whose credentials are good for one request"
        } else {
            ""
        };
        wanted.push(format!("WWW-Authenticate: {scheme}{note}"));
    }
    let listed = ["access-control-allow-headers", "vary"];
    let fields =
        listed.iter().flat_map(|name| answer.headers.get_all(*name)).filter_map(|value| value.to_str().ok());
    let body =
        String::from_utf8_lossy(answer.body.get(..BODY_BYTES_MAX).unwrap_or(&answer.body)).into_owned();
    let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words = fields.map(str::to_owned).chain([body]).collect::<Vec<_>>().join(" ");
    for word in words.split(|c| !is_sign(c)).map(|word| word.trim_matches('-')) {
        let is_field = word.contains('-')
            && (word.contains(|c: char| c.is_ascii_uppercase())
                || word.to_ascii_lowercase().starts_with("x-"));
        let is_name = word.len() <= 64 && (is_field || word.eq_ignore_ascii_case("apikey"));
        let is_known = wanted.iter().any(|known| known.eq_ignore_ascii_case(word));
        if is_name && !is_known && says_credential(word) && !word.eq_ignore_ascii_case("www-authenticate") {
            wanted.push(word.to_owned());
        }
    }
    wanted.truncate(8);
    wanted
}

/// Returns what the API says to pages of other sites. `None` if it says nothing.
pub(super) fn cors(observed: &Observed) -> Option<Cors> {
    let of = |headers: &HeaderMap| {
        headers
            .get(header::ACCESS_CONTROL_ALLOW_ORIGIN)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    if observed.polls.last().and_then(|last| of(&last.headers)).is_some_and(|said| said == "*") {
        return Some(Cors::Everybody);
    }
    let with_origin = observed
        .trials
        .iter()
        .find(|trial| matches!(&trial.said, Said::With(name, _) if *name == header::ORIGIN));
    with_origin.and_then(|trial| of(&trial.answer.headers)).map(|_| Cors::WhenAsked)
}

/// See [`cors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cors {
    /// `*` on each answer.
    Everybody,
    /// Only to a request with an Origin: each origin has a resource of its own.
    WhenAsked,
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
    if directive(headers, "no-cache").is_some() {
        return None;
    }
    let seconds = directive(headers, "max-age")?.parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|age| !age.is_zero())
}

fn named(headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> String {
    let fields = headers.iter().filter(|(name, _)| wanted(name));
    let fields = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")));
    fields.collect::<Vec<_>>().join("; ")
}
