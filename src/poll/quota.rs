//! The upstream's own quotas, as far as one resource counts for them (contract §10).
//!
//! Must not know: how an upstream writes them, budgets of the operator.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::poller::Poller;
use crate::upstream::schedule::Quota;
use crate::upstream::{Answer, Failure, FetchError, Scope};

impl Poller {
    /// Notes the quotas that an answer names.
    pub(super) fn learn_quota(&mut self, answer: &Answer) {
        let said = Quota::all(&answer.headers, SystemTime::now());
        if said.is_empty() {
            return;
        }
        let settings = self.services.settings();
        let Some(quotas) = settings.quotas(&self.route.upstream.name) else { return };
        let scope = Scope { route: self.route.index, class: self.class_digest() };
        let longest = self.route.poll.backoff.retry_after_max;
        let everybodys = quotas.learn(scope, &said, &mut self.timing.quotas, longest, Instant::now());
        self.timing.counts_for_all |= everybodys.is_some();
        if let Some(quota) = everybodys
            && let Ok(source) = self.services.source(&self.route)
        {
            source.learn(quota);
        }
    }

    /// One request of what the upstream allows; an item of a batch takes none for itself.
    ///
    /// # Errors
    /// [`Failure::Quota`] where nothing is left.
    pub(super) fn take_quota(&self) -> Result<(), FetchError> {
        let now = Instant::now();
        let taken = if self.fetch_state.item.is_some() {
            self.timing.quotas.check(now)
        } else {
            self.timing.quotas.take(now)
        };
        taken.map_err(|wait| self.quota_used_up(wait))
    }

    /// No poll may be made for so long, as the upstream says.
    pub(super) fn quota_used_up(&self, wait: Duration) -> FetchError {
        let failure = Failure::Quota { wait };
        FetchError { upstream: self.route.upstream.name.clone(), server: None, failure }
    }

    /// The interval that the upstream's quotas leave this resource.
    pub(super) fn quota_interval(&self) -> Option<Duration> {
        let all = || self.sharers.as_ref().map_or(1, |all| all.load(Ordering::Relaxed));
        let together = self
            .route
            .poll
            .batch
            .as_ref()
            .filter(|_| self.fetch_state.item.is_some())
            .map_or(1, |batch| batch.max);
        self.timing.quotas.interval(
            if self.timing.counts_for_all { all() } else { 1 },
            together,
            Instant::now(),
        )
    }

    /// Returns a digest of the client's credentials that the polls carry, or 0 if they carry none.
    fn class_digest(&self) -> u64 {
        let key = self.topic.key();
        if !key.is_private() {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        for (name, value) in &key.parts().class {
            (name, value.as_bytes()).hash(&mut hasher);
        }
        hasher.finish().max(1)
    }
}
