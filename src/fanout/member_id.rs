//! The name of a member of a shard.
//!
//! Must not know: what a member is.

/// A member of a shard, safe against the reuse of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberId {
    pub(super) slot: u32,
    pub(super) serial: u32,
}
