//! pollcast: a reverse proxy that turns polling into push.
//!
//! The path of the data is a sentence, and the modules stand in its order:
//! poll → snapshot → change → frame → subscriber.

pub mod config;
pub mod frame;
pub mod hub;
pub mod metrics;
pub mod relay;
pub mod resource;
pub mod transport;
pub mod upstream;
