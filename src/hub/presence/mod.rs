//! Who follows a resource (`presence` of a route): counted, named where the clients are, and told to those who asked and
//! to the upstream.
//!
//! `followers` is the account of one resource, `events` what is told of it, `resource` keeps both and says when they are
//! told, `attendance` is a follower's place in it. A resource of a route without `presence` has nothing of this. Must not
//! know: how an event is written, how the upstream is reached.

mod attendance;
mod events;
mod followers;
mod resource;

pub(in crate::hub) use attendance::Seat;
pub use attendance::{PresenceListener, PresenceServices, Presences};
pub use events::Roll;
pub use resource::{Presence, PresenceBell};
