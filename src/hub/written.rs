//! What writes have asked of the poller of one topic (contract §9), in numbers of polls.
//!
//! Must not know: writes, how a poll is done.

use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;

use super::write_pace::WritePace;

/// What writes have asked for. Each number is that of the first poll that started after a write.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Readers wait for this one.
    pub(super) awaited: AtomicU64,
    /// A state of an older poll is not young any more.
    pub(super) aged: AtomicU64,
    /// The poller is asked for this one, when `due` has come.
    pub(super) asked: AtomicU64,
    /// Milliseconds of the topic's clock.
    pub(super) due: AtomicU64,
    /// While polls from this one on show no effect, they are repeated.
    pub(super) wave: AtomicU64,
    pub(super) wave_at: AtomicU64,
    /// The newest number that all nodes have for a write; 0 if there is none.
    pub(super) number: AtomicU64,
    /// A write since the numbers were last taken has no such number.
    pub(super) has_unnumbered: AtomicBool,
    /// `None` before the first write. Taken while any of these is changed.
    pub(super) pace: Mutex<Option<Box<WritePace>>>,
}
