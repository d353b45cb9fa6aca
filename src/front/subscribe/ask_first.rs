//! Requests that ask the API before pollcast says anything (contract §1, §6, §11): push forms that no `share` covers,
//! and WebSocket handshakes that may be the API's own.
//!
//! The request passes through with what it carries. The API's answer is given as it came where it is one that such a
//! request waits for; else its body is not read, and pollcast answers. Must not know: who may share.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorType, Result};

use super::asking::{Asking, Otherwise};
use super::websocket_handshake::offers_ours;
use crate::fanout::Home;
use crate::front::access::client_limit;
use crate::front::access::reason::{Reason, Told};
use crate::front::application::Front;
use crate::front::context::Context;
use crate::front::covered_request::{CoveredRequest, keeps_alive};
use crate::front::decision::Fate;
use crate::front::{passthrough, refuse, respond};
use crate::metrics::Bypass;
use crate::transport::{answer, code};

/// The error that ends an exchange whose answer is not given to the client.
const UNWANTED: ErrorType = ErrorType::Custom("asked-first");

/// Looks at the head of the API's answer.
///
/// # Errors
/// The answer is not given to the client: [`answer_instead`] says what is.
pub(in crate::front) fn look(response: &ResponseHeader, ctx: &mut Context) -> Result<()> {
    passthrough::answered(response, ctx);
    let Asking::First(otherwise) = ctx.asking else { return Ok(()) };
    if is_given(otherwise, response.status, &response.headers) {
        return Ok(());
    }
    ctx.asking = Asking::Unwanted(otherwise);
    Error::e_explain(UNWANTED, "the API's answer is none that this request asks for")
}

/// Whether such an answer is given to the client as it came.
fn is_given(otherwise: Otherwise, status: StatusCode, headers: &HeaderMap) -> bool {
    match otherwise {
        Otherwise::CloseNotFound => !matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE),
        Otherwise::RefuseOrigin => status.is_informational(),
        Otherwise::NameTheChoices | Otherwise::NameTheReadings | Otherwise::OwnWebSocket => {
            !status.is_success() || is_event_stream(headers)
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("text/event-stream")
}

/// Answers in the API's place. Nothing of an answer was written yet.
pub(in crate::front) async fn answer_instead(
    front: &Front,
    session: &mut Session,
    ctx: &mut Context,
    otherwise: Otherwise,
) -> FailToProxy {
    ctx.place = None;
    let answered = match otherwise {
        Otherwise::NameTheChoices => name_the_choices(front, session, ctx).await,
        Otherwise::NameTheReadings => name_the_readings(session, ctx).await,
        Otherwise::CloseNotFound => close_not_found(front, session, ctx).await,
        Otherwise::OwnWebSocket => own_websocket(front, session, ctx).await,
        Otherwise::RefuseOrigin => refuse_origin(session, ctx).await,
    };
    if let Err(error) = answered {
        tracing::debug!("a request that had asked the API first could not be answered: {error}");
    }
    FailToProxy { error_code: 0, can_reuse_downstream: false }
}

/// 403 that names the choices (contract §11).
async fn name_the_choices(front: &Front, session: &mut Session, ctx: &mut Context) -> Result<Fate> {
    let Some(route) = ctx.route.clone() else { return Ok(Fate::Answered) };
    // Whatever it was that no `share` covers, the choices are the same.
    let Told { status, detail, .. } = Reason::Credentials.told(&route);
    ctx.shared.metrics.refusals.with_label_values(&["unshared"]).inc();
    match home_after(front, session, ctx) {
        Some(home) => refuse_and_go_on(home, session, ctx, status, &detail).await,
        None => {
            session.set_keepalive(None);
            refuse::with(session, ctx, status, &detail).await
        }
    }
}

/// 406 for an EventSource on a path that is followed by no route (contract §11).
async fn name_the_readings(session: &mut Session, ctx: &mut Context) -> Result<Fate> {
    let detail = "servers read this path differently, and not every reading leads to one route, so that nothing of \
                  it is pushed; `spelling: exact` on a route says that its API reads it by the letter";
    session.set_keepalive(None);
    refuse::with(session, ctx, StatusCode::NOT_ACCEPTABLE, detail).await
}

/// 403 for a page of another origin.
async fn refuse_origin(session: &mut Session, ctx: &mut Context) -> Result<Fate> {
    ctx.shared.metrics.refusals.with_label_values(&["origin"]).inc();
    session.set_keepalive(None);
    let detail = "the Origin of this WebSocket is not let in (websocket.origins)";
    refuse::with(session, ctx, StatusCode::FORBIDDEN, detail).await
}

/// Refuses on a connection that lives on: Pingora would end it, as the API's answer was not read to its end.
async fn refuse_and_go_on(
    home: &Arc<dyn Home>,
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    detail: &str,
) -> Result<Fate> {
    let (headers, body) = refuse::problem(session, ctx, status, detail, HeaderMap::new());
    let mut answer = answer::head_bytes(status, &headers, b"", false);
    answer.extend_from_slice(&body);
    (ctx.answer, ctx.status) = ("refused", Some(status));
    respond::respond_and_go_on(home, session, &answer, ctx.shared.config.limits.send_timeout).await?;
    Ok(Fate::Answered)
}

/// Where a connection of HTTP/1 goes on that serves another request after an answer in the API's place. Returns `None`
/// if it does not.
pub(super) fn home_after<'a>(
    front: &'a Front,
    session: &Session,
    ctx: &Context,
) -> Option<&'a Arc<dyn Home>> {
    let request = session.req_header();
    let keeps = ctx.bond.is_none() && keeps_alive(&request.headers, request.version, &ctx.shared);
    front.home.get().filter(|_| keeps && !session.is_http2())
}

