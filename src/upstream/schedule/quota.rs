//! The quota that an upstream announces: `RateLimit` in its forms, and the `X-RateLimit-*` fields that came before it
//! (contract §10).
//!
//! Must not know: which request asks, what the quota belongs to.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::lifetime::{date, retry_after, rounded_up};
use super::number::DAY;
use super::number::{self, seconds};

/// The number of further requests until a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many requests are left.
    pub remaining: u64,
    /// The time until the reset, from now; never zero, at most a day.
    pub reset: Duration,
}

/// Which quota it is among those of an upstream: its name, resource and limit as far as they are said, as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy(u64);

/// A quota and which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// The policy that the quota belongs to.
    pub policy: Policy,
    /// The rest of the quota.
    pub quota: Quota,
}

/// The beginnings of the names of all such fields.
const PREFIXES: [&str; 2] = ["ratelimit", "x-rate"];

/// Fields of the older kind: how many more, until when in two spellings, and what tells quotas apart.
struct Older {
    remaining: &'static str,
    resets: [&'static str; 2],
    names: [&'static str; 3],
}

const OLDER: [Older; 3] = [
    Older {
        remaining: "ratelimit-remaining",
        resets: ["ratelimit-reset", "ratelimit-reset-after"],
        names: ["ratelimit-limit", "ratelimit-resource", "ratelimit-bucket"],
    },
    Older {
        remaining: "x-ratelimit-remaining",
        resets: ["x-ratelimit-reset", "x-ratelimit-reset-after"],
        names: ["x-ratelimit-limit", "x-ratelimit-resource", "x-ratelimit-bucket"],
    },
    Older {
        remaining: "x-rate-limit-remaining",
        resets: ["x-rate-limit-reset", "x-rate-limit-reset-after"],
        names: ["x-rate-limit-limit", "x-rate-limit-resource", "x-rate-limit-bucket"],
    },
];

/// Lines of a field and members of a line that are read.
const LINES_MAX: usize = 8;
const MEMBERS_MAX: usize = 16;

impl Quota {
    /// Requests a second that it leaves.
    pub fn rate(&self) -> f64 {
        self.remaining as f64 / self.reset.as_secs_f64()
    }

    /// The interval at which so many resources use it up evenly; all of it is kept until the reset when nothing is
    /// left.
    pub fn share(&self, sharers: usize) -> Duration {
        match self.remaining {
            0 => self.reset,
            remaining => self.reset.mul_f64(sharers.max(1) as f64 / remaining as f64),
        }
    }

    /// All quotas that an answer names. What cannot be read says nothing. Moments are held against the answer's
    /// own `Date`, since the upstream's clock may be another one than ours, which is at `now`.
    pub fn all(headers: &HeaderMap, now: SystemTime) -> Vec<Said> {
        // Every poll comes here, and most answers name none.
        if !names_any(headers) {
            return Vec::new();
        }
        let clock = date(headers, header::DATE).unwrap_or(now);
        let mut found = structured(headers, clock);
        for older in &OLDER {
            let text = |name| headers.get(name)?.to_str().ok();
            let Some(remaining) = text(older.remaining).and_then(count) else { continue };
            let reset = older.resets.into_iter().find_map(|name| number::reset(text(name)?, clock));
            let policy = Policy::of((older.remaining, older.names.map(text)));
            found.extend(quota(remaining, reset).map(|quota| Said { policy, quota }));
        }
        found
    }

    /// The tightest quota that an answer names.
    pub fn of(headers: &HeaderMap, now: SystemTime) -> Option<Quota> {
        let all = Quota::all(headers, now).into_iter().map(|said| said.quota);
        all.min_by(|a, b| a.rate().total_cmp(&b.rate()))
    }
}

impl Policy {
    fn of(name: impl Hash) -> Policy {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Policy(hasher.finish())
    }
}

/// Whether an answer refuses because a quota is used up, and not because of the client: 429, or 403 with a quota that
/// has nothing left or with a readable `Retry-After` (as GitHub does), or 401 with `Retry-After`.
pub fn is_quota_refusal(status: StatusCode, headers: &HeaderMap) -> bool {
    let asks_to_wait = || retry_after(headers, SystemTime::UNIX_EPOCH).is_some();
    match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::FORBIDDEN => asks_to_wait() || is_exhausted(headers),
        StatusCode::UNAUTHORIZED => asks_to_wait(),
        _ => false,
    }
}

/// How long an answer that is no data asks to be left alone: `Retry-After`, or the reset of a used-up quota where it
/// refuses for that.
pub fn asked_rest(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let rest = retry_after(headers, now);
    if rest.is_some() || !is_quota_refusal(status, headers) {
        return rest;
    }
    let all = Quota::all(headers, now).into_iter().map(|said| said.quota);
    all.filter(|quota| quota.remaining == 0).map(|quota| rounded_up(quota.reset)).max()
}

/// Whether some quota that an answer names has nothing left, whether or not it says until when.
fn is_exhausted(headers: &HeaderMap) -> bool {
    let says_none = |name: &str| {
        let said = headers.get_all(name).iter().filter_map(|value| count(value.to_str().ok()?));
        said.into_iter().any(|remaining| remaining == 0)
    };
    names_any(headers)
        && (OLDER.iter().any(|older| says_none(older.remaining))
            || members(headers).any(|member| parameter(member, &["r", "remaining"]) == Some("0")))
}

fn names_any(headers: &HeaderMap) -> bool {
    headers.keys().any(is_quota_field)
}

/// Whether a field speaks of a quota.
pub fn is_quota_field(name: &HeaderName) -> bool {
    PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// The members of the `RateLimit` field.
fn members(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all("ratelimit").iter().filter_map(|line| line.to_str().ok());
    lines.take(LINES_MAX).flat_map(|line| line.split(',').take(MEMBERS_MAX))
}

/// The value of the first of these parameters that a member has.
fn parameter<'a>(member: &'a str, wanted: &[&str]) -> Option<&'a str> {
    member.split(';').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        wanted.iter().any(|wanted| name.trim().eq_ignore_ascii_case(wanted)).then_some(value)
    })
}

