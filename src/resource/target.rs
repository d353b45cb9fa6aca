//! The request target in its one canonical form (contract §11): what is matched is what is polled.
//!
//! Must not know: routes. It says which readings a doubtful path could have; the caller asks its
//! routes about each.

use std::collections::HashSet;

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
    if !raw.starts_with('/') || raw.contains("//") || raw.contains([';', '\\', '?', '#']) {
        return CanonicalPath::Doubtful;
    }
    let Some(path) = normalise(raw) else {
        return CanonicalPath::Doubtful;
    };
    if path.contains('%') && ["%2F", "%5C", "%00", "%3B"].iter().any(|escape| path.contains(escape)) {
        return CanonicalPath::Doubtful;
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return CanonicalPath::Doubtful;
    }
    CanonicalPath::Plain(path)
}

/// Decodes escapes of unreserved characters and writes the others in upper case; bytes outside
/// ASCII are escaped. None: an escape is invalid.
fn normalise(raw: &str) -> Option<String> {
    let bytes = raw.as_bytes();
    let mut out = String::with_capacity(raw.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = match bytes[at] {
            b'%' => {
                let hex = bytes.get(at + 1..at + 3)?;
                let high = (hex[0] as char).to_digit(16)?;
                let low = (hex[1] as char).to_digit(16)?;
                at += 3;
                let byte = (high * 16 + low) as u8;
                if is_unreserved(byte) {
                    out.push(byte as char);
                } else {
                    push_escape(&mut out, byte);
                }
                continue;
            }
            byte => byte,
        };
        at += 1;
        if byte.is_ascii_graphic() { out.push(byte as char) } else { push_escape(&mut out, byte) }
    }
    Some(out)
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

/// Whether some server might read more into a plain path than it says: an escape that is escaped once more,
/// or ASCII in the overlong UTF-8 that old decoders take.
pub fn may_hide(canonical: &str) -> bool {
    let bytes = canonical.as_bytes();
    let escapes = || bytes.windows(3).enumerate().filter(|(_, window)| window[0] == b'%');
    escapes().any(|(at, window)| match &window[1..] {
        b"25" => bytes.get(at + 3..at + 5).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        b"C0" | b"C1" | b"E0" | b"F0" => true,
        _ => false,
    })
}

/// Every path that some server might take a doubtful one for: escapes decoded once and twice, those of
/// IIS and overlong UTF-8 too, backslashes as slashes, path parameters cut, empty and dot segments
/// resolved, in all combinations.
pub fn decodings(raw: &str) -> HashSet<String> {
    let mut readings = HashSet::from([raw.to_owned()]);
    let once = decode(raw);
    readings.insert(decode(&once));
    readings.insert(once);
    // Only what is there is read in two ways: a long path must not cost many times its length.
    for (sign, read) in [
        ('\\', (|path| path.replace('\\', "/")) as fn(&str) -> String),
        ('#', |path| until(path, '#')),
        // Behind an escape.
        ('?', |path| until(path, '?')),
        (';', without_parameters),
        ('\0', |path| until(path, '\0')),
        ('/', merge_slashes),
        ('.', resolve_dots),
    ] {
        let also: Vec<String> =
            readings.iter().filter(|path| path.contains(sign)).map(|path| read(path)).collect();
        readings.extend(also);
    }
    readings
}

/// The text with its escapes resolved once.
pub fn decode_lossy(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Decodes as the most obliging of servers.
fn decode(text: &str) -> String {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(&without_unicode_escapes(text)).collect();
    String::from_utf8_lossy(&without_overlong(&bytes)).into_owned()
}

/// `%u002f`, an escape that IIS knows.
fn without_unicode_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest.strip_prefix("%u").or(rest.strip_prefix("%U")).and_then(|digits| digits.get(..4));
        let hex = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match hex.and_then(|hex| char::from_u32(u32::from_str_radix(hex, 16).ok()?)) {
            Some(character) => {
                out.push(character);
                rest = &rest[6..];
            }
            None => {
                out.push('%');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// ASCII in two, three or four bytes, which UTF-8 forbids.
fn without_overlong(bytes: &[u8]) -> Vec<u8> {
    let is_more = |byte: &u8| (0x80..0xc0).contains(byte);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (length, ascii) = match bytes[at..] {
            [lead @ (0xc0 | 0xc1), last, ..] if is_more(&last) => (2, (lead & 1) << 6 | (last & 0x3f)),
            [0xe0, middle @ (0x80 | 0x81), last, ..] if is_more(&last) => {
                (3, (middle & 1) << 6 | (last & 0x3f))
            }
            [0xf0, 0x80, middle @ (0x80 | 0x81), last, ..] if is_more(&last) => {
                (4, (middle & 1) << 6 | (last & 0x3f))
            }
            [byte, ..] => (1, byte),
            [] => break,
        };
        out.push(ascii);
        at += length;
    }
    out
}

fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').map(|s| s.split(';').next().unwrap_or_default()).collect();
    segments.join("/")
}

fn until(path: &str, end: char) -> String {
    path.split(end).next().unwrap_or_default().to_owned()
}

fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if !(c == '/' && out.ends_with('/')) {
            out.push(c);
        }
    }
    out
}

