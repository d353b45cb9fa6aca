//! The poll loops: one for each resource that a client attends to.
//!
//! `supervise` starts them and keeps what outlives them; `poller` is the loop; `plan` decides what
//! it does next, `turn` when it may, `echo` what a write asks for, `feed` which pages a list has; `own` is what a client gets by itself; `request` is what a poll asks for, `ask` writes it,
//! `exchange` brings the answer, `conditional` reads a 304; `outcome` acts on what came back, `content` on data, `relayed` on what is passed on, and `compute` is where large bodies are worked on.
//! Must not know: transports, connections of clients.

mod ask;
mod compute;
mod conditional;
mod content;
mod echo;
mod exchange;
mod feed;
pub mod forwarded;
#[cfg(fuzzing)]
pub mod fuzzing;
mod memory;
mod outcome;
mod own;
mod plan;
mod poller;
mod quota;
mod relayed;
mod request;
mod supervise;
mod turn;

pub use ask::{connections, host, poll};
pub use own::Own;
pub use supervise::{Relay, Source, Stakes};

#[cfg(test)]
mod simulation;