/// `RateLimit: "default";r=50;t=30`, and the older `limit=100, remaining=50, reset=30`.
fn structured(headers: &HeaderMap, clock: SystemTime) -> Vec<Said> {
    let mut found = Vec::new();
    let (mut limit, mut remaining, mut reset) = (None, None, None);
    for member in members(headers) {
        if let (Some(r), Some(t)) = (parameter(member, &["r"]), parameter(member, &["t"])) {
            let name = member.split(';').next().unwrap_or_default().trim().trim_matches('"');
            let policy = Policy::of(("ratelimit", name, parameter(member, &["pk"])));
            let quota = count(r).and_then(|remaining| quota(remaining, number::reset(t, clock)));
            found.extend(quota.map(|quota| Said { policy, quota }));
            continue;
        }
        limit = limit.or(parameter(member, &["limit"]));
        remaining = remaining.or(parameter(member, &["remaining"]));
        reset = reset.or(parameter(member, &["reset"]));
    }
    if let (Some(remaining), Some(reset)) = (remaining.and_then(count), reset) {
        let policy = Policy::of(("ratelimit-list", limit));
        found.extend(quota(remaining, number::reset(reset, clock)).map(|quota| Said { policy, quota }));
    }
    found
}

/// A number of requests: the whole ones of a fraction.
fn count(text: &str) -> Option<u64> {
    seconds(text).map(|number| number.as_secs())
}

