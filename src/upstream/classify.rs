//! The class of an answer: data, "nothing new", gone, one client's own, or a failure (contract §10, §11).
//!
//! Pure. Must not know: how the answer was fetched, who follows the resource.

use std::cmp::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::fields::{may_be_credential, of_snapshot, tokens};
use super::schedule::{directive, is_quota_refusal};
use super::{Answer, NoDocument};
use crate::config::{ClassValue, Route, Share, says_credential};
use crate::resource::{Content, MediaType, Validators, matches_pattern};

/// The judgement.
#[derive(Debug)]
pub enum Verdict {
    /// Data, which the route's rules have yet to read (`change`).
    Data(Box<Content>),
    /// 304 to a conditional poll.
    NotModified,
    /// 404 or 410.
    Gone,
    /// 401, 403, and in a credential class a redirect (to a login page): the answer is about the client, not about the
    /// resource.
    Denied,
    /// Other 3xx and 4xx: answers of an upstream that is well.
    Refused,
    /// 5xx, 429, a 401 or 403 for a quota, and statuses that no rule names.
    Failed {
        /// The value of the label that counts it.
        class: &'static str,
        /// What is wrong, in words.
        reason: String,
    },
    /// A whole answer that is not the wanted data. It is passed on while no better one is known.
    Unfit {
        /// The value of the label that counts it.
        class: &'static str,
        /// What is wrong, in words.
        reason: String,
    },
    /// An answer that never becomes a snapshot: an event stream, media, multipart.
    Uncoverable(NoDocument),
    /// The answer is one user's, and `share` is unset.
    NotShareable(&'static str),
    /// The answer sets one of the class's own cookies.
    SessionRotated,
}

/// What the judgement depends on besides the answer.
pub struct Terms<'a> {
    /// The route that was polled.
    pub route: &'a Route,
    /// Whether the polls of this key carry a client's credentials.
    pub private: bool,
    /// The media type of the resource so far.
    pub known_type: Option<&'a MediaType>,
}

/// The fields in which an upstream reads a client's address. A poll can say only pollcast's own, and the upstream would
/// believe a client's word.
const ADDRESS: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// The first sign on an answer that it should not be shared.
pub fn not_shareable(headers: &HeaderMap, route: &Route) -> Option<&'static str> {
    if directive(headers, "private").is_some() {
        return Some("private");
    }
    if directive(headers, "no-store").is_some() {
        return Some("no-store");
    }
    if vary_names(headers).any(|name| name == "*") {
        return Some("vary-star");
    }
    let ignored = |name: &str| route.headers.ignore_vary.iter().any(|ignored| ignored == name);
    if vary_names(headers).any(|name| is_address(&name) && !ignored(&name)) {
        return Some("vary-address");
    }
    if sets_cookie(headers, &route.ignore_cookies) {
        return Some("set-cookie");
    }
    headers.keys().any(|name| may_be_credential(name, route)).then_some("credential-field")
}

fn is_address(name: &str) -> bool {
    ADDRESS.contains(&name.replace('_', "-").as_str())
}

/// Whether an answer depends on more than requests say, or on the client's identity: then a poll's answer is no other
/// client's.
pub fn varies_by_asker(headers: &HeaderMap) -> bool {
    vary_names(headers).any(|name| name == "*" || is_address(&name))
}

/// Whether an answer sets a cookie that may identify a user.
pub fn sets_cookie(headers: &HeaderMap, ignore_cookies: &[String]) -> bool {
    cookies_set(headers).any(|name| !ignore_cookies.iter().any(|pattern| matches_pattern(pattern, name)))
}

/// Whether signs of privacy on an answer stop the sharing (contract §11): with `share` unset, and in the class without
/// credentials, which is judged the same. `private` says that the polls carry a client's credentials.
pub fn obeys_privacy(share: &Share, private: bool) -> bool {
    match share {
        Share::Unset => true,
        Share::By(_) => !private,
        Share::Public | Share::Authorize => false,
    }
}

/// Whether an answer that is no data is for one client alone: by any sign of that where signs count, in a class of
/// credentials if it sets a cookie, which is never passed on.
pub fn is_one_users(headers: &HeaderMap, route: &Route, private: bool) -> bool {
    match route.share {
        _ if obeys_privacy(&route.share, private) => not_shareable(headers, route).is_some(),
        Share::By(_) => sets_cookie(headers, &route.ignore_cookies),
        Share::Unset | Share::Public | Share::Authorize => false,
    }
}

