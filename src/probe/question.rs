//! The operator's question about one URL, and the reasons for no report.
//!
//! Must not know: how an upstream is asked.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::upstream::{FetchError, NewError};

/// Most polls of one URL: what they brought is kept until the end.
pub const POLLS_MAX: usize = 100;

/// The operator's question about one URL.
#[derive(Debug, Clone)]
pub struct Question {
    /// A path, or an absolute URL.
    pub url: String,
    /// How many polls, at least 2.
    pub polls: usize,
    /// The time from one poll to the next.
    pub every: Duration,
    /// Credentials that a client would send; tried with and without.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Question {
    /// Returns the same question for this length of time: with as many polls as fit, and no more than [`POLLS_MAX`].
    #[must_use]
    pub fn looking_for(self, time: Duration) -> Question {
        let fitting = usize::try_from(time.as_millis() / self.every.as_millis().max(1)).unwrap_or(usize::MAX);
        let steps = fitting.clamp(1, POLLS_MAX - 1);
        let every = time / u32::try_from(steps).unwrap_or(u32::MAX);
        Question { polls: steps + 1, every: every.max(self.every), ..self }
    }
}

/// Why there is no report.
#[derive(Debug)]
pub enum Refusal {
    /// The question makes no sense with this configuration.
    Question(String),
    /// The client of the upstream cannot be built.
    Start(NewError),
    /// Beside the reason the lines of the file that would change it, if they were found.
    Unreachable(FetchError, Option<String>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Question(why) => f.write_str(why),
            Refusal::Start(error) => error.fmt(f),
            Refusal::Unreachable(error, None) => error.fmt(f),
            Refusal::Unreachable(error, Some(lines)) => write!(f, "{error}\n\n{}", lines.trim_end()),
        }
    }
}

impl std::error::Error for Refusal {}
