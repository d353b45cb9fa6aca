//! What the tests are made of: a legacy API that misbehaves on demand, real clients, the process.
//!
//! Must not know: how pollcast works inside. Everything here speaks through sockets.
//! Everything waits for events; a guard of ten seconds turns a wait without end into a message.

pub mod app;
pub mod client;
pub mod frames;
pub mod h2;
pub mod legacy;
mod memory;
pub mod nats;
pub mod nginx;
pub mod openssl;
pub mod partition;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod reply;
pub mod roaming;
mod serving;
pub mod sse;
pub mod tls;
pub mod token;
pub mod wire;
pub mod ws;
