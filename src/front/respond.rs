//! Writes own answers through Pingora: the connection, keep-alive and HTTP/2 are its business.
//!
//! Must not know: what the answers say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::fanout::{Home, Returned};
use crate::listener::takeover;

/// Writes a whole answer. HEAD, 204 and 304 have no body, whatever is given. `phrase`: other words behind the status
/// than the usual ones.
pub(super) async fn respond(
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
    } else if session.is_http2() {
        // Pingora ends the stream by itself only where nothing went wrong before this answer.
        session.write_response_body(None, true).await?;
    }
    Ok(())
}

/// Writes an answer of HTTP/1 in the place of one from the API that was not read to its end, on a connection that lives
/// on: Pingora would close it. `answer`: head and body, as they go out.
pub(super) async fn respond_and_go_on(
    home: &Arc<dyn Home>,
    session: &mut Session,
    answer: &[u8],
    limit: Duration,
) -> Result<()> {
    let Some((mut stream, read)) = takeover::take(session).await? else { return Ok(()) };
    let written = timeout(limit, async {
        stream.write_all(answer).await?;
        stream.flush().await
    });
    if let Ok(Ok(())) = written.await {
        home.give_back(Returned::Stream(stream), read, None);
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
