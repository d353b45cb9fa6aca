//! An explanation in words.
//!
//! Must not know: how it was found.

use std::fmt::Write;

use super::Explanation;
use super::outcome::{Does, Outcome};
use super::poll::{Polled, Scheduled};
use crate::resource::printable;

impl Explanation {
    /// Returns it in words, a line for each step.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |said: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", printable(&said));
        };
        line(format!("{} {} on host {}, listener {}", self.method, self.target, self.host, self.listener));
        line(sentence(&self.outcome));
        line(String::new());
        line(match &self.route {
            Some(route) => format!("route: {route}"),
            None => "route: none".to_owned(),
        });
        for near in &self.near {
            line(format!("  not {}: {}", near.route, near.why));
        }
        line(String::new());
        line("steps:".to_owned());
        for step in &self.steps {
            line(format!("  {} (§{}): {}", step.subject.word(), step.subject.section(), step.text));
        }
        if let Some(poll) = &self.poll {
            line(String::new());
            polled(poll).into_iter().for_each(&mut line);
        }
        if let Some(schedule) = &self.schedule {
            line(scheduled(schedule));
        }
        text
    }
}

/// What the request gets, in one sentence.
fn sentence(outcome: &Outcome) -> String {
    let what = match outcome.does {
        Does::Answers => "is answered by pollcast",
        Does::Refuses => "is refused",
        Does::PassesThrough => "passes through to the API",
        Does::Streams => "becomes a stream",
        Does::Holds => "is held",
        Does::Closes => "becomes a WebSocket that is closed at once",
        Does::Helps => {
            "is for one of pollcast's own helpers: explain each resource that it names by its own URL"
        }
    };
    let mut text = format!("It {what}");
    let mut add = |said: String| text.push_str(&said);
    if let Some(upstream) = &outcome.upstream {
        add(format!(", upstream {upstream}"));
    }
    if let Some(after) = outcome.after {
        add(format!(", after {}, whose outcome decides", awaited(after)));
    }
    if let Some(wait) = outcome.wait {
        add(format!(" for {} s at most", wait.as_secs()));
    }
    if let Some(status) = outcome.status {
        add(format!(", status {}", status.as_u16()));
    }
    if let Some(code) = outcome.close {
        add(format!(", close code {code}"));
    }
    if let Some(answer) = outcome.answer {
        add(format!(" [{answer}"));
        add(outcome.reason.map_or("]".to_owned(), |reason| format!(", reason {reason}]")));
    }
    if let Some(detail) = &outcome.detail {
        add(format!(": {detail}"));
    }
    if let Some(otherwise) = outcome.otherwise {
        add(format!("; otherwise {otherwise}"));
    }
    text + "."
}

/// What a word for what is awaited means.
fn awaited(word: &str) -> &'static str {
    match word {
        "poll" => "a poll",
        "write" => "a poll that knows of the last write",
        "confirmation" => "a poll that confirms what is held, as the state that it names is not known here",
        "check" => "a request to the API with the client's own credentials",
        _ => "the server, or the keys, that say who the client is",
    }
}

fn polled(poll: &Polled) -> Vec<String> {
    let awaited = if poll.is_awaited { "awaited by this request" } else { "by schedule" };
    let mut lines = vec![
        format!(
            "poll ({awaited}): {} {} at upstream {}, host {}",
            poll.method, poll.target, poll.upstream, poll.host
        ),
        format!("  fields: {}", poll.fields.join(", ")),
    ];
    lines.extend(poll.notes.iter().map(|note| format!("  {note}")));
    lines
}

fn scheduled(schedule: &Scheduled) -> String {
    let mut text = format!("schedule: every {} ms ({})", schedule.effective.as_millis(), schedule.why);
    let mut add = |said: String| text.push_str(&said);
    match schedule.next {
        Some(next) => add(format!(", the next poll is due in {} ms", next.as_millis())),
        None => add(", no poll is due".to_owned()),
    }
    add(format!("; {} follower(s), {} poll(s) so far", schedule.followers, schedule.polls));
    if let Some(last) = &schedule.last {
        add(format!(", the last one: {last}"));
    }
    if schedule.is_broken {
        add("; the upstream counts as down, so that no poll is made".to_owned());
    }
    text
}
