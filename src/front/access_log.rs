//! What remains of a request that Pingora served: a count, and a line of the access log.
//!
//! Must not know: connections that left Pingora, whose new owners write their lines.

use pingora::proxy::Session;
use pingora::{ErrorSource, ErrorType};

use super::context::Context;
use crate::metrics::Bypass;

pub(super) fn ended(session: &Session, error: Option<&pingora::Error>, ctx: &Context) {
    let route = ctx.route.as_ref().map_or("", |route| route.path.as_str());
    let bypass = ctx.bypass.map(Bypass::word);
    ctx.shared.metrics.requests.with_label_values(&[route, ctx.answer, bypass.unwrap_or_default()]).inc();
    let stalled = |error: &pingora::Error| {
        *error.etype() == ErrorType::WriteTimedout && *error.esource() != ErrorSource::Upstream
    };
    if error.is_some_and(stalled) {
        ctx.shared.metrics.refusals.with_label_values(&["send-timeout"]).inc();
    }
    if ctx.taken || !ctx.shared.config.log.access {
        return;
    }
    let request = session.req_header();
    let status = ctx.status.or(session.response_written().map(|response| response.status));
    let status = status.map_or(0, |status| status.as_u16());
    tracing::info!(
        target: "access",
        transport = ctx.answer,
        method = %request.method,
        path = request.uri.path(),
        peer = ctx.client.map(|c| c.to_string()).unwrap_or_default(),
        route,
        status,
        duration_ms = ctx.started.elapsed().as_millis() as u64,
        bytes = session.body_bytes_sent(),
        events = 0,
        reason = error.map_or(bypass.unwrap_or("done"), |e| e.etype().as_str()),
        "request ended"
    );
}
