//! Spans of a poll: the request to the upstream, and what its answer publishes (`tracing`). Where a poll is not recorded
//! there is nothing of it.
//!
//! Must not know: where spans go, what an outcome means.

use std::time::SystemTime;

use http::HeaderName;

use super::poller::Poller;
use crate::otlp::{Kind, Parent, Span};
use crate::upstream::{Answer, Ask};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The span of a poll whose answer has come, and when that was.
pub(super) struct Received(Span, SystemTime);

impl Poller {
    /// Begins the span of a poll, which the upstream is to go on with.
    pub(super) fn begin_span(&mut self, ask: &mut Ask) {
        let Some(mut span) = self.services.tracer.begin("poll", Kind::Client, Parent::Nothing) else {
            return;
        };
        span.set("http.request.method", "GET");
        span.set("http.route", self.route.path.clone());
        span.set("pollcast.upstream", self.route.upstream.name.clone());
        // What the operator says, or the resource varies by, stays as it is.
        let is_said = ask.headers.iter().any(|(name, _)| *name == TRACEPARENT);
        let field = span.traceparent().filter(|_| !is_said);
        ask.headers.extend(field.map(|field| (TRACEPARENT, field)));
        self.fetch_state.span = Some(span);
    }

    /// Takes the span of the poll that has just ended, if it is recorded. `answer`: what came.
    pub(super) fn received(&mut self, answer: Option<&Answer>) -> Option<Received> {
        let mut span = self.fetch_state.span.take()?;
        match answer {
            Some(answer) => span.set("http.response.status_code", i64::from(answer.status.as_u16())),
            None => span.fail("no answer"),
        }
        Some(Received(span, SystemTime::now()))
    }

    /// Ends the span of a poll, and tells of what it published.
    pub(super) fn end_span(&self, received: Option<Received>, outcome: &'static str) {
        let Some(Received(mut span, at)) = received else { return };
        span.set("pollcast.outcome", outcome);
        if outcome == "failed" {
            span.fail("failed");
        }
        if outcome == "changed" {
            let publish =
                self.services.tracer.begin_at("publish", Kind::Internal, Parent::Span(&span), Some(at));
            if let Some(mut publish) = publish {
                publish.set("http.route", self.route.path.clone());
                publish.set("pollcast.followers", self.topic.followers() as i64);
            }
        }
    }
}
