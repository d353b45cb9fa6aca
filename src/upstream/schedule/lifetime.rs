//! How long an answer says that it stays good: `Cache-Control`, `Expires`, `Age`, `Retry-After` (contract §10).
//!
//! Must not know: what is done with the times.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header};

use super::number::{DAY, seconds};

/// How much longer the answer is fresh (RFC 9111 §4.2): `s-maxage` (this is a shared cache), else
/// `max-age`, else `Expires` against the answer's own `Date`; less its `Age`. Capped at a day.
///
/// Returns `None` if nothing is said, if `no-cache` is (it asks for a check before each use, whatever lifetime
/// stands beside it: RFC 9111 §5.2.2.4), and if the lifetime cannot be read (RFC 9111 §4.2.1: that is stale, and
/// no reason to believe `Expires`).
pub fn remaining_lifetime(headers: &HeaderMap) -> Option<Duration> {
    if directive(headers, "no-cache").is_some() {
        return None;
    }
    let said = ["s-maxage", "max-age"].into_iter().find_map(|name| directive(headers, name));
    let lifetime = match said {
        Some(text) => seconds(text)?,
        None => expires(headers)?,
    };
    Some(lifetime.min(DAY).saturating_sub(age(headers)))
}

/// `Expires` less `Date`. Without a `Date` nothing says by which clock it was meant.
fn expires(headers: &HeaderMap) -> Option<Duration> {
    let lifetime = date(headers, header::EXPIRES)?.duration_since(date(headers, header::DATE)?);
    Some(lifetime.unwrap_or_default().min(DAY))
}

/// A field that holds a date (RFC 9110 §5.6.7).
pub(super) fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok()
}

/// The upstream's own `Age`.
pub fn age(headers: &HeaderMap) -> Duration {
    let said = headers.get(header::AGE).and_then(|value| seconds(value.to_str().ok()?));
    said.unwrap_or_default().min(DAY)
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3), as time from `now`: whole seconds, rounded up. A date
/// is held against the answer's own `Date`, since the upstream's clock may be another one. Of several the longest
/// counts.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let read = |text: &str| match seconds(text) {
        Some(wait) => Some(wait),
        None => {
            let moment = httpdate::parse_http_date(text.trim()).ok()?;
            let sent = date(headers, header::DATE).unwrap_or(now);
            Some(moment.duration_since(sent).unwrap_or_default())
        }
    };
    let said = headers.get_all(header::RETRY_AFTER).iter().filter_map(|value| read(value.to_str().ok()?));
    said.max().map(|wait| rounded_up(wait).min(DAY))
}

/// A wait in whole seconds, rounded up: an upstream that asks for 7.5 s is not asked again after 7.
pub(super) fn rounded_up(wait: Duration) -> Duration {
    let more = u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(wait.as_secs().saturating_add(more))
}

/// The value of a `Cache-Control` directive; empty for one without a value.
///
/// A line that is not a list of `token[=value]` (semicolons or blanks for commas, an open quote) is doubt: there a
/// directive counts, without a value, wherever its word stands. So an answer whose `private` cannot be read is not
/// shared, and a lifetime in such a line is one that cannot be read.
pub fn directive<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(header::CACHE_CONTROL).iter().find_map(|line| {
        let line = line.as_bytes();
        match is_list(line) {
            true => members(line)
                .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
                .map(|(_, value)| str::from_utf8(value).unwrap_or_default()),
            false => words(line).any(|word| is_word(word, name)).then_some(""),
        }
    })
}

/// The members of a line between commas that do not stand in quotes.
fn pieces(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        let ends = *byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        ends
    })
    .map(<[u8]>::trim_ascii)
    .filter(|piece| !piece.is_empty())
}

/// Name and value of each member of a line that is a list; quotes around a value are taken off.
fn members(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    pieces(line).map(|piece| match piece.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let value = &piece[at + 1..];
            let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            (&piece[..at], bare.unwrap_or(value).trim_ascii())
        }
        None => (piece, &[][..]),
    })
}

/// Whether a line is a list of `token[=value]`. Of the signs that a token may have only those count that a
/// directive has: in `private|max-age=0` the bar is a server's separator.
fn is_list(line: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let is_value = |value: &[u8]| match value {
        [b'"', inner @ .., b'"'] => !inner.contains(&b'"') && !inner.contains(&b'\\'),
        value => !value.is_empty() && value.iter().all(|byte| is_plain(byte) || b"._+".contains(byte)),
    };
    pieces(line).all(|piece| match piece.iter().position(|byte| *byte == b'=') {
        Some(at) => at > 0 && piece[..at].iter().all(is_plain) && is_value(&piece[at + 1..]),
        None => piece.iter().all(is_plain),
    })
}

/// The words of a line, whatever stands between them.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_'))
}

