//! The connection of a request as a handler may know it: the request's head, facts of the connection, and whether the
//! client is still there. Nothing is written to the client through it.
//!
//! Must not know: what is decided.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::time::timeout;

use super::request::framing::DRAIN_TIME_MAX;
use crate::identity::CertificateName;
use crate::listener::guarded_stream::Attended;
use crate::listener::{accept_rate, client_certificate};

/// What a handler may know of its request's connection.
pub(super) struct Connection<'a>(&'a mut Session);

/// A request that no client has sent: it is decided about, and nothing is done for it.
pub(super) struct Unsent(Box<Session>);

impl Unsent {
    /// Reads its head from a stream.
    ///
    /// # Errors
    /// There is no head, or it cannot be read.
    pub(super) async fn read(stream: Stream) -> Result<Unsent> {
        let mut session = Box::new(Session::new_h1(stream));
        match session.downstream_session.read_request().await? {
            true => Ok(Unsent(session)),
            false => Error::e_explain(ErrorType::InvalidHTTPHeader, "there is no head"),
        }
    }

    /// Its connection.
    pub(super) fn connection(&mut self) -> Connection<'_> {
        Connection(&mut self.0)
    }
}

impl<'a> Connection<'a> {
    /// The connection of a session.
    pub(super) fn of(session: &'a mut Session) -> Connection<'a> {
        Connection(session)
    }

    /// The same connection for another handler, which has it until it has decided.
    pub(super) fn again(&mut self) -> Connection<'_> {
        Connection(self.0)
    }

    /// The request's head.
    pub(super) fn head(&self) -> &RequestHeader {
        self.0.req_header()
    }

    /// The request's head, to be changed for what reads it later.
    pub(super) fn head_mut(&mut self) -> &mut RequestHeader {
        self.0.req_header_mut()
    }

    /// The head of a request of HTTP/1 as it came.
    pub(super) fn raw_head(&self) -> Bytes {
        self.0.to_h1_raw()
    }

    /// Says the client's token in the field in which tokens belong.
    ///
    /// # Errors
    /// The head takes no more fields.
    pub(super) fn say_authorization(&mut self, field: HeaderValue) -> Result<()> {
        self.head_mut().insert_header(header::AUTHORIZATION, field)
    }

    /// Whether it is one of HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.0.is_http2()
    }

    /// The address of its other end.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.0.client_addr().and_then(|address| address.as_inet()).copied()
    }

    /// The address that the client has connected to.
    pub(super) fn own_address(&self) -> Option<SocketAddr> {
        self.0.downstream_session.server_addr().and_then(|address| address.as_inet()).copied()
    }

    /// The name in the client's certificate.
    pub(super) fn certificate(&self) -> Option<Arc<CertificateName>> {
        client_certificate::name(self.0)
    }

    /// Whether it is one of HTTP/2 that was made for this request.
    pub(super) fn is_new_http2(&self) -> bool {
        accept_rate::is_new_http2(self.0)
    }

    /// Remembers the number of a plain poll. Returns whether the one before it on this connection has the same.
    pub(super) fn repeats_poll(&self, number: u64) -> bool {
        Attended::repeats_poll(self.0, number)
    }

    /// Whether the request has no body.
    pub(super) fn has_no_body(&mut self) -> bool {
        self.0.is_body_empty()
    }

    /// The next piece of the request's body. Returns `None` at its end.
    ///
    /// # Errors
    /// The body cannot be read.
    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>> {
        self.0.downstream_session.read_request_body().await
    }

    /// Waits until the client has gone.
    pub(super) async fn has_gone(&mut self) {
        // What it says, and how it goes, makes no difference.
        let _ = self.0.downstream_session.read_body_or_idle(true).await;
    }

    /// Has the connection end after the answer.
    pub(super) fn ends_afterwards(&mut self) {
        self.0.set_keepalive(None);
    }

    /// Ends a stream of HTTP/2 for this reason (RFC 9113 §7). Does nothing on HTTP/1.
    pub(super) fn reset_http2(&mut self, reason: u32) {
        if let ServerSession::H2(stream) = self.0.downstream_session.as_mut() {
            stream.shutdown_with_reason(reason.into());
        }
    }

    /// Reads on for a moment after the last answer of a connection: a close with bytes unread would reset it, and the
    /// client might never see the answer.
    pub(super) async fn linger(&mut self, bytes_max: usize) {
        let mut dropped = 0;
        let reading = async {
            while dropped < bytes_max {
                match self.read_body().await {
                    Ok(Some(bytes)) => dropped += bytes.len(),
                    Ok(None) | Err(_) => return,
                }
            }
        };
        // Whether it ended in time or not, the connection does now.
        let _ = timeout(DRAIN_TIME_MAX, reading).await;
    }

    /// Waits for the end of an HTTP/2 request that says it has no body and does not end with its head. Its head alone
    /// would be a whole request upstream before the first byte too much has its stream reset.
    ///
    /// # Errors
    /// Bytes where none were to come; status 408 after `limit` without an end.
    pub(super) async fn ends_empty(&mut self, limit: Duration) -> Result<()> {
        let length = self.head().headers.get(header::CONTENT_LENGTH);
        let says_nothing = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok()) == Some(0);
        let ServerSession::H2(stream) = self.0.downstream_session.as_mut() else { return Ok(()) };
        if !says_nothing {
            return Ok(());
        }
        let reading = async {
            // Frames without a byte have their rate (`limits.http2_control_rate`).
            while stream.read_body_bytes().await?.is_some() {}
            Ok(())
        };
        // Seldom, and the future of every request that passes through holds this one.
        Box::pin(timeout(limit, reading))
            .await
            .unwrap_or_else(|_| Error::e_explain(ErrorType::HTTPStatus(408), "the request has no end"))
    }
}
