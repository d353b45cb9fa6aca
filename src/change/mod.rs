//! What counts as a change, and what a change is made of.
//!
//! Must not know: who is told.

use bytes::Bytes;

use crate::resource::Snapshot;

/// Patch of RFC 6902.
pub fn json_patch(_base: &Snapshot, target: &Snapshot) -> Option<Bytes> {
    let value: serde_json::Value = serde_json::from_slice(&target.body).ok()?;
    Some(Bytes::from(serde_json::json!([{"op": "replace", "path": "", "value": value}]).to_string()))
}

/// Patch of RFC 7396.
pub fn merge_patch(_base: &Snapshot, _target: &Snapshot) -> Option<Bytes> {
    None
}
