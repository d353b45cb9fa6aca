//! The paths of topics, and the folders above them, by keyed digests: so a write of another node's finds what it touches here
//! (contract §13). Without other nodes nothing is held.
//!
//! Holds as many entries as topics have paths, and at most [`FOLDERS_MAX`] for each of them. Must not know: topics,
//! where the key comes from.

use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::resource::{PathDigest, PathDigester};

/// Folders above one path that are indexed, nearest first: what stands deeper is touched by its nearer folders alone.
const FOLDERS_MAX: usize = 32;

/// Paths by their digests.
#[derive(Default)]
pub(super) struct PathDigests(OnceLock<Digests>);

struct Digests {
    digesters: Vec<Arc<dyn PathDigester>>,
    /// The path or folder, and how many paths stand for it.
    known: DashMap<PathDigest, (String, usize)>,
}

impl PathDigests {
    /// Digests from now on. Only the first call counts, before there is any path.
    pub(super) fn begin(&self, digesters: Vec<Arc<dyn PathDigester>>) {
        let _ = self.0.set(Digests { digesters, known: DashMap::new() });
    }

    /// A path has its first topic.
    pub(super) fn insert(&self, path: &str) {
        let Some(digests) = self.0.get() else { return };
        digests.names(path).for_each(|(digest, text)| {
            digests.known.entry(digest).or_insert_with(|| (text.to_owned(), 0)).1 += 1;
        });
    }

    /// A path has no topic any more.
    pub(super) fn remove(&self, path: &str) {
        let Some(digests) = self.0.get() else { return };
        digests.names(path).for_each(|(digest, _)| {
            if let Entry::Occupied(mut entry) = digests.known.entry(digest) {
                entry.get_mut().1 -= 1;
                if entry.get().1 == 0 {
                    entry.remove();
                }
            }
        });
    }

    /// The path, or the folder, of a digest. Returns `None` if no topic has it.
    pub(super) fn find(&self, digest: &PathDigest) -> Option<String> {
        self.0.get()?.known.get(digest).map(|known| known.0.clone())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none_or(|digests| digests.known.is_empty())
    }
}

impl Digests {
    /// A path and the folders above it, `/` not among them, each with its digests.
    fn names<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (PathDigest, &'a str)> {
        self.digesters.iter().flat_map(move |digester| {
            let folders = folders(path).map(|folder| (digester.folder(folder), folder));
            std::iter::once((digester.path(path), path)).chain(folders)
        })
    }
}

/// The folders that a path stands below, nearest first.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    let within = path.strip_suffix('/').unwrap_or(path);
    let ends = within.rmatch_indices('/').map(|(at, _)| at);
    ends.filter(|at| *at > 0).take(FOLDERS_MAX).map(move |at| &path[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No digest, but different for different parts.
    struct Lengths;

    impl PathDigester for Lengths {
        fn digest(&self, parts: &[&[u8]]) -> PathDigest {
            let mut digest = [0; 16];
            let joined = parts.join(&b'|');
            let count = joined.len().min(15);
            digest[..count].copy_from_slice(&joined[..count]);
            digest
        }
    }

    #[test]
    fn a_path_stands_below_its_folders_and_not_below_itself_or_the_root() {
        let of = |path| folders(path).collect::<Vec<_>>();
        assert_eq!(of("/a/b/c"), ["/a/b/", "/a/"]);
        assert_eq!(of("/a/b/"), ["/a/"]);
        assert_eq!(of("/a"), [""; 0]);
        assert_eq!(of("/"), [""; 0]);
        assert_eq!(of("//a"), ["//"]);
        assert_eq!(of(&"/a".repeat(1000)).len(), FOLDERS_MAX);
    }

    #[test]
    fn paths_are_found_by_their_digests_until_the_last_one_is_gone() {
        let digests = PathDigests::default();
        digests.insert("/before");
        assert_eq!(digests.find(&Lengths.path("/before")), None, "without other nodes nothing is held");
        digests.begin(vec![Arc::new(Lengths)]);
        digests.insert("/a/b");
        digests.insert("/a/c");
        assert_eq!(digests.find(&Lengths.path("/a/b")).as_deref(), Some("/a/b"));
        assert_eq!(digests.find(&Lengths.folder("/a/")).as_deref(), Some("/a/"));
        assert_eq!(digests.find(&Lengths.path("/a/")), None);
        digests.remove("/a/b");
        assert_eq!(digests.find(&Lengths.path("/a/b")), None);
        assert!(digests.find(&Lengths.folder("/a/")).is_some(), "another path stands below it");
        digests.remove("/a/c");
        assert!(digests.is_empty());
    }
}
