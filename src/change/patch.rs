//! The difference between two states as a patch: JSON Patch (RFC 6902) and JSON Merge Patch
//! (RFC 7396).
//!
//! A patch applied to its base gives the target exactly, except for ignored values: a client's may be older than the
//! base's, or missing, so a patch leaves those alone that stay ignored, and presumes nothing about those that are not
//! ignored any more. Values are copied from the target as they stand there, digit by digit. Must not know: the
//! followers, when a patch is worth sending.

mod comparison;
mod merge;
mod operations;

use bytes::Bytes;

use crate::resource::Snapshot;

pub use merge::merge_patch;

/// The JSON Patch from `base` to `target`: an array of operations. Returns `None` if one of them is not JSON,
/// or the patch would be longer than `max` bytes.
pub fn json_patch(base: &Snapshot, target: &Snapshot, max: usize) -> Option<Bytes> {
    let by_name = base.ignored().by_name && target.ignored().by_name;
    operations::write(base.json()?.root(), target.json()?.root(), by_name, max)
}

#[cfg(test)]
mod tests;
