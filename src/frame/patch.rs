//! A change told as a patch (contract §5, delta): made at most once, for all clients that have the
//! version before it.
//!
//! Must not know: which client has which version, how differences are found.

use std::sync::OnceLock;

use bytes::Bytes;

use super::Rules;
use super::envelope;
use super::gzip::GzipEvent;
use super::sse::{self, SseBytes};
use crate::resource::Version;

/// The languages of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
}

impl PatchKind {
    /// How many kinds of patches there are.
    pub const COUNT: usize = 2;
    /// All kinds, in the order of their indexes.
    pub const ALL: [PatchKind; PatchKind::COUNT] = [PatchKind::Json, PatchKind::Merge];

    /// The word that asks for it (`delta=json-patch`), and its instance manipulation (RFC 3229).
    pub fn word(self) -> &'static str {
        match self {
            PatchKind::Json => "json-patch",
            PatchKind::Merge => "merge-patch",
        }
    }

    /// The media type of such a patch alone.
    pub fn media_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
        }
    }

    /// Reads a kind as a client names it. Returns `None` for any other word.
    pub fn of_word(word: &str) -> Option<PatchKind> {
        PatchKind::ALL.into_iter().find(|kind| kind.word().eq_ignore_ascii_case(word))
    }
}

/// A patch from one version to the next.
#[derive(Debug)]
pub struct Patch {
    /// The format of the patch.
    pub kind: PatchKind,
    /// The version that the patch applies to.
    pub base: Version,
    /// The version that applying it gives.
    pub target: Version,
    /// The patch document.
    pub text: Bytes,
    sse: SseBytes,
    gzip: OnceLock<Option<GzipEvent>>,
    envelope: OnceLock<Bytes>,
}

impl Patch {
    /// A patch with its text; it is encoded for clients when they first ask for it.
    pub fn new(kind: PatchKind, base: Version, target: Version, text: Bytes) -> Patch {
        let sse = sse::patch(target, &text);
        Patch { kind, base, target, text, sse, gzip: OnceLock::new(), envelope: OnceLock::new() }
    }

    /// The event `patch`, whose id is the target version.
    pub fn sse(&self) -> &SseBytes {
        &self.sse
    }

    /// Makes the compressed event. `before` is the patch before this one.
    pub(super) fn encode_gzip(&self, before: Option<&Patch>, rules: &Rules) {
        let before = before.and_then(|patch| patch.gzip().zip(Some(patch.sse())));
        self.gzip.get_or_init(|| rules.compressed(GzipEvent::new(&self.sse, before), GzipEvent::weight));
    }

    /// The event compressed, if that was made.
    pub fn gzip(&self) -> Option<&GzipEvent> {
        self.gzip.get()?.as_ref()
    }

    /// What follows the resource's name in an envelope message.
    pub fn envelope(&self) -> &Bytes {
        self.envelope.get_or_init(|| envelope::patch(self.base, self.target, &self.text))
    }

    /// Bytes it holds, roughly, the envelope included whether or not it was read.
    pub fn weight(&self) -> usize {
        let gzip = self.gzip().map_or(0, GzipEvent::weight);
        size_of::<Patch>() + 2 * self.text.len() + self.sse.chunk().len() + gzip
    }
}

/// Patches from a follower's version to the current one, oldest first.
#[derive(Debug, Clone)]
pub enum Chain {
    /// One patch: the follower has the version before.
    One(std::sync::Arc<Patch>),
    /// Several patches, to be applied in this order.
    Many(Vec<std::sync::Arc<Patch>>),
}

impl Chain {
    /// The patches, in the order in which they apply.
    pub fn patches(&self) -> &[std::sync::Arc<Patch>] {
        match self {
            Chain::One(patch) => std::slice::from_ref(patch),
            Chain::Many(patches) => patches,
        }
    }

    /// The version that the first patch applies to, and the one that the last one makes.
    pub fn ends(&self) -> Option<(Version, Version)> {
        let patches = self.patches();
        Some((patches.first()?.base, patches.last()?.target))
    }

    /// JSON patches one after the other are one patch: their operations in order. Returns `None` for merge
    /// patches, which cannot be joined so, or more than one of them.
    pub fn joined(&self) -> Option<Bytes> {
        let patches = self.patches();
        if let [patch] = patches {
            return Some(patch.text.clone());
        }
        let mut joined = Vec::with_capacity(patches.iter().map(|patch| patch.text.len()).sum());
        joined.push(b'[');
        for patch in patches {
            let inner = patch.text.trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")?.trim_ascii();
            if joined.len() > 1 && !inner.is_empty() {
                joined.push(b',');
            }
            joined.extend_from_slice(inner);
        }
        joined.push(b']');
        Some(joined.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::resource::VersionNamer;

    fn patch(text: &'static str) -> Arc<Patch> {
        let version = VersionNamer::new(None).name(200, None, text.as_bytes());
        Arc::new(Patch::new(PatchKind::Json, version, version, Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn a_chain_of_json_patches_is_one_patch() {
        let chain = Chain::Many(vec![patch(r#"[{"op":"a"}]"#), patch("[]"), patch(r#" [{"op":"b"}, 1] "#)]);
        assert_eq!(chain.joined().unwrap(), r#"[{"op":"a"},{"op":"b"}, 1]"#);
        assert_eq!(Chain::Many(vec![patch("[]"), patch("[]")]).joined().unwrap(), "[]");
        assert_eq!(Chain::Many(vec![patch("{}"), patch("[]")]).joined(), None);
    }

    #[test]
    fn a_kind_is_known_by_its_word() {
        assert_eq!(PatchKind::of_word("JSON-Patch"), Some(PatchKind::Json));
        assert_eq!(PatchKind::of_word("merge-patch"), Some(PatchKind::Merge));
        assert_eq!(PatchKind::of_word("vcdiff"), None);
    }
}
