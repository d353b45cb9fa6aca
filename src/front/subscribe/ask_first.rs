//! Requests that ask the API before pollcast says anything (contract §1, §6, §11): push forms that no `share` covers,
//! and WebSocket handshakes that may be the API's own.
//!
//! The request passes through with what it carries. The API's answer is given as it came where it is one that such a
//! request waits for; else its body is not read, and pollcast answers. Must not know: who may share.

use http::{HeaderMap, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};

use super::fallback::{AskFirst, Fallback};
use super::websocket_handshake::offers_ours;
use crate::front::access::reason::{Reason, Told};
use crate::front::context::Context;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::{Afterwards, Decision, Refusal};
use crate::front::passthrough;
use crate::metrics::{Bypass, RefusalReason};

/// The error that ends an exchange whose answer is not given to the client.
const UNWANTED: ErrorType = ErrorType::Custom("asked-first");

/// Looks at the head of the API's answer.
///
/// # Errors
/// The answer is not given to the client: `answer_instead` says what is.
pub(in crate::front) fn look(response: &ResponseHeader, ctx: &mut Context) -> Result<()> {
    passthrough::answered(response, ctx);
    let AskFirst::Sent(fallback) = ctx.ask_first else { return Ok(()) };
    if is_given(fallback, response.status, &response.headers) {
        return Ok(());
    }
    ctx.ask_first = AskFirst::Discarded(fallback);
    Error::e_explain(UNWANTED, "the API's answer is none that this request asks for")
}

/// Whether such an answer is given to the client as it came.
fn is_given(fallback: Fallback, status: StatusCode, headers: &HeaderMap) -> bool {
    match fallback {
        Fallback::CloseNotFound => !matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE),
        Fallback::RefuseOrigin => status.is_informational(),
        Fallback::NameTheChoices | Fallback::NameTheReadings | Fallback::OwnWebSocket => {
            !status.is_success() || is_event_stream(headers)
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("text/event-stream")
}

/// 403 that names the choices (contract §11): the answer in the API's place.
pub(in crate::front) fn name_the_choices(ctx: &Context) -> Decision {
    let Some(route) = &ctx.route else { return Decision::Abandon };
    // Whatever it was that no `share` covers, the choices are the same.
    let Told { status, detail, .. } = Reason::Credentials.told(route);
    ctx.shared.metrics.refused(RefusalReason::Unshared);
    Refusal::of(RefusalReason::Unshared, status, detail).and_then(Afterwards::GoesOn).decision()
}

/// 406 for an EventSource on a path that is followed by no route (contract §11).
pub(in crate::front) fn name_the_readings() -> Decision {
    let detail = "servers read this path differently, and not every reading leads to one route, so that nothing of \
                  it is pushed; `spelling: exact` on a route says that its API reads it by the letter";
    Refusal::of(RefusalReason::Path, StatusCode::NOT_ACCEPTABLE, detail).and_then(Afterwards::Last).decision()
}

/// 403 for a page of another origin.
pub(in crate::front) fn refuse_origin(ctx: &Context) -> Decision {
    ctx.shared.metrics.refused(RefusalReason::Origin);
    let detail = "the Origin of this WebSocket is not let in (websocket.origins)";
    Refusal::of(RefusalReason::Origin, StatusCode::FORBIDDEN, detail).and_then(Afterwards::Last).decision()
}

impl CoveredRequest<'_> {
    /// A push form with credentials or doubt that no share covers (contract §11).
    pub(in crate::front) fn unshared(&mut self) -> Decision {
        if matches!(self.ctx.ask_first, AskFirst::Discarded(_)) {
            return name_the_choices(self.ctx);
        }
        self.ask_first(Fallback::NameTheChoices)
    }

    /// A WebSocket of an origin that the route does not let in. Whom the API's own WebSocket serves is the API's to say; a
    /// client that offers our subprotocol wants none of the API's.
    pub(super) fn of_another_origin(&mut self) -> Decision {
        if offers_ours(&self.headers) || matches!(self.ctx.ask_first, AskFirst::Discarded(_)) {
            return refuse_origin(self.ctx);
        }
        self.ask_first(Fallback::RefuseOrigin)
    }

    /// Lets the API answer before pollcast does.
    pub(in crate::front) fn ask_first(&mut self, fallback: Fallback) -> Decision {
        self.ctx.ask_first = AskFirst::Sent(fallback);
        self.ctx.path = Some(self.path.clone());
        Decision::PassThrough(match fallback {
            Fallback::NameTheChoices => Bypass::AskFirst,
            Fallback::NameTheReadings => Bypass::Path,
            Fallback::CloseNotFound | Fallback::OwnWebSocket | Fallback::RefuseOrigin => Bypass::WebSocket,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_is_given_as_it_came() {
        use Fallback::{CloseNotFound, NameTheChoices, OwnWebSocket, RefuseOrigin};
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
        for (fallback, status, content_type, given) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_given(fallback, status, &headers), given, "{fallback:?} {status} {content_type}");
        }
    }
}
