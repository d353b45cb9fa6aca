//! Confirmations of a content that replace no view: what another node's polls confirm changes nothing here but the age of
//! the content (contract §13), so that it wakes no task and no follower.
//!
//! Must not know: nodes, what a view holds besides.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// When the content was last confirmed elsewhere. It only grows.
#[derive(Debug)]
pub struct LaterConfirmation {
    epoch: Instant,
    /// Microseconds since the epoch; 0 is never.
    at_us: AtomicU64,
}

impl LaterConfirmation {
    /// None yet. `epoch`: no later than any confirmation.
    pub fn new(epoch: Instant) -> LaterConfirmation {
        LaterConfirmation { epoch, at_us: AtomicU64::new(0) }
    }

    /// The content was confirmed at that time.
    pub fn confirm(&self, at: Instant) {
        let since = at.saturating_duration_since(self.epoch).as_micros();
        self.at_us.fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// When it was last confirmed so. Returns `None` if it never was.
    pub fn at(&self) -> Option<Instant> {
        let since = self.at_us.load(Ordering::SeqCst);
        (since > 0).then(|| self.epoch + std::time::Duration::from_micros(since))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_never_goes_back() {
        let epoch = Instant::now();
        let later = LaterConfirmation::new(epoch);
        assert_eq!(later.at(), None);
        let at = |ms| epoch + Duration::from_millis(ms);
        later.confirm(at(20));
        later.confirm(at(10));
        assert_eq!(later.at(), Some(at(20)));
    }
}
