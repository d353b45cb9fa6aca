//! Keys that tokens are checked with, and what each is made for.
//!
//! Must not know: where a key comes from.

use jsonwebtoken::DecodingKey;

use crate::config::identity::Algorithm;

/// The kind of key that an algorithm takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Secret,
    Rsa,
    Ec256,
    Ec384,
    Ed,
}

impl Family {
    pub(super) fn of(algorithm: Algorithm) -> Family {
        use Algorithm::*;
        match algorithm {
            Hs256 | Hs384 | Hs512 => Family::Secret,
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => Family::Rsa,
            Es256 => Family::Ec256,
            Es384 => Family::Ec384,
            EdDsa => Family::Ed,
        }
    }
}

/// A key, and the tokens that it may be tried on.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) id: Option<String>,
    /// The families of algorithms: both curves for a PEM key of an elliptic curve.
    pub(super) families: &'static [Family],
    /// The only algorithm it is for, if it says so.
    pub(super) algorithm: Option<String>,
    pub(super) key: DecodingKey,
}
