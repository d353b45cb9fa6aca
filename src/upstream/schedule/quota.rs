//! What an upstream says about how much more it will answer: `RateLimit` in its forms, and the
//! `X-RateLimit-*` fields that came before it.
//!
//! Must not know: who asks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

/// So many more requests until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub remaining: u64,
    /// From now; never zero, at most a day.
    pub reset: Duration,
}

const DAY: u64 = 86_400;

/// What all names of such fields begin with.
const PREFIXES: [&str; 2] = ["ratelimit", "x-rate"];

/// Fields for how many more and until when.
const PAIRS: [(&str, &str); 3] = [
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
];

/// A number this large is a moment, not a wait: seconds since 1970 in 2001, and in milliseconds.
const MOMENT: u64 = 1_000_000_000;
const MOMENT_MS: u64 = 1_000_000_000_000;

impl Quota {
    /// Requests a second that it leaves.
    pub fn rate(&self) -> f64 {
        self.remaining as f64 / self.reset.as_secs_f64()
    }

    /// The tightest quota that an answer names. What cannot be read says nothing.
    pub fn of(headers: &HeaderMap, now: SystemTime) -> Option<Quota> {
        // Every poll comes here, and most answers name none.
        if !headers.keys().any(|name| PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))) {
            return None;
        }
        let structured = policies(headers, now);
        let pairs = PAIRS.into_iter().filter_map(|(remaining, reset)| {
            let number = |name| number(headers.get(name)?.to_str().ok()?);
            quota(number(remaining)?, number(reset)?, now)
        });
        structured.into_iter().chain(pairs).min_by(|a, b| a.rate().total_cmp(&b.rate()))
    }
}

/// `RateLimit: "default";r=50;t=30`, and the older `limit=100, remaining=50, reset=30`.
fn policies(headers: &HeaderMap, now: SystemTime) -> Vec<Quota> {
    let lines = headers.get_all("ratelimit").iter().filter_map(|line| line.to_str().ok());
    let mut found = Vec::new();
    for line in lines.take(8) {
        let (mut remaining, mut reset) = (None, None);
        for member in line.split(',').take(16) {
            let parameter = |wanted: &[&str]| {
                member.split(';').find_map(|part| {
                    let (name, value) = part.split_once('=')?;
                    wanted.contains(&name.trim()).then(|| number(value)).flatten()
                })
            };
            match (parameter(&["r"]), parameter(&["t"])) {
                (Some(r), Some(t)) => found.extend(quota(r, t, now)),
                _ => {
                    remaining = remaining.or(parameter(&["remaining"]));
                    reset = reset.or(parameter(&["reset"]));
                }
            }
        }
        found.extend(remaining.zip(reset).and_then(|(remaining, reset)| quota(remaining, reset, now)));
    }
    found
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim().trim_matches('"');
    // Some write fractions of a second.
    let whole = text.split('.').next().unwrap_or(text);
    whole.parse().ok()
}

fn quota(remaining: u64, reset: u64, now: SystemTime) -> Option<Quota> {
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let reset = match reset {
        MOMENT_MS.. => Duration::from_millis(reset).saturating_sub(since_1970),
        MOMENT.. => Duration::from_secs(reset).saturating_sub(since_1970),
        _ => Duration::from_secs(reset),
    };
    // Over already, or so soon that nothing is to be kept for later.
    (!reset.is_zero()).then(|| Quota { remaining, reset: reset.min(Duration::from_secs(DAY)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    type Fields = &'static [(&'static str, &'static str)];

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn of(fields: &[(&'static str, &str)]) -> Option<(u64, u64)> {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = fields.iter().map(field).collect();
        Quota::of(&headers, now()).map(|quota| (quota.remaining, quota.reset.as_secs()))
    }

    #[test]
    fn quotas_are_read_in_all_their_forms() {
        let table: [(Fields, Option<(u64, u64)>); 12] = [
            (&[], None),
            (&[("ratelimit", "\"default\";r=50;t=30")], Some((50, 30))),
            (&[("ratelimit", "\"burst\";r=5;t=1, \"day\";r=100;t=3600")], Some((100, 3600))),
            (&[("ratelimit", "limit=100, remaining=7, reset=60")], Some((7, 60))),
            (&[("ratelimit-remaining", "3"), ("ratelimit-reset", "10")], Some((3, 10))),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000020")], Some((0, 20))),
            (&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "1800000020500")], Some((9, 20))),
            (&[("x-rate-limit-remaining", "9"), ("x-rate-limit-reset", "1.5")], Some((9, 1))),
            (&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "1700000000")], None),
            (&[("x-ratelimit-remaining", "9")], None),
            (&[("ratelimit", "\"default\";r=x;t=30")], None),
            (&[("ratelimit", ";;,,=;r=;t")], None),
        ];
        for (fields, wanted) in table {
            assert_eq!(of(fields), wanted, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn no_field_panics_and_every_quota_has_a_rate(value in "[\"a-z0-9;,=. ]{0,60}") {
            let headers: HeaderMap = ["ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset"]
                .into_iter()
                .map(|name| (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap()))
                .collect();
            if let Some(quota) = Quota::of(&headers, now()) {
                prop_assert!(quota.rate().is_finite());
            }
        }
    }
}
