//! The order of requests to one upstream: turns by class, weight and age, never more than the bucket holds. Pure: time
//! comes in.
//!
//! Must not know: what waits for a turn, or how.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::share::Share;
use super::tokens::{Fetched, Tokens};
use crate::config::{Budget, BudgetScope};
use crate::upstream::{Class, Priority};

/// Shares of the classes while all of them wait (contract §10).
const SHARES: [f64; 3] = [0.4, 0.5, 0.1];

/// A resource waits at most this many times as long as if all were served in turn.
const FAIRNESS_FACTOR: f64 = 20.0;

/// The place of a waiting poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket {
    number: u64,
    class: usize,
    /// Virtual finish within its class.
    finish: u64,
}

/// Turns of one upstream.
#[derive(Debug)]
pub(super) struct Queue {
    /// As configured.
    whole: Option<Budget>,
    /// What this node may use of it.
    budget: Option<Budget>,
    /// What other nodes leave of an upstream's own quota.
    quota_part: f64,
    /// Tokens that all nodes have in common; `None` if this node makes its own.
    common: Option<Tokens>,
    /// How the budget was divided last.
    share: Option<Share>,
    tokens: f64,
    refilled: Instant,
    in_flight: usize,
    /// The upstream's own quota, and until when it counts.
    quota: Option<(f64, Instant)>,
    waiting: [Line; 3],
    next_number: u64,
}

/// One class.
#[derive(Debug, Default)]
struct Line {
    /// Virtual time of the class: the turns that it had, divided by its share.
    turns: f64,
    /// By virtual finish within the class, heavy ones sooner.
    order: BTreeMap<(u64, u64), Waiter>,
    /// Waiters by age; those that had their turn are skipped.
    arrivals: VecDeque<(u64, u64)>,
    /// Virtual time within the class.
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    since: Instant,
    /// When half of its patience is spent.
    urgent: Option<Instant>,
}

/// Virtual time of one poll of weight 1.
const POLL_TIME_UNITS: u64 = 1 << 20;

impl Queue {
    pub(super) fn new(budget: Option<Budget>, now: Instant) -> Queue {
        Queue {
            whole: budget,
            budget,
            quota_part: 1.0,
            common: None,
            share: None,
            tokens: budget.map_or(0.0, |budget| f64::from(budget.burst)),
            refilled: now,
            in_flight: 0,
            quota: None,
            waiting: Default::default(),
            next_number: 1,
        }
    }

