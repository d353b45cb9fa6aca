//! Numbers and moments as upstreams write them: seconds with a fraction, epochs in four units, dates.
//!
//! Must not know: which field they stand in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A number this large is a moment and not a wait: seconds since 1970 in 2001, and below milliseconds, micro- and
/// nanoseconds since then.
const MOMENT_SECONDS_MIN: u64 = 1_000_000_000;
const MOMENT_MILLISECONDS_MIN: u64 = 100_000_000_000;
const MOMENT_MICROSECONDS_MIN: u64 = 100_000_000_000_000;
const MOMENT_NANOSECONDS_MIN: u64 = 100_000_000_000_000_000;

/// A number of seconds, with or without a fraction. Returns `None` for anything else, negative numbers among it.
/// One that is too large to hold is the largest there is (RFC 9111 §1.2.2).
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim().trim_matches('"').trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0, |sum: u32, digit| sum * 10 + u32::from(digit - b'0'));
    Some(Duration::new(whole.parse().unwrap_or(u64::MAX), nanos))
}

/// When something is reset, as time from now: a wait in seconds, or a moment as a date or since 1970 in seconds,
/// milli-, micro- or nanoseconds. `clock`: the upstream's clock when it said so.
///
/// Returns `None` for what cannot be read and for a moment that is over. Moments more than a day ahead are a unit
/// that is not known: they say nothing.
pub(super) fn reset(text: &str, clock: SystemTime) -> Option<Duration> {
    let text = text.trim().trim_matches('"').trim();
    let Some(number) = seconds(text) else {
        return until(moment(text)?, clock);
    };
    let whole = number.as_secs();
    let since_1970 = match whole {
        MOMENT_NANOSECONDS_MIN.. => Duration::from_nanos(whole),
        MOMENT_MICROSECONDS_MIN.. => Duration::from_micros(whole),
        MOMENT_MILLISECONDS_MIN.. => Duration::from_millis(whole),
        MOMENT_SECONDS_MIN.. => number,
        _ => return (!number.is_zero()).then_some(number),
    };
    until(UNIX_EPOCH.checked_add(since_1970)?, clock)
}

/// A date of HTTP or of RFC 3339 in UTC.
fn moment(text: &str) -> Option<SystemTime> {
    let in_utc = |text: &str| {
        let text = text.strip_suffix("+00:00").map(|text| format!("{text}Z"));
        text.and_then(|text| humantime::parse_rfc3339(&text).ok())
    };
    let date = httpdate::parse_http_date(text).ok();
    date.or_else(|| humantime::parse_rfc3339(text).ok()).or_else(|| in_utc(text))
}

fn until(moment: SystemTime, clock: SystemTime) -> Option<Duration> {
    let wait = moment.duration_since(clock).ok()?;
    (!wait.is_zero() && wait <= DAY).then_some(wait)
}

/// No word of an upstream counts for longer.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_and_nothing_else() {
        let table = [
            ("7", Some(7_000)),
            (" 7.5 ", Some(7_500)),
            ("299.997", Some(299_997)),
            ("\"10\"", Some(10_000)),
            ("0", Some(0)),
            ("7.", Some(7_000)),
            ("99999999999999999999999", Some(u128::from(u64::MAX) * 1000)),
            ("", None),
            ("-1", None),
            ("+1", None),
            (".5", None),
            ("1e3", None),
            ("1.2.3", None),
            ("soon", None),
        ];
        for (text, wanted) in table {
            assert_eq!(seconds(text).map(|found| found.as_millis()), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_reset_is_read_in_every_unit() {
        let clock = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let table = [
            ("20", Some(20)),
            ("1800000020", Some(20)),
            ("1800000020000", Some(20)),
            ("1800000020000000", Some(20)),
            ("1800000020000000000", Some(20)),
            ("Fri, 15 Jan 2027 08:00:20 GMT", Some(20)),
            ("2027-01-15T08:00:20Z", Some(20)),
            ("2027-01-15T08:00:20+00:00", Some(20)),
            ("1799999999", None),
            ("2027-01-15T07:59:59Z", None),
            ("1800200000", None),
            ("1800200000000", None),
            ("18446744073709551615", None),
            ("0", None),
            ("soon", None),
        ];
        for (text, wanted) in table {
            assert_eq!(reset(text, clock).map(|wait| wait.as_secs()), wanted, "{text:?}");
        }
    }
}