fn resolve_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

/// A canonical query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What names the resource; none: no query at all.
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

/// Applies a route's query rule (contract §11) to a raw query.
pub fn canonical_query(
    raw: Option<&str>,
    rule: &QueryRule,
    switches: &Switches,
) -> Result<Target, QueryProblem> {
    let Some(raw) = raw else {
        return Ok(Target { query: None, without_switches: None });
    };
    let mut kept: Vec<String> = Vec::new();
    let mut plain: Vec<&str> = Vec::new();
    for pair in raw.split('&') {
        let name = decoded_name(pair);
        if is_switch(&name, switches) {
            continue;
        }
        plain.push(pair);
        if rule.ignore.iter().any(|pattern| matches_pattern(pattern, &name)) {
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
    // `?` alone is a query too; a query that lost all it had is none.
    let empty = kept.iter().all(String::is_empty) && raw.split('&').count() != kept.len();
    Ok(Target {
        query: (!empty).then(|| kept.join("&")),
        without_switches: (!plain.is_empty()).then(|| plain.join("&")),
    })
}

/// The value of a switch in a raw query, decoded; the first one counts.
pub fn switch(raw: Option<&str>, name: Option<&str>) -> Option<String> {
    let name = name?;
    raw?.split('&').find(|pair| decoded_name(pair) == name).map(|pair| {
        let value = pair.split_once('=').map(|(_, value)| value).unwrap_or_default();
        decode_lossy(&value.replace('+', " "))
    })
}

/// Names under which EventSource polyfills resume (contract §5); never sent to the upstream.
pub const RESUME_SWITCHES: [&str; 2] = ["last_event_id", "lastEventId"];

fn is_switch(name: &str, switches: &Switches) -> bool {
    let named = [&switches.push, &switches.wait, &switches.delta];
    named.iter().any(|switch| switch.as_deref() == Some(name)) || RESUME_SWITCHES.contains(&name)
}

fn decoded_name(pair: &str) -> String {
    decode_lossy(&pair.split('=').next().unwrap_or_default().replace('+', " "))
}

/// A pattern is a name, or the beginning of one followed by `*`.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule() -> QueryRule {
        QueryRule {
            names: None,
            unknown: UnknownQuery::Drop,
            any_order: false,
            ignore: vec!["_".into(), "utm_*".into()],
        }
    }

    fn switches() -> Switches {
        Switches {
            push: Some("_push".into()),
            wait: Some("_wait".into()),
            delta: Some("_delta".into()),
            wait_header: true,
        }
    }

    fn query(raw: &str, rule: &QueryRule) -> Option<String> {
        canonical_query(Some(raw), rule, &switches()).unwrap().query
    }

    #[test]
    fn escapes_are_written_one_way() {
        assert_eq!(canonical_path("/%41/%7e/%c3%a9"), CanonicalPath::Plain("/A/~/%C3%A9".into()));
    }

    #[test]
    fn paths_that_servers_read_differently_are_doubtful() {
        for raw in [
            "//a",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/a%5Cb",
            "/a%00",
            "/a;x=1",
            "/a%zz",
            "/a\\b",
            "*",
            "/a#b",
        ] {
            assert_eq!(canonical_path(raw), CanonicalPath::Doubtful, "{raw}");
        }
    }

    #[test]
    fn every_reading_of_a_doubtful_path_is_found() {
        for raw in [
            "/x/../secret",
            "//secret",
            "/%2573ecret",
            "/x%2f..%2fsecret",
            "/secret;a=b",
            "/x\\..\\secret",
            "/secret%00.txt",
            "/secret#x",
            "/secret%3Fx",
            "/secret%23x",
            "/x/%252e%252e/secret",
        ] {
            assert!(decodings(raw).contains("/secret"), "{raw}: {:?}", decodings(raw));
        }
        for raw in [
            "/%u0073ecret",
            "/x/%c0%ae%c0%ae/secret",
            "/x%c0%af..%c0%afsecret",
            "/x%e0%80%af..%e0%80%afsecret",
            "/%f0%80%81%b3ecret",
            "/%25%37%33ecret",
            "/x/..;/secret",
            "/x/..%3b/secret",
            "/x/%2e%2e%5csecret",
        ] {
            assert!(decodings(raw).contains("/secret"), "{raw}: {:?}", decodings(raw));
        }
    }

    #[test]
    fn only_what_may_be_read_twice_hides_something() {
        for raw in ["/%2573ecret", "/%c0%ae", "/%e0%80%af", "/%25%37%33"] {
            let CanonicalPath::Plain(path) = canonical_path(raw) else { panic!("{raw}") };
            assert!(may_hide(&path), "{raw}: {path}");
        }
        for raw in ["/a", "/100%25", "/100%25/a", "/%C3%A9", "/caf%E9", "/%20"] {
            let CanonicalPath::Plain(path) = canonical_path(raw) else { panic!("{raw}") };
            assert!(!may_hide(&path), "{raw}: {path}");
        }
    }

    #[test]
    fn switches_and_noise_leave_the_query_and_order_stays() {
        assert_eq!(
            query("b=2&_push=sse&a=1&utm_source=x&_=9&lastEventId=z", &rule()),
            Some("b=2&a=1".into())
        );
        assert_eq!(query("_push=sse", &rule()), None);
        assert_eq!(query("%62=%7e", &rule()), Some("b=~".into()));
    }

    #[test]
    fn a_named_query_drops_or_rejects_the_rest() {
        let mut named = QueryRule { names: Some(vec!["a".into()]), ..rule() };
        assert_eq!(query("a=1&z=2", &named), Some("a=1".into()));
        named.unknown = UnknownQuery::Reject;
        let problem = canonical_query(Some("a=1&z=2"), &named, &switches()).unwrap_err();
        assert_eq!(problem.parameter, "z");
    }

    #[test]
    fn order_matters_unless_the_route_says_otherwise() {
        let sorted = QueryRule { any_order: true, ..rule() };
        assert_eq!(query("b=2&a=1", &sorted), query("a=1&b=2", &sorted));
        assert_ne!(query("b=2&a=1", &rule()), query("a=1&b=2", &rule()));
    }

    #[test]
    fn what_passes_through_loses_only_the_switches() {
        let target = canonical_query(Some("a=%41&_wait=5&_=1"), &rule(), &switches()).unwrap();
        assert_eq!(target.without_switches.as_deref(), Some("a=%41&_=1"));
    }

    #[test]
    fn a_switch_is_read_decoded() {
        assert_eq!(switch(Some("a=1&_wait=3%30s"), Some("_wait")), Some("30s".into()));
        assert_eq!(switch(Some("a=1"), Some("_wait")), None);
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(raw in "/[a-z%0-9A-F/.~é]{0,12}") {
            if let CanonicalPath::Plain(path) = canonical_path(&raw) {
                prop_assert_eq!(canonical_path(&path), CanonicalPath::Plain(path.clone()));
            }
        }

        #[test]
        fn nothing_panics(raw in "\\PC{0,40}") {
            let _ = canonical_path(&raw);
            let _ = decodings(&raw);
            let _ = canonical_query(Some(&raw), &rule(), &switches());
        }
    }
}