    /// Whether turns are limited at all now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.budget.is_none() && self.quota.is_none_or(|(_, until)| until <= now)
    }

    /// Returns for how long there is no turn because the upstream's own quota is used up.
    pub(super) fn used_up(&self, now: Instant) -> Option<Duration> {
        let (_, until) = self.quota.filter(|(rate, _)| *rate <= 0.0)?;
        until.checked_duration_since(now)
    }

    /// Returns for how long the upstream's own quota counts, if it limits turns more than the operator's budget does.
    pub(super) fn quota_until(&self, now: Instant) -> Option<Duration> {
        let is_tighter = |rate: &f64| self.budget.is_none_or(|budget| *rate < budget.rate);
        let (_, until) = self.quota.filter(|(rate, _)| is_tighter(rate))?;
        until.checked_duration_since(now)
    }

    /// Returns how long the next turn is away, if the upstream's own quota limits turns.
    pub(super) fn quota_wait(&mut self, now: Instant) -> Option<Duration> {
        self.refill(now);
        self.quota_until(now)?;
        if self.tokens >= 1.0 && self.len() == 0 {
            return None;
        }
        self.refilled_at().map(|at| at.saturating_duration_since(now))
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.iter().map(|line| line.order.len()).sum()
    }

    pub(super) fn enter(&mut self, priority: Priority, now: Instant) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        let least = self.waiting.iter().filter(|line| !line.order.is_empty());
        let least = least.map(|line| line.turns).reduce(f64::min);
        let line = &mut self.waiting[priority.class as usize];
        if line.order.is_empty() {
            // A class that rested has saved no turns: others had them.
            line.turns = line.turns.max(least.unwrap_or(line.turns));
        }
        let finish = line.clock + POLL_TIME_UNITS / u64::from(priority.weight.clamp(1, 1 << 10));
        let urgent = priority.patience.map(|patience| now + patience / 2);
        line.order.insert((finish, number), Waiter { since: now, urgent });
        line.arrivals.push_back((finish, number));
        Ticket { number, class: priority.class as usize, finish }
    }

    /// Removes a waiter that waits no longer.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting[ticket.class].order.remove(&(ticket.finish, ticket.number));
    }

    /// Notes the end of a turn.
    pub(super) fn finish(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Takes back a turn whose waiter had left already, as if it had never been given.
    pub(super) fn give_back(&mut self) {
        self.finish();
        self.tokens += 1.0;
        if let Some(common) = &mut self.common {
            common.give_back();
        }
    }

    /// Uses this part of what all nodes have from now on.
    pub(super) fn divide(&mut self, share: &Share, now: Instant) {
        self.refill(now);
        self.quota_part = share.part();
        self.share = Some(*share);
        let Some(whole) = self.whole.filter(|whole| whole.scope == BudgetScope::Cluster) else { return };
        let part = share.of(&whole);
        self.budget = Some(part);
        self.tokens = self.tokens.min(f64::from(part.burst));
        match share.is_common {
            true => _ = self.common.get_or_insert_with(|| Tokens::new(&whole)),
            false => self.common = None,
        }
    }

    /// How many tokens to fetch now, where only they are missing for the next turn.
    pub(super) fn tokens_to_fetch(&mut self, now: Instant) -> Option<u32> {
        let waiting = self.len();
        if waiting == 0 || !self.may_go(now) {
            return None;
        }
        let common = self.common.as_mut()?;
        if common.has(now) { None } else { common.wanted(waiting, now).ok() }
    }

    /// Tokens that all nodes have in common came, or did not. Where they always come too late, this node makes turns of
    /// its own part, until the next division.
    pub(super) fn fetched(&mut self, fetched: Option<Fetched>, asked: Instant, now: Instant) {
        let Some(common) = &mut self.common else { return };
        common.fetched(fetched, asked, now);
        if let (true, Some(share)) = (common.are_always_late(), self.share) {
            self.divide(&Share { is_common: false, ..share }, now);
        }
    }

    /// Whether one more turn is within this node's own limits.
    fn may_go(&self, now: Instant) -> bool {
        let is_within = self.budget.is_none_or(|budget| self.in_flight < budget.max_concurrent);
        let is_used_up = self.used_up(now).is_some();
        is_within && !is_used_up && (self.rate().is_none() || self.tokens >= 1.0)
    }

    /// Notes how much more the upstream says it will answer.
    pub(super) fn learn(&mut self, rate: f64, reset: Duration, now: Instant) {
        self.refill(now);
        self.quota = Some((rate * self.quota_part, now + reset));
        if self.budget.is_none() {
            self.tokens = self.tokens.min(1.0);
        }
    }

    /// Returns the next turn, or when to ask again; `None` stands for the next change.
    pub(super) fn next(&mut self, now: Instant) -> Result<Ticket, Option<Instant>> {
        self.refill(now);
        if self.len() == 0 || self.budget.is_some_and(|budget| self.in_flight >= budget.max_concurrent) {
            return Err(None);
        }
        let rate = self.rate();
        if rate.is_some() && self.tokens < 1.0 {
            return Err(self.refilled_at());
        }
        let waiting = self.len();
        if let Some(common) = &mut self.common
            && !common.has(now)
        {
            // Without an answer there is nothing to wait for but the fetch.
            return Err(common.wanted(waiting, now).err());
        }
        let (class, key) = self.choose(now);
        let line = &mut self.waiting[class];
        line.order.remove(&key);
        // The class's time is the virtual finish of the waiter that has the turn (self-clocked fair queueing).
        line.clock = line.clock.max(key.0);
        line.turns += 1.0 / SHARES[class];
        while line.arrivals.front().is_some_and(|first| !line.order.contains_key(first)) {
            line.arrivals.pop_front();
        }
        if line.arrivals.len() > 2 * line.order.len() + 64 {
            let order = &line.order;
            line.arrivals.retain(|key| order.contains_key(key));
        }
        self.in_flight += 1;
        if rate.is_some() {
            self.tokens -= 1.0;
        }
        if let Some(common) = &mut self.common {
            common.take(now);
        }
        Ok(Ticket { number: key.1, class, finish: key.0 })
    }

    /// Chooses the next turn: a waiter that is about to give up, one that waits far too long, else the class that
    /// had least of its share, and in it the earliest virtual finish.
    fn choose(&self, now: Instant) -> (usize, (u64, u64)) {
        let oldest = |class: usize| {
            let line = &self.waiting[class];
            line.arrivals.iter().find(|key| line.order.contains_key(key)).copied()
        };
        let waiter = |class: usize, key: &(u64, u64)| self.waiting[class].order[key];
        let interactive = Class::Interactive as usize;
        if let Some(key) = oldest(interactive)
            && waiter(interactive, &key).urgent.is_some_and(|at| at <= now)
        {
            return (interactive, key);
        }
        let patience = self.rate().filter(|rate| *rate > 0.0).map(|rate| {
            // Half of the promised wait: older waiters go first, and still have to wait for each other.
            Duration::from_secs_f64((FAIRNESS_FACTOR / 2.0 * self.len() as f64 / rate).min(86_400.0))
        });
        for class in [Class::Scheduled as usize, Class::Refresh as usize] {
            if let (Some(patience), Some(key)) = (patience, oldest(class))
                && now.saturating_duration_since(waiter(class, &key).since) > patience
            {
                return (class, key);
            }
        }
        let waiting = (0..3).filter(|class| !self.waiting[*class].order.is_empty());
        let class = waiting.min_by(|a, b| self.waiting[*a].turns.total_cmp(&self.waiting[*b].turns));
        let class = class.unwrap_or(interactive);
        let first = self.waiting[class].order.first_key_value().map(|(key, _)| *key);
        (class, first.unwrap_or_default())
    }

    /// Returns the turns a second; `None` if there is no limit.
    fn rate(&self) -> Option<f64> {
        let own = self.budget.map(|budget| budget.rate);
        let quota = self.quota.map(|(rate, _)| rate);
        own.into_iter().chain(quota).reduce(f64::min)
    }

    fn refill(&mut self, now: Instant) {
        let rate = self.rate();
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        if let Some(rate) = rate {
            let most = self.budget.map_or(1.0, |budget| f64::from(budget.burst));
            self.tokens = (self.tokens + elapsed * rate).min(most);
        }
        if self.quota.is_some_and(|(_, until)| until <= now) {
            self.quota = None;
        }
    }

    /// Returns when there is a whole token again.
    fn refilled_at(&self) -> Option<Instant> {
        let rate = self.rate()?;
        let by_rate = (rate > 0.0).then(|| {
            let wait = ((1.0 - self.tokens).max(0.0) / rate).min(86_400.0);
            // The time is rounded up: a timer that is a little early would find no token.
            self.refilled + Duration::from_secs_f64(wait) + Duration::from_millis(1)
        });
        let by_quota = self.quota.map(|(_, until)| until);
        by_rate.into_iter().chain(by_quota).min()
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
