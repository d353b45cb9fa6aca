//! The request target in its one canonical form (contract §11): routes match the same path that is polled.
//!
//! `ambiguous_path` has what servers may make of a path that has no such form. Must not know: routes.

use std::borrow::Cow;

use super::byte_set::alphanumerics_and;
use crate::config::{QueryRule, Switches, UnknownQuery};

/// A path as the client spelled it, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanonicalPath {
    /// One reading only: percent-encoding normalised (RFC 3986 §6.2.2).
    Plain(String),
    /// Servers disagree on what this means: `//`, dot segments, `%2f`, `%5c`, `%00`, `;`, `\`, a fragment
    /// or an invalid escape.
    Doubtful,
}

/// Judges a raw path.
pub fn canonical_path(raw: &str) -> CanonicalPath {
    if is_canonical(raw.as_bytes()) {
        return CanonicalPath::Plain(raw.to_owned());
    }
    judged(raw)
}

/// Judges any path, letter by letter.
fn judged(raw: &str) -> CanonicalPath {
    if !raw.starts_with('/') || raw.contains("//") || raw.contains([';', '\\', '?', '#']) {
        return CanonicalPath::Doubtful;
    }
    let Some(path) = normalise(raw) else {
        return CanonicalPath::Doubtful;
    };
    let is_doubtful = path.contains('%')
        && (["%2F", "%5C", "%00", "%3B"].iter().any(|escape| path.contains(escape)) || may_hide(&path));
    if is_doubtful || has_dot_segments(&path) {
        return CanonicalPath::Doubtful;
    }
    CanonicalPath::Plain(path)
}

/// Bytes that stand for themselves in a path, whatever stands beside them.
const PLAIN: [bool; 256] = alphanumerics_and(b"!\"$&'()*+,-./:<=>@[]^_`{|}~");

/// Whether a path is in its canonical form by its letters alone, as most are: then nothing of it is read twice. One that is
/// not may still be.
fn is_canonical(raw: &[u8]) -> bool {
    let mut before = 0;
    let mut is_new = |byte: u8| {
        // An empty segment, or one that may be a dot segment.
        let begins_badly = std::mem::replace(&mut before, byte) == b'/' && matches!(byte, b'/' | b'.');
        PLAIN[usize::from(byte)] && !begins_badly
    };
    raw.first() == Some(&b'/') && raw.iter().all(|byte| is_new(*byte))
}

/// The one form that RFC 3986 gives a path: escapes of unreserved characters decoded, the others in upper case.
/// Escaped and repeated slashes, path parameters and letter case are data there. Returns `None` where the RFC
/// knows other readings, too: dot segments, invalid escapes, characters that no path has.
pub fn exact_path(raw: &str) -> Option<String> {
    if !raw.starts_with('/') || raw.contains(['\\', '?', '#']) {
        return None;
    }
    normalise(raw).filter(|path| !has_dot_segments(path))
}

fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Whether some server might read more into a normalised path than it says: an escape that is escaped once more,
/// or ASCII in the overlong UTF-8 that old decoders take.
fn may_hide(normalised: &str) -> bool {
    let bytes = normalised.as_bytes();
    let escapes = || bytes.windows(3).enumerate().filter(|(_, window)| window[0] == b'%');
    escapes().any(|(at, window)| {
        let next = bytes.get(at + 3..).unwrap_or_default();
        match &window[1..] {
            b"25" => next.get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            b"C0" | b"C1" => true,
            // Behind these bytes only the lowest ones are overlong: Thai and Hindi begin with E0, too.
            b"E0" => matches!(next, [b'%', b'8' | b'9', ..]),
            b"F0" => matches!(next, [b'%', b'8', ..]),
            _ => false,
        }
    })
}

/// Decodes escapes of unreserved characters and writes the others in upper case; bytes outside
/// ASCII are escaped. Returns `None` if an escape is invalid.
fn normalise(raw: &str) -> Option<String> {
    let (normalised, is_valid) = normalised(raw.as_bytes());
    is_valid.then_some(normalised)
}

/// The same with invalid escapes left as they came.
pub fn tidied(raw: &str) -> String {
    normalised(raw.as_bytes()).0
}

/// The normalised text, and whether all its escapes are valid.
fn normalised(bytes: &[u8]) -> (String, bool) {
    let mut out = String::with_capacity(bytes.len());
    let (mut at, mut is_valid) = (0, true);
    while let Some(&byte) = bytes.get(at) {
        match (byte, escaped(&bytes[at..])) {
            (b'%', Some(byte)) => {
                at += 3;
                if is_unreserved(byte) { out.push(byte as char) } else { push_escape(&mut out, byte) }
            }
            (byte, _) => {
                at += 1;
                is_valid &= byte != b'%';
                if byte.is_ascii_graphic() { out.push(byte as char) } else { push_escape(&mut out, byte) }
            }
        }
    }
    (out, is_valid)
}

/// The byte that an escape at the beginning stands for.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let (high, low) = (*bytes.get(1)? as char, *bytes.get(2)? as char);
    Some((high.to_digit(16)? * 16 + low.to_digit(16)?) as u8)
}

