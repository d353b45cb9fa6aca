//! A point in time in eight bytes: ten thousands of them wait in a shard.
//!
//! Must not know: what happens then.

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds since some time before the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(NonZeroU64);

/// Instants before this one are all taken for it; no instant here is older than the process.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
    })
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Moment {
        let since = instant.saturating_duration_since(origin()).as_nanos();
        // Five centuries fit.
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        Moment(NonZeroU64::new(since).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<Moment> for Instant {
    fn from(moment: Moment) -> Instant {
        origin() + Duration::from_nanos(moment.0.get())
    }
}

/// Milliseconds of a duration of the configuration, which is at most days.
pub(super) fn millis(duration: Duration) -> u32 {
    duration.as_millis().min(u32::MAX.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives() {
        let now = Instant::now();
        assert_eq!(Instant::from(Moment::from(now)), now);
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
