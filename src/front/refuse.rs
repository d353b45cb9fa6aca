//! Answers that say no, as problem+json, or softly where a status would end an EventSource for
//! good (contract §5).
//!
//! Must not know: the reasons' reasons.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use pingora::Result;
use pingora::proxy::Session;
use serde_json::json;

use super::access::reason::limit_status;
use super::context::Context;
use super::decision::Fate;
use super::request::cors;
use super::request::framing::BadHead;
use super::respond;
use super::services::Shared;
use crate::config::{Route, SoftRefusal};
use crate::fanout::draining;
use crate::frame::sse;
use crate::transport::{Expulsion, answer};

/// Most softly refused clients that are held at once: they must not become what was refused.
const MAX_SOOTHED: usize = 1000;

/// Refuses with a problem document.
pub(super) async fn with(
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    detail: &str,
) -> Result<Fate> {
    with_headers(session, ctx, status, detail, HeaderMap::new()).await
}

/// Refuses a client that was let in and may not stay: nothing of the resource.
pub(super) async fn expelled(session: &mut Session, ctx: &mut Context, why: Expulsion) -> Result<Fate> {
    let (status, detail) = why.refusal();
    with(session, ctx, status, detail).await
}

/// As [`with`], with more fields.
pub(super) async fn with_headers(
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    detail: &str,
    more: HeaderMap,
) -> Result<Fate> {
    let (headers, body) = problem(session, ctx, status, detail, more);
    ctx.answer = "refused";
    // Seldom, and the future of every request holds this one.
    Box::pin(respond::respond(session, status, &headers, body)).await?;
    Ok(Fate::Answered)
}

/// A problem document and its fields, for the caller that writes them.
pub(super) fn problem(
    session: &Session,
    ctx: &Context,
    status: StatusCode,
    detail: &str,
    more: HeaderMap,
) -> (HeaderMap, Bytes) {
    let (mut headers, body) = answer::problem(status, status.canonical_reason().unwrap_or("Error"), detail);
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

/// Refuses a head that does not say one thing to all readers.
pub(super) async fn unfit(session: &mut Session, ctx: &mut Context, bad: BadHead) -> Result<Fate> {
    ctx.shared.metrics.refusals.with_label_values(&["framing"]).inc();
    closing(session, ctx, StatusCode::BAD_REQUEST, bad.0).await
}

/// Refuses a push client for now: overload or a limit. `route`: none for a client of many that names
/// no covered one.
pub(super) async fn for_now(
    session: &mut Session,
    ctx: &mut Context,
    route: Option<&Route>,
    event_stream: bool,
    reason: &'static str,
) -> Result<Fate> {
    ctx.shared.metrics.refusals.with_label_values(&[reason]).inc();
    counted(session, ctx, route, event_stream, reason).await
}

/// The same where the limit was counted when it bit.
pub(super) async fn counted(
    session: &mut Session,
    ctx: &mut Context,
    route: Option<&Route>,
    event_stream: bool,
    reason: &'static str,
) -> Result<Fate> {
    let retry = retry_after();
    if event_stream && softly(session, route) {
        return soft(session, ctx, route, reason, retry).await;
    }
    later(session, ctx, limit_status(reason), reason, retry).await
}

/// Refuses a request that may come again, and says when.
pub(super) async fn later(
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    detail: &str,
    retry: Duration,
) -> Result<Fate> {
    let mut more = HeaderMap::new();
    more.insert(header::RETRY_AFTER, HeaderValue::from(retry.as_secs().max(1)));
    with_headers(session, ctx, status, detail, more).await
}

/// When a refused push client is to come again: at a random time, so that not all come at once.
fn retry_after() -> Duration {
    Duration::from_secs(5) + Duration::from_secs(55).mul_f64(fastrand::f64())
}

/// Whether the client looks like a browser's EventSource, which never comes back after an error
/// status.
fn softly(session: &Session, route: Option<&Route>) -> bool {
    let headers = &session.req_header().headers;
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
) -> Result<Fate> {
    let retry_ms = retry.as_millis() as u64;
    let mut headers = event_stream_head();
    if let Some(route) = route {
        cors::add_to_refusal(&mut headers, route, &session.req_header().headers, ctx);
    }
    if session.req_header().version == Version::HTTP_11 {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    ctx.answer = "soft-refused";
    let head = respond::head(StatusCode::OK, &headers)?;
    session.write_response_header(Box::new(head), false).await?;
    let opening = sse::opening(retry_ms).payload();
    session.write_response_body(Some(opening), false).await?;
    if hold_back(session, &ctx.shared).await {
        let data = json!({ "reason": reason, "retry_ms": retry_ms, "reconnect": true });
        let bye = sse::control_with_retry("bye", &data, retry_ms).payload();
        session.write_response_body(Some(bye), true).await?;
    }
    Ok(Fate::Answered)
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
        (taken.fetch_add(1, Ordering::SeqCst) < MAX_SOOTHED).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The fields of every event stream (contract §5).
pub(super) fn event_stream_head() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Prefer"));
    headers
}
