//! Presence on a route: who follows a resource, as its clients and the upstream are told (`presence`).
//!
//! Must not know: followers, how they are counted.

use std::time::Duration;

/// What is told of the followers of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Clients are told the subjects of those who follow, too (default: false).
    pub names: bool,
    /// Least time between two `presence` events of a resource (default: 1 s).
    pub interval: Duration,
    /// How long a client of held long-polls counts after an answer, until it asks again (default: 5 s).
    pub linger: Duration,
    /// Most subjects of one resource that are known by name (default: 1000).
    pub subjects: usize,
    /// How the upstream is told of subjects. `None` if it is told the count alone (default).
    pub notify: Option<PresenceNotify>,
}

/// The request that tells the upstream that a subject came first or went last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceNotify {
    /// Path on the upstream, with the route's `{parameters}`.
    pub path: String,
    /// A subject that is back, or gone again, within this time is not told of (default: 2 s).
    pub debounce: Duration,
    /// Most subjects of the route that wait to be told of (default: 1000).
    pub queue: usize,
}
