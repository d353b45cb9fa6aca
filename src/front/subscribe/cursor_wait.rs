//! What is known of a long-poll that is held beside the upstream's cursor (contract §8).
//!
//! Must not know: how it waits.

use std::time::{Duration, Instant};

use pingora::http::ResponseHeader;

use crate::fanout::{ClientPermit, Staying};
use crate::hub::Attendance;
use crate::transport::{End, Expulsion};

/// A request that is held if the API says 304.
pub(in crate::front) struct CursorHold {
    /// Keeps the feed polled.
    pub(super) attendance: Attendance,
    /// The newest item before the API was asked.
    pub(super) after: u64,
    pub(super) wait: Duration,
    pub(super) deadline: Instant,
    pub(super) stay: Staying,
    pub(super) _permit: ClientPermit,
    /// The API's 304, once it came.
    pub(super) unchanged: Option<Box<ResponseHeader>>,
    /// How the wait ended, if no new item came.
    pub(super) ended: Option<Ended>,
}

/// How a wait ends without a new item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Ended {
    Timeout,
    Drain,
    ClientGone,
    Expelled(Expulsion),
}

impl Ended {
    /// The label in metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Ended::Timeout | Ended::Drain => "timeout",
            Ended::ClientGone => "client-gone",
            Ended::Expelled(why) => End::Expelled(why).reason(),
        }
    }
}
