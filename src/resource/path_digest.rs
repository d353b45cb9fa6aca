//! Keyed digests of paths, hosts and classes: by these, nodes name to each other what a write touched (contract §13). A node
//! learns of no path that it does not have itself.
//!
//! Must not know: where the key comes from, what a write is.

use http::{HeaderName, HeaderValue};

/// A keyed digest.
pub type PathDigest = [u8; 16];

/// The values of a class, as they stand in a key.
type Class = [(HeaderName, HeaderValue)];

/// Makes keyed digests.
pub trait PathDigester: Send + Sync {
    /// The digest of these parts. Each part counts with its length, so that no two lists are one.
    fn digest(&self, parts: &[&[u8]]) -> PathDigest;

    /// The digest of a path itself.
    fn path(&self, path: &str) -> PathDigest {
        self.digest(&[b"path", path.as_bytes()])
    }

    /// The digest of a path that ends in `/`, for all that stands below it.
    fn folder(&self, folder: &str) -> PathDigest {
        self.digest(&[b"folder", folder.as_bytes()])
    }

    /// The digest of a host.
    fn host(&self, host: &str) -> PathDigest {
        self.digest(&[b"host", host.as_bytes()])
    }

    /// The digest of a class.
    fn class(&self, class: &Class) -> PathDigest {
        let fields = class.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        let parts: Vec<&[u8]> = std::iter::once(&b"class"[..]).chain(fields).collect();
        self.digest(&parts)
    }
}
