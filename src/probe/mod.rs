//! What an upstream's answers say about how to poll them: `pollcast check --probe`.
//!
//! `aim` finds whom to ask, `asking` asks as the relay would, the others are pure: `flapping`,
//! `listing`, `difference`, `identity` and `fields` read the answers, `suggestion` is a route made
//! of that, `report` the text for people. Nothing here prints a credential or a query.
//! Must not know: subscribers, how a running pollcast is wired.

mod aim;
mod asking;
mod difference;
mod fields;
mod flapping;
mod identity;
mod listing;
mod report;
mod suggestion;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::Config;
use crate::upstream::{FetchError, NewError};

/// What the operator wants to know.
pub struct Question {
    /// A path, or an absolute URL.
    pub url: String,
    /// How many polls, at least 2.
    pub polls: usize,
    /// From one poll to the next.
    pub every: Duration,
    /// Credentials that a client would send; tried with and without.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What came of it.
pub struct Report {
    pub text: String,
    /// The last poll brought data.
    pub has_data: bool,
}

/// Why there is no report.
#[derive(Debug)]
pub enum Refusal {
    /// The question makes no sense with this configuration.
    Question(String),
    Start(NewError),
    Unreachable(FetchError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Question(why) => f.write_str(why),
            Refusal::Start(error) => error.fmt(f),
            Refusal::Unreachable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// Asks and reports.
///
/// # Errors
/// There is nobody to ask, or nobody answered.
pub async fn probe(config: &Config, question: &Question) -> Result<Report, Refusal> {
    let aim = aim::aim(config, &question.url).map_err(Refusal::Question)?;
    let observed = asking::ask(&aim, question).await?;
    Ok(report::report(&aim, question, &observed))
}

/// A `Name: value` of the command line.
///
/// # Errors
/// What is wrong, without the value: it is likely to be a secret.
pub fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written as 'Name: value'; no colon found")?;
    let name = HeaderName::try_from(name.trim())
        .map_err(|_| "a header is written as 'Name: value'; what stands before the colon is no name")?;
    let mut value = HeaderValue::try_from(value.trim())
        .map_err(|_| format!("the value of {name} has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok((name, value))
}
