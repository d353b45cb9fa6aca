//! The gate of one upstream: every poll waits here for its turn (contract §10).
//!
//! `queue` decides whose turn it is, `quotas` keeps what the upstream itself allows; this file hands the turns out.
//! Must not know: what is asked.

mod queue;
mod quotas;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Priority, schedule::Quota};
use crate::config::Budget;
use queue::{Queue, Ticket};
pub use quotas::{Held, Quotas, Scope};

/// Turns of one upstream.
pub struct Gate {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

struct State {
    queue: Queue,
    waiting: HashMap<Ticket, oneshot::Sender<Turn>>,
}

/// The permission to send one request. It ends when this is dropped.
pub struct Turn {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.state.lock().queue.finish();
        self.changed.notify_one();
    }
}

/// No turn came within the patience of the poll that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTurn {
    /// The operator's budget is used up.
    Budget {
        /// How long the poll has waited.
        patience: Duration,
        /// How many polls wait.
        waiting: usize,
    },
    /// The upstream's own quota is used up.
    Quota {
        /// How long until it allows a poll again.
        wait: Duration,
    },
}

impl Gate {
    /// Bounds requests by this budget; `None` leaves them unbounded.
    pub fn new(budget: Option<Budget>) -> Gate {
        let queue = Queue::new(budget, Instant::now());
        let state = State { queue, waiting: HashMap::new() };
        Gate { state: Arc::new(Mutex::new(state)), changed: Arc::new(Notify::new()) }
    }

    /// Waits for a turn. Returns `None` if there is no limit. Dropping the future leaves the queue.
    ///
    /// # Errors The patience of the priority ended first.
    pub async fn turn(&self, priority: Priority) -> Result<Option<Turn>, NoTurn> {
        let (granted, ticket) = {
            let now = Instant::now();
            let mut state = self.state.lock();
            if state.queue.is_open(now) {
                return Ok(None);
            }
            // No turn will come in time, so that the waiting request may pass through at once.
            if let (Some(patience), Some(wait)) = (priority.patience, state.queue.used_up(now))
                && wait > patience
            {
                return Err(NoTurn::Quota { wait });
            }
            let ticket = state.queue.enter(priority, now);
            let (sender, granted) = oneshot::channel();
            state.waiting.insert(ticket, sender);
            (granted, ticket)
        };
        let mut place = Place { gate: self, ticket: Some(ticket) };
        self.changed.notify_one();
        let granted = match priority.patience {
            Some(patience) => timeout(patience, granted).await.map_err(|_| self.refused(patience))?,
            None => granted.await,
        };
        place.ticket = None;
        // The sender lives in the queue until it sends, and the queue lives as long as this gate.
        Ok(granted.ok())
    }

    /// Returns why no turn came.
    fn refused(&self, patience: Duration) -> NoTurn {
        let state = self.state.lock();
        match state.queue.quota_until(Instant::now()) {
            Some(wait) => NoTurn::Quota { wait },
            None => NoTurn::Budget { patience, waiting: state.queue.len() },
        }
    }

    /// How long no poll has a turn because of the upstream's own quota; `None` if one has, or if it is the operator's
    /// budget that is used up.
    pub fn quota_wait(&self) -> Option<Duration> {
        self.state.lock().queue.quota_wait(Instant::now())
    }

    /// Notes how many more polls, of all together, the upstream says it will answer.
    pub fn learn(&self, quota: Quota) {
        self.state.lock().queue.learn(quota.rate(), quota.reset, Instant::now());
        self.changed.notify_one();
    }

    /// Returns how many polls wait for their turn.
    pub fn waiting(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Hands turns out for as long as it is polled. Each gate has one such task.
    pub async fn drive(&self) {
        loop {
            let next = self.grant();
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Hands out all turns that there are now. Returns when to come again.
    fn grant(&self) -> Option<Instant> {
        loop {
            let mut state = self.state.lock();
            let ticket = match state.queue.next(Instant::now()) {
                Ok(ticket) => ticket,
                Err(at) => return at,
            };
            let Some(waiting) = state.waiting.remove(&ticket) else {
                state.queue.give_back();
                continue;
            };
            // Turns are sent without the lock: one whose poll is gone is dropped here, which takes the lock.
            drop(state);
            let turn = Turn { state: self.state.clone(), changed: self.changed.clone() };
            drop(waiting.send(turn));
        }
    }
}

/// A place in the queue; left when dropped.
struct Place<'a> {
    gate: &'a Gate,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let mut state = self.gate.state.lock();
            state.queue.leave(ticket);
            state.waiting.remove(&ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Class;

    const SECOND: Duration = Duration::from_secs(1);

    fn gate(rate: f64, burst: u32) -> Arc<Gate> {
        let gate = Arc::new(Gate::new(Some(Budget { rate, burst, max_concurrent: 100 })));
        let driven = gate.clone();
        tokio::spawn(async move { driven.drive().await });
        gate
    }

    fn scheduled() -> Priority {
        Priority { class: Class::Scheduled, weight: 1, patience: None }
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_at_the_rate_of_the_budget() {
        let gate = gate(10.0, 1);
        let began = Instant::now();
        let waits = (0..20).map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move { drop(gate.turn(scheduled()).await) })
        });
        for wait in waits.collect::<Vec<_>>() {
            wait.await.unwrap();
        }
        let took = began.elapsed();
        assert!((Duration::from_millis(1900)..=Duration::from_millis(2100)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_with_words_and_leaves_the_queue() {
        let gate = gate(0.001, 1);
        assert!(gate.turn(scheduled()).await.is_ok());
        let impatient = Priority { patience: Some(2 * SECOND), ..scheduled() };
        let refused = gate.turn(impatient).await.err();
        assert_eq!(refused, Some(NoTurn::Budget { patience: 2 * SECOND, waiting: 1 }));
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_leaves_costs_no_other_a_turn() {
        let gate = gate(1.0, 1);
        assert!(gate.turn(scheduled()).await.is_ok());
        for _ in 0..50 {
            let _ = timeout(Duration::from_millis(1), gate.turn(scheduled())).await;
        }
        let began = Instant::now();
        assert!(gate.turn(scheduled()).await.is_ok());
        assert!(began.elapsed() <= 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_budget_no_request_waits_until_the_upstream_says_so() {
        let gate = Arc::new(Gate::new(None));
        let driven = gate.clone();
        tokio::spawn(async move { driven.drive().await });
        assert!(matches!(gate.turn(scheduled()).await, Ok(None)));
        gate.learn(Quota { remaining: 0, reset: 5 * SECOND });
        let began = Instant::now();
        let impatient = Priority { patience: Some(2 * SECOND), ..scheduled() };
        assert_eq!(gate.turn(impatient).await.err(), Some(NoTurn::Quota { wait: 5 * SECOND }));
        assert_eq!(began.elapsed(), Duration::ZERO, "nothing would come of waiting");
        assert!(gate.turn(scheduled()).await.is_ok());
        assert!(began.elapsed() >= 5 * SECOND);
    }
}
