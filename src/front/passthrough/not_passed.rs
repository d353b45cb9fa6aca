//! A request that did not get through to an upstream: what the client is told, and what operators are.
//!
//! Must not know: how a request passes through.

use http::StatusCode;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType};

use crate::front::context::Context;
use crate::front::refuse;
use crate::upstream;

/// Says why a request did not get through, if anything can still be said.
pub(in crate::front) async fn tell(session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
    let status = match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => *status,
        (ErrorType::ConnectTimedout | ErrorType::ReadTimedout, ErrorSource::Upstream) => 504,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => {
            ctx.shared.metrics.refusals.with_label_values(&["body-timeout"]).inc();
            408
        }
        (_, ErrorSource::Upstream) => 502,
        (
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ErrorSource::Downstream,
        ) => 0,
        (_, ErrorSource::Downstream) => 400,
        (_, ErrorSource::Internal | ErrorSource::Unset) => 500,
    };
    ctx.answer = "failed";
    let answered = session.response_written().is_some();
    if let Some(status) = StatusCode::from_u16(status).ok().filter(|_| status > 0 && !answered) {
        let upstream = ctx.upstream.as_ref().map_or("", |u| u.config().name.as_str());
        let detail = match (error.etype(), error.esource()) {
            (ErrorType::ReadTimedout, ErrorSource::Downstream) => {
                "the body took longer than limits.body_timeout".to_owned()
            }
            (kind, source) => match refused(error, kind, source, ctx).await {
                Some((kind, reason)) => {
                    tracing::warn!(upstream, "a request did not pass through: {kind}: {reason}");
                    // The reason is for operators; polls and checks have the same one.
                    format!("upstream {upstream:?}: {kind}")
                }
                None => format!("upstream {upstream:?}: {}", reason(error)),
            },
        };
        session.set_keepalive(None);
        if let Err(error) = refuse::with(session, ctx, status, &detail).await {
            tracing::debug!("a failure could not be reported: {error}");
        }
        ctx.answer = "failed";
    }
    FailToProxy { error_code: status, can_reuse_downstream: false }
}

fn is_about_tls(kind: &ErrorType) -> bool {
    matches!(kind, ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError)
}

/// Why a server was not reached or not understood, in the words that polls have: the kind, which clients are told, and
/// the reason, which is for operators. `None` if it is neither.
async fn refused(
    error: &Error,
    kind: &ErrorType,
    source: &ErrorSource,
    ctx: &Context,
) -> Option<(&'static str, String)> {
    if let Some(reason) = upstream::unreached(error) {
        return Some(("cannot connect", reason));
    }
    let (upstream, server) = (ctx.upstream.as_ref()?, ctx.server.as_ref()?);
    match (kind, source) {
        (kind, ErrorSource::Upstream) if is_about_tls(kind) => {
            let found = upstream.find_out(server).await;
            // The innermost cause is OpenSSL's connector's word.
            Some(("TLS failed", found.unwrap_or_else(|| error.root_cause().to_string())))
        }
        (
            ErrorType::InvalidHTTPHeader | ErrorType::ConnectionClosed | ErrorType::ReadError,
            ErrorSource::Upstream,
        ) => Some(("TLS failed", upstream.speaks_tls(server).await?)),
        _ => None,
    }
}

/// The failure in words for a client: its kind and first cause, no addresses of ours.
fn reason(error: &Error) -> String {
    let mut text = error.etype().as_str().to_owned();
    if let Some(cause) = std::error::Error::source(error) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
    }
    text
}