async fn close_not_found(front: &Front, session: &mut Session, ctx: &mut Context) -> Result<Fate> {
    let Some(mut cover) = again(front, session, ctx) else { return Ok(Fate::Answered) };
    let route = cover.route.clone();
    match client_limit::seat(&front.shared, cover.ctx, Some(&route), true) {
        Ok(seat) => cover.closed(code::NOT_FOUND, "the upstream has nothing here", seat).await,
        Err(reason) => refuse::for_now(cover.session, cover.ctx, Some(&route), false, reason).await,
    }
}

async fn own_websocket(front: &Front, session: &mut Session, ctx: &mut Context) -> Result<Fate> {
    let Some(cover) = again(front, session, ctx) else { return Ok(Fate::Answered) };
    match Box::pin(cover.serve()).await? {
        Fate::Answered => Ok(Fate::Answered),
        // It would ask the API once more, which has just answered.
        Fate::PassThrough(_) => {
            let detail = "this URL has no WebSocket of the subprotocols that are offered";
            refuse::with(session, ctx, StatusCode::BAD_REQUEST, detail).await
        }
    }
}

/// The covered request once more, as it came.
fn again<'a>(front: &'a Front, session: &'a mut Session, ctx: &'a mut Context) -> Option<CoveredRequest<'a>> {
    let (route, path) = ctx.route.clone().zip(ctx.path.clone())?;
    Some(CoveredRequest::new(front, session, ctx, route, path))
}

impl CoveredRequest<'_> {
    /// A push form with credentials or doubt that no share covers (contract §11).
    pub(in crate::front) async fn unshared(&mut self) -> Result<Fate> {
        if matches!(self.ctx.asking, Asking::Unwanted(_)) {
            return name_the_choices(self.front, self.session, self.ctx).await;
        }
        Ok(self.ask_first(Otherwise::NameTheChoices))
    }

    /// A WebSocket of an origin that the route does not let in. Whom the API's own WebSocket serves is the API's to say; a
    /// client that offers our subprotocol wants none of the API's.
    pub(super) async fn of_another_origin(&mut self) -> Result<Fate> {
        if offers_ours(&self.headers) || matches!(self.ctx.asking, Asking::Unwanted(_)) {
            return refuse_origin(self.session, self.ctx).await;
        }
        Ok(self.ask_first(Otherwise::RefuseOrigin))
    }

    /// Lets the API answer before pollcast does.
    pub(in crate::front) fn ask_first(&mut self, otherwise: Otherwise) -> Fate {
        self.ctx.asking = Asking::First(otherwise);
        self.ctx.path = Some(self.path.clone());
        Fate::PassThrough(match otherwise {
            Otherwise::NameTheChoices => Bypass::AskFirst,
            Otherwise::NameTheReadings => Bypass::Path,
            Otherwise::CloseNotFound | Otherwise::OwnWebSocket | Otherwise::RefuseOrigin => Bypass::WebSocket,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_is_given_as_it_came() {
        use Otherwise::{CloseNotFound, NameTheChoices, OwnWebSocket, RefuseOrigin};
        let (json, stream) = ("application/json", "Text/Event-Stream; charset=utf-8");
        let cases = [
            (NameTheChoices, 101, "", true),
            (NameTheChoices, 200, json, false),
            (NameTheChoices, 200, stream, true),
            (NameTheChoices, 204, "", false),
            (NameTheChoices, 302, "", true),
            (NameTheChoices, 304, "", true),
            (NameTheChoices, 401, json, true),
            (NameTheChoices, 503, json, true),
            // An informational head is no answer yet.
            (NameTheChoices, 103, "", true),
            (OwnWebSocket, 101, "", true),
            (OwnWebSocket, 200, json, false),
            (OwnWebSocket, 400, json, true),
            (RefuseOrigin, 101, "", true),
            (RefuseOrigin, 200, json, false),
            (RefuseOrigin, 400, json, false),
            (CloseNotFound, 101, "", true),
            (CloseNotFound, 404, json, false),
            (CloseNotFound, 410, json, false),
            (CloseNotFound, 426, "", true),
            (CloseNotFound, 200, json, true),
        ];
        for (otherwise, status, content_type, given) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_given(otherwise, status, &headers), given, "{otherwise:?} {status} {content_type}");
        }
    }
}
