//! Answers that say no, as problem+json, or softly where a status would end an EventSource for
//! good (contract §5).
//!
//! Must not know: the reasons' reasons.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::proxy::Session;
use serde_json::json;

use super::{Context, Fate, cors, respond};
use crate::config::{Route, SoftRefusal};
use crate::frame::sse;
use crate::transport::answer;

/// Refuses with a problem document.
pub(super) async fn with(
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    detail: &str,
) -> Result<Fate> {
    with_headers(session, ctx, status, detail, HeaderMap::new()).await
}

/// The same with more fields.
pub(super) async fn with_headers(
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    detail: &str,
    more: HeaderMap,
) -> Result<Fate> {
    let (mut headers, body) = answer::problem(status, status.canonical_reason().unwrap_or("Error"), detail);
    headers.extend(more);
    if let Some(route) = &ctx.route {
        cors::add(&mut headers, route, &session.req_header().headers);
    }
    ctx.answer = "refused";
    respond::respond(session, status, &headers, body).await?;
    Ok(Fate::Answered)
}

/// Refuses and closes: what follows on this connection cannot be trusted.
pub(super) async fn closing(
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    detail: &str,
) -> Result<Fate> {
    session.set_keepalive(None);
    let fate = with(session, ctx, status, detail).await;
    session.downstream_session.shutdown().await;
    fate
}

/// Refuses a push client for now: overload or a limit.
pub(super) async fn for_now(
    session: &mut Session,
    ctx: &mut Context,
    route: &Route,
    event_stream: bool,
    reason: &'static str,
) -> Result<Fate> {
    ctx.shared.metrics.refusals.with_label_values(&[reason]).inc();
    let retry = Duration::from_secs(5) + Duration::from_secs(55).mul_f64(fastrand::f64());
    if event_stream && softly(session, route) {
        return soft(session, ctx, route, reason, retry).await;
    }
    let mut more = HeaderMap::new();
    more.insert(header::RETRY_AFTER, HeaderValue::from(retry.as_secs()));
    with_headers(session, ctx, StatusCode::SERVICE_UNAVAILABLE, reason, more).await
}

/// Whether the client looks like a browser's EventSource, which never comes back after an error
/// status.
fn softly(session: &Session, route: &Route) -> bool {
    let headers = &session.req_header().headers;
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
            .unwrap_or_default()
    };
    match route.soft_refusal {
        SoftRefusal::Always => true,
        SoftRefusal::Never => false,
        SoftRefusal::Browsers => {
            text(header::ACCEPT) == "text/event-stream" && text(header::USER_AGENT).contains("Mozilla/")
        }
    }
}

async fn soft(
    session: &mut Session,
    ctx: &mut Context,
    route: &Route,
    reason: &'static str,
    retry: Duration,
) -> Result<Fate> {
    let retry_ms = retry.as_millis() as u64;
    let data = json!({ "reason": reason, "retry_ms": retry_ms, "reconnect": true });
    let body: Bytes = sse::control_with_retry("bye", &data, retry_ms).payload();
    let mut headers = event_stream_head();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    cors::add(&mut headers, route, &session.req_header().headers);
    ctx.answer = "soft-refused";
    respond::respond(session, StatusCode::OK, &headers, body).await?;
    Ok(Fate::Answered)
}

/// The fields of every event stream (contract §5).
pub(super) fn event_stream_head() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Prefer"));
    headers
}
