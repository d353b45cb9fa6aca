//! pollcast: a reverse proxy that turns polling into push.
//!
//! The path of the data is a sentence, and the modules stand in its order:
//! poll → snapshot → change → frame → subscriber.

pub mod config;
pub mod demo;
