//! What the cluster needs from an engine: six atomic verbs, reading, saying something to all nodes, and a stream of events.
//!
//! An engine knows names and sealed bytes. Each verb fails as a whole while the engine is lost, within `cluster.timeout`.
//! Must not know: what is sealed, what a node makes of it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::seal::Name;
use crate::poll::backplane::Order;

/// The engine's clock may be ahead of what it said at the last beat by so much: another primary's may differ.
const CLOCK_AHEAD_MAX_MS: u64 = 5_000;

/// Most resources of one pipeline, and of one go of claims. On a busy machine each turn there and back takes long.
pub const PIPELINE_MAX: usize = 500;

/// One side of an engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Renews a session, or begins one (`join`).
    async fn beat(&self, session: &str, lease: Duration, join: bool) -> Result<Beaten, Failed>;

    /// Claims resources, in one go. The answers come in the order of the claims.
    async fn claim(&self, session: &str, claims: &[Claim<'_>]) -> Result<Vec<Claimed>, Failed>;

    /// Stores and tells what a holder polled.
    async fn write(&self, write: &Write<'_>) -> Result<Written, Failed>;

    /// Counts a want, and tells it with the sealed message. Returns its number.
    async fn want(&self, name: &Name, message: &[u8], keep: Duration) -> Result<u64, Failed>;

    /// Gives resources up, or removes their records (`and_drop`), where the fence is the record's. Returns for each whether
    /// it was.
    async fn free(&self, held: &[(Name, u64)], and_drop: bool) -> Result<Vec<bool>, Failed>;

    /// Reads the heads of resources: everything but the content.
    async fn heads(&self, names: &[Name]) -> Result<Vec<Record>, Failed>;

    /// Reads a whole record.
    async fn read(&self, name: &Name) -> Result<Record, Failed>;

    /// The items of a feed after this order, oldest first, at most `max` entries.
    async fn items(&self, name: &Name, after: Order, max: usize) -> Result<Vec<(Order, Bytes)>, Failed>;

    /// Lets records live on.
    async fn keep(&self, names: &[Name], keep: Duration) -> Result<(), Failed>;

    /// Takes requests from an upstream's budget.
    async fn take(&self, upstream: &Name, rate: f64, burst: u32, requests: u32) -> Result<Taken, Failed>;

    /// Says a sealed message to all nodes, this one included: its return proves the subscription.
    async fn announce(&self, message: Bytes) -> Result<(), Failed>;

    /// The same for a write, acknowledged by the engine. Where that numbers it together with the wants of all resources, the
    /// number stands in front, and is returned: greater than that of any want or write before, as long as the engine's
    /// clock goes on.
    async fn announce_write(&self, message: Bytes) -> Result<Option<u64>, Failed>;

    /// Says something sealed to those that attend to each of these resources, in one go. Nothing is stored.
    async fn tell(&self, told: &[(Name, Bytes)]) -> Result<(), Failed>;

    /// Hears from now on what these resources become.
    async fn attend(&self, names: &[Name]) -> Result<(), Failed>;

    /// Hears no more of them.
    async fn leave(&self, names: &[Name]) -> Result<(), Failed>;

    /// Removes a session at once.
    async fn part(&self, session: &str) -> Result<(), Failed>;
}

/// What an engine tells by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is there, and nothing is known of what it holds: all heads have to be read. Attended resources are heard again.
    Back,
    /// It is not there.
    Lost(Loss),
    /// A message of a node to all. `number` stands in front of a want, and of what is numbered alike.
    Said {
        /// The number that the engine gave it.
        number: Option<u64>,
        /// The sealed message.
        message: Bytes,
    },
    /// What a resource became.
    Became {
        /// The resource.
        name: Name,
        /// A sealed record or condition.
        sealed: Bytes,
    },
    /// A message that this node said came back after this time: there and back.
    Returned(Duration),
}

/// Why an engine is lost. The values of the label `reason` of `cluster_losses_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// No connection could be made, or it ended.
    Connection,
    /// A command had no answer within `cluster.timeout`.
    Timeout,
    /// What this node says does not come back on its subscription.
    Subscription,
    /// The engine has no memory left.
    Memory,
    /// User or password are wrong.
    Credentials,
    /// A right is missing.
    Rights,
    /// The engine takes no writes: a replica, or a primary without one.
    ReadOnly,
    /// More came than is held at once.
    Overflow,
    /// It answered what no engine should.
    Protocol,
}

