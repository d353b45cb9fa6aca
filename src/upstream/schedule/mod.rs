//! The time of the next poll: pure arithmetic over the route's settings, the upstream's fields and chance.
//!
//! Must not know: clocks (it is given durations), resources, connections.

mod adaptive;
mod lifetime;
pub(crate) mod number;
mod quota;

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::config::Poll;
use adaptive::Adaptive;

pub use lifetime::{age, directive, remaining_lifetime, retry_after};
pub use quota::{Policy, Quota, Said, asked_rest, is_quota_field, is_quota_refusal};

/// What decided the time of the next poll: a word for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// `poll.interval`.
    Interval,
    /// Between `min` and `max`, by how often it changes.
    Adaptive,
    /// The answer says that it stays good for longer.
    Lifetime,
    /// The upstream asked to wait (`Retry-After`).
    RetryAfter,
    /// The upstream's quota is shared among its resources.
    RateLimit,
    /// It waited for its turn in the upstream's budget.
    Budget,
    /// The last poll failed.
    Backoff,
    /// The upstream says that it is no more.
    Gone,
}

impl Why {
    /// The word that operators are shown.
    pub fn word(self) -> &'static str {
        match self {
            Why::Interval => "interval",
            Why::Adaptive => "adaptive",
            Why::Lifetime => "cache-control",
            Why::RetryAfter => "retry-after",
            Why::RateLimit => "rate-limit",
            Why::Budget => "budget",
            Why::Backoff => "backoff",
            Why::Gone => "gone",
        }
    }
}

/// The schedule after a poll that gave data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Next {
    /// How long the data counts as new.
    pub effective: Duration,
    /// The time from the start of this poll to the start of the next one.
    pub wait: Duration,
    /// What decided the time.
    pub why: Why,
}

/// The findings of a poll that gave data.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The fields of the answer.
    pub headers: &'a HeaderMap,
    /// Whether the answer brought a change.
    pub changed: bool,
    /// Resources of the same upstream, this one included.
    pub sharers: usize,
    /// The interval that the quotas it counts for leave it.
    pub quota: Option<Duration>,
    /// How long it waited for its turn.
    pub waited: Duration,
    /// When the answer came, by the clock of the system.
    pub now: SystemTime,
}

/// The pace of one resource's polls.
#[derive(Debug)]
pub struct Pace {
    rng: fastrand::Rng,
    failures: u32,
    adaptive: Adaptive,
    /// Whether this was the first poll: the second one is delayed at random, so that resources that began together
    /// spread.
    is_first: bool,
}

/// The state of a failing resource that outlives its topic, so that clients cannot avoid the backoff by leaving and
/// coming back (contract §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    /// How many polls in a row have failed.
    pub failures: u32,
}

/// The pace of a resource as one node hands it to another that polls from then on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaceParts {
    /// How many polls in a row have failed.
    pub failures: u32,
    /// The adaptive interval, once there is one.
    pub adaptive: Option<Duration>,
}

/// From this many resources of an upstream on, their second polls are spread.
const CROWD_RESOURCES_MIN: usize = 20;

impl Pace {
    /// `seed`: where chance comes from, so that a run can be repeated.
    pub fn new(seed: u64, failing: Option<Failing>) -> Pace {
        Pace {
            rng: fastrand::Rng::with_seed(seed),
            failures: failing.map_or(0, |f| f.failures),
            adaptive: Adaptive::new(),
            is_first: true,
        }
    }

    /// How many polls failed in a row.
    pub fn failing(&self) -> Option<Failing> {
        (self.failures > 0).then_some(Failing { failures: self.failures })
    }

    /// What another node needs to go on where this one is.
    pub fn parts(&self) -> PaceParts {
        PaceParts { failures: self.failures, adaptive: self.adaptive.interval() }
    }

    /// Goes on where another node was.
    pub fn resume(&mut self, parts: PaceParts) {
        self.failures = parts.failures;
        self.adaptive = Adaptive::at(parts.adaptive);
        // The resources of another node part by its chance.
        self.is_first = false;
    }

