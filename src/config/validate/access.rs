//! Which clients may share a poll and what names a resource: `share`, query, cookies, credentials, CORS.
//!
//! Must not know: how a poll is made.

use std::time::Duration;

use http::{HeaderName, header};

use super::super::problem::{Findings, Place};
use super::super::{ClassValue, Cors, QueryRule, Route, Share, Switches, UnknownQuery, defaults, raw};
use super::units::DAY;
use super::value::{Said, at};

/// Headers that cannot be a value of a class: each poll has its own.
const NO_CLASS_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads `share`: which clients may share one poll.
pub fn share((place, said): Said<'_, raw::Share>, to: &mut Share, findings: &mut Findings) {
    match said {
        Some(raw::Share::Word(word)) => match word.0.as_str() {
            "public" => *to = Share::Public,
            "unset" => *to = Share::Unset,
            "authorize" => *to = Share::Authorize,
            other => findings.bad(
                &place,
                other,
                "is not public, authorize, unset or { by: [authorization, \"cookie:session\"] }",
            ),
        },
        Some(raw::Share::By(raw)) => {
            let (place, said) = at!(place, raw.by);
            if said.is_some_and(Vec::is_empty) {
                findings.problem(&place, "is empty; name a header or cookie, or write share: public");
            }
            let mut values = Vec::new();
            findings.list((place.clone(), said), class_value, &mut values);
            are_distinct(&place, &values, findings);
            *to = Share::By(values);
        }
        None => {}
    }
}

/// Returns whether pollcast says this header beside those of claims. Servers that know fields as variables see no
/// difference between `-` and any other sign.
fn is_reserved(what: &str, header: &HeaderName) -> bool {
    let said: String =
        header.as_str().chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '-' }).collect();
    let name = said.strip_prefix("x-pollcast-").unwrap_or(&said);
    matches!(name, "way" | "issuer" | "subscribers")
        || name.ends_with("-type")
        || (name == "subject" && what != name)
}

/// Refuses two claims that would be said in one header.
fn are_distinct(place: &Place, values: &[ClassValue], findings: &mut Findings) {
    let headers = values.iter().filter_map(|value| match value {
        ClassValue::Identity { what, header } => Some((what, header.as_str().replace('_', "-"))),
        _ => None,
    });
    let mut seen = std::collections::HashSet::new();
    for (what, header) in headers {
        if !seen.insert(header.clone()) {
            findings.bad(place, what, &format!("has the header of another claim ({header})"));
        }
    }
}

fn class_value(findings: &mut Findings, place: &Place, said: &str) -> Option<ClassValue> {
    if let Some(name) = said.strip_prefix("cookie:") {
        return token(findings, place, said, name, "is not cookie:<name>").map(ClassValue::Cookie);
    }
    if let Some(what) = said.strip_prefix("identity:") {
        let header = format!("x-pollcast-{}", what.to_ascii_lowercase()).parse::<HeaderName>();
        let Ok(header) = header else {
            findings.bad(place, said, "is not identity:subject or identity:<claim>");
            return None;
        };
        if is_reserved(what, &header) {
            let message = "is a claim whose header pollcast says itself: X-Pollcast-Subject, -Way, -Issuer and \
                           -Subscribers, and -Type behind a value that is no text";
            findings.bad(place, said, message);
        }
        return Some(ClassValue::Identity { what: what.to_owned(), header });
    }
    let name = findings.header_name(place, said)?;
    if name.as_str().starts_with("x-pollcast-") {
        findings.bad(place, said, "is a name of pollcast's own; identity:subject is who a client is");
    }
    if name == header::COOKIE {
        findings.bad(place, said, "is all cookies at once; name the one that matters, as \"cookie:session\"");
    } else if NO_CLASS_HEADERS.contains(&name.as_str()) {
        findings.bad(place, said, "cannot tell clients apart: pollcast writes this header itself");
    }
    Some(ClassValue::Header(name))
}

