//! What goes through: to which server, with which fields changed (contract §6, §12). Everything
//! else is Pingora's, byte for byte.
//!
//! Must not know: resources beyond the names of their versions.

mod answer_head;
pub(super) mod bypass;
pub(super) mod connection_auth;
mod deadline_watch;
pub(super) mod deadlines;
mod malformed_head;
pub(super) mod node_writes;
pub(super) mod not_passed;
pub(super) mod upstream_path;
pub(super) mod validators;
mod write_reach;
pub(super) mod writes;
pub(super) mod written_topics;

pub(super) use answer_head::rewrite_response;
pub use deadline_watch::DeadlineWatch;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};

use super::application::Front;
use super::connection::Connection;
use super::context::Context;
use super::decision::{Decision, Refusal};
use super::request::{framing, limits, transport_choice};
use crate::front::spans;
use crate::identity::told;
use crate::listener::trusted_proxies;
use crate::metrics::{Bypass, RefusalReason};
use crate::resource::{ADDRESS_TEXT_BYTES_MAX, push_address};

/// Servers that are tried for one request before any of it is sent.
pub(super) const CONNECTS_MAX: usize = 3;

/// When a request comes again for which an upstream has no place now.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whether a request may pass through as far as limits go; if so, it has its place.
///
/// # Errors
/// An empty body that does not end.
pub(super) async fn admit(
    mut connection: Connection<'_>,
    ctx: &mut Context,
    reason: Bypass,
) -> Result<Decision> {
    if let Err(excess) = limits::announced(&ctx.shared, &connection.head().headers) {
        return Ok(excess.refusal().decision());
    }
    connection.ends_empty(ctx.shared.config.limits.header_timeout).await?;
    let Some(upstream) = &ctx.upstream else { return Ok(Decision::PassThrough(reason)) };
    let has_place = match ctx.shared.explains() {
        true => upstream.passing.has_room(),
        false => {
            ctx.place = upstream.passing.enter();
            ctx.place.is_some()
        }
    };
    if has_place {
        return Ok(Decision::PassThrough(reason));
    }
    ctx.shared.metrics.refused(RefusalReason::UpstreamRequests);
    let detail =
        format!("upstream {:?} has as many requests as it may have (max_requests)", upstream.config().name);
    Ok(Refusal::later(
        RefusalReason::UpstreamRequests,
        StatusCode::SERVICE_UNAVAILABLE,
        detail,
        BUSY_RETRY_AFTER,
    )
    .decision())
}

/// Prepares a request for its way through. `drainable`: its body would have been read before an answer of ours.
pub(super) fn begin(session: &mut Session, ctx: &mut Context, reason: Bypass, drainable: bool) {
    if let ServerSession::H1(h1) = session.downstream_session.as_mut()
        && !drainable
        && !framing::is_last(&h1.req_header().headers)
        && !ctx.shared.is_draining()
    {
        h1.respect_keepalive();
    }
    ctx.answer = "passthrough";
    ctx.bypass = Some(reason);
    ctx.passes();
    if session.is_body_empty() {
        ctx.body_is_read();
    }
    session.set_total_drain_timeout(None);
    session.set_close_on_response_before_downstream_finish(true);
    // An upgraded connection may be silent for as long as it likes.
    let is_upgrade = transport_choice::is_websocket(&session.req_header().headers);
    let limit = ctx.shared.config.limits.body_timeout;
    session.set_read_timeout((!is_upgrade).then_some(limit));
}

/// Counts a piece of a request's body. What comes behind an upgrade is none.
///
/// # Errors
/// Status 413 with the first piece that is too much.
pub(super) fn passes(session: &Session, piece: usize, ctx: &mut Context) -> Result<()> {
    let upgraded = |response: &ResponseHeader| response.status == StatusCode::SWITCHING_PROTOCOLS;
    if session.response_written().is_some_and(upgraded) {
        return Ok(());
    }
    limits::passes(&ctx.shared, &mut ctx.passed, piece)
}

/// The server for this request.
pub(super) async fn peer(session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
    let Some(upstream) = ctx.upstream.clone() else {
        return Error::e_explain(ErrorType::HTTPStatus(502), "nothing to pass through to");
    };
    // An upgrade needs HTTP/1.1.
    let is_upgrade = transport_choice::is_websocket(&session.req_header().headers);
    let chosen = upstream.peer(connection_auth::whose(&session.req_header().headers, ctx), is_upgrade).await;
    let chosen =
        chosen.or_err_with(ErrorType::HTTPStatus(502), || "no server to pass through to".to_owned())?;
    ctx.server = Some(chosen.server);
    let mut peer = chosen.peer;
    let has_body = !session.is_body_empty();
    deadlines::bound_http2(&session.req_header().headers, has_body, &upstream, &mut peer);
    Ok(peer)
}

/// Tells the upstream's client of an answer: one that came in time shows that the upstream is well (contract §1).
pub(super) fn answered(response: &ResponseHeader, ctx: &mut Context) {
    if let Some(upstream) = &ctx.upstream {
        upstream.was_understood(response.status);
    }
    if !response.status.is_server_error()
        && let (Some(upstream), Some(sent)) = (&ctx.upstream, ctx.sent.take())
    {
        upstream.answered(sent.elapsed());
    }
}

