//! How an upstream does, for operators.
//!
//! Must not know: requests.

use std::time::Duration;

use super::Client;

/// How an upstream does at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Addresses that are known.
    pub servers: usize,
    /// Those of them that are not found unhealthy.
    pub healthy: usize,
    /// Whether it counts as down, so that polls are not made.
    pub breaker_open: bool,
    /// Polls that wait for their turn in the budget.
    pub waiting: usize,
    /// Polls that are sent and not yet answered in full.
    pub polling: usize,
    /// Requests of clients that pass through now.
    pub passing: usize,
    /// How long its own quota allows no poll. `None` if it allows one.
    pub quota_wait: Option<Duration>,
    /// Polls a second that its budget allows. `None` if it has none.
    pub budget_rate: Option<f64>,
}

impl Client {
    /// Returns how the upstream does now.
    pub fn standing(&self) -> Standing {
        let (servers, healthy) = self.targets.count();
        Standing {
            servers,
            healthy,
            breaker_open: self.breaker.lock().is_open(),
            waiting: self.gate.waiting(),
            polling: self.polling.count(),
            passing: self.passing.count(),
            quota_wait: self.gate.quota_wait(),
            budget_rate: self.config().budget.map(|budget| budget.rate),
        }
    }
}