    /// Data came. ±10 % jitter; never before a lifetime, a quota or `Retry-After` allows: there
    /// jitter only adds.
    pub fn after_success(&mut self, poll: &Poll, found: &Found) -> Next {
        self.failures = 0;
        let own = match poll.adaptive_max {
            Some(max) => (self.adaptive.after(found.changed, poll.interval, max), Why::Adaptive),
            None => (poll.interval, Why::Interval),
        };
        let cap = poll.backoff.retry_after_max;
        let quota = found.quota.map(|quota| quota.min(cap));
        let retry_after = retry_after(found.headers, found.now).map(|asked| asked.min(cap));
        let lifetime = remaining_lifetime(found.headers).filter(|_| !poll.ignore_cache_control);
        let said = [(lifetime, Why::Lifetime), (quota, Why::RateLimit), (retry_after, Why::RetryAfter)];
        let least =
            said.into_iter().filter_map(|(wait, why)| Some((wait?, why))).max_by_key(|(wait, _)| *wait);
        let (effective, why) = match least {
            Some((wait, why)) if wait >= own.0 => (wait, why),
            _ => own,
        };
        let is_least = !matches!(why, Why::Interval | Why::Adaptive);
        let jitter = if is_least { self.rng.f64() * 0.1 } else { self.rng.f64() * 0.2 - 0.1 };
        // Many resources that began together, by a restart perhaps, are not asked together again.
        let spread = std::mem::take(&mut self.is_first) && found.sharers >= CROWD_RESOURCES_MIN;
        let more = if spread { self.rng.f64() } else { jitter };
        let wait = effective.mul_f64(1.0 + more);
        let crowded = found.waited > effective / 4;
        Next {
            effective: if crowded { effective + found.waited } else { effective },
            wait,
            why: if crowded { Why::Budget } else { why },
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Backoff;
    use http::{HeaderName, HeaderValue};

    const SECOND: Duration = Duration::from_secs(1);

    fn poll() -> Poll {
        Poll {
            interval: 2 * SECOND,
            backoff: Backoff { min: SECOND, max: 60 * SECOND, retry_after_max: 600 * SECOND },
            ..crate::hub::tests::route::poll()
        }
    }

    type Fields = &'static [(&'static str, &'static str)];

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    fn found(headers: &HeaderMap) -> Found<'_> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Found { headers, changed: false, sharers: 1, quota: None, waited: Duration::ZERO, now }
    }

    #[test]
    fn the_interval_is_jittered_by_a_tenth() {
        let mut pace = Pace::new(7, None);
        for _ in 0..1000 {
            let next = pace.after_success(&poll(), &found(&HeaderMap::new()));
            assert_eq!((next.effective, next.why), (2 * SECOND, Why::Interval));
            assert!((1.8..=2.2).contains(&next.wait.as_secs_f64()), "{next:?}");
        }
    }

    #[test]
    fn the_upstreams_words_count_when_they_ask_for_more_time() {
        let table: [(Fields, usize, Duration, Why); 9] = [
            (&[], 1, 2 * SECOND, Why::Interval),
            (&[("cache-control", "max-age=10"), ("age", "3")], 1, 7 * SECOND, Why::Lifetime),
            (&[("cache-control", "max-age=1")], 1, 2 * SECOND, Why::Interval),
            (&[("retry-after", "30")], 1, 30 * SECOND, Why::RetryAfter),
            (&[("retry-after", "3000")], 1, 600 * SECOND, Why::RetryAfter),
            (&[("ratelimit", "\"a\";r=10;t=100")], 1, 10 * SECOND, Why::RateLimit),
            (&[("ratelimit", "\"a\";r=10;t=100")], 5, 50 * SECOND, Why::RateLimit),
            (&[("ratelimit", "\"a\";r=0;t=100")], 5, 100 * SECOND, Why::RateLimit),
            (&[("ratelimit", "\"a\";r=1000;t=100")], 5, 2 * SECOND, Why::Interval),
        ];
        for (fields, sharers, wanted, why) in table {
            let headers = headers(fields);
            let found = found(&headers);
            let quota = Quota::of(&headers, found.now).map(|quota| quota.share(sharers));
            let next = Pace::new(7, None).after_success(&poll(), &Found { quota, ..found });
            assert_eq!((next.effective, next.why), (wanted, why), "{fields:?}");
            assert!(why == Why::Interval || next.wait >= next.effective, "never sooner: {next:?}");
        }
        let fresh = headers(&[("cache-control", "max-age=10")]);
        let ignoring = Poll { ignore_cache_control: true, ..poll() };
        assert_eq!(Pace::new(7, None).after_success(&ignoring, &found(&fresh)).effective, 2 * SECOND);
    }

    #[test]
    fn an_adaptive_interval_follows_the_changes_and_obeys_the_upstream() {
        let adaptive = Poll { adaptive_max: Some(60 * SECOND), ..poll() };
        let mut pace = Pace::new(7, None);
        let empty = HeaderMap::new();
        let quiet = found(&empty);
        assert_eq!(pace.after_success(&adaptive, &quiet).effective, 2 * SECOND);
        let grown = (0..20).map(|_| pace.after_success(&adaptive, &quiet)).last().unwrap();
        assert_eq!((grown.effective, grown.why), (60 * SECOND, Why::Adaptive));
        let changed = pace.after_success(&adaptive, &Found { changed: true, ..quiet });
        assert_eq!(changed.effective, 30 * SECOND);
        let fresh = headers(&[("cache-control", "max-age=90")]);
        assert_eq!(pace.after_success(&adaptive, &found(&fresh)).effective, 90 * SECOND);
    }

    #[test]
    fn resources_that_began_together_part() {
        let empty = HeaderMap::new();
        let crowd = Found { sharers: 1000, ..found(&empty) };
        let waits: Vec<f64> = (0..1000u64)
            .map(|seed| Pace::new(seed, None).after_success(&poll(), &crowd).wait.as_secs_f64())
            .collect();
        let in_slot = |from: f64| waits.iter().filter(|wait| (from..from + 0.5).contains(*wait)).count();
        for slot in [2.0, 2.5, 3.0, 3.5] {
            assert!((150..=350).contains(&in_slot(slot)), "{slot}: {}", in_slot(slot));
        }
    }

    #[test]
    fn waiting_for_turns_is_told_as_such() {
        let empty = HeaderMap::new();
        let next = Pace::new(7, None).after_success(&poll(), &Found { waited: 8 * SECOND, ..found(&empty) });
        assert_eq!((next.effective, next.why), (10 * SECOND, Why::Budget));
        assert!(next.wait < 3 * SECOND, "it queues again as soon as its interval is over");
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
        pace.after_success(&poll(), &found(&HeaderMap::new()));
        assert_eq!(pace.failing(), None);
        assert_eq!(pace.after_failure(&poll(), Some(9999 * SECOND)), 600 * SECOND);
    }

    #[test]
    fn another_node_goes_on_at_the_same_pace() {
        let adaptive = Poll { adaptive_max: Some(60 * SECOND), ..poll() };
        let (mut pace, empty) = (Pace::new(7, None), HeaderMap::new());
        (0..5).for_each(|_| _ = pace.after_success(&adaptive, &found(&empty)));
        let mut other = Pace::new(8, None);
        other.resume(pace.parts());
        let effective = |pace: &mut Pace| pace.after_success(&adaptive, &found(&empty)).effective.as_millis();
        assert_eq!(effective(&mut other), effective(&mut pace));
        pace.after_failure(&poll(), None);
        other.resume(pace.parts());
        assert_eq!(other.failing(), Some(Failing { failures: 1 }));
    }

    #[test]
    fn the_backoff_is_taken_over_from_an_earlier_topic() {
        let mut pace = Pace::new(1, Some(Failing { failures: 6 }));
        pace.after_failure(&poll(), None);
        assert_eq!(pace.failing(), Some(Failing { failures: 7 }));
    }
}
