//! Bodies of requests that are answered here: read whole, within a length and a time.
//!
//! Must not know: what they say.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use pingora::Result;
use tokio::time::{Instant, timeout_at};

use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::front::decision::{Afterwards, Decision, Refusal};
use crate::metrics::RefusalReason;

/// A body has so long in all, whatever comes of it in between: `limits.body_timeout` is for one silence.
const TIME_MAX: Duration = Duration::from_secs(30);

/// A body, or what its client was told instead.
pub(in crate::front) enum Body {
    Whole(Bytes),
    Refused(Decision),
}

/// Reads the body of a request. The client has its permit by then: what waits here is counted.
pub(in crate::front) async fn read(
    connection: &mut Connection<'_>,
    ctx: &Context,
    bytes_max: usize,
) -> Result<Body> {
    let end = Instant::now() + TIME_MAX;
    let silence = ctx.shared.config.limits.body_timeout;
    let mut body = BytesMut::new();
    loop {
        let until = end.min(Instant::now() + silence);
        let Ok(piece) = timeout_at(until, connection.read_body()).await else {
            ctx.shared.metrics.refused(RefusalReason::BodyTimeout);
            let detail = "the body did not come in time (limits.body_timeout)";
            let refusal = Refusal::of(RefusalReason::BodyTimeout, StatusCode::REQUEST_TIMEOUT, detail)
                .and_then(Afterwards::Shutdown);
            return Ok(Body::Refused(refusal.decision()));
        };
        let Some(piece) = piece? else { return Ok(Body::Whole(body.freeze())) };
        if body.len() + piece.len() > bytes_max {
            let detail = format!("the body is longer than {bytes_max} bytes");
            return Ok(Body::Refused(Decision::refuse(
                RefusalReason::Body,
                StatusCode::PAYLOAD_TOO_LARGE,
                detail,
            )));
        }
        body.extend_from_slice(&piece);
    }
}
