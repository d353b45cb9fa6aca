//! What a value of a JSON text is, and where it stands.
//!
//! Must not know: how it is found.

use std::fmt;

/// Deeper values are not read: everything that walks a body does so on the stack.
pub const DEPTH_MAX: usize = 128;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number, of any size.
    Number,
    /// A string, or the name of a member.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// Why a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Byte of the text, from 0.
    pub at: usize,
    /// What would have been right there.
    pub wanted: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was expected at byte {}", self.wanted, self.at)
    }
}

/// One value, or the name of a member. They stand in the order of the text; what is within one
/// comes right after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) start: u32,
    pub(super) end: u32,
    /// The first node that is not within this one.
    pub(super) next: u32,
    pub(super) kind: Kind,
    pub(super) ignored: bool,
}
