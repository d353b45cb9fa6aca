//! Spans of clients' requests that pass through, and of those that begin to follow something (`tracing`). Where tracing is
//! off, or a request is not recorded, there is nothing of it.
//!
//! Must not know: where spans go, why a request passes through.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName};
use pingora::Result;
use pingora::http::RequestHeader;

use super::context::Context;
use crate::metrics::Bypass;
use crate::otlp::{Kind, Parent};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Begins the span of a request that passes through, and has the upstream go on with it. One that is sent once more goes on with
/// its span. `said`: what the client says.
///
/// # Errors
/// The head takes no more fields.
pub(super) fn pass_on(said: &HeaderMap, request: &mut RequestHeader, ctx: &mut Context) -> Result<()> {
    if !ctx.shared.tracer.is_on() {
        return Ok(());
    }
    if ctx.span.is_none() {
        ctx.span = begin("passthrough", said, ctx);
    }
    let field = ctx.span.as_ref().and_then(|span| span.traceparent());
    match field {
        Some(field) => request.insert_header(TRACEPARENT, field),
        None => Ok(()),
    }
}

/// Tells of a client that begins to follow something by this transport.
pub(super) fn follows(said: &HeaderMap, ctx: &Context, transport: &'static str) {
    if ctx.shared.tracer.is_on()
        && let Some(mut span) = begin("connect", said, ctx)
    {
        span.set("pollcast.transport", transport);
    }
}

/// Ends the span of a request that passed through.
pub(super) fn ended(status: Option<u16>, has_failed: bool, ctx: &mut Context) {
    let Some(mut span) = ctx.span.take() else { return };
    status.into_iter().for_each(|status| span.set("http.response.status_code", i64::from(status)));
    ctx.bypass.into_iter().for_each(|bypass| span.set("pollcast.reason", Bypass::word(bypass)));
    if has_failed || status.is_some_and(|status| status >= 500) {
        span.fail("failed");
    }
}

fn begin(name: &'static str, said: &HeaderMap, ctx: &Context) -> Option<crate::otlp::Span> {
    let began = SystemTime::now().checked_sub(ctx.started.elapsed());
    let mut span = ctx.shared.tracer.begin_at(name, Kind::Server, Parent::Request(said), began)?;
    if let Some(route) = &ctx.route {
        span.set("http.route", route.path.clone());
    }
    if let Some(upstream) = &ctx.upstream {
        span.set("pollcast.upstream", upstream.config().name.clone());
    }
    Some(span)
}
