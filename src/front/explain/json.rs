//! An explanation as JSON.
//!
//! Must not know: how it was found.

use serde_json::{Value, json};

use super::Explanation;
use super::outcome::Outcome;
use super::poll::{Polled, Scheduled};

impl Explanation {
    /// Returns it as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let near = self.near.iter().map(|near| json!({ "route": near.route, "why": near.why }));
        let steps = self.steps.iter().map(|step| {
            json!({ "about": step.subject.word(), "section": step.subject.section(), "text": step.text })
        });
        json!({
            "request": {
                "method": self.method.as_str(),
                "url": self.target,
                "host": self.host,
                "listener": self.listener,
            },
            "route": self.route,
            "near": near.collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
            "outcome": outcome(&self.outcome),
            "poll": self.poll.as_ref().map(polled),
            "schedule": self.schedule.as_ref().map(scheduled),
        })
    }
}

fn outcome(outcome: &Outcome) -> Value {
    json!({
        "does": outcome.does.word(),
        "answer": outcome.answer,
        "reason": outcome.reason,
        "status": outcome.status.map(|status| status.as_u16()),
        "after": outcome.after,
        "otherwise": outcome.otherwise,
        "wait_ms": outcome.wait.map(|wait| wait.as_millis() as u64),
        "close_code": outcome.close,
        "detail": outcome.detail,
        "upstream": outcome.upstream,
    })
}

fn polled(poll: &Polled) -> Value {
    json!({
        "awaited": poll.is_awaited,
        "method": poll.method,
        "upstream": poll.upstream,
        "host": poll.host,
        "url": poll.target,
        "fields": poll.fields,
        "notes": poll.notes,
    })
}

fn scheduled(schedule: &Scheduled) -> Value {
    json!({
        "interval_ms": schedule.interval.as_millis() as u64,
        "effective_interval_ms": schedule.effective.as_millis() as u64,
        "why": schedule.why,
        "next_poll_in_ms": schedule.next.map(|next| next.as_millis() as u64),
        "followers": schedule.followers,
        "polls": schedule.polls,
        "last_outcome": schedule.last,
        "breaker_open": schedule.is_broken,
    })
}
