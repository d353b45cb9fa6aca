//! What becomes of a request.
//!
//! Must not know: how it is done.

use crate::metrics::Bypass;

/// What becomes of a request.
pub(in crate::front) enum Fate {
    Answered,
    PassThrough(Bypass),
}
