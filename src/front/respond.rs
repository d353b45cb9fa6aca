//! Writes own answers through Pingora: the connection, keep-alive and HTTP/2 are its business.
//!
//! Must not know: what the answers say.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

/// Writes a whole answer. HEAD, 204 and 304 have no body, whatever is given.
pub(super) async fn respond(
    session: &mut Session,
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<()> {
    respond_saying(session, (status, None), headers, body).await
}

/// The same with other words behind the status than the usual ones.
pub(super) async fn respond_saying(
    session: &mut Session,
    (status, phrase): (StatusCode, Option<&str>),
    headers: &HeaderMap,
    body: Bytes,
) -> Result<()> {
    let bodiless = session.req_header().method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || body.is_empty();
    let mut head = head(status, headers)?;
    head.set_reason_phrase(phrase)?;
    session.write_response_header(Box::new(head), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// A head with these fields.
pub(super) fn head(status: StatusCode, headers: &HeaderMap) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(headers.len() + 2))?;
    for (name, value) in headers {
        head.append_header(name.clone(), value.clone())?;
    }
    Ok(head)
}
