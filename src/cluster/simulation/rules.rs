//! All rules together hold; without any one of them something is found.

use super::{
    CALM, Event, Found, INTERVAL, LEASE, MS, Micros, NODES, Rule, SLOWEST_POLL, START, TROUBLE, World,
};

/// Seeds that no rule was mended against.
const FRESH: u64 = 1_000_000;

/// How many runs may pass before the removal of a rule is seen.
const RUNS_MAX: u64 = 1500;

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => FRESH..FRESH + count,
    }
}

#[test]
fn no_client_goes_back_or_is_left_behind_whatever_fails() {
    let tells = std::env::var_os("SIMULATION_SEED").is_some();
    for seed in seeds(300) {
        let found = World::new(seed, None, true, tells).run();
        assert!(found.is_well(), "SIMULATION_SEED={seed}: {found:?}");
    }
}

#[test]
fn three_nodes_poll_as_often_as_one() {
    for seed in seeds(20) {
        let found = World::new(seed, None, false, false).run();
        let intervals = (TROUBLE + CALM) / INTERVAL;
        assert!(found.is_well(), "SIMULATION_SEED={seed}: {found:?}");
        // The two that join have the state from the record.
        assert!(found.polls <= intervals + 1, "SIMULATION_SEED={seed}: {found:?}, {intervals} intervals");
    }
}

#[test]
fn polls_go_on_whatever_fails() {
    // A slow poll, the rest of an interval, and what it takes until a holder's end is noticed.
    const LONGEST: Micros = SLOWEST_POLL + INTERVAL + 2 * LEASE;
    for seed in seeds(300) {
        let found = World::new(seed, None, true, false).run();
        assert!(found.longest_pause <= LONGEST, "SIMULATION_SEED={seed}: {found:?}");
    }
}

/// The first seed at which the removal of a rule is seen.
fn seen_without(rule: Rule) -> Option<u64> {
    (FRESH..FRESH + RUNS_MAX).find(|seed| !World::new(*seed, Some(rule), true, false).run().is_well())
}

#[test]
fn a_content_that_is_shown_before_it_is_accepted_sends_clients_back() {
    assert!(seen_without(Rule::AcceptedThenShown).is_some());
}

#[test]
fn fences_that_are_counted_are_given_twice() {
    assert!(seen_without(Rule::FencesByClock).is_some());
}

#[test]
fn wants_that_are_counted_are_taken_for_settled_ones() {
    assert!(seen_without(Rule::WantsByClock).is_some());
}

#[test]
fn a_poll_that_outlives_its_role_sends_clients_back() {
    assert!(seen_without(Rule::PollBoundToStart).is_some());
}

#[test]
fn mirrors_that_take_every_content_send_clients_back() {
    assert!(seen_without(Rule::OnlyUp).is_some());
}

#[test]
fn a_node_that_is_back_and_has_no_floor_sends_clients_back() {
    assert!(seen_without(Rule::Floor).is_some());
}

#[test]
fn versions_that_are_not_looked_up_send_clients_back() {
    assert!(seen_without(Rule::Lookup).is_some());
}

#[test]
fn versions_that_no_poll_confirms_send_clients_back() {
    assert!(seen_without(Rule::Confirm).is_some());
}

#[test]
fn polls_that_failed_and_prove_a_content_send_clients_back() {
    assert!(seen_without(Rule::FailuresProveNothing).is_some());
}

#[test]
fn a_claim_that_renames_the_content_sends_clients_back() {
    assert!(seen_without(Rule::ClaimKeepsOrder).is_some());
}

/// The engine fails over without its newest writes after the last change, before any node polls alone; then a node is
/// started anew.
fn failed_over_in_silence(seed: u64, without: Option<Rule>) -> Found {
    let mut world = World::new(seed, without, false, false);
    world.last_change = START + 4 * INTERVAL;
    let after_last_write = world.last_change + INTERVAL + INTERVAL / 4;
    world.at(after_last_write, Event::FailOver { lost: 2 * INTERVAL, down: 50 * MS });
    world.at(after_last_write + 3 * LEASE, Event::Kill { node: seed as usize % NODES });
    world.run()
}

#[test]
fn a_holder_that_does_not_write_its_first_poll_leaves_new_nodes_behind() {
    for seed in seeds(200) {
        let found = failed_over_in_silence(seed, None);
        assert!(found.is_well(), "SIMULATION_SEED={seed}: {found:?}");
    }
    let is_seen = |seed| !failed_over_in_silence(seed, Some(Rule::FirstPollIsWritten)).is_well();
    assert!((FRESH..FRESH + RUNS_MAX).any(is_seen));
}

#[test]
fn a_holder_that_tells_before_it_has_polled_sends_clients_back() {
    assert!(seen_without(Rule::HoldersKnowByPolls).is_some());
}

#[test]
fn readers_after_a_write_are_given_it_on_whichever_node_they_ask() {
    let mut reads = 0;
    for seed in seeds(300) {
        let tells = std::env::var_os("SIMULATION_SEED").is_some();
        let found = World::new(seed, None, seed % 2 == 0, tells).with_writes().run();
        assert!(found.is_well(), "SIMULATION_SEED={seed}: {found:?}");
        reads += found.reads;
    }
    assert!(reads > 0, "readers were given something");
}

#[test]
fn readers_that_wait_for_an_older_number_are_given_what_was_before_the_write() {
    let is_seen =
        |seed| !World::new(seed, Some(Rule::WritesHaveNumbers), false, false).with_writes().run().is_well();
    assert!((FRESH..FRESH + RUNS_MAX).any(is_seen));
}
