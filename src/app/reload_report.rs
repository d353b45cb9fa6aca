//! How a reload went, in words for the log and as JSON for operators.
//!
//! Nothing secret is in it: keys are named, values are not. Must not know: how anything is reloaded.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::config::{Difference, Effect, Problem, Problems};
use crate::hub::Ended;

/// Most changes that are told one by one in the log; of more the number is said.
const LOGGED_LINES_MAX: usize = 64;

/// How a reload went.
#[derive(Debug, Clone)]
pub struct Report {
    outcome: Outcome,
    /// The generation that counts now.
    generation: u32,
}

#[derive(Debug, Clone)]
enum Outcome {
    Applied {
        difference: Difference,
        warnings: Vec<Problem>,
        ended: Ended,
        took: Duration,
    },
    /// Nothing differs but what counts from the next start on.
    Unchanged(Difference),
    /// It was only looked.
    Looked(Difference),
    /// The file is wrong.
    Invalid(Problems),
    /// The file is good, and something that it names cannot be used.
    Refused(String),
}

impl Report {
    pub(super) fn applied(
        difference: Difference,
        warnings: Vec<Problem>,
        generation: u32,
        ended: Ended,
        took: Duration,
    ) -> Report {
        Report { outcome: Outcome::Applied { difference, warnings, ended, took }, generation }
    }

    pub(super) fn unchanged(difference: Difference, generation: u32) -> Report {
        Report { outcome: Outcome::Unchanged(difference), generation }
    }

    pub(super) fn looked(difference: Difference, generation: u32) -> Report {
        Report { outcome: Outcome::Looked(difference), generation }
    }

    pub(super) fn invalid(problems: Problems, generation: u32) -> Report {
        Report { outcome: Outcome::Invalid(problems), generation }
    }

    pub(super) fn refused(error: &dyn fmt::Display, generation: u32) -> Report {
        Report { outcome: Outcome::Refused(error.to_string()), generation }
    }

    /// The label of the metric.
    #[must_use]
    pub fn result(&self) -> &'static str {
        match &self.outcome {
            Outcome::Applied { .. } => "applied",
            Outcome::Unchanged(_) => "unchanged",
            Outcome::Looked(_) => "looked",
            Outcome::Invalid(_) => "invalid",
            Outcome::Refused(_) => "refused",
        }
    }

    /// Whether a new configuration counts.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        matches!(self.outcome, Outcome::Applied { .. })
    }

    /// Whether the file is what counts now, or could be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !matches!(self.outcome, Outcome::Invalid(_) | Outcome::Refused(_))
    }

    /// What a reload has ended, if it was applied.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        match &self.outcome {
            Outcome::Applied { ended, .. } => Some(*ended),
            _ => None,
        }
    }

    /// The keys that differ and count from the next start on.
    #[must_use]
    pub fn restart(&self) -> Vec<&'static str> {
        match &self.outcome {
            Outcome::Applied { difference, .. }
            | Outcome::Looked(difference)
            | Outcome::Unchanged(difference) => difference.restart.clone(),
            _ => Vec::new(),
        }
    }

    /// Says it in the log.
    pub(super) fn log(&self) {
        let generation = self.generation;
        match &self.outcome {
            Outcome::Applied { difference, warnings, ended, took } => {
                tracing::info!(
                    generation,
                    took_ms = took.as_millis() as u64,
                    ended_resources = ended.resources,
                    ended_followers = ended.followers,
                    "a new configuration counts"
                );
                let lines = difference.lines();
                lines.iter().take(LOGGED_LINES_MAX).for_each(|line| tracing::info!("{line}"));
                if let Some(more @ 1..) = lines.len().checked_sub(LOGGED_LINES_MAX) {
                    tracing::info!("and {more} more changes");
                }
                needs_restart(difference);
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            }
            Outcome::Unchanged(difference) => {
                tracing::info!(generation, "the configuration is as before");
                needs_restart(difference);
            }
            Outcome::Looked(_) => {}
            Outcome::Invalid(problems) => {
                for problem in &problems.0 {
                    tracing::error!("the new configuration is not taken: {problem}");
                }
            }
            Outcome::Refused(error) => tracing::error!("the new configuration is not taken: {error}"),
        }
    }

    /// The answer to an operator in words, lines that end.
    #[must_use]
    pub fn as_text(&self) -> String {
        match &self.outcome {
            Outcome::Applied { difference, .. }
            | Outcome::Looked(difference)
            | Outcome::Unchanged(difference) => difference.text(),
            Outcome::Invalid(problems) => format!("{problems}\n"),
            Outcome::Refused(error) => format!("{error}\n"),
        }
    }

    /// The answer to an operator.
    #[must_use]
    pub fn as_json(&self) -> Value {
        let mut answer = json!({ "result": self.result(), "generation": self.generation });
        match &self.outcome {
            Outcome::Applied { difference, warnings, ended, took } => {
                difference_as_json(&mut answer, difference);
                answer["ended"] = json!({ "resources": ended.resources, "followers": ended.followers });
                answer["took_ms"] = json!(took.as_secs_f64() * 1000.0);
                answer["warnings"] = json!(warnings.iter().map(problem_as_json).collect::<Vec<_>>());
            }
            Outcome::Looked(difference) | Outcome::Unchanged(difference) => {
                difference_as_json(&mut answer, difference);
            }
            Outcome::Invalid(problems) => {
                answer["problems"] = json!(problems.0.iter().map(problem_as_json).collect::<Vec<_>>());
            }
            Outcome::Refused(error) => {
                answer["problems"] = json!([{ "message": error }]);
            }
        }
        answer
    }
}