/// Whether a failure is for one client alone. A failure that only says not to store it goes to all that wait, so that
/// an upstream which is down or overloaded is not asked by each of them.
pub fn is_one_users_failure(headers: &HeaderMap, route: &Route, private: bool) -> bool {
    match route.share {
        _ if obeys_privacy(&route.share, private) => {
            directive(headers, "private").is_some()
                || varies_by_asker(headers)
                || sets_cookie(headers, &route.ignore_cookies)
                || headers.keys().any(|name| may_be_credential(name, route))
        }
        Share::By(_) => sets_cookie(headers, &route.ignore_cookies),
        Share::Unset | Share::Public | Share::Authorize => false,
    }
}

/// Judges an answer.
pub fn judge(answer: &Answer, terms: &Terms) -> Verdict {
    let status = answer.status;
    let failed = |reason| Verdict::Failed { class: "status", reason };
    match status.as_u16() {
        // A used-up quota says nothing about the client: the answer counts as the upstream's 429.
        401 | 403 if is_quota_refusal(status, &answer.headers) => Verdict::Failed {
            class: "quota",
            reason: format!("the upstream answered {status}: its quota is used up"),
        },
        401 | 403 => Verdict::Denied,
        300..=399 if terms.private && status != StatusCode::NOT_MODIFIED => Verdict::Denied,
        // The client has to get the new cookie, whatever the status is.
        _ if terms.private && rotates_session(&answer.headers, &terms.route.share) => Verdict::SessionRotated,
        206 => failed(format!("the upstream answered {status}, and no part was asked for")),
        200..=299 | 304 => succeeded(answer, terms),
        404 | 410 => Verdict::Gone,
        429 => failed(format!("the upstream answered {status}")),
        300..=499 => Verdict::Refused,
        _ => failed(format!("the upstream answered {status}")),
    }
}

/// Whether an answer sets one of the class's own cookies.
fn rotates_session(headers: &HeaderMap, share: &Share) -> bool {
    let Share::By(values) = share else {
        return false;
    };
    let own = |name: &str| values.iter().any(|v| matches!(v, ClassValue::Cookie(c) if c == name));
    cookies_set(headers).any(own)
}

fn succeeded(answer: &Answer, terms: &Terms) -> Verdict {
    if obeys_privacy(&terms.route.share, terms.private)
        && let Some(sign) = not_shareable(&answer.headers, terms.route)
    {
        return Verdict::NotShareable(sign);
    }
    if answer.status == StatusCode::NOT_MODIFIED {
        return Verdict::NotModified;
    }
    data(answer, terms)
}

fn data(answer: &Answer, terms: &Terms) -> Verdict {
    let route = terms.route;
    let content_type = answer.headers.get(header::CONTENT_TYPE).cloned();
    let media_type = content_type.as_ref().and_then(|v| MediaType::parse(v.to_str().ok()?));
    if let Some(found) = NoDocument::of(&answer.headers) {
        return Verdict::Uncoverable(found);
    }
    let is_empty = matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    if !is_empty && let Err((class, reason)) = fits(answer, terms, media_type.as_ref()) {
        return Verdict::Unfit { class, reason };
    }
    let validators = Validators::of(&answer.headers);
    Verdict::Data(Box::new(Content {
        status: answer.status,
        content_type,
        headers: of_snapshot(&answer.headers, route, answer.status),
        validators,
        vary: secondary_names(&answer.headers, route),
        body: if is_empty { Bytes::new() } else { answer.body.clone() },
    }))
}

/// Login pages and error pages come with 200: type and completeness are looked at.
fn fits(
    answer: &Answer,
    terms: &Terms,
    media_type: Option<&MediaType>,
) -> Result<(), (&'static str, String)> {
    let found = media_type.map_or("no type", |t| t.essence.as_str());
    let expect = &terms.route.poll.expect;
    if !expect.is_empty() && !expect.iter().any(|wanted| wanted == found) {
        let wanted = expect.join(" or ");
        return Err(("unexpected-type", format!("the body is {found}; {wanted} was expected")));
    }
    if let Some(known) = terms.known_type
        && expect.is_empty()
        && known.essence != found
        && !gives_way(&known.essence, found, &terms.route.poll.accept)
    {
        return Err((
            "unexpected-type",
            format!("the body is {found}; this resource was {} until now", known.essence),
        ));
    }
    let is_json = media_type.is_some_and(MediaType::is_json);
    if answer.close_delimited && !is_json && !terms.route.poll.allow_close_delimited {
        let reason = "the body ends with the connection, so nobody can tell whether it is whole \
                      (poll.allow_close_delimited)";
        return Err(("close-delimited", reason.to_owned()));
    }
    Ok(())
}

