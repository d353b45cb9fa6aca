//! The meaning of request headers on a route: `vary`, `ignore_vary`, `ignore_headers` (contract §11).
//!
//! Must not know: which headers mean nothing whatever the file says.

use http::{HeaderName, header};

use super::super::problem::{Findings, Place};
use super::super::{ClassValue, HeaderRules, Route, Share, raw};
use super::value::at;

/// Headers that cannot choose the content of a poll: each poll has its own, or none.
const OF_ONE_MESSAGE: &[&str] = &[
    "a-im",
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-event-id",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Headers that are always credentials.
const ALWAYS_CREDENTIALS: [HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// Reads `vary`, `ignore_vary` and `ignore_headers`.
pub fn apply(place: &Place, raw: &raw::RouteSettings, rules: &mut HeaderRules, findings: &mut Findings) {
    findings.list(at!(place, raw.vary), choosing, &mut rules.vary);
    findings.list(at!(place, raw.ignore_vary), ignored_vary, &mut rules.ignore_vary);
    findings.list(at!(place, raw.ignore_headers), ignored, &mut rules.ignore);
}

fn choosing(findings: &mut Findings, place: &Place, said: &str) -> Option<HeaderName> {
    let name = findings.header_name(place, said)?;
    if name.as_str().starts_with("x-pollcast-") || OF_ONE_MESSAGE.contains(&name.as_str()) {
        findings.bad(place, said, "cannot choose the content of a poll: pollcast writes this header itself");
    } else if ALWAYS_CREDENTIALS.contains(&name) {
        findings.bad(place, said, "says who asks; name it in share: { by: [...] }");
    }
    Some(name)
}

fn ignored_vary(findings: &mut Findings, place: &Place, said: &str) -> Option<HeaderName> {
    if said == "*" {
        let message = "means that no clients may share; share: public is the word for sharing all the same";
        findings.bad(place, said, message);
        return None;
    }
    findings.header_name(place, said)
}

fn ignored(findings: &mut Findings, place: &Place, said: &str) -> Option<HeaderName> {
    let name = findings.header_name(place, said)?;
    if ALWAYS_CREDENTIALS.contains(&name) {
        findings.bad(place, said, "says who asks; share says what that means (share: public: nothing)");
        return None;
    }
    Some(name)
}

/// Checks that these settings fit together.
pub fn together(place: &Place, route: &Route, findings: &mut Findings) {
    let rules = &route.headers;
    for name in &rules.vary {
        if rules.ignore.contains(name) {
            let message = format!("names {name}, which ignore_headers says means nothing");
            findings.problem(&place.key("vary"), message);
        }
        if rules.ignore_vary.contains(name) {
            let message = format!("names {name}, which ignore_vary says means nothing");
            findings.problem(&place.key("vary"), message);
        }
        if route.poll.headers.iter().any(|(set, _)| set == name) {
            let message = format!("names {name}, which poll.headers sets on every poll");
            findings.problem(&place.key("vary"), message);
        }
        let by = |value: &ClassValue| matches!(value, ClassValue::Header(header) if header == name);
        let is_named = matches!(&route.share, Share::By(values) if values.iter().any(by));
        if is_named || route.credentials.contains(name) {
            let message =
                format!("names {name}, which says who asks; name it in share: {{ by: [...] }} alone");
            findings.problem(&place.key("vary"), message);
        }
    }
    for name in rules.ignore.iter().filter(|name| route.credentials.contains(name)) {
        let message = format!("names {name}, which is one of the credentials of this route");
        findings.problem(&place.key("ignore_headers"), message);
    }
}
