//! The order in which a node's commands reach the engine: claims go before requests for polls, and beats wait for no long
//! row of writes.
//!
//! Must not know: what is sent.

use std::pin::pin;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};

use super::engine::PIPELINE_MAX;
use crate::metrics::ClusterMetrics;

/// Claims of one go: those of one pipeline.
pub(super) const CLAIMS_MAX: usize = PIPELINE_MAX;

/// The turns of commands.
pub(super) struct Turns {
    /// Commands of single resources that may be on their way (`cluster.max_commands`): beats and claims stand behind no
    /// more than these.
    commands: Semaphore,
    /// No more claims wait than one go takes.
    few_claims: Notify,
    in_flight: IntGauge,
    /// Commands that found no turn free.
    after_commands: IntCounter,
    /// Commands that let claims go first.
    after_claims: IntCounter,
}

/// The turn of one command, which lasts until it is dropped.
pub(super) struct Turn<'a> {
    _permit: SemaphorePermit<'a>,
    in_flight: &'a IntGauge,
}

impl Turns {
    /// `commands_max`: how many may be on their way at once.
    pub(super) fn new(commands_max: usize, metrics: &ClusterMetrics) -> Turns {
        let delayed = |reason: &str| metrics.delayed.with_label_values(&[reason]);
        Turns {
            commands: Semaphore::new(commands_max),
            few_claims: Notify::new(),
            in_flight: metrics.commands.clone(),
            after_commands: delayed("commands"),
            after_claims: delayed("claims"),
        }
    }

    /// Notes how many claims wait now.
    pub(super) fn wait_claims(&self, count: usize) {
        if count < CLAIMS_MAX {
            self.few_claims.notify_waiters();
        }
    }

    /// Waits for the turn of a command of one resource. Returns `None` if there are no turns any more, which does not happen.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        let permit = match self.commands.try_acquire() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => {
                self.after_commands.inc();
                self.commands.acquire().await.ok()?
            }
            Err(TryAcquireError::Closed) => return None,
        };
        self.in_flight.inc();
        Some(Turn { _permit: permit, in_flight: &self.in_flight })
    }

    /// Waits for the turn of a command that is less urgent than claims, while more is to be claimed than one go takes.
    /// `claims`: how many wait now.
    pub(super) async fn turn_after_claims(&self, claims: impl Fn() -> usize) -> Option<Turn<'_>> {
        let mut has_waited = false;
        loop {
            let mut few = pin!(self.few_claims.notified());
            few.as_mut().enable();
            if claims() < CLAIMS_MAX {
                break;
            }
            if !std::mem::replace(&mut has_waited, true) {
                self.after_claims.inc();
            }
            few.await;
        }
        self.turn().await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;
    use crate::metrics::Metrics;

    fn turns(commands_max: usize) -> (Turns, ClusterMetrics) {
        let metrics = Metrics::new().unwrap().cluster().unwrap();
        (Turns::new(commands_max, &metrics), metrics)
    }

    fn delayed(metrics: &ClusterMetrics) -> [u64; 2] {
        ["commands", "claims"].map(|reason| metrics.delayed.with_label_values(&[reason]).get())
    }

    #[test]
    fn so_many_commands_are_on_their_way_and_the_next_one_waits() {
        let (turns, metrics) = turns(2);
        let first = turns.turn().now_or_never().flatten().unwrap();
        let second = turns.turn().now_or_never().flatten().unwrap();
        assert_eq!((metrics.commands.get(), delayed(&metrics)), (2, [0, 0]));
        let mut third = pin!(turns.turn());
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!((metrics.commands.get(), delayed(&metrics)), (2, [1, 0]));
        drop(first);
        let third = third.now_or_never().flatten().expect("a turn is free");
        assert_eq!(metrics.commands.get(), 2);
        drop((second, third));
        assert_eq!((metrics.commands.get(), delayed(&metrics)), (0, [1, 0]));
    }

    #[test]
    fn a_command_that_is_given_up_while_it_waits_takes_no_turn() {
        let (turns, metrics) = turns(1);
        let first = turns.turn().now_or_never().flatten().unwrap();
        {
            let mut given_up = pin!(turns.turn());
            assert!(given_up.as_mut().now_or_never().is_none());
        }
        drop(first);
        assert!(turns.turn().now_or_never().flatten().is_some());
        assert_eq!(metrics.commands.get(), 0);
    }

    #[test]
    fn a_want_lets_claims_go_first_until_few_are_left() {
        let (turns, metrics) = turns(1);
        let waiting = AtomicUsize::new(2 * CLAIMS_MAX);
        let mut want = pin!(turns.turn_after_claims(|| waiting.load(Ordering::SeqCst)));
        assert!(want.as_mut().now_or_never().is_none());
        for left in [CLAIMS_MAX + 1, CLAIMS_MAX] {
            waiting.store(left, Ordering::SeqCst);
            turns.wait_claims(left);
            assert!(want.as_mut().now_or_never().is_none(), "{left} claims wait");
        }
        assert!(turns.turn().now_or_never().flatten().is_some(), "a write waits for no claim");
        waiting.store(CLAIMS_MAX - 1, Ordering::SeqCst);
        turns.wait_claims(CLAIMS_MAX - 1);
        assert!(want.as_mut().now_or_never().flatten().is_some());
        assert_eq!(delayed(&metrics), [0, 1]);
    }
}
