//! The gate of one upstream: every poll waits here for its turn (contract §10).
//!
//! `queue` decides whose turn it is, `quotas` keeps what the upstream itself allows, `tokens` and `share` what other nodes
//! leave of the budget; this file hands the turns out.
//! Must not know: what is asked.

mod queue;
mod quotas;
mod share;
mod tokens;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Priority, schedule::Quota};
use crate::config::Budget;
use queue::{Queue, Ticket};
pub use quotas::{Held, Quotas, Scope};
pub use share::Share;
pub use tokens::{Bucket, Fetched};

/// Turns of one upstream.
pub struct Gate {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    budget: Option<Budget>,
    /// Where tokens come from that several nodes have in common.
    common: OnceLock<Arc<dyn Common>>,
    /// The last quota that an answer to this node named, until the other nodes are told, and when it ends.
    said: Mutex<Option<(Quota, Instant)>>,
}

/// What several nodes have of one budget in common.
#[async_trait]
pub trait Common: Send + Sync {
    /// Takes up to so many tokens. Returns `None` if no answer came in time.
    async fn take(&self, bucket: Bucket, count: u32) -> Option<Fetched>;
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
        let (common, said) = (OnceLock::new(), Mutex::default());
        Gate { state: Arc::new(Mutex::new(state)), changed: Arc::new(Notify::new()), budget, common, said }
    }

    /// Uses the budget together with other nodes from now on, if it is one for all of them. Only the first call counts.
    pub fn join(&self, common: Arc<dyn Common>) {
        let _ = self.common.set(common);
        // Until it is known whether the others can be had, nothing is taken that may be theirs.
        self.divide(Share { is_common: true, nodes: 1, own: 0, all: 0 });
    }

    /// Uses this part of what all nodes have.
    pub fn divide(&self, share: Share) {
        self.state.lock().queue.divide(&share, Instant::now());
        self.changed.notify_one();
    }

    /// Takes what an answer to this node said of the upstream's own quota since the last time.
    pub fn take_said(&self) -> Option<Quota> {
        let (quota, until) = self.said.lock().take()?;
        let reset = until.checked_duration_since(Instant::now())?;
        Some(Quota { reset, ..quota })
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
        if self.common.get().is_some() {
            *self.said.lock() = Some((quota, Instant::now() + quota.reset));
        }
        self.hear(quota);
    }

    /// Notes the same where another node was answered so.
    pub fn hear(&self, quota: Quota) {
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
            if self.fetch().await {
                continue;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Fetches tokens, where they are all that is missing for the next turn. Returns whether it has tried.
    async fn fetch(&self) -> bool {
        let Some((common, budget)) = self.common.get().zip(self.budget.as_ref()) else { return false };
        let asked = Instant::now();
        let Some(count) = self.state.lock().queue.tokens_to_fetch(asked) else { return false };
        let fetched = common.take(tokens::bucket(budget).1, count).await;
        self.state.lock().queue.fetched(fetched, asked, Instant::now());
        true
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
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::config::BudgetScope;
    use crate::upstream::Class;

    const SECOND: Duration = Duration::from_secs(1);

    fn gate(rate: f64, burst: u32) -> Arc<Gate> {
        let gate = Arc::new(Gate::new(Some(Budget {
            rate,
            burst,
            max_concurrent: 100,
            scope: BudgetScope::Cluster,
        })));
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

    /// Grants one token at a time, and none while the engine is lost.
    #[derive(Default)]
    struct OneByOne {
        taken: AtomicU32,
        is_lost: AtomicBool,
    }

    #[async_trait]
    impl Common for OneByOne {
        async fn take(&self, _: Bucket, count: u32) -> Option<Fetched> {
            assert!(count > 0);
            if self.is_lost.load(Ordering::SeqCst) {
                return None;
            }
            self.taken.fetch_add(1, Ordering::SeqCst);
            Some(Fetched { granted: 1, wait: Duration::ZERO })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nodes_have_in_common_is_fetched_and_without_it_each_makes_its_part() {
        let (gate, common) = (gate(10.0, 10), Arc::new(OneByOne::default()));
        gate.join(common.clone());
        for turn in 1..=5 {
            assert!(gate.turn(scheduled()).await.is_ok());
            assert_eq!(common.taken.load(Ordering::SeqCst), turn);
        }
        common.is_lost.store(true, Ordering::SeqCst);
        let impatient = Priority { patience: Some(2 * SECOND), ..scheduled() };
        assert!(gate.turn(impatient).await.is_err());
        gate.divide(Share { is_common: false, nodes: 5, own: 1, all: 5 });
        let began = Instant::now();
        for _ in 0..12 {
            assert!(gate.turn(scheduled()).await.is_ok());
        }
        let took = began.elapsed();
        assert!(took >= 5 * SECOND, "ten more than the two of its burst, at two a second: {took:?}");
        assert_eq!(common.taken.load(Ordering::SeqCst), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_upstream_says_to_one_node_is_told_once_and_used_in_part() {
        let (common, gate) = (Arc::new(OneByOne::default()), Arc::new(Gate::new(None)));
        let driven = gate.clone();
        tokio::spawn(async move { driven.drive().await });
        gate.learn(Quota { remaining: 5, reset: SECOND });
        assert_eq!(gate.take_said(), None, "there are no other nodes");
        gate.join(common);
        gate.divide(Share { is_common: true, nodes: 2, own: 5, all: 10 });
        gate.learn(Quota { remaining: 20, reset: 10 * SECOND });
        assert_eq!(gate.take_said(), Some(Quota { remaining: 20, reset: 10 * SECOND }));
        assert_eq!(gate.take_said(), None);
        let began = Instant::now();
        for _ in 0..5 {
            assert!(gate.turn(scheduled()).await.is_ok());
        }
        assert!(began.elapsed() >= 3 * SECOND, "one a second, the other node has the rest");
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
