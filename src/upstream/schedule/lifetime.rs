//! How long an answer says that it stays good: `Cache-Control`, `Expires`, `Age`, `Retry-After`.
//!
//! Must not know: what is done with the times.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// No word of an upstream counts for longer.
const DAY: u64 = 86_400;

/// How much longer the answer is fresh (RFC 9111 §4.2): `s-maxage` (this is a shared cache), else
/// `max-age`, else `Expires` against the answer's own `Date`; less its `Age`. Capped at a day.
pub fn remaining_lifetime(headers: &HeaderMap) -> Option<Duration> {
    let said = |name| directive(headers, name)?.parse::<u64>().ok();
    let lifetime = match said("s-maxage").or_else(|| said("max-age")) {
        Some(seconds) => Duration::from_secs(seconds.min(DAY)),
        // A server that asks for a check each time gives no lifetime, whatever `Expires` says.
        None if directive(headers, "no-cache").is_some() => return None,
        None => expires(headers)?,
    };
    Some(lifetime.saturating_sub(age(headers)))
}

/// `Expires` less `Date`. Without a `Date` nobody knows by which clock it was meant.
fn expires(headers: &HeaderMap) -> Option<Duration> {
    let date = |name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok();
    let lifetime = date(header::EXPIRES)?.duration_since(date(header::DATE)?).unwrap_or_default();
    Some(lifetime.min(Duration::from_secs(DAY)))
}

/// The upstream's own `Age`.
pub fn age(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(header::AGE).and_then(|v| v.to_str().ok()?.trim().parse::<u64>().ok());
    Duration::from_secs(seconds.unwrap_or(0).min(DAY))
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3), as time from `now`.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(DAY)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(Duration::from_secs(DAY)))
}

/// The value of a `Cache-Control` directive; empty for one without a value.
pub fn directive<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // Bytes: one that is no text must not take the others of its line with it.
    let lines = headers.get_all(header::CACHE_CONTROL).iter().map(|line| line.as_bytes());
    let said =
        lines.flat_map(|line| line.split(|byte| *byte == b',')).filter_map(|it| str::from_utf8(it).ok());
    said.map(|directive| directive.split_once('=').unwrap_or((directive, "")))
        .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().trim_matches('"'))
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
        fields.iter().map(field).collect()
    }

    #[test]
    fn lifetimes_are_read_in_all_their_forms() {
        const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        const LATER: (&str, &str) = ("expires", "Sun, 06 Nov 1994 08:50:07 GMT");
        let table: [(Fields, Option<u64>); 11] = [
            (&[], None),
            (&[("cache-control", "max-age=10")], Some(10)),
            (&[("cache-control", "public, max-age=\"10\""), ("age", "3")], Some(7)),
            (&[("cache-control", "max-age=10, s-maxage=4")], Some(4)),
            (&[("cache-control", "max-age=99999999")], Some(86_400)),
            (&[("cache-control", "max-age=soon"), DATE, LATER], Some(30)),
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
}