/// Says which keys stay as they are.
fn needs_restart(difference: &Difference) {
    for key in &difference.restart {
        tracing::warn!("{key} differs, and counts from the next start on: its old value stays");
    }
}

fn problem_as_json(problem: &Problem) -> Value {
    json!({ "file": problem.file, "line": problem.line, "place": problem.place, "message": problem.message })
}

/// What differs; routes that are as before are only counted.
fn difference_as_json(answer: &mut Value, difference: &Difference) {
    let mut said = difference.json();
    for list in ["routes", "upstreams"] {
        if let Some(entries) = said[list].as_array_mut() {
            entries.retain(|entry| entry["change"] != Effect::Same.word());
        }
        answer[list] = said[list].take();
    }
    answer["routes_unchanged"] = json!(difference.count(Effect::Same));
    answer["process"] = said["process"].take();
    answer["needs_restart"] = said["restart"].take();
}

/// What counts, since when, and how the last attempt went.
#[derive(Debug, Clone)]
pub struct Status {
    generation: u32,
    since: SystemTime,
    /// When the last attempt was, and what came of it. `None` before the first.
    last: Option<(SystemTime, Value)>,
}

impl Status {
    pub(super) fn of_start() -> Status {
        Status { generation: 1, since: SystemTime::now(), last: None }
    }

    pub(super) fn note(&mut self, report: &Report) {
        if report.is_applied() {
            self.counts(report.generation);
        }
        self.last = Some((SystemTime::now(), report.as_json()));
    }

    /// Notes that this generation counts from now on.
    pub(super) fn counts(&mut self, generation: u32) {
        (self.generation, self.since) = (generation, SystemTime::now());
    }

    /// The answer to an operator.
    #[must_use]
    pub fn as_json(&self) -> Value {
        let time = |at: SystemTime| humantime::format_rfc3339_millis(at).to_string();
        json!({
            "generation": self.generation,
            "since": time(self.since),
            "last_reload": self.last.as_ref().map(|(at, report)| {
                let mut report = report.clone();
                report["at"] = json!(time(*at));
                report
            }),
        })
    }
}
