//! The quotas that an upstream itself announces (contract §10): a quota counts for the route and the policy whose
//! answers name it, and for the whole upstream only with `budget: { quota: shared }`, or once one counter is seen to
//! fall for several routes together.
//!
//! Pure but for a lock; time comes in. Must not know: requests, how turns are handed out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::upstream::schedule::{Policy, Quota, Said};

/// Most quotas and counters of one upstream that are remembered. At the bound those that no resource holds are
/// forgotten.
const QUOTAS_MAX: usize = 1024;

/// Two answers are about the same window of a quota if its ends differ by no more than this: by whole seconds and the
/// time on the way.
const SAME_WINDOW: Duration = Duration::from_millis(2_500);

/// A counter that several routes share falls by no more than this from one answer to the next: by their polls and by
/// some requests that pass through.
const FALL_MAX: u64 = 8;

/// How often in a row a counter has to fall from the answer of one route to that of another. Two counters that fall
/// side by side do not, as each would have to be below the other.
const FALLS_PROVE: u32 = 4;

/// The polls that a quota counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Index of the route.
    pub route: usize,
    /// Digest of the credentials that the polls carry; 0 if they carry no client's.
    pub class: u64,
}

/// The quotas of one upstream.
#[derive(Debug)]
pub struct Quotas {
    /// `budget: { quota: shared }`.
    shared: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    quotas: HashMap<(Scope, Policy), Arc<Mutex<Left>>>,
    counters: HashMap<Policy, Counter>,
}

/// The rest of a quota.
#[derive(Debug, Clone, Copy)]
struct Left {
    remaining: u64,
    until: Instant,
}

/// The last answer that named a policy, on any route.
#[derive(Debug)]
struct Counter {
    route: usize,
    left: Left,
    falls: u32,
}

/// The quotas that one resource counts for: those that its last answer with any named.
#[derive(Debug, Default)]
pub struct Held(Vec<Arc<Mutex<Left>>>);

impl Quotas {
    /// Keeps quotas of routes apart, or counts them for the whole upstream if `shared`.
    pub fn new(shared: bool) -> Quotas {
        Quotas { shared, state: Mutex::default() }
    }

    /// Whether they count for the whole upstream (`budget: { quota: shared }`).
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Notes what an answer says, from now on also for `held`. `longest` bounds how long a reset is believed. Returns
    /// the tightest quota that counts for all polls of the upstream, if there is one.
    pub fn learn(
        &self,
        scope: Scope,
        said: &[Said],
        held: &mut Held,
        longest: Duration,
        now: Instant,
    ) -> Option<Quota> {
        if said.is_empty() {
            return None;
        }
        let mut everybodys: Option<Quota> = None;
        let mut state = self.state.lock();
        state.make_room(now);
        held.0.clear();
        for Said { policy, quota } in said {
            let quota = Quota { reset: quota.reset.min(longest), ..*quota };
            let left = Left { remaining: quota.remaining, until: now + quota.reset };
            let kept = state.quotas.entry((scope, *policy)).or_insert_with(|| Arc::new(Mutex::new(left)));
            *kept.lock() = left;
            held.0.push(kept.clone());
            // A user's own quota says nothing about those of others.
            let is_everybodys =
                scope.class == 0 && (state.falls_for_several(scope.route, *policy, left) || self.shared);
            if is_everybodys && everybodys.is_none_or(|other| quota.rate() < other.rate()) {
                everybodys = Some(quota);
            }
        }
        everybodys
    }
}

impl State {
    /// Forgets quotas that no resource holds or whose time is over, once there are too many.
    fn make_room(&mut self, now: Instant) {
        if self.quotas.len() >= QUOTAS_MAX {
            self.quotas.retain(|_, left| Arc::strong_count(left) > 1 && left.lock().until > now);
        }
        if self.quotas.len() >= QUOTAS_MAX {
            // Routes that hold a quota keep it; only new ones no longer share it.
            self.quotas.clear();
        }
        if self.counters.len() >= QUOTAS_MAX {
            self.counters.clear();
        }
    }