/// Whether a word is this directive: some write `_` for `-`, or strokes around it.
fn is_word(word: &[u8], name: &str) -> bool {
    let is_stroke = |byte: &u8| matches!(byte, b'-' | b'_');
    let Some(from) = word.iter().position(|byte| !is_stroke(byte)) else {
        return false;
    };
    let to = word.iter().rposition(|byte| !is_stroke(byte)).map_or(from, |last| last + 1);
    let word = &word[from..to];
    word.len() == name.len()
        && word
            .iter()
            .zip(name.bytes())
            .all(|(found, wanted)| found.eq_ignore_ascii_case(&wanted) || (*found == b'_' && wanted == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    type Fields = &'static [(&'static str, &'static str)];

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        })
    }

    #[test]
    fn lifetimes_are_read_in_all_their_forms() {
        const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        const LATER: (&str, &str) = ("expires", "Sun, 06 Nov 1994 08:50:07 GMT");
        let table: [(Fields, Option<u64>); 22] = [
            (&[], None),
            (&[("cache-control", "max-age=10")], Some(10)),
            (&[("cache-control", "public, max-age=\"10\""), ("age", "3")], Some(7)),
            (&[("cache-control", "max-age=10, s-maxage=4")], Some(4)),
            (&[("cache-control", "max-age=99999999")], Some(86_400)),
            // What cannot be read is no lifetime, and no reason to believe Expires.
            (&[("cache-control", "max-age=soon"), DATE, LATER], None),
            (&[("cache-control", "max-age=-1"), DATE, LATER], None),
            (&[("cache-control", "max-age"), DATE, LATER], None),
            (&[("cache-control", "max-age=1e9"), DATE, LATER], None),
            (&[("cache-control", "max-age=0; public"), DATE, LATER], None),
            (&[("cache-control", "public; max-age=600"), DATE, LATER], None),
            (&[("cache-control", "s-maxage=x, max-age=10"), DATE, LATER], None),
            (&[("cache-control", "max-age=10.5"), ("age", "0.5")], Some(10)),
            // A check before each use, whatever lifetime stands beside it.
            (&[("cache-control", "no-cache, max-age=315360000")], None),
            (&[("cache-control", "public, max-age=600, no-cache")], None),
            (&[("cache-control", "max-age=600"), ("cache-control", "no-cache; x")], None),
            (&[("cache-control", "public"), DATE, LATER], Some(30)),
            (&[DATE, LATER], Some(30)),
            (&[DATE, LATER, ("age", "60")], Some(0)),
            (&[LATER], None),
            (&[DATE, ("expires", "0")], None),
            (&[("cache-control", "no-cache"), DATE, LATER], None),
        ];
        for (fields, wanted) in table {
            let found = remaining_lifetime(&headers(fields)).map(|lifetime| lifetime.as_secs());
            assert_eq!(found, wanted, "{fields:?}");
        }
        assert_eq!(
            remaining_lifetime(&headers(&[LATER, ("date", "Sun, 06 Nov 1994 08:59:37 GMT")])),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let read = |value| retry_after(&headers(&[("retry-after", value)]), now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
        assert_eq!(read("299.997"), Some(Duration::from_secs(300)), "never too early");
        assert_eq!(read("7.0"), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_date_to_retry_after_is_by_the_clock_that_wrote_it() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (date, retry) in [
            // An hour ahead of us, and an hour behind.
            ("Sun, 06 Nov 1994 09:49:37 GMT", "Sun, 06 Nov 1994 09:50:07 GMT"),
            ("Sun, 06 Nov 1994 07:49:37 GMT", "Sun, 06 Nov 1994 07:50:07 GMT"),
        ] {
            let said = headers(&[("date", date), ("retry-after", retry)]);
            assert_eq!(retry_after(&said, now), Some(Duration::from_secs(30)), "{date}");
        }
    }

    #[test]
    fn a_directive_is_found_among_others() {
        let mut several = headers(&[("cache-control", "Private, max-age=\"5\"")]);
        several.append("cache-control", HeaderValue::from_static("no-store"));
        assert_eq!(directive(&several, "private"), Some(""));
        assert_eq!(directive(&several, "max-age"), Some("5"));
        assert_eq!(directive(&several, "no-store"), Some(""));
        assert_eq!(directive(&several, "public"), None);
    }

    #[test]
    fn what_is_no_list_says_private_wherever_the_word_stands() {
        for line in [
            "private; max-age=0",
            "max-age=0; private",
            "max-age=0 private",
            "max-age=0\tprivate",
            "\"private\"",
            "\"private, max-age=0\"",
            "'private'",
            "private|max-age=0",
            "max-age=0/private",
            "max-age=0:private",
            "private:max-age=0",
            "max-age = 0, private",
            "max-age=\"0, private",
            "max-age=, private",
            "=private",
            "max-age=0&PRIVATE",
            "no store private",
            "{private}",
            "_private_",
            "public;private=\"x\"",
        ] {
            assert_eq!(directive(&headers(&[("cache-control", line)]), "private"), Some(""), "{line}");
        }
        for line in ["no-store; no-cache; max-age=0", "max-age=0;no_store", "public no-store"] {
            assert_eq!(directive(&headers(&[("cache-control", line)]), "no-store"), Some(""), "{line}");
        }
        let mut bytes = HeaderMap::new();
        bytes.insert(header::CACHE_CONTROL, HeaderValue::from_bytes(b"\xa0private\xff").unwrap());
        assert_eq!(directive(&bytes, "private"), Some(""));
    }

    #[test]
    fn in_a_list_only_names_are_directives() {
        for line in [
            "public, max-age=60",
            "max-age=60, x=\"private, no-store\"",
            "not-private, private-ish",
            "x=private",
            ", public,,",
        ] {
            let said = headers(&[("cache-control", line)]);
            assert_eq!((directive(&said, "private"), directive(&said, "no-store")), (None, None), "{line}");
        }
        let named = headers(&[("cache-control", "private=\"set-cookie\", max-age=5")]);
        assert_eq!(
            (directive(&named, "private"), directive(&named, "max-age")),
            (Some("set-cookie"), Some("5"))
        );
    }
}