/// Reads `query`, `unknown_query`, `query_order` and `ignore_query`.
pub fn query(place: &Place, raw: &raw::RouteSettings, route: &mut Route, findings: &mut Findings) {
    let rule = &mut route.query;
    match at!(place, raw.query) {
        (_, Some(raw::Query::Word(word))) if word.0 == "all" => rule.names = None,
        (place, Some(raw::Query::Word(word))) => {
            findings.bad(&place, &word.0, "is neither all nor a list of parameters, as [currency]");
        }
        (place, Some(raw::Query::Names(said))) => {
            let mut names = Vec::new();
            findings.list((place, Some(said)), parameter, &mut names);
            rule.names = Some(names);
        }
        (_, None) => {}
    }
    let unknown = [("drop", UnknownQuery::Drop), ("reject", UnknownQuery::Reject)];
    findings.choice(at!(place, raw.unknown_query), &unknown, &mut rule.unknown);
    findings.choice(at!(place, raw.query_order), &[("as_sent", false), ("any", true)], &mut rule.any_order);
    findings.list(at!(place, raw.ignore_query), ignored_parameter, &mut rule.ignore);
    if let (place, Some(raw)) = at!(place, raw.switches) {
        switches(&place, raw, &mut route.switches, findings);
    }
}

fn switches(place: &Place, raw: &raw::Switches, to: &mut Switches, findings: &mut Findings) {
    let named = [
        (at!(place, raw.push), &mut to.push),
        (at!(place, raw.wait), &mut to.wait),
        (at!(place, raw.delta), &mut to.delta),
        (at!(place, raw.presence), &mut to.presence),
    ];
    let (resume_place, said) = at!(place, raw.resume);
    match said.map(|said| said.0.as_str()) {
        Some("off") => to.resume = Vec::new(),
        Some("last_event_id") => to.resume = Switches::default().resume,
        Some(said) => to.resume = parameter(findings, &resume_place, said).into_iter().collect(),
        None => {}
    }
    for ((place, said), to) in named {
        match said.map(|said| said.0.as_str()) {
            Some("off") => *to = None,
            Some(said) => *to = parameter(findings, &place, said),
            None => {}
        }
    }
    let words = [("on", true), ("true", true), ("off", false), ("false", false)];
    findings.choice(at!(place, raw.wait_header), &words, &mut to.wait_header);
}

/// Fields that speak of a session or a credential whatever their content: `keep_fields` has no say in them.
const NEVER_CONTENT: &[HeaderName] =
    &[header::SET_COOKIE, header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::WWW_AUTHENTICATE];

fn kept_field(findings: &mut Findings, place: &Place, said: &str) -> Option<HeaderName> {
    let name = findings.header_name(place, said)?;
    if NEVER_CONTENT.contains(&name) {
        findings.bad(place, said, "is never content: it says who somebody is");
    }
    Some(name)
}

/// Reads `credentials`, `keep_fields` and `ignore_cookies`.
pub fn credentials(place: &Place, raw: &raw::RouteSettings, route: &mut Route, findings: &mut Findings) {
    findings.list(at!(place, raw.keep_fields), kept_field, &mut route.keep_fields);
    findings.list(at!(place, raw.ignore_cookies), ignored_cookie, &mut route.ignore_cookies);
    let (place, Some(said)) = at!(place, raw.credentials) else {
        return;
    };
    let mut named: Vec<HeaderName> = Vec::new();
    findings.list((place, Some(said)), |findings, place, said| findings.header_name(place, said), &mut named);
    // The usual ones stay: a list that forgets Authorization must not let strangers share.
    route.credentials = defaults::credentials();
    named.retain(|name| *name != header::COOKIE && !route.credentials.contains(name));
    route.credentials.extend(named);
}

/// The name of a query parameter as it stands in a URL.
fn parameter(findings: &mut Findings, place: &Place, said: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"&=#+;\"<>".contains(&byte);
    if said.is_empty() || said.len() > 128 || !said.bytes().all(plain) {
        findings.bad(place, said, "is not the name of a query parameter, as it stands in a URL");
        return None;
    }
    Some(said.to_owned())
}

