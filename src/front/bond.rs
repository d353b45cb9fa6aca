//! Connections to the upstream that know their user (NTLM, Negotiate, Persistent-Auth): they serve the requests of one
//! connection of a client, and of no other (contract §10).
//!
//! A request with such credentials goes on a connection of its client's own from the start. One of everybody's that is
//! answered with a challenge, or with the word that it knows its user, is retired. Must not know: who the user is.

use pingora::http::ResponseHeader;
use pingora::protocols::Digest;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::Context;
use crate::upstream::{Bond, Whose, connection_auth};

/// Whose connection this request goes on.
pub(super) fn whose<'a>(session: &Session, ctx: &'a mut Context) -> Whose<'a> {
    let more = ctx.upstream.as_ref().map_or(&[][..], |upstream| &upstream.config().connection_auth);
    if ctx.bond.is_none() && connection_auth::is_carried(more, &session.req_header().headers) {
        ctx.bond = Some(Bond::new());
    }
    match &mut ctx.bond {
        Some(bond) => Whose::Own { bond, again: ctx.connects > 0 },
        None if ctx.tidies => Whose::Tidied,
        None if ctx.wants_new => Whose::New,
        None => Whose::Anybodys,
    }
}

/// Looks at the connection that the request got.
///
/// # Errors
/// It came from the pool and serves nobody any more. Nothing was sent: the request gets a new one.
pub(super) fn connected(reused: bool, digest: Option<&Digest>, ctx: &mut Context) -> Result<()> {
    ctx.connection = None;
    if ctx.bond.is_some() {
        return Ok(());
    }
    let record = digest.and_then(|digest| digest.socket_digest.clone());
    let is_unfit = match (&record, &ctx.upstream) {
        (Some(record), Some(upstream)) => upstream.is_retired(record),
        // Nobody could retire it.
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
pub(super) fn answered(response: &ResponseHeader, ctx: &mut Context) {
    let Some(upstream) = &ctx.upstream else { return };
    if ctx.bond.is_some()
        || !connection_auth::is_answered(&upstream.config().connection_auth, &response.headers)
    {
        return;
    }
    if let Some(connection) = &ctx.connection {
        upstream.retire(connection);
    }
    if connection_auth::is_persistent(&response.headers) {
        // By credentials of another kind. The next ones prove themselves where nobody else is.
        ctx.bond = Some(Bond::new());
    }
}
