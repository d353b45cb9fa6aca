//! Spans of a poll: the request to the upstream, and what its answer publishes (`tracing`). Where a poll is not recorded
//! there is nothing of it.
//!
//! Must not know: where spans go, what an outcome means.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue, StatusCode};

use super::poller::Poller;
use crate::config::Route;
use crate::otlp::{Kind, Parent, Span, Tracer};
use crate::upstream::{Answer, Ask};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The span of a poll whose answer has come, and when that was.
pub(super) struct Received(Span, SystemTime);

/// Begins the span of a request to an upstream, which is to go on with it.
fn begin(name: &'static str, tracer: &Tracer, route: &Route, ask: &mut Ask) -> Option<Span> {
    let mut span = tracer.begin(name, Kind::Client, Parent::Nothing)?;
    span.set("http.request.method", "GET");
    span.set("http.route", route.path.clone());
    span.set("pollcast.upstream", route.upstream.name.clone());
    // What the operator says, or the resource varies by, stays as it is.
    let is_said = ask.headers.iter().any(|(name, _)| *name == TRACEPARENT);
    let field = span.traceparent().filter(|_| !is_said);
    ask.headers.extend(field.map(|field| (TRACEPARENT, field)));
    Some(span)
}

/// Begins the span of one request for so many resources (`poll.batch`). Their polls have spans of their own.
pub(super) fn begin_batch(tracer: &Tracer, route: &Route, resources: usize, ask: &mut Ask) -> Option<Span> {
    let mut span = begin("poll.batch", tracer, route, ask)?;
    span.set("pollcast.resources", resources as i64);
    Some(span)
}

/// Ends the span of a request for several resources, if it is recorded.
pub(super) fn end_batch(span: Option<Span>, status: Option<StatusCode>) {
    if let Some(mut span) = span {
        answered(&mut span, status);
    }
}

fn answered(span: &mut Span, status: Option<StatusCode>) {
    match status {
        Some(status) => span.set("http.response.status_code", i64::from(status.as_u16())),
        None => span.fail("no answer"),
    }
}

impl Poller {
    /// Begins the span of a poll, which the upstream is to go on with.
    pub(super) fn begin_span(&mut self, ask: &mut Ask) {
        self.fetch_state.span = begin("poll", &self.services.tracer, &self.route, ask);
    }

    /// Takes the span of the poll that has just ended, if it is recorded. `answer`: what came.
    pub(super) fn received(&mut self, answer: Option<&Answer>) -> Option<Received> {
        let mut span = self.fetch_state.span.take()?;
        answered(&mut span, answer.map(|answer| answer.status));
        Some(Received(span, SystemTime::now()))
    }

    /// What names the span of the poll that has just ended.
    pub(super) fn traceparent(&self, received: Option<&Received>) -> Option<HeaderValue> {
        received?.0.traceparent()
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
