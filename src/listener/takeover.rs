//! Takes a connection of HTTP/1, or a stream of HTTP/2, out of Pingora: the one place that knows how.
//!
//! Relies on public fields of Pingora 0.9.1 (`Session::downstream_session`), which is why it is
//! pinned. Must not know: what is done with the connection.

use std::io::Cursor;
use std::time::Duration;

use bytes::BytesMut;
use http::Method;
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::HttpSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::guarded_stream::Attended;

/// How long a request's body may take to arrive before its answer.
const BODY_TIME_MAX: Duration = Duration::from_secs(1);

/// The connection with the bytes that were read past the request. Returns `None` if it ended, or
/// was answered with an error, on the way out.
///
/// What stays in the session is a dummy that has read the same head, since Pingora logs and
/// finishes whatever is there.
pub(crate) async fn take(session: &mut Session) -> Result<Option<(Stream, BytesMut)>> {
    let raw = session.to_h1_raw().to_vec();
    let ServerSession::H1(mut h1) = *replace(session, raw).await? else {
        return Error::e_explain(ErrorType::InternalError, "only HTTP/1 connections can be taken over");
    };
    // A `Connection: close` of the client would make `reuse()` shut the socket.
    h1.req_header_mut().remove_header("connection");
    h1.set_keepalive_reuses_remaining(None);
    h1.set_server_keepalive(Some(0));
    // Bytes read past the request come along.
    h1.set_pipelining_enabled(true);
    h1.set_total_drain_timeout(Some(BODY_TIME_MAX));
    if h1.drain_request_body().await.is_err() {
        let mut session = ServerSession::H1(h1);
        session.respond_error(408).await?;
        session.shutdown().await;
        return Ok(None);
    }
    let Some(reusable) = h1.reuse().await? else {
        return Ok(None);
    };
    let (stream, read) = reusable.into_parts();
    Ok(Some((Attended::bare(stream), read.unwrap_or_default())))
}

/// The HTTP/2 stream of a request.
///
/// # Errors
/// The request is none of HTTP/2.
pub(super) async fn take_http2(session: &mut Session) -> Result<HttpSession> {
    let stream = replace(session, b"GET / HTTP/1.1\r\nHost: taken\r\n\r\n".to_vec()).await?;
    let ServerSession::H2(mut stream) = *stream else {
        return Error::e_explain(ErrorType::InternalError, "only HTTP/2 streams can be taken over");
    };
    // It is not read any more, and the stream may be held for minutes.
    *stream.req_header_mut() = RequestHeader::build_no_case(Method::GET, b"/", Some(0))?;
    Ok(stream)
}

/// What the session was. There is a dummy in its place that has read this head.
async fn replace(session: &mut Session, head: Vec<u8>) -> Result<Box<ServerSession>> {
    let mut dummy = Box::new(ServerSession::new_http1(Box::new(Cursor::new(head))));
    dummy.read_request().await?;
    dummy.set_keepalive(None);
    Ok(std::mem::replace(&mut session.downstream_session, dummy))
}
