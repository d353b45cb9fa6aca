//! Numbers of polls, which say what poll started before what other one.
//!
//! Must not know: polls.

/// Number of a poll of one topic, from 1.
pub type PollNumber = u64;
