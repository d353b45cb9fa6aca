//! Heads of answers with a line that is no field, on what passes through (contract §10): Pingora reads them, and takes
//! one such line for the end of the connection. A GET or HEAD is asked once more, over a connection whose heads are
//! normalized before; the upstream's client remembers that such a head came, and normalizes what passes through next.
//!
//! Must not know: how a head is normalized.

use http::Method;
use pingora::{Error, ErrorType};

use crate::front::connection::Connection;
use crate::front::context::Context;

/// What Pingora says of bytes that it could not read begins so, if they are a head at all. It has no other words.
const HEAD: &str = "buf: HTTP/1.";

/// Has a request asked once more whose answer's head could not be read. Returns `None` if that was no reason for it to
/// fail, or must not be done.
pub(super) fn asked_again(
    connection: &mut Connection<'_>,
    error: &Error,
    ctx: &mut Context,
) -> Option<Box<Error>> {
    let is_head = error.context.as_ref().is_some_and(|context| context.as_str().starts_with(HEAD));
    let is_read = matches!(connection.head().method, Method::GET | Method::HEAD);
    // A connection that knows its user cannot be left for another one.
    let is_free = ctx.bond.is_none() && !ctx.normalizes;
    let is_unreadable = *error.etype() == ErrorType::InvalidHTTPHeader && is_head;
    if !is_unreadable || !is_free {
        return None;
    }
    if !is_read || !connection.has_no_body() {
        // It may have been done: the next one is normalized from the start.
        ctx.upstream.iter().for_each(|upstream| upstream.note_malformed_head());
        return None;
    }
    ctx.normalizes = true;
    // Without the bytes of the head, which may be secret: it is logged.
    let mut again =
        Error::explain(ErrorType::InvalidHTTPHeader, "the head has a line that is no field").into_up();
    again.set_retry(true);
    Some(again)
}
