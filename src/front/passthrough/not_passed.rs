//! A request that did not get through to an upstream: what the client is told, and what operators are.
//!
//! Must not know: how a request passes through.

use http::StatusCode;
use pingora::{Error, ErrorSource, ErrorType};

use crate::front::context::Context;
use crate::front::decision::{Afterwards, Refusal};
use crate::front::passthrough::first_byte;
use crate::metrics::RefusalReason;
use crate::upstream;

/// Why a request did not get through: the status of the failure, or 0 if the client has gone, and what the client is
/// told of it. `is_answered`: nothing can be told any more.
pub(in crate::front) async fn refusal(
    error: &Error,
    ctx: &mut Context,
    is_answered: bool,
) -> (u16, Option<Refusal>) {
    let is_late = first_byte::is_over(error, ctx.first_byte.as_ref(), ctx.head_sent);
    let status = match (error.etype(), error.esource()) {
        _ if is_late => {
            ctx.shared.metrics.refused(RefusalReason::UpstreamFirstByte);
            504
        }
        (ErrorType::HTTPStatus(status), _) => *status,
        (ErrorType::ConnectTimedout | ErrorType::ReadTimedout, ErrorSource::Upstream) => 504,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => {
            ctx.shared.metrics.refused(RefusalReason::BodyTimeout);
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
    let told = StatusCode::from_u16(status).ok().filter(|_| status > 0 && !is_answered);
    let Some(told) = told else { return (status, None) };
    let upstream = ctx.upstream.as_ref().map_or("", |u| u.config().name.as_str());
    let detail = match (error.etype(), error.esource()) {
        _ if is_late => {
            tracing::warn!(upstream, "a request did not pass through: no answer began in time");
            format!("upstream {upstream:?} began no answer in time (passthrough_first_byte_timeout)")
        }
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
    let why = if is_late { RefusalReason::UpstreamFirstByte } else { RefusalReason::NotPassed };
    let refusal = Refusal { label: "failed", ..Refusal::of(why, told, detail) };
    (status, Some(refusal.and_then(Afterwards::Last)))
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
