//! What an exchange brings: an answer and how it came.
//!
//! Must not know: how it was made.

use std::collections::HashSet;
use std::sync::Arc;

use crate::resource::Validators;
use crate::upstream::Answer;

/// An answer and how it came.
#[derive(Debug)]
pub(in crate::poll) struct Exchanged {
    pub(in crate::poll) answer: Answer,
    /// The request that was answered carried a validator.
    pub(in crate::poll) conditional: bool,
    /// The target that was answered, if it is another one than the poll's.
    pub(in crate::poll) settled: Option<String>,
    /// The batch that it is from.
    pub(in crate::poll) tag: Option<Arc<Tag>>,
    /// Why a redirect was not followed, where the route lets some be.
    pub(in crate::poll) unfollowed: Option<String>,
}

/// The answer to a batch, as what the next one is asked with.
#[derive(Debug)]
pub(in crate::poll) struct Tag {
    pub(super) target: String,
    pub(super) validators: Validators,
    pub(super) missing: HashSet<String>,
}
