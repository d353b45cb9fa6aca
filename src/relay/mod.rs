//! The poll loops: one for each resource somebody attends to.
//!
//! `supervise` starts them and keeps what outlives them; `poller` is the loop; `plan` decides what
//! it does next; `ask` writes the request and `exchange` makes it; `outcome` acts on what came back, `compute` is where
//! large bodies are worked on. Must not know: transports, connections of clients.

mod ask;
mod compute;
mod exchange;
mod outcome;
mod plan;
mod poller;
mod supervise;

pub use ask::host;
pub use supervise::{Relay, Source, Stakes};

#[cfg(test)]
mod simulation;
