//! The poll loops: one for each resource that a client attends to.
//!
//! `supervisor` starts them; `services` is what they share and what outlives them; `poller` is the loop; `plan` decides what it does next,
//! `priority` when it may, `after_write` what a write asks for, `feed` which pages a list has; `credential_check`
//! is what a client gets by itself; `presence_notify` tells an upstream who follows; `spans`
//! tells of polls where they are traced; `fetch` is what a poll asks for, `request` writes it, `exchange` brings the
//! answer, `conditional` reads a 304; `outcome` acts on what came back, `publish` on data, `relayed` on what is
//! passed on, and `compute` is where large bodies are worked on. `tenure` gives the publisher to the poll loop or, where
//! other nodes poll the same resource, to the `mirror` of another node's; `backplane` is what both need of the others.
//! Must not know: transports, connections of clients.

mod accepted;
mod after_write;
mod asks;
pub mod backplane;
mod compute;
mod conditional;
mod content_state;
mod counters;
mod credential_check;
mod demands;
mod exchange;
mod feed;
mod fetch;
mod fetch_state;
pub mod forwarded;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hand_over;
mod memory;
mod mirror;
mod mirror_items;
mod outcome;
mod own_routes;
mod pacing;
mod plan;
mod poller;
mod presence_notify;
mod priority;
mod publish;
mod quota;
mod relayed;
mod remembered;
mod request;
mod sharing;
mod spans;
mod staleness;
pub mod standing;
mod supervisor;
mod tenure;
mod timing;

pub use crate::poll::services::Services;
pub use crate::poll::source::Source;
pub use credential_check::Own;
pub use exchange::Login;
pub use presence_notify::PresenceNotifier;
pub use request::{connections, host, poll};
pub use supervisor::Relay;

mod services;
mod settings;
#[cfg(test)]
mod simulation;
mod source;