/// Returns `None` if the reset is over or cannot be read: then there is nothing to keep for later.
fn quota(remaining: u64, reset: Option<Duration>) -> Option<Quota> {
    Some(Quota { remaining, reset: rounded_up(reset?).min(DAY) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

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
        let table: [(Fields, Option<(u64, u64)>); 20] = [
            (&[], None),
            (&[("ratelimit", "\"default\";r=50;t=30")], Some((50, 30))),
            (&[("ratelimit", "\"burst\";r=5;t=1, \"day\";r=100;t=3600")], Some((100, 3600))),
            (&[("ratelimit", "limit=100, remaining=7, reset=60")], Some((7, 60))),
            (&[("ratelimit-remaining", "3"), ("ratelimit-reset", "10")], Some((3, 10))),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000020")], Some((0, 20))),
            (&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "1800000020500")], Some((9, 21))),
            (&[("x-rate-limit-remaining", "9"), ("x-rate-limit-reset", "1.5")], Some((9, 2))),
            (&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset-after", "3.5")], Some((9, 4))),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000020000000")], Some((0, 20))),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000020000000000")], Some((0, 20))),
            (
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "Fri, 15 Jan 2027 08:00:20 GMT")],
                Some((0, 20)),
            ),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800100000")], None),
            (&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "20")], None),
            // A clock that is an hour ahead: its own Date says so.
            (
                &[
                    ("date", "Fri, 15 Jan 2027 09:00:00 GMT"),
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1800003620"),
                ],
                Some((0, 20)),
            ),
            (&[("ratelimit", "\"a\";r=0;t=1.2")], Some((0, 2))),
            (&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "1700000000")], None),
            (&[("x-ratelimit-remaining", "9")], None),
            (&[("ratelimit", "\"default\";r=x;t=30")], None),
            (&[("ratelimit", ";;,,=;r=;t")], None),
        ];
        for (fields, wanted) in table {
            assert_eq!(of(fields), wanted, "{fields:?}");
        }
    }

    #[test]
    fn quotas_are_told_apart_by_name_resource_and_limit() {
        let policies = |fields: &[(&'static str, &'static str)]| -> Vec<Policy> {
            let field = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let headers: HeaderMap = fields.iter().map(field).collect();
            Quota::all(&headers, now()).iter().map(|said| said.policy).collect()
        };
        let core: Fields =
            &[("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "9")];
        let later: Fields =
            &[("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "8"), ("x-ratelimit-reset", "8")];
        let other: Fields =
            &[("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "9")];
        let named: Fields = &[
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "9"),
            ("x-ratelimit-reset", "9"),
            ("x-ratelimit-resource", "search"),
        ];
        assert_eq!(policies(core), policies(later));
        assert_ne!(policies(core), policies(other));
        assert_ne!(policies(core), policies(named));
        let two = policies(&[("ratelimit", "\"burst\";r=5;t=1, \"day\";r=100;t=3600")]);
        assert_eq!(two.len(), 2);
        assert_ne!(two[0], two[1]);
        assert_eq!(policies(&[("ratelimit", "\"day\";r=99;t=3599")]), two[1..]);
    }

    #[test]
    fn a_refusal_for_a_quota_is_told_from_one_of_who_asks() {
        let refuses = |status: u16, fields: &[(&'static str, &'static str)]| {
            let field = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let headers: HeaderMap = fields.iter().map(field).collect();
            is_quota_refusal(StatusCode::from_u16(status).unwrap(), &headers)
        };
        let none_left: Fields = &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000020")];
        assert!(refuses(429, &[]));
        assert!(refuses(403, none_left));
        assert!(refuses(403, &[("ratelimit", "\"a\";r=0;t=5")]));
        assert!(refuses(403, &[("ratelimit", "limit=5, remaining=0, reset=5")]));
        assert!(refuses(403, &[("ratelimit-remaining", "0")]));
        assert!(refuses(403, &[("retry-after", "7.5")]));
        assert!(refuses(401, &[("retry-after", "60")]));
        assert!(!refuses(403, &[]));
        assert!(!refuses(403, &[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "60")]));
        assert!(!refuses(403, &[("retry-after", "soon")]));
        assert!(!refuses(401, none_left), "a 401 with nothing left is about who asks all the same");
        assert!(!refuses(404, &[("retry-after", "60")]));
    }

    #[test]
    fn a_used_up_quota_is_a_wait_where_it_is_the_reason() {
        let rest = |status: u16, fields: &[(&'static str, &'static str)]| {
            let field = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let headers: HeaderMap = fields.iter().map(field).collect();
            asked_rest(StatusCode::from_u16(status).unwrap(), &headers, now()).map(|rest| rest.as_secs())
        };
        let none_left: Fields = &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000020")];
        assert_eq!(rest(403, none_left), Some(20));
        assert_eq!(rest(429, none_left), Some(20));
        assert_eq!(rest(500, none_left), None);
        assert_eq!(rest(503, &[("retry-after", "2.5")]), Some(3));
        assert_eq!(rest(429, &[]), None);
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
