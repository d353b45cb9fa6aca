//! Who a resource is charged to: whoever asked for it first, until it retires.
//!
//! Must not know: how a client is known, what the limits are.

use std::net::IpAddr;

/// One who keeps resources alive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Payer {
    Address(IpAddr),
    /// A number that stands for one who is known.
    Subject(u64),
}

/// A payer, and the most resources it may keep alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purse {
    pub payer: Payer,
    pub most: usize,
}
