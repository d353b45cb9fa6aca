//! What the process logs, as typed.
//!
//! Must not know: where the log goes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Number, Text};

/// What is logged, and how.
#[derive(Deserialize, JsonSchema, Default)]
pub struct Log {
    /// The form of the lines: for people, or for machines.
    #[schemars(extend("enum" = ["text", "json"]))]
    pub format: Option<Text>,
    /// The least that is logged of pollcast itself; RUST_LOG counts before it.
    #[schemars(extend("enum" = ["error", "warn", "info", "debug", "trace"]))]
    pub level: Option<Text>,
    /// One line per finished request or stream: `true`, `false`, or which.
    pub access: Option<AccessSetting>,
    /// Lines that wait for a reader that hangs; what does not fit is dropped and counted.
    pub buffer: Option<Count>,
}

/// `true`, `false`, or which lines.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AccessSetting {
    /// `true` or `false`.
    Word(Text),
    /// Some of them.
    Some(AccessLines),
}

/// Which lines the access log has.
#[derive(Deserialize, JsonSchema)]
pub struct AccessLines {
    /// Share of the lines that are written, 0.0001 to 1; errors are written whatever it is.
    pub sample: Option<Number>,
    /// `errors`: answers from 400 on, what was broken off, streams whose clients were too slow.
    #[schemars(extend("enum" = ["errors"]))]
    pub only: Option<Text>,
}
