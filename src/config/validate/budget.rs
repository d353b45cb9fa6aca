//! An upstream's `budget` and `breaker`: how much it is asked.
//!
//! Must not know: when.

use super::super::problem::Findings;
use super::super::{Breaker, Budget, BudgetScope, raw};
use super::units::{HOUR, MILLISECOND};
use super::value::{Said, at};

/// `shared`: whether the upstream's own quota is one for all of its resources.
pub fn budget(
    (place, said): Said<'_, raw::Budget>,
    shared: &mut bool,
    findings: &mut Findings,
) -> Option<Budget> {
    let raw = said?;
    findings.choice(at!(place, raw.quota), &[("route", false), ("shared", true)], shared);
    let rate = match at!(place, raw.rate) {
        (place, Some(said)) => findings.read_rate(&place, &said.0),
        (_, None) => None,
    };
    let mut burst = rate.map_or(1, |rate| (rate.ceil() as usize).max(1));
    findings.count(at!(place, raw.burst), 1..=100_000, &mut burst);
    let mut max_concurrent = Budget::CONCURRENT_MAX;
    findings.count(at!(place, raw.max_concurrent), 1..=10_000, &mut max_concurrent);
    let mut scope = BudgetScope::Cluster;
    let scopes = [("cluster", BudgetScope::Cluster), ("node", BudgetScope::Node)];
    findings.choice(at!(place, raw.scope), &scopes, &mut scope);
    if raw.rate.is_none() {
        for (key, is_said) in [
            ("burst", raw.burst.is_some()),
            ("max_concurrent", raw.max_concurrent.is_some()),
            ("scope", raw.scope.is_some()),
        ] {
            if is_said {
                findings.problem(&place.key(key), "needs rate beside it: without one there is no budget");
            }
        }
    }
    Some(Budget { rate: rate?, burst: burst as u32, max_concurrent, scope })
}

/// Reads `breaker` of an upstream.
pub fn breaker((place, said): Said<'_, raw::Breaker>, to: &mut Breaker, findings: &mut Findings) {
    let Some(raw) = said else { return };
    let mut failures = to.failures.map(|failures| failures as usize);
    findings.count_or_off(at!(place, raw.failures), 1..=100_000, &mut failures);
    to.failures = failures.map(|failures| failures as u32);
    findings.time(at!(place, raw.wait), 100 * MILLISECOND..=HOUR, &mut to.wait);
}
