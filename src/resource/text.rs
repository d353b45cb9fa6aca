//! A body as text: which charset it is in (contract §5), converted to UTF-8 without a byte order mark.
//!
//! Pure. Must not know: snapshots, clients.

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_8};

use super::MediaType;

/// A document names its charset within its first bytes or not at all, as in HTML.
const DECLARATION_BYTES_MAX: usize = 1024;

/// A body as UTF-8 without a byte order mark: as it is, or converted from its charset. Returns `None` if it is not
/// text.
///
/// - A mark says what the body is, whatever the parameter does.
/// - JSON is UTF-8 (RFC 8259 §8.1) where its bytes are; the parameter helps only where they are not.
/// - XML and HTML without a parameter say it themselves (RFC 7303 §3).
pub fn decoded(media_type: Option<&MediaType>, body: &Bytes) -> Option<Bytes> {
    if let Some(text) = by_mark(media_type, body) {
        return Some(text);
    }
    let is_json = media_type.is_some_and(MediaType::is_json);
    if is_json && str::from_utf8(body).is_ok() {
        return Some(body.clone());
    }
    let encoding = match media_type.and_then(|media_type| media_type.charset.as_deref()) {
        Some(charset) => Encoding::for_label(charset.as_bytes())?,
        None => media_type.and_then(|media_type| declared(media_type, body)).unwrap_or(UTF_8),
    };
    converted(encoding, body)
}

/// Whether a body may be text in UTF-16: of other types two bytes that look like a mark mean nothing.
fn is_textual(media_type: &MediaType) -> bool {
    let essence = media_type.essence.as_str();
    media_type.is_json() || essence.starts_with("text/") || is_xml(essence) || essence.ends_with("javascript")
}

fn is_xml(essence: &str) -> bool {
    essence == "text/xml" || essence == "application/xml" || essence.ends_with("+xml")
}

/// The text behind a byte order mark. Returns `None` if there is no mark, or no text behind it.
fn by_mark(media_type: Option<&MediaType>, body: &Bytes) -> Option<Bytes> {
    let (encoding, mark) = Encoding::for_bom(body)?;
    if encoding != UTF_8 && !media_type.is_some_and(is_textual) {
        return None;
    }
    converted(encoding, &body.slice(mark..))
}

/// A body that is in this charset.
fn converted(encoding: &'static Encoding, body: &Bytes) -> Option<Bytes> {
    if encoding == UTF_8 {
        return str::from_utf8(body).is_ok().then(|| body.clone());
    }
    let (text, malformed) = encoding.decode_without_bom_handling(body);
    (!malformed).then(|| Bytes::from(text.into_owned().into_boxed_str().into_boxed_bytes()))
}

/// Reads the body by the charset that the document itself names: in an XML declaration, or in a `meta` element of HTML.
/// Returns `None` if it says nothing, or a charset that is not known or that these bytes cannot be read in (UTF-16
/// without a mark).
fn declared(media_type: &MediaType, body: &[u8]) -> Option<&'static Encoding> {
    let head = &body[..body.len().min(DECLARATION_BYTES_MAX)];
    let label = if is_xml(&media_type.essence) {
        let declaration = head.strip_prefix(b"<?xml")?;
        let end = declaration.windows(2).position(|pair| pair == b"?>")?;
        attribute(&declaration[..end], b"encoding")?
    } else if media_type.essence == "text/html" {
        tags(head, b"<meta").find_map(|tag| attribute(tag, b"charset"))?
    } else {
        return None;
    };
    Encoding::for_label(label).filter(|encoding| encoding.is_ascii_compatible())
}

/// Returns the inside of each tag with this beginning.
fn tags<'a>(head: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let begins =
        move |at: &usize| head[*at..].get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
    (0..head.len()).filter(begins).map(move |at| {
        let tag = &head[at + name.len()..];
        &tag[..tag.iter().position(|byte| *byte == b'>').unwrap_or(tag.len())]
    })
}

