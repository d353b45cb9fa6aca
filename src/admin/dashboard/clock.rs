//! Times of the process as times of the day: equal instants become equal numbers, however often they are asked for.
//!
//! Must not know: what happened then.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A pair of the two clocks, read at once.
pub(super) struct Clock {
    instant: Instant,
    unix_ms: u64,
}

impl Clock {
    pub(super) fn new() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { instant: Instant::now(), unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Milliseconds since 1970.
    pub(super) fn unix_ms(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.instant).as_millis() as u64;
        let before = self.instant.saturating_duration_since(at).as_millis() as u64;
        (self.unix_ms + after).saturating_sub(before)
    }

    /// The same of this moment.
    pub(super) fn now_ms(&self) -> u64 {
        self.unix_ms(Instant::now())
    }
}