fn ignored_parameter(findings: &mut Findings, place: &Place, said: &str) -> Option<String> {
    let name = said.strip_suffix(QueryRule::NUMBER_MARK).unwrap_or(said);
    let name = name.strip_suffix('*').unwrap_or(name);
    if name.is_empty() || name.contains('*') {
        findings.bad(
            place,
            said,
            "is not a name, or the beginning of one and a last \"*\"; \"query: []\" ignores all",
        );
        return None;
    }
    parameter(findings, place, name).map(|_| said.to_owned())
}

/// A `*` needs a beginning: `*` alone would make every session look like no user's.
fn ignored_cookie(findings: &mut Findings, place: &Place, said: &str) -> Option<String> {
    let name = said.strip_suffix('*').unwrap_or(said);
    let message =
        "is not the name of a cookie, or the beginning of one (two letters or more) and a last \"*\"";
    if name.contains('*') || (name != said && name.len() < 2) {
        findings.bad(place, said, message);
        return None;
    }
    token(findings, place, said, name, message).map(|_| said.to_owned())
}

fn token(findings: &mut Findings, place: &Place, said: &str, name: &str, message: &str) -> Option<String> {
    // Cookie names are tokens as header names are, but keep their case.
    match name.parse::<HeaderName>() {
        Ok(_) => Some(name.to_owned()),
        Err(_) => {
            findings.bad(place, said, message);
            None
        }
    }
}

/// Reads `cors`.
pub fn cors((place, said): Said<'_, raw::CorsSetting>, to: &mut Option<Cors>, findings: &mut Findings) {
    let raw = match said {
        Some(raw::CorsSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::CorsSetting::Word(word)) => {
            return findings.bad(&place, &word.0, "is neither off nor { origins: [...] }");
        }
        Some(raw::CorsSetting::On(raw)) => raw,
        None => return,
    };
    let cors = to.get_or_insert_default();
    findings.list(at!(place, raw.origins), origin, &mut cors.origins);
    findings.flag(at!(place, raw.credentials), &mut cors.credentials);
    findings.time(at!(place, raw.max_age), Duration::ZERO..=DAY, &mut cors.max_age);
}

/// An origin as browsers send it, or `*`.
pub fn origin(findings: &mut Findings, place: &Place, said: &str) -> Option<String> {
    if said == "*" {
        return Some(said.to_owned());
    }
    let uri = said.parse::<http::Uri>().ok();
    let well_formed = uri.as_ref().is_some_and(|uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let scheme = uri.scheme_str().unwrap_or("");
        !authority.is_empty() && !authority.contains('@') && said == format!("{scheme}://{authority}")
    });
    let well_formed = well_formed && said == said.to_ascii_lowercase();
    if !well_formed {
        findings.bad(
            place,
            said,
            "is not an origin; write it like https://shop.example.com, in lower case, without a path",
        );
    }
    // Kept even so: an empty list would be told as well.
    Some(said.to_owned())
}

/// Checks that these settings fit together.
pub fn together(place: &Place, route: &Route, findings: &mut Findings) {
    names_of_switches(&place.key("switches"), &route.switches, findings);
    let Some(cors) = &route.cors else { return };
    let (place, star) = (place.key("cors"), cors.origins.iter().any(|origin| origin == "*"));
    if cors.origins.is_empty() {
        findings
            .problem(&place, "names no origins; write origins: [\"https://shop.example.com\"], or cors: off");
    }
    if star && cors.origins.len() > 1 {
        findings.problem(&place.key("origins"), "has \"*\" beside others; \"*\" stands alone");
    }
    if star && cors.credentials {
        let message = "any site could read what a client's cookies open; name the origins instead of \"*\"";
        findings.problem(&place.key("credentials"), message);
    }
}

fn names_of_switches(place: &Place, switches: &Switches, findings: &mut Findings) {
    let names = [&switches.push, &switches.wait, &switches.delta, &switches.presence];
    let mut names: Vec<_> = names.into_iter().flatten().chain(&switches.resume).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    if names.len() < count {
        findings.problem(place, "two switches have the same name");
    }
}
