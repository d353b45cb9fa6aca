//! The client that a resource is charged to: the one that asked for it first, until the resource retires.
//!
//! Must not know: how a client is known, what the limits are.

use std::net::IpAddr;

/// The client that a resource is charged to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChargedClient {
    /// The address of a client, as `client_address` says it.
    Address(IpAddr),
    /// A number that stands for an authenticated subject.
    Subject(u64),
}

/// The clients that a new resource is charged to, and their limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChargeLimits {
    /// Most resources that this client keeps alive.
    pub resources: Option<(ChargedClient, usize)>,
    /// Most bytes that the snapshots of this address hold, each in full.
    pub bytes: Option<(IpAddr, usize)>,
}
