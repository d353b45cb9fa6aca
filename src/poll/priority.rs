//! A poll's turn in its upstream's budget (contract §10): how much it matters, and the wait for it.
//!
//! Must not know: how turns are handed out.

use tokio::time::{Instant, sleep_until};

use super::exchange::on_grid;
use super::poller::Poller;
use crate::upstream::{Class, FetchError, Priority, Turn};

impl Poller {
    /// Waits for this poll's turn. Its priority rises when meanwhile a client wants an answer.
    pub(super) async fn turn(&mut self) -> Result<Option<Turn>, FetchError> {
        self.take_quota()?;
        if self.fetch_state.item.is_some() {
            // The request that it becomes a part of takes one.
            self.timing.end_wait();
            return Ok(None);
        }
        let source = self.services.source(&self.route)?;
        if let Some(wait) = self.cold_for_plain_requests().then(|| source.quota_wait()).flatten() {
            self.timing.end_wait();
            return Err(self.quota_used_up(wait));
        }
        let since = self.timing.wait_for_turn();
        let turn = loop {
            let (topic, priority, claim) =
                (self.topic.clone(), self.priority(), self.fetch_state.claim.clone());
            let turn = async {
                claim.admitted().await;
                source.turn(priority).await
            };
            let stale_at = self.stale_at();
            tokio::select! {
                biased;
                turn = turn => break turn,
                () = topic.demanded(), if priority.patience.is_none() => {}
                () = sleep_until(stale_at.unwrap_or(since)), if stale_at.is_some() => self.tell_stale(),
            }
        };
        self.timing.end_wait();
        turn
    }

    /// When a poll that is due then is made: on a batch's route, together with others.
    pub(super) fn together(&self, due: Instant) -> Instant {
        match &self.fetch_state.item {
            Some(_) => on_grid(self.services.epoch, self.route.poll.interval, due),
            None => due,
        }
    }

    /// Whether nothing is known and only plain requests wait: how much they may ask is between them and the API, which
    /// they ask themselves where no poll may (contract §3).
    fn cold_for_plain_requests(&self) -> bool {
        self.topic.followers() == 0 && self.topic.view().frame.is_none()
    }

    /// This poll's place among the others of its upstream (contract §10).
    pub(super) fn priority(&self) -> Priority {
        let view = self.topic.view();
        let followers = self.topic.followers();
        let cold = view.frame.is_none() && followers > 0 && view.ended == 0;
        let waited_for =
            self.topic.wanted_now() > view.ended || self.topic.wanted_confirmation() > self.topic.started();
        // Its repeats and what it is not known to have changed are no hurry.
        let after_write = self.topic.is_unconfirmed(&view) && self.topic.written() > self.topic.started();
        let class = match followers {
            _ if cold || waited_for || after_write => Class::Interactive,
            0 => Class::Refresh,
            _ => Class::Scheduled,
        };
        let patience = (cold || waited_for).then_some(self.route.first_answer);
        let changes = self.timing.changes_often();
        Priority { class, weight: Priority::weigh(followers, changes), patience }
    }
}