/// Changes what the upstream is to see differently from what the client said.
pub(super) fn rewrite_request(
    front: &Front,
    session: &Session,
    request: &mut RequestHeader,
    ctx: &mut Context,
) -> Result<()> {
    ctx.sent = Some(Instant::now());
    let peer = session.client_addr().and_then(|address| address.as_inet()).copied();
    note_forwarded(front, &session.req_header().headers, peer);
    if let Some(target) = &ctx.target {
        request.set_raw_path(target.as_bytes())?;
    }
    upstream_path::request(session.req_header(), request, ctx)?;
    let host = request.headers.get(header::HOST).cloned();
    if let Some(fixed) = ctx.upstream.as_ref().and_then(|u| u.config().host.as_deref()) {
        request.insert_header(header::HOST, fixed)?;
    }
    speak_for(request, ctx)?;
    spans::pass_on(&session.req_header().headers, request, ctx)?;
    forwarded(front, peer, request, host)?;
    to_proxy(request, ctx)
}

/// Has a request say where it goes, if that is for a proxy to read (RFC 9112 §3.2.2).
fn to_proxy(request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let Some(absolute) = ctx.server.as_ref().and_then(|server| server.absolute.as_ref()) else {
        return Ok(());
    };
    request.set_raw_path(&absolute.target(request.raw_path()))?;
    request.insert_header(header::HOST, absolute.host.clone())?;
    // What the client says to a proxy of its own is nothing for this one.
    request.remove_header(&header::PROXY_AUTHORIZATION);
    if let Some(value) = &absolute.authorization {
        request.insert_header(header::PROXY_AUTHORIZATION, value.clone())?;
    }
    Ok(())
}

/// What only pollcast says: an upstream may trust it, on any path. Servers that know header fields as variables
/// (RFC 3875 §4.1.18) see no difference between `-` and `_`.
fn speak_for(request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    // Next to no request has one.
    if request.headers.keys().any(is_ours) {
        let said: Vec<HeaderName> = request.headers.keys().filter(|name| is_ours(name)).cloned().collect();
        for name in said {
            request.remove_header(&name);
        }
    }
    for (name, value) in told(ctx.identity.as_ref()) {
        request.insert_header(name, value)?;
    }
    Ok(())
}

fn is_ours(name: &HeaderName) -> bool {
    const OURS: &[u8] = b"x-pollcast-";
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    let name = name.as_str().as_bytes();
    // Most names begin with another letter.
    name.first() == OURS.first()
        && name.get(..OURS.len()).is_some_and(|start| start.iter().map(dashed).eq(OURS.iter().copied()))
}

/// Notes that a trusted proxy says `Forwarded`: what passes through then says it, and polls have to.
pub(super) fn note_forwarded(front: &Front, headers: &HeaderMap, peer: Option<SocketAddr>) {
    if headers.contains_key(header::FORWARDED)
        && !front.shared.explains()
        && let Some(peer) = peer
        && trusted_proxies::is_trusted(peer.ip().to_canonical(), &front.listener.trusted_proxies)
    {
        front.shared.relay.note_forwarded();
    }
}

/// X-Forwarded-For, -Proto, -Host and Forwarded: continued behind trusted proxies, replaced
/// otherwise.
fn forwarded(
    front: &Front,
    peer: Option<SocketAddr>,
    request: &mut RequestHeader,
    host: Option<HeaderValue>,
) -> Result<()> {
    // As texts: Pingora keeps the spelling of each name, and would copy that of a `HeaderName`.
    const FOR: &str = "x-forwarded-for";
    const PROTO: &str = "x-forwarded-proto";
    const HOST: &str = "x-forwarded-host";
    let Some(peer) = peer else {
        return Ok(());
    };
    let peer = peer.ip().to_canonical();
    let trusted = trusted_proxies::is_trusted(peer, &front.listener.trusted_proxies);
    let proto = if front.listener.tls.is_some() { "https" } else { "http" };
    if trusted {
        // Bytes: a server that reads from the right must not meet less than what was written there.
        let mut chain = Vec::new();
        for line in request.headers.get_all(FOR) {
            chain.extend_from_slice(line.as_bytes());
            chain.extend_from_slice(b", ");
        }
        push_address(&mut chain, peer);
        let chain = HeaderValue::try_from(chain).or_err(ErrorType::InvalidHTTPHeader, "X-Forwarded-For")?;
        request.insert_header(FOR, chain)?;
    } else {
        request.remove_header(&header::FORWARDED);
        let mut text = Vec::with_capacity(ADDRESS_TEXT_BYTES_MAX);
        push_address(&mut text, peer);
        request.insert_header(FOR, text)?;
    }
    if !(trusted && request.headers.contains_key(PROTO)) {
        request.insert_header(PROTO, HeaderValue::from_static(proto))?;
    }
    if !(trusted && request.headers.contains_key(HOST)) {
        match host {
            Some(host) => request.insert_header(HOST, host)?,
            None => drop(request.remove_header(HOST)),
        }
    }
    Ok(())
}

/// Whether a request whose connection failed may be sent once more.
pub(super) fn broken(
    peer: &HttpPeer,
    session: &mut Session,
    error: Box<Error>,
    ctx: &mut Context,
    reused: bool,
) -> Box<Error> {
    if let Some(again) = malformed_head::asked_again(&mut Connection::of(session), &error, ctx) {
        return again;
    }
    let mut error = error.more_context(format!("Peer: {peer}"));
    if deadlines::late(&error, ctx.deadlines.as_ref(), ctx.head_sent).is_some() {
        // The next server may hold it as long.
        error.set_retry(false);
        return error;
    }
    let is_repeatable =
        session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
    match (ctx.wants_new, is_repeatable) {
        // Nothing of it was sent.
        (true, _) => error.set_retry(true),
        (false, true) => error.retry.decide_reuse(reused),
        (false, false) => error.set_retry(false),
    }
    error
}