/// Whether a body of the `known` type was the login page or the error page, and one of the type `found` is the
/// resource: polls ask for it more, or as much, the known one is HTML, as such pages are, and the other is no text
/// for people.
fn gives_way(known: &str, found: &str, accept: &HeaderValue) -> bool {
    match quality(accept, found).cmp(&quality(accept, known)) {
        Ordering::Greater => true,
        Ordering::Equal => is_html(known) && !is_html(found) && found != "text/plain",
        Ordering::Less => false,
    }
}

fn is_html(essence: &str) -> bool {
    matches!(essence, "text/html" | "application/xhtml+xml")
}

/// How much an `Accept` field wants a type, in thousandths (RFC 9110 §12.5.1): its most specific
/// range counts.
fn quality(accept: &HeaderValue, essence: &str) -> u32 {
    let kind = essence.split('/').next().unwrap_or_default();
    let ranges = accept.to_str().unwrap_or("*/*").split(',').filter_map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let range = parts.next()?.to_ascii_lowercase();
        let precision = match range.split_once('/')? {
            _ if range == essence => 2,
            (found, "*") if found == kind => 1,
            ("*", "*") => 0,
            _ => return None,
        };
        let q = parts.find_map(|p| p.strip_prefix("q=")?.parse::<f32>().ok());
        Some((precision, (q.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32))
    });
    ranges.max().map_or(0, |(_, q)| q)
}

/// Fields about a client's own request, its connection or the state that it has. A poll has its own, and a client's
/// would turn its answer into a part, an error or nothing.
const OF_ONE_REQUEST: [&str; 20] = [
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "last-event-id",
    "cache-control",
    "pragma",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "expect",
    "max-forwards",
    "sec-websocket-key",
];

/// The fields that `Vary` names and by which requests of one resource may differ: they become part of the key (RFC 9111
/// §4.1), but for User-Agent, for which the contract has a rule of its own (§3). Fields that `poll.accept` and the
/// preference of a client's Accept decide, credentials, and fields that the operator says mean nothing are left out.
pub fn secondary_names(headers: &HeaderMap, route: &Route) -> Vec<HeaderName> {
    const CONSTANT: [&str; 7] =
        ["*", "accept", "accept-encoding", "host", "x-forwarded-proto", "x-forwarded-host", "cookie"];
    let rules = &route.headers;
    let left_out = |name: &HeaderName| {
        let text = name.as_str();
        let by = |value: &ClassValue| matches!(value, ClassValue::Header(header) if header == name);
        let says_who = says_credential(text) || route.credentials.contains(name);
        CONSTANT.contains(&text)
            || OF_ONE_REQUEST.contains(&text)
            || ADDRESS.contains(&text)
            || is_ours(text)
            || (says_who && !rules.vary.contains(name))
            || route.poll.headers.iter().any(|(set, _)| set == name)
            || matches!(&route.share, Share::By(values) if values.iter().any(by))
    };
    let mut names: Vec<HeaderName> = vary_names(headers)
        .filter_map(|name| HeaderName::try_from(name).ok())
        .filter(|name| !rules.ignores_vary(name))
        .filter(|name| *name == header::USER_AGENT || !left_out(name))
        .collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

/// Fields that only pollcast says to an upstream: a client's own go no further, whatever `Vary` names. Servers that
/// know header fields as variables see no difference between `-` and `_`.
fn is_ours(name: &str) -> bool {
    let name = name.replace('_', "-");
    name.starts_with("x-pollcast-") || ADDRESS.contains(&name.as_str())
}

/// The names in an answer's `Vary`, lower case.
pub fn vary_names(headers: &HeaderMap) -> impl Iterator<Item = String> + '_ {
    tokens(headers, header::VARY).map(str::to_ascii_lowercase)
}

fn cookies_set(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|value| value.to_str().unwrap_or("").split(['=', ';']).next().unwrap_or_default().trim())
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
