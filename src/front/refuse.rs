//! Answers that say no, as problem+json, or softly where a status would end an EventSource for
//! good (contract §5).
//!
//! Must not know: why a request is refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use pingora::Result;
use pingora::proxy::Session;
use serde_json::json;

use super::access::reason::limit_status;
use super::context::Context;
use super::decision::{ForNow, Refusal};
use super::request::cors;
use super::respond;
use super::services::Shared;
use crate::config::{Route, SoftRefusal};
use crate::fanout::draining;
use crate::frame::sse;
use crate::transport::answer;

/// Most softly refused clients that are held at once: they must not become what was refused.
const SOFT_REFUSALS_MAX: usize = 1000;

/// The label in metrics of a refusal by a stream.
const SOFT_REFUSAL: &str = "soft-refused";

/// Refuses with a problem document.
pub(super) async fn refuse(session: &mut Session, ctx: &mut Context, refusal: Refusal) -> Result<()> {
    let status = refusal.status;
    let (headers, body) = problem(session, ctx, refusal);
    respond::respond(session, (status, None), &headers, body).await
}

/// A problem document and its fields, for the caller that writes them.
pub(super) fn problem(session: &Session, ctx: &Context, refusal: Refusal) -> (HeaderMap, Bytes) {
    let Refusal { status, detail, headers: more, .. } = refusal;
    let (mut headers, body) = answer::problem(status, status.canonical_reason().unwrap_or("Error"), &detail);
    headers.extend(more);
    let request = session.req_header();
    match &ctx.route {
        Some(route) => cors::add_to_refusal(&mut headers, route, &request.headers, ctx),
        None if request.uri.path().starts_with(&ctx.shared.config.public_prefix) => {
            cors::add_of_any(&mut headers, &ctx.shared.config, &request.headers);
        }
        None => {}
    }
    (headers, body)
}

/// Refuses a push client for now, and says when to come again.
pub(super) async fn for_now(session: &mut Session, ctx: &mut Context, now: &ForNow) -> Result<()> {
    let (route, reason) = (now.route.as_deref(), now.reason);
    if !now.is_counted {
        ctx.shared.metrics.refused(reason);
    }
    ctx.refused = Some(reason);
    let retry = retry_after();
    if is_soft(&session.req_header().headers, now) {
        return soft(session, ctx, route, reason.word(), retry).await;
    }
    ctx.answer = "refused";
    refuse(session, ctx, Refusal::later(reason, limit_status(reason), reason.word(), retry)).await
}

/// When a refused push client is to come again: at a random time, so that not all come at once.
fn retry_after() -> Duration {
    Duration::from_secs(5) + Duration::from_secs(55).mul_f64(fastrand::f64())
}

/// The label in metrics and the status of such a refusal, for a request with these fields.
pub(super) fn answer_for_now(headers: &HeaderMap, now: &ForNow) -> (&'static str, StatusCode) {
    match is_soft(headers, now) {
        true => (SOFT_REFUSAL, StatusCode::OK),
        false => ("refused", limit_status(now.reason)),
    }
}

/// Whether the client is refused by a stream that says when to come back.
fn is_soft(headers: &HeaderMap, now: &ForNow) -> bool {
    now.event_stream && softly(headers, now.route.as_deref())
}

/// Whether the client looks like a browser's EventSource, which never comes back after an error
/// status.
fn softly(headers: &HeaderMap, route: Option<&Route>) -> bool {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
    match route.map_or(SoftRefusal::Browsers, |route| route.soft_refusal) {
        SoftRefusal::Always => true,
        SoftRefusal::Never => false,
        SoftRefusal::Browsers => {
            text(header::ACCEPT) == "text/event-stream" && text(header::USER_AGENT).contains("Mozilla/")
        }
    }
}

/// A stream that says when to come back, holds the client a moment so that it does not come back
/// at once whatever its `retry`, and ends (contract §5).
async fn soft(
    session: &mut Session,
    ctx: &mut Context,
    route: Option<&Route>,
    reason: &'static str,
    retry: Duration,
) -> Result<()> {
    let retry_ms = retry.as_millis() as u64;
    let mut headers = answer::event_stream();
    if let Some(route) = route {
        cors::add_to_refusal(&mut headers, route, &session.req_header().headers, ctx);
    }
    if session.req_header().version == Version::HTTP_11 {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    ctx.answer = SOFT_REFUSAL;
    let head = respond::head(StatusCode::OK, &headers)?;
    session.write_response_header(Box::new(head), false).await?;
    let opening = sse::opening(retry_ms).payload();
    session.write_response_body(Some(opening), false).await?;
    if hold_back(session, &ctx.shared).await {
        let data = json!({ "reason": reason, "retry_ms": retry_ms, "reconnect": true });
        let bye = sse::control_with_retry("bye", &data, retry_ms).payload();
        session.write_response_body(Some(bye), true).await?;
    }
    Ok(())
}

/// Holds a refused client for 2 to 5 seconds if not too many are held already. False: it left.
async fn hold_back(session: &mut Session, shared: &Shared) -> bool {
    let slot = Slot::take(&shared.soothed);
    if slot.is_none() || shared.is_draining() {
        return true;
    }
    let hold = Duration::from_secs(2) + Duration::from_secs(3).mul_f64(fastrand::f64());
    let mut ending = shared.ending.clone();
    tokio::select! {
        () = tokio::time::sleep(hold) => true,
        _ = draining(&mut ending) => true,
        _ = session.downstream_session.read_body_or_idle(true) => false,
    }
}

/// A place among the refused clients that are held.
struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    fn take(taken: &'a AtomicUsize) -> Option<Slot<'a>> {
        let slot = Slot(taken);
        (taken.fetch_add(1, Ordering::SeqCst) < SOFT_REFUSALS_MAX).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
