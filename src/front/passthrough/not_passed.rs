//! A request that did not get through to an upstream: what the client is told, and what operators are.
//!
//! Must not know: how a request passes through.

use http::StatusCode;
use pingora::{Error, ErrorSource, ErrorType};

use crate::front::context::Context;
use crate::front::decision::{Afterwards, Refusal};
use crate::front::passthrough::deadlines::{self, Late};
use crate::metrics::RefusalReason;
use crate::upstream;

/// What a client is told whose body stopped coming.
const BODY_IS_LATE: &str = "the body took longer than limits.body_timeout";

/// Why a request did not get through: the status of the failure, or 0 if the client has gone, and what the client is
/// told of it. `is_answered`: nothing can be told any more.
pub(in crate::front) async fn refusal(
    error: &Error,
    ctx: &mut Context,
    is_answered: bool,
) -> (u16, Option<Refusal>) {
    let late = deadlines::late(error, ctx.deadlines.as_ref(), ctx.head_sent);
    let status = match (error.etype(), error.esource()) {
        _ if late == Some(Late::Answer) => {
            ctx.shared.metrics.refused(RefusalReason::UpstreamFirstByte);
            504
        }
        _ if late == Some(Late::Body) => {
            ctx.shared.metrics.refused(RefusalReason::BodyTimeout);
            408
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
        _ if late == Some(Late::Answer) => {
            tracing::warn!(upstream, "a request did not pass through: no answer began in time");
            format!("upstream {upstream:?} began no answer in time (passthrough_first_byte_timeout)")
        }
        _ if late == Some(Late::Body) => BODY_IS_LATE.to_owned(),
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => BODY_IS_LATE.to_owned(),
        (kind, source) => match refused(error, kind, source, ctx).await {
            Some((kind, reason)) => {
                tracing::warn!(upstream, "a request did not pass through: {kind}: {reason}");
                // The reason is for operators; polls and checks have the same one.
                format!("upstream {upstream:?}: {kind}")
            }
            None => format!("upstream {upstream:?}: {}", reason(error)),
        },
    };
    let why = match late {
        Some(Late::Answer) => RefusalReason::UpstreamFirstByte,
        Some(Late::Body) | None => RefusalReason::NotPassed,
    };
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
