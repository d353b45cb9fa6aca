//! Answers of the engine that come late.

use super::super::engine::Record;
use super::super::seal::Secret;
use super::*;
use crate::metrics::Metrics;

const OWN: &str = "a.1";
const OTHER: &str = "b.1";

fn resource() -> NodeResource {
    let secret = Secret::new(&[7; 32]);
    let parts = || [&b"/prices"[..]];
    let settings = Settings::of_tests(RoleCounts::new(&Metrics::new().unwrap().cluster().unwrap()));
    NodeResource::new(secret.name(parts()), secret.record(parts()), Arc::new(Inbox::new(0)), settings)
}

fn answer(outcome: ClaimOutcome, holder: &str, fence: u64) -> Claimed {
    Claimed { outcome, record: Record { holder: holder.to_owned(), fence, ..Record::default() } }
}

fn claims(resource: &NodeResource, floor: u64, answered: &Claimed) -> Role {
    assert_eq!(resource.claimed(OWN, (floor, answered), None), None);
    resource.state.lock().role
}

/// As a message of the holder tells it.
fn hears_claim(resource: &NodeResource, holder: &str, fence: u64) {
    let mut state = resource.state.lock();
    (state.holder, state.fence) = (holder.to_owned(), fence);
}

#[test]
fn a_refusal_that_comes_after_a_later_claim_takes_nothing_away() {
    let resource = resource();
    let written = Order { fence: 10, sequence: 1 };
    assert_eq!(claims(&resource, 0, &answer(ClaimOutcome::Held, OWN, 10)), Role::Holder { fence: 10 });
    // Another node took it, and this one took it back, before the write's answer was looked at.
    assert_eq!(claims(&resource, 20, &answer(ClaimOutcome::Held, OWN, 30)), Role::Holder { fence: 30 });
    assert_eq!(resource.refused(written, OWN, (OTHER.to_owned(), 20)), Refused::OldNews);
    assert_eq!(resource.refused(written, OWN, (String::new(), 0)), Refused::OldNews);
    assert_eq!(resource.state.lock().role, Role::Holder { fence: 30 });
    let written = Order { fence: 30, sequence: 1 };
    assert_eq!(resource.refused(written, OWN, (OTHER.to_owned(), 40)), Refused::Taken);
    assert_eq!(resource.state.lock().role, Role::Mirror);
    assert_eq!(resource.state.lock().holder, OTHER);
}

#[test]
fn a_claims_answer_that_another_claim_has_overtaken_is_not_believed() {
    for (outcome, holder) in [(ClaimOutcome::Held, OWN), (ClaimOutcome::Refused, "c.1")] {
        let resource = resource();
        hears_claim(&resource, OTHER, 20);
        assert_eq!(claims(&resource, 5, &answer(outcome, holder, 10)), Role::Mirror, "{outcome:?}");
        assert_eq!(resource.state.lock().holder, OTHER);
        // What was known when it was claimed may be of an engine that has lost it since.
        assert_eq!(claims(&resource, 20, &answer(ClaimOutcome::Refused, "c.1", 10)), Role::Mirror);
        assert_eq!(resource.state.lock().holder, "c.1");
    }
}
