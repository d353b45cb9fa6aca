//! Connections to the upstream that know their user (NTLM, Negotiate, Persistent-Auth): they serve the requests of one
//! connection of a client, and of no other (contract §10).
//!
//! A request with such credentials goes on a connection of its client's own from the start. One of everybody's that is
//! answered with a challenge, or with the word that it knows its user, is retired.
//!
//! A connection of HTTP/2 has no upstream connection of its own: a proxy in front may send requests of many users on it.
//! Credentials that one request is enough for pass on it; a handshake that takes more is sent to HTTP/1.1 (RFC 9113 §7).
//! Must not know: who the user is.

use http::{HeaderMap, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::Digest;
use pingora::{Error, ErrorType, Result};

use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::upstream::{Bond, Whose, connection_auth};

/// The error that ends an exchange which can only go on over HTTP/1.1.
const NEEDS_HTTP1: ErrorType = ErrorType::Custom("http11-required");

/// The reason of a reset that sends a client there (RFC 9113 §7, HTTP_1_1_REQUIRED).
const HTTP_1_1_REQUIRED: u32 = 0xd;

/// Returns which connection this request goes on.
pub(in crate::front) fn whose<'a>(headers: &HeaderMap, ctx: &'a mut Context) -> Whose<'a> {
    let more = ctx.upstream.as_ref().map_or(&[][..], |upstream| &upstream.config().connection_auth);
    if ctx.bond.is_none() && connection_auth::is_carried(more, headers) {
        ctx.bond = Some(Bond::new());
    }
    match &mut ctx.bond {
        Some(bond) => Whose::Own { bond, again: ctx.connects > 0 },
        None if ctx.normalizes => Whose::Normalized,
        None if ctx.wants_new => Whose::New,
        None => Whose::Anybodys,
    }
}

/// Looks at the connection that the request got.
///
/// # Errors
/// It came from the pool and is out of use. Nothing was sent: the request gets a new one.
pub(in crate::front) fn connected(reused: bool, digest: Option<&Digest>, ctx: &mut Context) -> Result<()> {
    ctx.connection = None;
    if ctx.bond.is_some() {
        return Ok(());
    }
    let record = digest.and_then(|digest| digest.socket_digest.clone());
    let is_unfit = match (&record, &ctx.upstream) {
        (Some(record), Some(upstream)) => upstream.is_retired(record),
        // It could not be retired.
        _ => true,
    };
    if reused && is_unfit {
        ctx.wants_new = true;
        let mut error = Error::explain(ErrorType::ConnectionClosed, "the connection may know another user");
        error.set_retry(true);
        return Err(error);
    }
    ctx.wants_new = false;
    ctx.connection = record;
    Ok(())
}

/// Looks at an answer for what it says of its connection.
///
/// # Errors
/// It asks for a further leg of a handshake, and the client's connection is one of HTTP/2.
pub(in crate::front) fn answered(is_http2: bool, response: &ResponseHeader, ctx: &mut Context) -> Result<()> {
    let Some(upstream) = &ctx.upstream else { return Ok(()) };
    if !connection_auth::is_answered(&upstream.config().connection_auth, &response.headers) {
        return Ok(());
    }
    if ctx.bond.is_some() {
        let asks = [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED];
        if is_http2 && asks.contains(&response.status) {
            ctx.shared.metrics.refusals.with_label_values(&["http11-required"]).inc();
            return Error::e_explain(NEEDS_HTTP1, "a handshake of connections has no place on HTTP/2");
        }
        return Ok(());
    }
    if let Some(connection) = &ctx.connection {
        upstream.retire(connection);
    }
    if connection_auth::is_persistent(&response.headers) {
        // By credentials of another kind. The next ones prove themselves on a connection of their own.
        ctx.bond = Some(Bond::new());
    }
    Ok(())
}

/// Whether an exchange ended so.
pub(in crate::front) fn needs_http1(error: &Error) -> bool {
    *error.etype() == NEEDS_HTTP1
}

/// Sends the client to HTTP/1.1 with its request.
pub(in crate::front) fn send_to_http1(mut connection: Connection<'_>, ctx: &mut Context) {
    ctx.answer = "refused";
    connection.reset_http2(HTTP_1_1_REQUIRED);
}
