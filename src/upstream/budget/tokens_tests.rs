//! What tokens promise: however nodes come, no second has more requests than one node alone would make.

use proptest::prelude::*;

use super::*;

/// The common bucket, as the engine keeps it (GCRA).
struct Common {
    bucket: Bucket,
    full: f64,
    start: Instant,
}

impl Common {
    fn take(&mut self, count: u32, now: Instant) -> Fetched {
        let now = (now - self.start).as_secs_f64() * 1e6;
        let each = 1e6 / self.bucket.rate;
        let most = now + each * f64::from(self.bucket.burst);
        let full = self.full.max(now);
        let granted = ((most - full) / each + 1e-6).floor().clamp(0.0, f64::from(count));
        self.full = full + granted * each;
        let wait = (self.full + each - most).max(0.0);
        Fetched { granted: granted as u32, wait: Duration::from_micros(wait.ceil() as u64) }
    }
}

fn budget(rate: f64, burst: u32) -> Budget {
    Budget { rate, burst, max_concurrent: 100, scope: crate::config::BudgetScope::Cluster }
}

/// The most events of a sliding second.
fn densest(times: &[Instant]) -> usize {
    let within = |from: &Instant| {
        times.iter().filter(|at| *at >= from && **at < *from + Duration::from_secs(1)).count()
    };
    times.iter().map(within).max().unwrap_or_default()
}

/// Three nodes that want as much as they get, at moments that a seed makes. Returns when tokens were used.
fn used(budget: Budget, seed: u64, seconds: u64) -> Vec<Instant> {
    let mut random = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let mut common = Common { bucket: bucket(&budget).1, full: 0.0, start };
    let mut nodes: Vec<Tokens> = (0..3).map(|_| Tokens::new(&budget)).collect();
    let (mut now, mut used) = (start, Vec::new());
    while now < start + Duration::from_secs(seconds) {
        // Bursts and rests.
        now +=
            Duration::from_micros(if random.u8(..) < 8 { random.u64(..900_000) } else { random.u64(..8000) });
        let node = &mut nodes[random.usize(..3)];
        if !node.has(now)
            && let Ok(count) = node.wanted(random.usize(..40), now)
        {
            let asked = now - Duration::from_micros(random.u64(..2000)).min(now - start);
            let fetched = common.take(count, now);
            node.fetched(Some(fetched), asked, now);
        }
        if node.has(now) {
            node.take(now);
            used.push(now);
        }
    }
    used
}

proptest! {
    #[test]
    fn no_sliding_second_has_more_than_rate_and_burst(
        rate in prop_oneof![1.0..20.0f64, 20.0..400.0f64], burst in 1..100u32, seed: u64,
    ) {
        let most = densest(&used(budget(rate, burst), seed, 8));
        prop_assert!(most as f64 <= rate.ceil() + f64::from(burst), "{most} of {rate}/s and {burst}");
    }
}

#[test]
fn nodes_that_want_all_get_nearly_all_of_the_rate() {
    let budget = budget(50.0, 50);
    let start = Instant::now();
    let mut common = Common { bucket: bucket(&budget).1, full: 0.0, start };
    let mut nodes: Vec<Tokens> = (0..3).map(|_| Tokens::new(&budget)).collect();
    let mut count = 0;
    for ms in 0..20_000 {
        let now = start + Duration::from_millis(ms);
        for node in &mut nodes {
            if !node.has(now)
                && let Ok(wanted) = node.wanted(100, now)
            {
                node.fetched(Some(common.take(wanted, now)), now, now);
            }
            if node.has(now) {
                node.take(now);
                count += 1;
            }
        }
    }
    assert!((950..=1050).contains(&count), "{count} in 20 s");
}

#[test]
fn a_bucket_leaves_room_for_tokens_that_are_used_late() {
    for (rate, burst, valid_ms, bucket_rate, bucket_burst) in [
        (50.0, 50, 250, 50.0, 37),
        (50.0, 5, 80, 50.0, 1),
        (50.0, 1, 50, 50.0 / 1.05, 1),
        (0.5, 1, 50, 0.5 / 1.05, 1),
    ] {
        let (valid, found) = bucket(&budget(rate, burst));
        assert_eq!((valid.as_millis(), found.burst), (valid_ms, bucket_burst), "{rate}/s {burst}");
        assert!((found.rate - bucket_rate).abs() < 1e-9, "{rate}/s {burst}: {found:?}");
    }
}

#[test]
fn a_token_that_is_not_used_in_time_is_void() {
    let (budget, now) = (budget(50.0, 50), Instant::now());
    let mut tokens = Tokens::new(&budget);
    let fetched = Fetched { granted: 2, wait: Duration::ZERO };
    tokens.fetched(Some(fetched), now, now + Duration::from_millis(200));
    assert!(tokens.has(now + Duration::from_millis(249)));
    assert!(!tokens.has(now + Duration::from_millis(250)), "from when it was asked for");
    let none = Fetched { granted: 0, wait: Duration::from_millis(20) };
    tokens.fetched(Some(none), now, now);
    assert_eq!(tokens.wanted(1, now), Err(now + Duration::from_millis(21)));
    tokens.fetched(None, now, now);
    assert_eq!(tokens.wanted(1, now), Err(now + FETCH_PAUSE));
    assert_eq!(tokens.wanted(100, now + FETCH_PAUSE), Ok(12), "no more than a quarter of a second uses");
}

#[test]
fn tokens_that_always_come_when_they_are_void_are_not_fetched_for_ever() {
    let budget = budget(1.0, 1);
    let (valid, _) = bucket(&budget);
    let mut tokens = Tokens::new(&budget);
    let mut now = Instant::now();
    for late in 1..=3 {
        assert!(!tokens.are_always_late(), "after {late} late answers");
        let asked = now;
        now += valid;
        tokens.fetched(Some(Fetched { granted: 1, wait: Duration::ZERO }), asked, now);
        assert!(!tokens.has(now));
        let pause = tokens.wanted(1, now).expect_err("no fetch at once");
        now = pause;
    }
    assert!(tokens.are_always_late());
    tokens.fetched(Some(Fetched { granted: 1, wait: Duration::ZERO }), now, now);
    assert!(tokens.has(now) && !tokens.are_always_late(), "one in time counts");
}