/// The value behind `name=`, in quotes of either kind or without. That is also how a charset stands within the
/// content of `http-equiv`.
fn attribute<'a>(tag: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = (0..tag.len()).find(|at| {
        let follows_a_letter = *at > 0 && tag[*at - 1].is_ascii_alphanumeric();
        !follows_a_letter && tag[*at..].get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name))
    })?;
    let rest = tag[at + name.len()..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let value = match rest.first()? {
        quote @ (b'"' | b'\'') => rest[1..].split(|byte| byte == quote).next()?,
        _ => rest.split(|byte| byte.is_ascii_whitespace() || b"\"';/>".contains(byte)).next()?,
    };
    Some(value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(media_type: &str, body: &[u8]) -> Option<String> {
        let text = decoded(MediaType::parse(media_type).as_ref(), &Bytes::copy_from_slice(body))?;
        Some(String::from_utf8(text.to_vec()).expect("UTF-8"))
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    }

    #[test]
    fn json_is_utf_8_whatever_its_parameter_says() {
        for charset in
            ["", "; charset=ISO-8859-1", "; charset=binary", "; charset=windows-1251", "; charset=utf-16"]
        {
            for essence in ["application/json", "application/problem+json"] {
                let said = format!("{essence}{charset}");
                assert_eq!(
                    text(&said, "{\"city\":\"Málaga\"}".as_bytes()).as_deref(),
                    Some("{\"city\":\"Málaga\"}"),
                    "{said}"
                );
            }
        }
        assert_eq!(text("application/json; charset=ISO-8859-1", b"\"caf\xe9\"").as_deref(), Some("\"café\""));
        assert_eq!(text("application/json", b"\"caf\xe9\""), None);
        assert_eq!(text("application/json; charset=binary", b"\"caf\xe9\""), None);
    }

    #[test]
    fn a_mark_says_what_it_is_and_is_no_part_of_the_text() {
        let marked = [b"\xef\xbb\xbf".as_slice(), "{\"é\":1}".as_bytes()].concat();
        for said in [
            "application/json",
            "application/json; charset=ISO-8859-1",
            "text/plain",
            "text/html",
            "application/x-log",
        ] {
            assert_eq!(text(said, &marked).as_deref(), Some("{\"é\":1}"), "{said}");
            assert_eq!(text(said, b"\xef\xbb\xbf").as_deref(), Some(""), "{said}");
        }
        for said in ["application/json", "text/plain; charset=utf-8", "application/atom+xml", "text/csv"] {
            for little in [true, false] {
                assert_eq!(text(said, &utf16("{\"é\":1}", little)).as_deref(), Some("{\"é\":1}"), "{said}");
            }
        }
        assert_eq!(text("application/octet-stream", &utf16("ab", true)), None, "that may be anything");
        assert_eq!(
            text("text/plain; charset=ISO-8859-1", b"\xef\xbb\xbf\xe9").as_deref(),
            Some("ï»¿é"),
            "no mark after all"
        );
    }

    #[test]
    fn xml_and_html_say_their_charset_themselves() {
        let table: [(&str, &[u8], Option<&str>); 10] = [
            (
                "application/rss+xml",
                b"<?xml version=\"1.0\" encoding=\"windows-1251\"?><a>\xcf</a>",
                Some("П</a>"),
            ),
            ("text/xml", b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>", Some("é</a>")),
            ("text/xml", b"<?xml version='1.0' encoding = 'Shift_JIS' ?><a>\x82\xa0</a>", Some("あ</a>")),
            ("text/xml; charset=utf-8", b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>", None),
            ("application/xml", b"<?xml version='1.0'?><a>\xe9</a>", None),
            ("application/xml", b"<?xml version='1.0' encoding='x-unknown'?><a>e</a>", Some("e</a>")),
            ("text/html", b"<html><META charset=iso-8859-1><p>\xe9</a>", Some("é</a>")),
            (
                "text/html",
                b"<meta http-equiv='Content-Type' content='text/html; charset=iso-8859-1'>\xe9</a>",
                Some("é</a>"),
            ),
            ("text/html", b"<meta name=x><p>\xe9</a>", None),
            ("text/plain", b"<?xml version='1.0' encoding='ISO-8859-1'?>\xe9</a>", None),
        ];
        for (said, body, wanted) in table {
            let found = text(said, body);
            let ends = found.as_deref().zip(wanted).is_some_and(|(found, wanted)| found.ends_with(wanted));
            assert!(ends || (found.is_none() && wanted.is_none()), "{said}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics_and_what_is_text_is_utf_8(
            said in "(text/(html|xml|plain)|application/(json|xml|png))(; charset=(utf-8|utf-16|latin1|gbk|x))?",
            start in "(|<\\?xml[ a-z=\"'-]{0,30}\\?>|<meta[ a-z=\"'-]{0,30}>)",
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let body = Bytes::from([start.into_bytes(), rest].concat());
            if let Some(text) = decoded(MediaType::parse(&said).as_ref(), &body) {
                prop_assert!(str::from_utf8(&text).is_ok());
            }
        }
    }
}