/// A raw target as text. Bytes that are no UTF-8 are escaped: two targets that differ in them stay two.
pub fn target_text(raw: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(raw) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(raw.len() + 8);
    for &byte in raw {
        if byte.is_ascii() { out.push(byte as char) } else { push_escape(&mut out, byte) }
    }
    Cow::Owned(out)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn push_escape(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(HEX[usize::from(byte >> 4)] as char);
    out.push(HEX[usize::from(byte & 15)] as char);
}

/// The text with its escapes resolved once.
pub fn decode_lossy(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A canonical query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The part of the query that names the resource. `None` stands for no query at all.
    pub query: Option<String>,
    /// The raw query without the switches, for a covered request that passes through after all.
    pub without_switches: Option<String>,
}

/// Why a query is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryProblem {
    /// The parameter that `unknown_query: reject` refuses.
    pub parameter: String,
}

/// Applies a route's query rule (contract §11) to a raw query. With `resumes` the names that say where a stream resumes
/// are switches, too (contract §1: only on event streams and held polls).
pub fn canonical_query(
    raw: Option<&str>,
    rule: &QueryRule,
    switches: &Switches,
    resumes: bool,
) -> Result<Target, QueryProblem> {
    let Some(raw) = raw else {
        return Ok(Target { query: None, without_switches: None });
    };
    let mut kept: Vec<String> = Vec::new();
    let mut plain: Vec<&str> = Vec::new();
    for pair in raw.split('&') {
        let name = decoded_name(pair);
        if is_switch(&name, switches) || (resumes && switches.resume.contains(&name)) {
            continue;
        }
        plain.push(pair);
        if rule.ignore.iter().any(|ignored| is_ignored(ignored, &name, pair)) {
            continue;
        }
        if let Some(names) = &rule.names
            && !names.contains(&name)
        {
            match rule.unknown {
                UnknownQuery::Drop => continue,
                UnknownQuery::Reject if name.is_empty() => continue,
                UnknownQuery::Reject => return Err(QueryProblem { parameter: name }),
            }
        }
        // An invalid escape is data like any other: it is kept as it came.
        kept.push(normalise(pair).unwrap_or_else(|| pair.to_owned()));
    }
    if rule.any_order {
        kept.sort();
    }
    // `?` alone is a query, too; a query that lost all its parameters is none.
    let empty = kept.iter().all(String::is_empty) && raw.split('&').count() != kept.len();
    Ok(Target {
        query: (!empty).then(|| kept.join("&")),
        without_switches: (!plain.is_empty()).then(|| plain.join("&")),
    })
}

/// Whether a query has one of the parameters that say where a stream resumes.
pub fn has_resume(raw: Option<&str>, switches: &Switches) -> bool {
    !switches.resume.is_empty()
        && raw.is_some_and(|raw| raw.split('&').any(|pair| switches.resume.contains(&decoded_name(pair))))
}

/// Where a query says that a stream resumes; the first of the names that is there counts.
pub fn resume_switch(raw: Option<&str>, switches: &Switches) -> Option<String> {
    switches.resume.iter().find_map(|name| switch(raw, Some(name)))
}

/// The value of a switch in a raw query, decoded; the first one counts.
pub fn switch(raw: Option<&str>, name: Option<&str>) -> Option<String> {
    let name = name?;
    raw?.split('&').find(|pair| decoded_name(pair) == name).map(decoded_value)
}

fn is_switch(name: &str, switches: &Switches) -> bool {
    let named = [&switches.push, &switches.wait, &switches.delta, &switches.presence];
    named.iter().any(|switch| switch.as_deref() == Some(name))
}

fn decoded_name(pair: &str) -> String {
    decode_lossy(&pair.split('=').next().unwrap_or_default().replace('+', " "))
}

fn decoded_value(pair: &str) -> String {
    let value = pair.split_once('=').map(|(_, value)| value).unwrap_or_default();
    decode_lossy(&value.replace('+', " "))
}

/// Whether a parameter leaves the query. A pattern is a name, the beginning of one followed by `*`, or `name=#`.
fn is_ignored(ignored: &str, name: &str, pair: &str) -> bool {
    match ignored.strip_suffix(QueryRule::NUMBER_MARK) {
        Some(ignored) => matches_pattern(ignored, name) && is_cache_buster(&decoded_value(pair)),
        None => matches_pattern(ignored, name),
    }
}

/// Fewest digits of a number that is a time or random rather than content (contract §11): those of seconds since 1970.
const CACHE_BUSTER_DIGITS_MIN: usize = 10;

/// Whether a value is a time or random, as clients add it to get past caches: a long number, or a fraction.
fn is_cache_buster(value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, exponent) = value.split_once(['e', 'E']).map_or((value, None), |(n, e)| (n, Some(e)));
    let is_exponent = |text: &str| digits(text.strip_prefix(['-', '+']).unwrap_or(text));
    if !exponent.is_none_or(is_exponent) {
        return false;
    }
    match number.split_once('.') {
        Some((whole, fraction)) => (whole.is_empty() || digits(whole)) && digits(fraction),
        None => {
            digits(number)
                && (number.len() >= CACHE_BUSTER_DIGITS_MIN || exponent.is_some_and(|e| e.starts_with('-')))
        }
    }
}

/// A pattern is a name, or the beginning of one followed by `*`.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
