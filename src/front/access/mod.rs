//! Which clients are let in, which may share a resource, and how much one client may have.
//!
//! Must not know: how an answer is written.

pub(super) mod admission;
pub(super) mod admit;
pub(super) mod authenticate;
pub(super) mod authorize;
pub(super) mod checks;
pub(super) mod client_limit;
pub(super) mod doubt;
pub(super) mod follow;
pub(super) mod new_resources;
pub(super) mod origin;
mod own_answer;
pub(super) mod reason;
mod recheck;
pub(super) mod resource_limits;
pub(super) mod share;
pub(super) mod subjects;