    /// Whether this counter is one for several routes: it falls from one route's answer to the other's, time and
    /// again, within the same window.
    fn falls_for_several(&mut self, route: usize, policy: Policy, left: Left) -> bool {
        let counter = self.counters.entry(policy).or_insert(Counter { route, left, falls: 0 });
        let apart = left.until.max(counter.left.until) - left.until.min(counter.left.until);
        let falls =
            counter.left.remaining.checked_sub(left.remaining).is_some_and(|by| (1..=FALL_MAX).contains(&by));
        match (apart <= SAME_WINDOW, falls) {
            (true, true) if counter.route != route => counter.falls += 1,
            (true, true) => {}
            // The number is the same or higher: these are two counters, or answers out of order.
            (true, false) => counter.falls = 0,
            // The window is another one: what the last one proved counts until it is refuted.
            (false, _) if left.until > counter.left.until => {}
            (false, _) => counter.falls = 0,
        }
        (counter.route, counter.left) = (route, left);
        counter.falls >= FALLS_PROVE
    }
}

impl Held {
    /// Takes one request from each quota.
    ///
    /// # Errors
    /// How long to wait, where one of them is used up: then nothing is taken.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        self.check(now)?;
        for left in &self.0 {
            let mut left = left.lock();
            left.remaining = left.remaining.saturating_sub(1);
        }
        Ok(())
    }

    /// Whether each quota leaves a request.
    ///
    /// # Errors
    /// How long to wait, where one of them is used up.
    pub fn check(&self, now: Instant) -> Result<(), Duration> {
        let used_up = self.0.iter().filter_map(|left| {
            let left = left.lock();
            (left.remaining == 0 && left.until > now).then(|| left.until - now)
        });
        used_up.max().map_or(Ok(()), Err)
    }

    /// The interval at which the resources that count for the same quotas use them up evenly. At least `least`
    /// resources share each of them, and `together` of them go in one request. Returns `None` if no quota lasts.
    pub fn interval(&self, least: usize, together: usize, now: Instant) -> Option<Duration> {
        let intervals = self.0.iter().filter_map(|kept| {
            let left = *kept.lock();
            let reset = left.until.checked_duration_since(now).filter(|reset| !reset.is_zero())?;
            // The upstream said whole seconds.
            let reset = Duration::from_secs(reset.as_secs() + u64::from(reset.subsec_nanos() > 0));
            // One of the references is the upstream's own.
            let holders = Arc::strong_count(kept).saturating_sub(1);
            Some(
                Quota { remaining: left.remaining, reset }
                    .share(holders.max(least).div_ceil(together.max(1))),
            )
        });
        intervals.max()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use std::time::SystemTime;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    fn of(route: usize) -> Scope {
        Scope { route, class: 0 }
    }

    fn said(resource: &'static str, remaining: u64, reset: u64) -> Vec<Said> {
        let headers: HeaderMap = [
            ("x-ratelimit-resource", resource.to_owned()),
            ("x-ratelimit-remaining", remaining.to_string()),
            ("x-ratelimit-reset", reset.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap()))
        .collect();
        Quota::all(&headers, SystemTime::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn a_quota_counts_for_the_route_and_policy_that_said_it() {
        let (quotas, now) = (Quotas::new(false), Instant::now());
        let (mut search, mut other, mut prices) = (Held::default(), Held::default(), Held::default());
        assert_eq!(quotas.learn(of(1), &said("search", 1, 60), &mut search, DAY, now), None);
        quotas.learn(of(1), &said("core", 9, 60), &mut other, DAY, now);
        quotas.learn(of(2), &said("search", 5, 60), &mut prices, DAY, now);
        assert_eq!(search.take(now), Ok(()));
        assert_eq!(search.take(now), Err(MINUTE), "its one is taken");
        assert_eq!((other.take(now), prices.take(now), Held::default().take(now)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(search.take(now + MINUTE), Ok(()), "it is reset");
        assert_eq!(search.interval(1, 1, now + MINUTE), None);
    }

    #[tokio::test]
    async fn resources_that_count_for_one_quota_share_it() {
        let (quotas, now) = (Quotas::new(false), Instant::now());
        let mut held: Vec<Held> = (0..3).map(|_| Held::default()).collect();
        for held in &mut held {
            quotas.learn(of(1), &said("core", 10, 60), held, DAY, now);
        }
        assert_eq!(held[0].interval(1, 1, now), Some(3 * MINUTE / 10));
        assert_eq!(
            held[0].interval(10, 1, now),
            Some(MINUTE),
            "as many as the upstream has, where it is shared"
        );
        held.truncate(1);
        assert_eq!(held[0].interval(1, 1, now), Some(MINUTE / 10), "who left needs none of it");
        quotas.learn(of(1), &said("core", 0, 6000), &mut held[0], MINUTE, now);
        assert_eq!(held[0].interval(1, 1, now), Some(MINUTE), "believed for so long at most");
        quotas.learn(of(1), &[], &mut held[0], DAY, now);
        assert_eq!(held[0].take(now), Err(MINUTE), "an answer that names none takes nothing back");
    }

    #[tokio::test]
    async fn users_have_quotas_of_their_own() {
        let (quotas, now) = (Quotas::new(true), Instant::now());
        let (mut ann, mut bob) = (Held::default(), Held::default());
        let mine = quotas.learn(Scope { route: 1, class: 7 }, &said("core", 0, 60), &mut ann, DAY, now);
        assert_eq!(mine, None, "one user's quota is not the upstream's");
        quotas.learn(Scope { route: 1, class: 8 }, &said("core", 3, 60), &mut bob, DAY, now);
        assert_eq!((ann.take(now), bob.take(now)), (Err(MINUTE), Ok(())));
    }

    #[tokio::test]
    async fn a_shared_quota_is_the_upstreams() {
        let (quotas, now, mut held) = (Quotas::new(true), Instant::now(), Held::default());
        let found = quotas.learn(of(1), &said("core", 3, 60), &mut held, DAY, now);
        assert_eq!(found, Some(Quota { remaining: 3, reset: MINUTE }));
    }

    /// Whether the last of these answers, (route, remaining, reset) each, makes the quota the upstream's.
    fn proves(answers: &[(usize, u64, u64)]) -> bool {
        let (quotas, now, mut held) = (Quotas::new(false), Instant::now(), Held::default());
        let learn = |(route, remaining, reset): &(usize, u64, u64)| {
            quotas.learn(of(*route), &said("core", *remaining, *reset), &mut held, DAY, now)
        };
        answers.iter().map(learn).last().flatten().is_some()
    }

    #[tokio::test]
    async fn a_counter_that_falls_for_two_routes_together_is_one_for_all() {
        assert!(proves(&[(1, 60, 50), (2, 59, 50), (1, 58, 49), (2, 56, 49), (1, 55, 49)]));
        assert!(!proves(&[(1, 60, 50), (2, 59, 50), (1, 58, 49), (2, 57, 49)]), "not yet");
        assert!(!proves(&[(1, 60, 50), (1, 59, 50), (1, 58, 50), (1, 57, 50), (1, 56, 50)]), "one route");
        let side_by_side: Vec<_> = (0..20).map(|n| (n % 2, 60 - n as u64 / 2, 50)).collect();
        assert!(!proves(&side_by_side), "two counters with one name");
        let shifted: Vec<_> = (0..20).map(|n| (n % 2, 60 - n as u64 / 2 - 5 * (n as u64 % 2), 50)).collect();
        assert!(!proves(&shifted), "two counters, one ahead");
        assert!(!proves(&[(1, 60, 50), (2, 59, 20), (1, 58, 50), (2, 57, 20), (1, 56, 50)]), "two windows");
    }
}
