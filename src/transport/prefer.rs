//! How long a client is willing to wait: `Prefer: wait` (RFC 7240 §4.3) and its aliases.
//!
//! Must not know: routes, limits.

use std::time::Duration;

/// `wait=N` of a `Prefer` field, in seconds. Returns `None` if it is absent, or not a number.
pub fn wait<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Duration> {
    for line in lines {
        let Ok(text) = std::str::from_utf8(line) else {
            continue;
        };
        for preference in text.split(',') {
            // What follows a semicolon belongs to the preference before it.
            let preference = preference.split(';').next().unwrap_or_default();
            let Some((name, value)) = preference.split_once('=') else {
                continue;
            };
            if name.trim().eq_ignore_ascii_case("wait") {
                return seconds(value.trim().trim_matches('"'));
            }
        }
    }
    None
}

/// The value of the `Wait: N` alias, seconds.
pub fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

/// The value of the `_wait` switch: `30`, `30s`, `1m`.
pub fn switch(text: &str) -> Option<Duration> {
    seconds(text).or_else(|| humantime::parse_duration(text.trim()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefer(text: &str) -> Option<u64> {
        wait([text.as_bytes()]).map(|d| d.as_secs())
    }

    #[test]
    fn wait_is_found_among_preferences() {
        assert_eq!(prefer("wait=30"), Some(30));
        assert_eq!(prefer("respond-async, Wait=\"10\""), Some(10));
        assert_eq!(prefer("return=minimal; foo, wait = 5"), Some(5));
        assert_eq!(prefer("wait=7; foo=1"), Some(7));
        assert_eq!(prefer("return=minimal; wait=1"), None);
        assert_eq!(prefer("wait"), None);
        assert_eq!(prefer("wait=-1"), None);
        assert_eq!(prefer("waiting=3"), None);
        assert_eq!(switch("1m 5s").map(|d| d.as_secs()), Some(65));
        assert_eq!(switch("30").map(|d| d.as_secs()), Some(30));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,30}") {
            let _ = wait([text.as_bytes()]);
            let _ = switch(&text);
        }
    }
}
