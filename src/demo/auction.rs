//! The auction of the demo: lots whose bids change at random moments, as a pure function of time.
//!
//! Owns what a lot is and when its next bid falls. Must not know: HTTP, sockets, the clock (the caller
//! says what time it is).

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = u64;

/// How long a lot is open before the hammer falls and it is offered again.
const ROUND_MS: u64 = 15 * 60 * 1000;

/// A lot that was not looked at for longer than this goes on from now instead of catching up bid by bid.
const CATCH_UP_MS: u64 = 2 * ROUND_MS;

const CURRENCY: &str = "EUR";

const LOTS: [(&str, &str, u64); 8] = [
    ("Brass orrery with clockwork drive, 1884", "Estate of H. Lindqvist", 4_200),
    ("Marine chronometer, two-day, 1861", "Harbour Museum Trust", 2_900),
    ("Enigma-pattern rotor set, four pieces", "Private collection, Ghent", 6_500),
    ("Field telephone exchange, ten lines", "Signals Club, Porto", 480),
    ("Difference engine fragment, framed", "Private collection, Leeds", 9_800),
    ("Star atlas, hand coloured, 1729", "Estate of H. Lindqvist", 3_300),
    ("Nixie tube clock, twelve digits", "Workshop sale, Tartu", 220),
    ("Teleprinter model 15, restored", "Signals Club, Porto", 650),
];

const BIDDERS: [&str; 8] = [
    "A. Moreau",
    "K. Lindholm",
    "paddle 118",
    "R. Okafor",
    "T. Nakamura",
    "paddle 42",
    "S. Duarte",
    "E. Novak",
];

const STEPS: [u64; 4] = [10, 20, 50, 100];

/// Number of lots; they are numbered from 1.
pub const LOT_COUNT: usize = LOTS.len();

/// What a poll of a lot shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LotState {
    /// Number of the lot, from 1.
    pub lot: usize,
    /// What is sold.
    pub title: &'static str,
    /// The seller's name.
    pub seller: &'static str,
    /// ISO 4217 code of the prices.
    pub currency: &'static str,
    /// The highest bid, in whole units of `currency`.
    pub bid: u64,
    /// Name of the highest bidder. `None` before the first bid of a round.
    pub bidder: Option<&'static str>,
    /// Bids of this round; each change adds one.
    pub bids: u64,
    /// The lowest bid that would be accepted next.
    pub next_bid_at_least: u64,
    /// The bid that the round began with.
    pub opened_at: u64,
    /// As an HTTP date: this API is old.
    pub ends_at: String,
    /// Server time of the change that made this state.
    pub changed_at_ms: UnixMs,
}

/// One lot and the moment of its next bid.
#[derive(Debug)]
pub struct Lot {
    state: LotState,
    ends_at_ms: UnixMs,
    next_bid_ms: UnixMs,
    chance: fastrand::Rng,
}

impl Lot {
    /// Opens lot `number` (from 1) at `now_ms`; `None` when there is no such lot.
    pub fn open(number: usize, seed: u64, now_ms: UnixMs) -> Option<Lot> {
        let &(title, seller, opening) = LOTS.get(number.checked_sub(1)?)?;
        let state = LotState {
            lot: number,
            title,
            seller,
            currency: CURRENCY,
            bid: opening,
            bidder: None,
            bids: 0,
            next_bid_at_least: opening + STEPS[0],
            opened_at: opening,
            ends_at: String::new(),
            changed_at_ms: now_ms,
        };
        let mut lot = Lot {
            state,
            ends_at_ms: now_ms,
            next_bid_ms: now_ms,
            chance: fastrand::Rng::with_seed(seed.wrapping_add(number as u64)),
        };
        lot.reopen(now_ms);
        Some(lot)
    }

    /// The state at `now_ms`, after every bid that fell until then.
    pub fn at(&mut self, now_ms: UnixMs) -> &LotState {
        if now_ms.saturating_sub(self.next_bid_ms) > CATCH_UP_MS {
            self.reopen(now_ms);
        }
        while self.next_bid_ms <= now_ms {
            let moment = self.next_bid_ms;
            if moment >= self.ends_at_ms {
                self.reopen(moment);
            } else {
                self.bid(moment);
            }
        }
        &self.state
    }

    fn reopen(&mut self, moment_ms: UnixMs) {
        self.ends_at_ms = moment_ms + ROUND_MS;
        self.state.ends_at = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(self.ends_at_ms));
        self.state.bid = self.state.opened_at;
        self.state.bidder = None;
        self.state.bids = 0;
        self.state.next_bid_at_least = self.state.bid + STEPS[0];
        self.state.changed_at_ms = moment_ms;
        self.next_bid_ms = moment_ms + self.pause_ms();
    }

    fn bid(&mut self, moment_ms: UnixMs) {
        let step = STEPS[self.chance.usize(..STEPS.len())];
        self.state.bid += step;
        self.state.next_bid_at_least = self.state.bid + STEPS[0];
        self.state.bids += 1;
        // A bidder does not outbid themselves.
        let others: Vec<&'static str> =
            BIDDERS.into_iter().filter(|name| Some(*name) != self.state.bidder).collect();
        self.state.bidder = others.get(self.chance.usize(..others.len())).copied();
        self.state.changed_at_ms = moment_ms;
        self.next_bid_ms = moment_ms + self.pause_ms();
    }

    /// Mostly a few seconds; now and then two bidders answer each other quickly. Never zero, so that
    /// `at` ends.
    fn pause_ms(&mut self) -> u64 {
        if self.chance.u8(..5) == 0 { self.chance.u64(700..1_400) } else { self.chance.u64(1_800..5_500) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMs = 1_800_000_000_000;

    fn first_lot() -> Lot {
        Lot::open(1, 7, START).expect("lot 1 exists")
    }

    #[test]
    fn only_numbered_lots_exist() {
        assert!(Lot::open(0, 7, START).is_none());
        assert!(Lot::open(LOT_COUNT, 7, START).is_some());
        assert!(Lot::open(LOT_COUNT + 1, 7, START).is_none());
    }

    #[test]
    fn a_bid_carries_the_moment_it_fell_not_the_moment_it_was_asked_for() {
        let mut lot = first_lot();
        let state = lot.at(START + 60_000).clone();
        assert!(state.bids > 5 && state.bids < 90, "{} bids in a minute", state.bids);
        assert!(state.changed_at_ms > START && state.changed_at_ms <= START + 60_000);
        assert_eq!(lot.at(state.changed_at_ms + 1), &state);
    }

    #[test]
    fn the_same_seed_gives_the_same_auction_however_often_it_is_asked() {
        let mut seldom = first_lot();
        let mut often = first_lot();
        for moment in (START..START + 120_000).step_by(37) {
            often.at(moment);
        }
        assert_eq!(seldom.at(START + 120_000), often.at(START + 120_000));
    }

    #[test]
    fn a_lot_is_offered_again_when_its_round_ends() {
        let mut lot = first_lot();
        let late = lot.at(START + ROUND_MS - 1).clone();
        let again = lot.at(START + ROUND_MS + 30_000).clone();
        assert!(again.bids < late.bids);
        assert_ne!(again.ends_at, late.ends_at);
    }

    #[test]
    fn a_lot_forgotten_for_a_year_answers_at_once_from_now() {
        let mut lot = first_lot();
        let year = START + 365 * 24 * 3600 * 1000;
        assert_eq!(lot.at(year).changed_at_ms, year);
    }
}
