//! The number of a poll: what started before what.
//!
//! Must not know: polls.

/// Number of a poll of one topic, from 1.
pub type PollNumber = u64;
