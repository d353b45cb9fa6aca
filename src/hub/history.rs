//! What a topic remembers of its past: versions, the upstream's names for them, and the patches
//! between them.
//!
//! Must not know: the followers that come back.

use std::collections::VecDeque;
use std::sync::Arc;

use http::HeaderValue;

use crate::frame::{Frame, Patch, PatchKind};
use crate::resource::Version;

/// A version that was held.
#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) version: Version,
    /// The upstream's name for it.
    pub(super) tag: Option<HeaderValue>,
    /// On a feed: the newest item of it.
    pub(super) items_until: u64,
    /// The patches that lead to it from the version before.
    patches: [Option<Arc<Patch>>; PatchKind::COUNT],
    /// Bytes that it was charged with. A form of a patch that is made later does not change them.
    weight: usize,
}

impl Past {
    pub(super) fn of(frame: &Frame) -> Past {
        let tag = frame.snapshot.validators.etag.clone();
        let patches = PatchKind::ALL.map(|kind| frame.patch(kind).cloned());
        let held: usize = patches.iter().flatten().map(|patch| patch.weight()).sum();
        Past {
            version: frame.version(),
            items_until: frame.batch.as_ref().map_or(0, |batch| batch.until()),
            weight: size_of::<Past>() + tag.as_ref().map_or(0, HeaderValue::len) + held,
            tag,
            patches,
        }
    }

    /// Bytes it holds, roughly.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }
}

/// The versions of the past, oldest first. The caller that adds one keeps them within bounds.
#[derive(Debug, Default)]
pub(super) struct History {
    versions: VecDeque<Past>,
}

impl History {
    pub(super) fn push(&mut self, past: Past) {
        self.versions.push_back(past);
    }

    pub(super) fn pop(&mut self) -> Option<Past> {
        self.versions.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.versions.len()
    }

    pub(super) fn weight(&self) -> usize {
        self.versions.iter().map(Past::weight).sum()
    }

    /// Returns the latest occurrence of a version: states may recur (contract §2).
    pub(super) fn find(&self, version: Version) -> Option<&Past> {
        self.versions.iter().rev().find(|past| past.version == version)
    }

    pub(super) fn has(&self, is_it: impl Fn(&Past) -> bool) -> bool {
        self.versions.iter().any(is_it)
    }

    pub(super) fn version_of(&self, tag: [u8; 6]) -> Option<Version> {
        self.versions.iter().rev().map(|past| past.version).find(|version| version.tag() == tag)
    }

    /// The patches from one version to another, if every one between them is there and all together are smaller than
    /// `most` bytes. The chain starts at the latest occurrence of `from`, so that it does not run through that version
    /// twice.
    pub(super) fn chain(
        &self,
        from: Version,
        to: Version,
        kind: PatchKind,
        most: usize,
    ) -> Option<Vec<Arc<Patch>>> {
        if self.versions.back()?.version != to {
            return None;
        }
        let start = self.versions.iter().rposition(|past| past.version == from)?;
        let mut chain = Vec::new();
        let (mut at, mut bytes) = (from, 0);
        for past in self.versions.range(start + 1..) {
            let patch = past.patches[kind as usize].as_ref()?;
            bytes += patch.text.len();
            // There is no patch to a version that was published while no client wanted patches.
            if patch.base != at || bytes >= most {
                return None;
            }
            at = patch.target;
            chain.push(patch.clone());
        }
        (!chain.is_empty()).then_some(chain)
    }
}
