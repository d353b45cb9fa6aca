//! What pollcast answers to a request whose answer from the API was put aside (contract §1, §6, §11).
//!
//! Must not know: which answers are put aside, how anything is written.

use http::StatusCode;
use pingora::Result;

use super::access::client_limit;
use super::application::Front;
use super::connection::Connection;
use super::context::Context;
use super::covered_request::CoveredRequest;
use super::decision::Decision;
use super::subscribe::ask_first::{name_the_choices, name_the_readings, refuse_origin};
use super::subscribe::fallback::Fallback;
use crate::metrics::RefusalReason;
use crate::transport::code;

/// Decides in the API's place. Nothing of an answer was written yet.
///
/// # Errors
/// The request cannot be decided about once more.
pub(super) async fn answer_instead(
    front: &Front,
    connection: Connection<'_>,
    ctx: &mut Context,
    fallback: Fallback,
) -> Result<Decision> {
    ctx.place = None;
    match fallback {
        Fallback::NameTheChoices => Ok(name_the_choices(ctx)),
        Fallback::NameTheReadings => Ok(name_the_readings()),
        Fallback::CloseNotFound => Ok(close_not_found(front, connection, ctx)),
        Fallback::OwnWebSocket => own_websocket(front, connection, ctx).await,
        Fallback::RefuseOrigin => Ok(refuse_origin(ctx)),
    }
}

fn close_not_found(front: &Front, connection: Connection<'_>, ctx: &mut Context) -> Decision {
    let Some(mut request) = again(front, connection, ctx) else { return Decision::Abandon };
    let route = request.route.clone();
    match client_limit::permit(&front.shared, request.ctx, Some(&route), true) {
        Ok(permit) => request.closed(code::NOT_FOUND, "the upstream has nothing here", permit),
        Err(reason) => Decision::refuse_for_now(Some(route), false, reason),
    }
}

async fn own_websocket(front: &Front, connection: Connection<'_>, ctx: &mut Context) -> Result<Decision> {
    let Some(request) = again(front, connection, ctx) else { return Ok(Decision::Abandon) };
    Ok(match Box::pin(request.serve()).await? {
        // It would ask the API once more, which has just answered.
        Decision::PassThrough(_) => {
            let detail = "this URL has no WebSocket of the subprotocols that are offered";
            Decision::refuse(RefusalReason::WebSocket, StatusCode::BAD_REQUEST, detail)
        }
        decision => decision,
    })
}

/// The covered request once more, as it came.
fn again<'a>(
    front: &'a Front,
    connection: Connection<'a>,
    ctx: &'a mut Context,
) -> Option<CoveredRequest<'a>> {
    let (route, path) = ctx.route.clone().zip(ctx.path.clone())?;
    Some(CoveredRequest::new(front, connection, ctx, route, path))
}
