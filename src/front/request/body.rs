//! Bodies of requests that are answered here: read whole, within a length and a time.
//!
//! Must not know: what they say.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use pingora::Result;
use pingora::proxy::Session;
use tokio::time::{Instant, timeout_at};

use crate::front::context::Context;
use crate::front::decision::Fate;
use crate::front::refuse;

/// A body has so long in all, whatever comes of it in between: `limits.body_timeout` is for one silence.
const TIME_MAX: Duration = Duration::from_secs(30);

/// A body, or what its client was told instead.
pub(in crate::front) enum Body {
    Whole(Bytes),
    Refused(Fate),
}

/// Reads the body of a request. The client has its seat by then: what waits here is counted.
pub(in crate::front) async fn read(
    session: &mut Session,
    ctx: &mut Context,
    bytes_max: usize,
) -> Result<Body> {
    let end = Instant::now() + TIME_MAX;
    let silence = ctx.shared.config.limits.body_timeout;
    let mut body = BytesMut::new();
    loop {
        let until = end.min(Instant::now() + silence);
        let Ok(piece) = timeout_at(until, session.downstream_session.read_request_body()).await else {
            ctx.shared.metrics.refusals.with_label_values(&["body-timeout"]).inc();
            let detail = "the body did not come in time (limits.body_timeout)";
            let fate = refuse::closing(session, ctx, StatusCode::REQUEST_TIMEOUT, detail).await?;
            return Ok(Body::Refused(fate));
        };
        let Some(piece) = piece? else { return Ok(Body::Whole(body.freeze())) };
        if body.len() + piece.len() > bytes_max {
            let detail = format!("the body is longer than {bytes_max} bytes");
            let fate = refuse::with(session, ctx, StatusCode::PAYLOAD_TOO_LARGE, &detail).await?;
            return Ok(Body::Refused(fate));
        }
        body.extend_from_slice(&piece);
    }
}
