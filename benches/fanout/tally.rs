//! What the clients counted. Must not know: how they read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lag::Lag;
use crate::wire::{Stamp, now_ns};

/// What was counted since the last `expect`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    pub deliveries: u64,
    pub missed: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    /// Connections that ended, and why the first of them did.
    pub closed: u64,
    pub first_failure: Option<String>,
    /// Events without a state: `stale`, `bye`, ….
    pub control: u64,
    pub lag: Lag,
    /// By the number of the state: when the last client had it, µs after it left the API.
    pub last: BTreeMap<u64, u64>,
}

impl Tally {
    pub fn merge(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.missed += other.missed;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.closed += other.closed;
        self.control += other.control;
        self.first_failure = self.first_failure.take().or_else(|| other.first_failure.clone());
        self.lag.merge(&other.lag);
        for (n, us) in &other.last {
            self.see_last(*n, *us);
        }
    }

    fn see_last(&mut self, n: u64, us: u64) {
        let last = self.last.entry(n).or_default();
        *last = us.max(*last);
    }

    /// Whether every client got every state once and in order.
    pub fn is_clean(&self) -> bool {
        self.missed + self.duplicated + self.out_of_order + self.closed == 0
    }

    /// Counts one state of a client that already had one.
    pub fn count(&mut self, last: &mut u64, stamp: Stamp) {
        if stamp.n == *last {
            self.duplicated += 1;
        } else if stamp.n < *last {
            self.out_of_order += 1;
        } else {
            let us = now_ns().saturating_sub(stamp.at) / 1000;
            self.deliveries += 1;
            self.missed += stamp.n - *last - 1;
            self.lag.add(us);
            self.see_last(stamp.n, us);
            *last = stamp.n;
        }
    }
}
