//! When to ask next: pure arithmetic over the route's words, the upstream's words and chance.
//!
//! Must not know: clocks (it is given durations), resources, connections.

use std::time::Duration;

use http::HeaderMap;

use crate::config::Poll;

/// The pace of one resource's polls.
#[derive(Debug)]
pub struct Pace {
    rng: fastrand::Rng,
    failures: u32,
}

/// What outlives a topic about a failing resource, so that leaving and coming back is no way
/// around the backoff (contract §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    pub failures: u32,
}

impl Pace {
    /// `seed`: where chance comes from, so that a run can be repeated.
    pub fn new(seed: u64, failing: Option<Failing>) -> Pace {
        Pace { rng: fastrand::Rng::with_seed(seed), failures: failing.map_or(0, |f| f.failures) }
    }

    /// How many polls failed in a row.
    pub fn failing(&self) -> Option<Failing> {
        (self.failures > 0).then_some(Failing { failures: self.failures })
    }

    /// Data came: (how long it counts as new, time until the next poll with ±10 % jitter).
    pub fn after_success(&mut self, poll: &Poll, headers: &HeaderMap) -> (Duration, Duration) {
        self.failures = 0;
        let lifetime = if poll.ignore_cache_control { None } else { remaining_lifetime(headers) };
        let effective = poll.interval.max(lifetime.unwrap_or_default());
        // Never before the answer's lifetime is over: jitter only adds to it.
        let next = match lifetime {
            Some(lifetime) if lifetime >= poll.interval => effective.mul_f64(1.0 + self.rng.f64() * 0.1),
            _ => effective.mul_f64(0.9 + self.rng.f64() * 0.2),
        };
        (effective, next)
    }

    /// The poll failed: exponential backoff with full jitter, never sooner than `Retry-After`
    /// asks (up to its cap) nor than the interval.
    pub fn after_failure(&mut self, poll: &Poll, retry_after: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let ceiling = poll.backoff.min.saturating_mul(1 << (self.failures - 1).min(20)).min(poll.backoff.max);
        let wait = ceiling.mul_f64(self.rng.f64());
        let asked = retry_after.unwrap_or_default().min(poll.backoff.retry_after_max);
        wait.max(poll.interval).max(asked)
    }

    /// The resource is gone: asked as rarely as a failing one (contract §5).
    pub fn while_gone(&mut self, poll: &Poll) -> Duration {
        poll.backoff.max.max(poll.interval).mul_f64(0.9 + self.rng.f64() * 0.2)
    }

    /// A seed for a dependent source of chance.
    pub fn fork(&mut self) -> u64 {
        self.rng.u64(..)
    }
}

/// How much longer the answer is fresh by its own `Cache-Control: max-age` and `Age`
/// (RFC 9111 §4.2), capped at a day.
pub fn remaining_lifetime(headers: &HeaderMap) -> Option<Duration> {
    let max_age = directive(headers, "max-age")?.parse::<u64>().ok()?.min(86_400);
    Some(Duration::from_secs(max_age).saturating_sub(age(headers)))
}

/// The upstream's own `Age`.
pub fn age(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(http::header::AGE).and_then(|v| v.to_str().ok()?.trim().parse::<u64>().ok());
    Duration::from_secs(seconds.unwrap_or(0).min(86_400))
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3), as time from `now`.
pub fn retry_after(headers: &HeaderMap, now: std::time::SystemTime) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(Duration::from_secs(86_400)))
}

/// The value of a `Cache-Control` directive; empty for one without a value.
pub fn directive<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(http::header::CACHE_CONTROL).iter().find_map(|line| {
        line.to_str().ok()?.split(',').find_map(|directive| {
            let (found, value) = directive.split_once('=').unwrap_or((directive, ""));
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Backoff;
    use http::HeaderValue;

    fn poll() -> Poll {
        Poll {
            interval: Duration::from_secs(2),
            backoff: Backoff {
                min: Duration::from_secs(1),
                max: Duration::from_secs(60),
                retry_after_max: Duration::from_secs(600),
            },
            ..crate::hub::tests::route::poll()
        }
    }

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn the_interval_is_jittered_by_a_tenth() {
        let mut pace = Pace::new(7, None);
        for _ in 0..1000 {
            let (effective, next) = pace.after_success(&poll(), &HeaderMap::new());
            assert_eq!(effective, Duration::from_secs(2));
            assert!((1.8..=2.2).contains(&next.as_secs_f64()), "{next:?}");
        }
    }

    #[test]
    fn an_answer_is_not_asked_for_again_while_it_says_it_is_fresh() {
        let mut pace = Pace::new(7, None);
        let mut fresh = headers("cache-control", "public, max-age=10");
        fresh.insert("age", HeaderValue::from_static("3"));
        let (effective, next) = pace.after_success(&poll(), &fresh);
        assert_eq!(effective, Duration::from_secs(7));
        assert!(next >= effective);
        let ignoring = Poll { ignore_cache_control: true, ..poll() };
        assert_eq!(pace.after_success(&ignoring, &fresh).0, Duration::from_secs(2));
    }

    #[test]
    fn failures_back_off_up_to_the_ceiling_and_success_forgets_them() {
        let mut pace = Pace::new(1, None);
        let mut longest = Duration::ZERO;
        for n in 0..40u32 {
            let wait = pace.after_failure(&poll(), None);
            let ceiling = Duration::from_secs(1 << n.min(6)).clamp(poll().interval, Duration::from_secs(60));
            assert!(wait <= ceiling, "{n}: {wait:?}");
            assert!(wait >= poll().interval, "never faster than without failures: {wait:?}");
            longest = longest.max(wait);
        }
        assert!(longest > Duration::from_secs(30), "{longest:?}");
        assert_eq!(pace.failing(), Some(Failing { failures: 40 }));
        pace.after_success(&poll(), &HeaderMap::new());
        assert_eq!(pace.failing(), None);
    }

    #[test]
    fn the_backoff_is_taken_over_from_an_earlier_topic() {
        let mut pace = Pace::new(1, Some(Failing { failures: 6 }));
        pace.after_failure(&poll(), None);
        assert_eq!(pace.failing(), Some(Failing { failures: 7 }));
    }

    #[test]
    fn retry_after_is_obeyed_in_both_forms_and_capped() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let seconds = headers("retry-after", "120");
        assert_eq!(retry_after(&seconds, now), Some(Duration::from_secs(120)));
        let date = headers("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(retry_after(&date, now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after(&headers("retry-after", "soon"), now), None);
        let mut pace = Pace::new(1, None);
        assert_eq!(pace.after_failure(&poll(), Some(Duration::from_secs(9999))), Duration::from_secs(600));
    }

    #[test]
    fn a_directive_is_found_among_others() {
        let mut several = headers("cache-control", "Private, max-age=\"5\"");
        several.append("cache-control", HeaderValue::from_static("no-store"));
        assert_eq!(directive(&several, "private"), Some(""));
        assert_eq!(directive(&several, "max-age"), Some("5"));
        assert_eq!(directive(&several, "no-store"), Some(""));
        assert_eq!(directive(&several, "public"), None);
    }
}
