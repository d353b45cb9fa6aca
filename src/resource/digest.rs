//! Digests of credentials, which may be kept and shown: only this process can make them.
//!
//! Must not know: what is digested.

use std::fmt;

/// A credential's name within this process. Equal credentials have equal names, and no other program can tell whose
/// name it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Returns all of it, to make another digest of.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes enough of it to tell two digests apart.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes digests with a key of its own.
#[derive(Clone)]
pub struct Digester([u8; 32]);

impl Default for Digester {
    fn default() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has randomness: without it there is no TLS either");
        Digester(key)
    }
}

impl Digester {
    /// The digest of some parts; where one ends and the next begins counts.
    pub fn of<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_credentials_apart_and_processes_too() {
        let (one, other) = (Digester::default(), Digester::default());
        let of = |digester: &Digester, parts: &[&str]| digester.of(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(of(&one, &["a", "b"]), of(&one, &["a", "b"]));
        assert_ne!(of(&one, &["a", "b"]), of(&one, &["ab"]));
        assert_ne!(of(&one, &["a", "b"]), of(&one, &["b", "a"]));
        assert_ne!(of(&one, &["a"]), of(&other, &["a"]));
        assert_eq!(of(&one, &["a"]).to_string().len(), 12);
    }
}
