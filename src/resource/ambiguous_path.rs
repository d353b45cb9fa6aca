//! The readings of a path that servers do not agree on (contract §11).
//!
//! Errs towards more readings: one too many costs a poll that could have been shared, one too few lets a path slip
//! past the route that guards it. Must not know: routes.

use std::collections::BTreeSet;

use super::target::tidied;

/// Every path that some server might take a raw path for.
#[derive(Debug, Default)]
pub struct Readings {
    /// The paths with their escapes as they came, as patterns have them.
    pub escaped: BTreeSet<String>,
    /// The paths with their escapes resolved once, twice and until none is left, those of IIS and overlong UTF-8 too.
    pub decoded: BTreeSet<String>,
}

/// How often escapes of escapes are resolved. A path that has some left then is taken for the root, too, where no route
/// has a name of its own.
const DECODINGS_MAX: usize = 16;

impl Readings {
    /// The readings of a raw path.
    pub fn of(raw: &str) -> Readings {
        let once = decode(raw);
        let twice = decode(&once);
        let last = decode_all(&twice);
        let lenient = [&once, &twice, &last].map(|path| lenient(path));
        let mut decoded = BTreeSet::from(lenient);
        decoded.extend([once, twice, last]);
        Readings { escaped: expand(BTreeSet::from([tidied(raw)])), decoded: expand(decoded) }
    }

    /// Returns all readings.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.escaped.union(&self.decoded).map(String::as_str)
    }
}

/// The paths that RFC 3986 itself gives a raw path, escapes as they came: with and without its dot segments,
/// and with backslashes as the slashes that most clients make of them.
pub fn resolved(raw: &str) -> BTreeSet<String> {
    let mut readings = BTreeSet::from([tidied(raw)]);
    for (sign, read) in [('\\', with_slashes as fn(&str) -> String), ('.', resolve_dots)] {
        also(&mut readings, sign, read);
    }
    readings
}

/// Backslashes as slashes, path parameters cut, empty and dot segments resolved, in all combinations.
fn expand(paths: BTreeSet<String>) -> BTreeSet<String> {
    let mut readings = paths;
    for (sign, read) in [
        ('\\', with_slashes as fn(&str) -> String),
        ('#', |path| until(path, '#')),
        // A question mark may stand behind an escape.
        ('?', |path| until(path, '?')),
        (';', without_parameters),
        ('\0', |path| until(path, '\0')),
        ('/', merge_slashes),
        ('.', resolve_dots),
    ] {
        also(&mut readings, sign, read);
    }
    readings
}

/// Only a path with the sign has another reading: a long path must not cost many times its length.
fn also(readings: &mut BTreeSet<String>, sign: char, read: fn(&str) -> String) {
    let more: Vec<String> =
        readings.iter().filter(|path| path.contains(sign)).map(|path| read(path)).collect();
    readings.extend(more);
}

/// Decodes as the most lenient server does.
pub(super) fn decode(text: &str) -> String {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(&without_unicode_escapes(text)).collect();
    String::from_utf8_lossy(&without_overlong(&bytes)).into_owned()
}

/// Decodes until there is nothing left to decode.
fn decode_all(path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..DECODINGS_MAX {
        // Escapes of escapes, at any depth, are resolved in one step.
        let decoded = decode(&without_nesting(&path));
        if decoded == path {
            return path;
        }
        path = decoded;
    }
    "/".to_owned()
}

/// `%252525` as `%25`.
fn without_nesting(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find("%25") {
        out.push_str(&rest[..at + 3]);
        rest = &rest[at + 3..];
        while let Some(behind) = rest.strip_prefix("25") {
            rest = behind;
        }
    }
    out + rest
}

