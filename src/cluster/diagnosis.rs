//! What a look at an engine found, for `check --probe`.
//!
//! Must not know: how an engine is asked, what is made of the findings.

use std::time::Duration;

/// What one look at an engine found. What the engine's user may not ask is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The server that answered.
    pub server: String,
    /// Its version, as it says it.
    pub version: String,
    /// How it runs: `standalone`, `cluster`, `sentinel`.
    pub mode: String,
    /// `master` or `replica`.
    pub role: String,
    /// The time of one question and its answer.
    pub round_trip: Duration,
    /// The rights that its user lacks, as an ACL writes them.
    pub missing: Vec<String>,
    /// What it does when its memory is full.
    pub eviction: Option<Eviction>,
    /// The bytes that were stored and published, and what became of them.
    pub payload: Payload,
    /// The longest value that it takes, bytes.
    pub value_bytes_max: Option<u64>,
    /// The bytes that may wait for a subscriber before it is cut off: at once, and for a while.
    pub subscriber_bytes_max: Option<(u64, u64)>,
    /// By how much its clock is behind what it said before.
    pub clock_behind: Duration,
    /// How much more or less time passed on its clock than here while it was looked at.
    pub clock_drift: Duration,
}

/// What an engine does when its memory is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// `maxmemory-policy`.
    pub policy: String,
    /// `maxmemory`, bytes; 0 if there is no limit.
    pub bytes_max: u64,
}

/// What became of a value of the largest size that nodes write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// It was stored, and came back over the subscription after this time.
    Passed(Duration),
    /// It was refused, or did not come back.
    Failed(String),
    /// A right was missing for it.
    Untried,
}
