//! How much room there is for the bodies of polls, and what of it is kept free for whom.
//!
//! Must not know: what takes it.

/// The share of the room that is for small polls: one fourth.
const SMALL_PART: usize = 4;

/// How much room there is, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) all: usize,
    /// It is kept free for the lead.
    pub(super) lead: usize,
    /// It is kept free for small polls.
    pub(super) small: usize,
}

impl Size {
    /// `largest`: the longest body that any poll may read.
    pub(super) fn of(bytes: usize, largest: usize) -> Size {
        Size { all: bytes, lead: largest.min(bytes / 2), small: bytes / SMALL_PART }
    }
}
