//! Bodies that are no JSON, some of whose lines do not count (`change.ignore_lines`, contract §2).
//!
//! Must not know: JSON, what else a route's rules say.

use std::borrow::Cow;

use crate::config::LinePattern;
use crate::resource::{Content, Snapshot, VersionNamer};

/// Returns the snapshot of this content after `previous`. If the two differ only in lines that do not count, they have
/// one version and the body of `previous`. A body that is no text counts as it is.
pub(super) fn snapshot(
    ignored: &[LinePattern],
    mut content: Content,
    previous: Option<&Snapshot>,
    namer: &VersionNamer,
) -> Snapshot {
    // Digests would not fit an older body of the same version.
    for digest in super::DIGESTS {
        content.headers.remove(digest);
    }
    let version = {
        let text = crate::resource::decoded(content.media_type().as_ref(), &content.body);
        let text = text.as_deref().and_then(|text| std::str::from_utf8(text).ok());
        let counted = text.map(|text| counted(ignored, text));
        content.version(namer, counted.as_deref().map_or(&content.body[..], str::as_bytes))
    };
    match previous.filter(|previous| previous.version == version) {
        Some(previous) => previous.renewed(content),
        None => content.into_snapshot(version),
    }
}

/// The lines that count, each with its end. Lines end with LF, CRLF or CR, as in event streams.
fn counted<'a>(ignored: &[LinePattern], text: &'a str) -> Cow<'a, str> {
    let counts = |line: &str| !ignored.iter().any(|pattern| pattern.matches(line));
    if lines(text).all(|(line, _)| counts(line)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(lines(text).filter(|(line, _)| counts(line)).map(|(_, whole)| whole).collect())
}

/// Each line without its end, and with it.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
        let length = match &rest.as_bytes()[end..] {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        let (whole, more) = rest.split_at(end + length);
        rest = more;
        Some((&whole[..end], whole))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use proptest::prelude::*;

    use super::*;
    use crate::resource::Validators;

    fn patterns(texts: &[&str]) -> Vec<LinePattern> {
        texts.iter().map(|text| LinePattern::parse(text).unwrap()).collect()
    }

    fn content(media_type: &'static str, body: &[u8]) -> Content {
        Content {
            status: StatusCode::OK,
            content_type: Some(HeaderValue::from_static(media_type)),
            headers: HeaderMap::from_iter([(
                HeaderName::from_static("digest"),
                HeaderValue::from_static("x"),
            )]),
            validators: Validators::default(),
            vary: Vec::new(),
            body: Bytes::copy_from_slice(body),
        }
    }

    fn of(body: &[u8], previous: Option<&Snapshot>) -> Snapshot {
        let ignored = patterns(&["^Reading", r"^\s*#"]);
        snapshot(&ignored, content("text/plain", body), previous, &VersionNamer::new(None))
    }

    #[test]
    fn lines_that_do_not_count_change_neither_version_nor_published_body() {
        let first = of(b"Temp 3\nReading 1\nHum 4\n", None);
        let same = of(b"Temp 3\nReading 2 x\n # note\nHum 4\n", Some(&first));
        assert_eq!((same.version, &same.body), (first.version, &first.body));
        assert!(same.headers.is_empty(), "a digest of another body is none of it");
        let next = of(b"Temp 5\nReading 3\nHum 4\n", Some(&same));
        assert_ne!(next.version, first.version);
        assert_eq!(&next.body[..], b"Temp 5\nReading 3\nHum 4\n", "the lines as they were then");
        assert_eq!(
            of(b"Temp 3\nHum 4\n", None).version,
            first.version,
            "a line that came or went counts no more"
        );
        assert_ne!(of(b"Temp 3\nReading 1\nHum 4", None).version, first.version);
    }

    #[test]
    fn every_line_end_ends_a_line_and_what_is_no_text_counts_whole() {
        let ends: Vec<_> = lines("a\r\nb\rc\n\nd").map(|(line, _)| line).collect();
        assert_eq!(ends, ["a", "b", "c", "", "d"]);
        assert_ne!(of(b"Reading \xff1", None).version, of(b"Reading \xff2", None).version);
        let latin = |body: &[u8]| {
            let content = content("text/plain; charset=iso-8859-1", body);
            snapshot(&patterns(&["^Grad \u{e9}"]), content, None, &VersionNamer::new(None))
        };
        let (one, two) = (latin(b"x\nGrad \xe91\n"), latin(b"x\nGrad \xe92\n"));
        assert_eq!(one.version, two.version);
        assert_eq!(&two.body[..], b"x\nGrad \xe92\n", "published in its own charset");
    }

    proptest! {
        #[test]
        fn without_a_match_the_version_is_that_of_the_bytes(body in "[ab#R\r\n ]{0,40}") {
            let none = snapshot(&patterns(&["^zzz"]), content("text/plain", body.as_bytes()), None, &VersionNamer::new(None));
            let plain = content("text/plain", body.as_bytes());
            prop_assert_eq!(none.version, plain.version(&VersionNamer::new(None), body.as_bytes()));
            let whole: String = lines(&body).map(|(_, whole)| whole).collect();
            prop_assert_eq!(whole, body);
        }
    }
}