/// A path as servers read it that leave characters out or take some for others: without control characters and bytes
/// that are no text (parsers of URLs), without spaces around segments (Windows), and with the dots and slashes of other
/// scripts as those of ASCII (code pages, compatibility forms) where that makes it climb.
fn lenient(path: &str) -> String {
    let shown: String =
        path.chars().filter(|c| !c.is_ascii_control() && *c != char::REPLACEMENT_CHARACTER).collect();
    let trimmed: Vec<&str> = shown.split('/').map(|segment| segment.trim_matches(' ')).collect();
    let trimmed = trimmed.join("/");
    if trimmed.is_ascii() {
        return trimmed;
    }
    let mut folded = String::with_capacity(trimmed.len());
    for c in trimmed.chars() {
        match c {
            '\u{ff0e}' | '\u{fe52}' | '\u{2024}' => folded.push('.'),
            '\u{2025}' => folded.push_str(".."),
            '\u{ff0f}' | '\u{2044}' | '\u{2215}' => folded.push('/'),
            '\u{ff3c}' | '\u{fe68}' | '\u{2216}' => folded.push('\\'),
            c => folded.push(c),
        }
    }
    let climbs = folded.split(['/', '\\']).any(|segment| segment == "..");
    if climbs { folded } else { trimmed }
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

/// ASCII in two to six bytes, which UTF-8 forbids. Behind the first of two some decoders take any byte.
fn without_overlong(bytes: &[u8]) -> Vec<u8> {
    let is_more = |byte: &u8| (0x80..0xc0).contains(byte);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (length, ascii) = match bytes[at..] {
            [lead @ (0xc0 | 0xc1), last, ..] => (2, (lead & 1) << 6 | (last & 0x3f)),
            [0xe0, middle @ (0x80 | 0x81), last, ..] if is_more(&last) => {
                (3, (middle & 1) << 6 | (last & 0x3f))
            }
            [0xf0, 0x80, middle @ (0x80 | 0x81), last, ..] if is_more(&last) => {
                (4, (middle & 1) << 6 | (last & 0x3f))
            }
            [0xf8, 0x80, 0x80, middle @ (0x80 | 0x81), last, ..] if is_more(&last) => {
                (5, (middle & 1) << 6 | (last & 0x3f))
            }
            [0xfc, 0x80, 0x80, 0x80, middle @ (0x80 | 0x81), last, ..] if is_more(&last) => {
                (6, (middle & 1) << 6 | (last & 0x3f))
            }
            [byte, ..] => (1, byte),
            [] => break,
        };
        out.push(ascii);
        at += length;
    }
    out
}

fn with_slashes(path: &str) -> String {
    path.replace('\\', "/")
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_reading_of_a_path_is_found() {
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
            assert!(
                Readings::of(raw).iter().any(|reading| reading == "/secret"),
                "{raw}: {:?}",
                Readings::of(raw)
            );
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
            "/x/%25252e%25252e/secret",
            "/x/%2525252525252e%2525252525252e/secret",
            "/x/..%20/secret",
            "/x/%20..%09/secret",
            "/x/.%0d./secret",
            "/x/.%ff./secret",
            "/sec%0aret",
            "/secret%20",
            "/x/%c0%2e%c0%2e/secret",
            "/x/%c0%6e%c0%6e/secret",
            "/x/%f8%80%80%80%ae%f8%80%80%80%ae/secret",
            "/x/%fc%80%80%80%80%ae%fc%80%80%80%80%ae/secret",
            "/x/%uff0e%uff0e/secret",
            "/x/%ef%bc%8e%ef%bc%8e/secret",
            "/x/%e2%80%a5/secret",
            "/x/..%ef%bc%8fsecret",
        ] {
            assert!(
                Readings::of(raw).iter().any(|reading| reading == "/secret"),
                "{raw}: {:?}",
                Readings::of(raw)
            );
        }
    }

    #[test]
    fn slashes_of_other_scripts_are_letters_where_nothing_climbs() {
        let readings = Readings::of("/wiki/%EF%BC%91%EF%BC%8F%EF%BC%92");
        let has_more = |reading: &str| reading.matches('/').count() != 2;
        assert!(!readings.iter().any(has_more), "{readings:?}");
    }

    #[test]
    fn what_is_escaped_too_often_may_be_anything() {
        let mut nested = "%25".to_owned();
        for _ in 0..DECODINGS_MAX {
            // Two more levels, which none of the others says.
            nested = format!("%2{nested}35");
        }
        let readings = Readings::of(&format!("/x/{nested}2e"));
        assert!(readings.iter().any(|reading| reading == "/"), "{readings:?}");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_all_readings_are_paths(raw in "/\\PC{0,40}") {
            prop_assert!(Readings::of(&raw).escaped.len() <= 128);
        }
    }
}
