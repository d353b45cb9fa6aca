//! `presence` as typed.
//!
//! Must not know: defaults, bounds.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Flag, Text, Time};

/// `off`, or what is told.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PresenceSetting {
    /// `off`.
    Word(Text),
    /// What is told.
    On(Presence),
}

/// What is told of those who follow a resource.
#[derive(Deserialize, JsonSchema)]
pub struct Presence {
    /// Tell clients the subjects of those who follow, too.
    pub names: Option<Flag>,
    /// Least time between two `presence` events of a resource.
    pub interval: Option<Time>,
    /// How long a client of held long-polls counts after an answer.
    pub linger: Option<Time>,
    /// Most subjects of one resource that are known by name.
    pub subjects: Option<Count>,
    /// Tell the upstream when a subject comes first and goes last, or `off`.
    pub notify: Option<PresenceNotifySetting>,
}

/// `off`, or how the upstream is told.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PresenceNotifySetting {
    /// `off`.
    Word(Text),
    /// How the upstream is told.
    On(PresenceNotify),
}

/// The request that tells the upstream.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["path"]))]
pub struct PresenceNotify {
    /// Path on the upstream, with the route's `{parameters}`.
    pub path: Option<Text>,
    /// A subject that is back, or gone again, within this time is not told of.
    pub debounce: Option<Time>,
    /// Most subjects of the route that wait to be told of.
    pub queue: Option<Count>,
}
