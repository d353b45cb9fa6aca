//! What is about to be published. Its encodings and patches are made by the poll loop that holds it, on a thread
//! of its choice: large bodies must not stop a poll loop.
//!
//! Must not know: followers beyond what formats they read.

use std::sync::Arc;

use crate::frame::{Format, Frame, PatchKind};
use crate::resource::Snapshot;

/// Bodies from this size on are worth another thread.
const HEAVY_BODY_BYTES_MIN: usize = 64 * 1024;

/// A frame that no follower has seen yet.
pub struct Draft {
    pub(super) frame: Arc<Frame>,
    /// The one before it: patches are made from it, and compressed forms are small because of it.
    pub(super) before: Option<Arc<Frame>>,
    pub(super) formats: Vec<Format>,
    pub(super) patches: Vec<PatchKind>,
}

impl Draft {
    /// Makes every encoding that a follower reads. Doing it again costs nothing.
    pub fn encode(&self) {
        let before = self.before.as_deref();
        if let Some(before) = before {
            self.patches.iter().for_each(|kind| self.frame.diff(&before.snapshot, *kind));
        }
        self.formats.iter().for_each(|format| self.frame.encode(*format, before));
    }

    /// What is about to be published.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.frame.snapshot
    }

    /// Whether it differs from what is published.
    pub fn is_change(&self) -> bool {
        self.before.as_ref().is_none_or(|before| before.version() != self.frame.version())
    }

    /// Accounts for one form that a follower will read, before it is made.
    pub fn reserve_form(&self) {
        self.frame.reserve_form();
    }

    /// Accounts for what was made by now.
    pub fn settle(&self) {
        self.frame.settle();
    }

    /// Bytes that it holds.
    pub fn weight(&self) -> usize {
        self.frame.weight()
    }

    /// Whether encoding it takes so long that another thread should do it.
    pub fn is_heavy(&self) -> bool {
        self.frame.snapshot.body.len() > HEAVY_BODY_BYTES_MIN
            && !(self.formats.is_empty() && self.patches.is_empty())
    }
}
