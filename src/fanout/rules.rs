//! What all shards need to know.
//!
//! Must not know: clients.

use std::time::Duration;

/// What all shards need to know; a reload replaces it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// A client whose socket takes nothing for this long is closed.
    pub stall_timeout: Duration,
    /// Most bytes kept of a request sent while another one is held.
    pub pipelined_bytes: usize,
}