impl Loss {
    /// All of them.
    pub const ALL: [Loss; 9] = [
        Loss::Connection,
        Loss::Timeout,
        Loss::Subscription,
        Loss::Memory,
        Loss::Credentials,
        Loss::Rights,
        Loss::ReadOnly,
        Loss::Overflow,
        Loss::Protocol,
    ];

    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Loss::Connection => "connection",
            Loss::Timeout => "timeout",
            Loss::Subscription => "subscription",
            Loss::Memory => "memory",
            Loss::Credentials => "credentials",
            Loss::Rights => "rights",
            Loss::ReadOnly => "read_only",
            Loss::Overflow => "overflow",
            Loss::Protocol => "protocol",
        }
    }
}

/// A verb was not done, as far as this side can tell: a write that timed out may still be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What kind of failure it was.
    pub loss: Loss,
    /// For people; nothing of a secret is in it.
    pub message: String,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}

/// What became of a session's beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beaten {
    /// Whether the session lives: one that lapsed is never used again.
    pub is_alive: bool,
    /// The engine's clock, milliseconds since 1970.
    pub time_ms: u64,
    /// The sessions that live.
    pub live: Vec<String>,
}

/// What a node wants to hold.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The resource.
    pub name: Name,
    /// The content that it has: nothing older is given.
    pub have: Order,
    /// The session that it may be taken from although it lives; empty if none.
    pub from: &'a str,
    /// The new fence is larger.
    pub floor: u64,
    /// How long the record lives without another write.
    pub keep: Duration,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Whether the node holds it now.
    pub outcome: ClaimOutcome,
    /// What the engine has of it.
    pub record: Record,
}

/// Whose a claimed resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// This node's.
    Held,
    /// Another node's.
    Refused,
    /// This node's session has lapsed.
    Lapsed,
}

/// What the engine has of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The session that holds it; empty if none.
    pub holder: String,
    /// The fence of the holder.
    pub fence: u64,
    /// Where its content stands.
    pub order: Order,
    /// The number of the newest want.
    pub want: u64,
    /// The sealed content; empty if there is none, or it was not asked for.
    pub content: Bytes,
    /// The sealed condition; empty if there is none.
    pub condition: Bytes,
}

/// What a holder writes.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The resource.
    pub name: Name,
    /// The fence that its poll began with, and the number of the write.
    pub order: Order,
    /// The sealed content; empty if it stays.
    pub content: &'a [u8],
    /// The sealed condition.
    pub condition: &'a [u8],
    /// Sealed items of a feed; empty if there are none.
    pub items: &'a [u8],
    /// How many entries of items are kept.
    pub history: u32,
    /// How long the record lives without another write.
    pub keep: Duration,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is stored and told.
    Accepted {
        /// The number of the newest want.
        want: u64,
    },
    /// The resource is another's, or has something newer.
    Refused {
        /// The session that holds it; empty if none.
        holder: String,
        /// Its fence.
        fence: u64,
    },
}

/// What a budget granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Requests that may be made.
    pub granted: u32,
    /// After what time the next one can be had.
    pub wait: Duration,
}

/// A number that the engine gave by its clock, in µs since 1970. Returns `None` if that clock, in ms as the beats tell it,
/// has not come so far, or is not known: the number stands outside of every seal, and one from the future would settle all
/// wants of a resource.
pub(super) fn believed(number: u64, clock_ms: Option<u64>) -> Option<u64> {
    let latest = clock_ms?.saturating_add(CLOCK_AHEAD_MAX_MS).saturating_mul(1000);
    (number <= latest).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_the_future_is_not_believed() {
        let clock_ms = 1_795_996_800_000;
        for (number, clock, wanted) in [
            (0, Some(clock_ms), true),
            (clock_ms * 1000, Some(clock_ms), true),
            ((clock_ms + 5_000) * 1000, Some(clock_ms), true),
            ((clock_ms + 5_000) * 1000 + 1, Some(clock_ms), false),
            (u64::MAX, Some(clock_ms), false),
            (1, None, false),
        ] {
            assert_eq!(believed(number, clock).is_some(), wanted, "{number} at {clock:?}");
        }
    }
}
