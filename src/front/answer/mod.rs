//! Plain requests of a covered URL that are answered here: from the snapshot, after a poll, or held.
//!
//! Must not know: streams and sockets.

pub(super) mod confirming_poll;
mod explanation;
pub(super) mod hold_not_modified;
pub(super) mod holds;
pub(super) mod new_keys;
pub(super) mod pace;
pub(super) mod plain_poll;
pub(super) mod presence;
mod relayed;
pub(super) mod repeats;
pub(super) mod trial;
pub(super) mod unpolled;
