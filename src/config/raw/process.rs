//! How the process starts, reloads and ends, as typed.
//!
//! Must not know: defaults, bounds.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Flag, List, Text, Time};

/// How a shutdown goes.
#[derive(Deserialize, JsonSchema, Default)]
pub struct Drain {
    /// Listeners still accept for this long after `/ready` failed.
    pub delay: Option<Time>,
    /// The ends of the streams are spread over this.
    pub window: Option<Time>,
    /// Clients come back after a random time between these two.
    pub retry: Option<List<Time>>,
}

/// How one process hands its listening sockets to the next.
#[derive(Deserialize, JsonSchema, Default)]
#[schemars(extend("required" = ["socket"]))]
pub struct Upgrade {
    /// Path of the unix socket between the two, in a directory that is closed to others; relative to this file.
    pub socket: Option<Text>,
    /// How long the processes wait for each other.
    pub timeout: Option<Time>,
}

/// What has the running process read its file again.
#[derive(Deserialize, JsonSchema, Default)]
pub struct Reload {
    /// Look at the file and take what is new in it.
    pub watch: Option<Flag>,
}

/// How many threads do the work.
#[derive(Deserialize, JsonSchema, Default)]
pub struct Threads {
    /// Threads that serve requests; `auto`: one a core.
    pub front: Option<Count>,
    /// Threads that serve streams; `auto`: one a core.
    pub shards: Option<Count>,
}
