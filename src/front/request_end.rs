//! What remains of a request that Pingora served: a count, and a line of the access log.
//!
//! Must not know: connections that left Pingora, whose new owners write their lines.

use pingora::proxy::Session;
use pingora::{ErrorSource, ErrorType};

use super::context::Context;
use super::spans;
use crate::access_log::{Ended, Line};
use crate::metrics::{Bypass, RefusalReason};

pub(super) fn ended(session: &Session, error: Option<&pingora::Error>, ctx: &mut Context) {
    let route = ctx.route.as_ref().map_or("", |route| route.path.as_str());
    let reason = reason(ctx);
    ctx.shared.metrics.requests.with_label_values(&[route, ctx.answer, reason.unwrap_or_default()]).inc();
    let stalled = |error: &pingora::Error| {
        *error.etype() == ErrorType::WriteTimedout && *error.esource() != ErrorSource::Upstream
    };
    if error.is_some_and(stalled) {
        ctx.shared.metrics.refusals.with_label_values(&["send-timeout"]).inc();
    }
    if ctx.taken {
        return;
    }
    let request = session.req_header();
    let status = ctx.status.or(session.response_written().map(|response| response.status));
    spans::ended(status.map(|status| status.as_u16()), error.is_some(), ctx);
    let route = ctx.route.as_ref().map_or("", |route| route.path.as_str());
    let line = Line {
        ended: Ended::Request { status: status.map_or(0, |status| status.as_u16()), broken: error.is_some() },
        transport: ctx.answer,
        method: request.method.as_str(),
        path: request.uri.path(),
        peer: ctx.client,
        route,
        duration: ctx.started.elapsed(),
        bytes: session.body_bytes_sent() as u64,
        events: 0,
        reason: error.map_or(reason.unwrap_or("done"), |error| error.etype().as_str()),
    };
    line.write();
}

/// Why the request passed through or was refused. Returns `None` if it was neither.
fn reason(ctx: &Context) -> Option<&'static str> {
    let refused = ctx.refused.map(RefusalReason::word);
    match ctx.answer {
        // What asked the API first, and was refused in its place, was refused.
        "refused" | "soft-refused" => Some(refused.unwrap_or(RefusalReason::Error.word())),
        _ => ctx.bypass.map(Bypass::word).or(refused),
    }
}
