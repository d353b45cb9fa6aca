//! Times of the contract that no key changes, in one place so that a test may shorten them.
//!
//! Must not know: keys of the file.

use std::time::Duration;

/// See contract §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A route whose last new keys could not be shared is not polled for first for so long.
    pub unshared_rest: Duration,
    /// A key's clients are tried for a wait of the API's own at most once in so long.
    pub pace_try: Duration,
    /// How long the requests of clients that found such a wait pass through.
    pub pace_pass: Duration,
}

impl Default for Times {
    fn default() -> Times {
        let minute = Duration::from_secs(60);
        Times { unshared_rest: minute, pace_try: minute, pace_pass: minute }
    }
}
