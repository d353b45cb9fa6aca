//! What a poll says about the content: which waits end with it, and how old it is.
//!
//! Must not know: which node made the poll.

use std::time::Duration;

use super::poll_number::PollNumber;

/// What a poll that gave or confirmed data says beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Requests that wait for this poll, or an earlier one, are answered.
    pub ended: PollNumber,
    /// Versions that are not known and wait for this poll, or an earlier one, are answered.
    pub confirmed: PollNumber,
    /// The upstream's own Age.
    pub upstream_age: Duration,
    /// How long ago the poll ended.
    pub age: Duration,
}

impl Confirmation {
    /// By a poll of this node that ends now.
    pub fn of_poll(number: PollNumber, upstream_age: Duration) -> Confirmation {
        Confirmation { ended: number, confirmed: number, upstream_age, age: Duration::ZERO }
    }
}
