//! The poll loops: one for each resource somebody attends to.
//!
//! `supervise` starts them and keeps what outlives them; `poller` is the loop; `plan` decides what
//! it does next; `ask` writes the request;
//! `conditional` reads a 304; `outcome` acts on what came back. Must not know: transports, connections of clients.

mod ask;
mod conditional;
mod outcome;
mod plan;
mod poller;
mod supervise;

pub use ask::host;
pub use supervise::{Relay, Source, Stakes};

#[cfg(test)]
mod simulation;
