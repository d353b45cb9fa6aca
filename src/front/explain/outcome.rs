//! What a request gets, in the words that metrics and the access log have for it.
//!
//! Must not know: how it was decided, in which form it is shown.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use pingora::{Error, ErrorType};

use crate::front::context::Context;
use crate::front::decision::{Awaited, Decision, Foreseen, Prospect};
use crate::front::refuse;
use crate::front::subscribe::fallback::{AskFirst, Fallback};
use crate::metrics::{Bypass, RefusalReason};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// pollcast answers.
    Answers,
    /// pollcast refuses.
    Refuses,
    /// The API answers.
    PassesThrough,
    /// The client follows the resource.
    Streams,
    /// The request is held.
    Holds,
    /// A WebSocket is accepted, and closed at once.
    Closes,
    /// One of pollcast's own helpers answers for several resources.
    Helps,
}

impl Does {
    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Does::Answers => "answered",
            Does::Refuses => "refused",
            Does::PassesThrough => "passed-through",
            Does::Streams => "stream",
            Does::Holds => "held",
            Does::Closes => "closed",
            Does::Helps => "helper",
        }
    }
}

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) does: Does,
    /// The label `answer` of `pollcast_requests_total`. `None` if it depends on what is awaited.
    pub(super) answer: Option<&'static str>,
    /// The label `reason` of it.
    pub(super) reason: Option<&'static str>,
    pub(super) status: Option<StatusCode>,
    /// What it waits for before that.
    pub(super) after: Option<&'static str>,
    /// What it gets where the API's own answer is not given to it.
    pub(super) otherwise: Option<&'static str>,
    /// The longest hold.
    pub(super) wait: Option<Duration>,
    /// The close code of a WebSocket.
    pub(super) close: Option<u16>,
    /// What the client is told.
    pub(super) detail: Option<String>,
    /// The upstream that a request passes through to.
    pub(super) upstream: Option<String>,
}

impl Outcome {
    fn of(does: Does) -> Outcome {
        Outcome {
            does,
            answer: None,
            reason: None,
            status: None,
            after: None,
            otherwise: None,
            wait: None,
            close: None,
            detail: None,
            upstream: None,
        }
    }

    fn refused(reason: RefusalReason, label: &'static str, status: StatusCode) -> Outcome {
        Outcome {
            answer: Some(label),
            reason: Some(reason.word()),
            status: Some(status),
            ..Outcome::of(Does::Refuses)
        }
    }

    /// Of a head that is none.
    pub(super) fn unreadable(detail: String) -> Outcome {
        let refused = Outcome::refused(RefusalReason::Framing, "refused", StatusCode::BAD_REQUEST);
        Outcome { detail: Some(detail), ..refused }
    }

    fn passes(reason: Bypass, ctx: &Context) -> Outcome {
        let otherwise = match ctx.ask_first {
            AskFirst::Sent(fallback) => Some(told_otherwise(fallback)),
            AskFirst::No | AskFirst::Discarded(_) => None,
        };
        let outcome = Outcome::of(Does::PassesThrough);
        let upstream = ctx.upstream.as_ref().map(|upstream| upstream.config().name.clone());
        Outcome { answer: Some("passthrough"), reason: Some(reason.word()), otherwise, upstream, ..outcome }
    }

    fn foreseen(foreseen: Foreseen) -> Outcome {
        let Foreseen { what, after } = foreseen;
        let outcome = match what {
            Prospect::Answer => Outcome::of(Does::Answers),
            Prospect::Stream(label) => {
                let status = if label == crate::metrics::SSE {
                    StatusCode::OK
                } else {
                    StatusCode::SWITCHING_PROTOCOLS
                };
                Outcome { answer: Some(label), status: Some(status), ..Outcome::of(Does::Streams) }
            }
            Prospect::Hold(wait, label) => {
                Outcome { answer: Some(label), wait: Some(wait), ..Outcome::of(Does::Holds) }
            }
            Prospect::Close(code, text) => Outcome {
                answer: Some(crate::metrics::WEBSOCKET),
                status: Some(StatusCode::SWITCHING_PROTOCOLS),
                close: Some(code),
                detail: Some(text.to_owned()),
                ..Outcome::of(Does::Closes)
            },
            Prospect::Helper => Outcome::of(Does::Helps),
        };
        Outcome { after: after.map(Awaited::word), ..outcome }
    }
}

/// What a request comes to by a decision. `headers`: the request's.
pub(super) fn of(decided: Result<Decision, Box<Error>>, ctx: &Context, headers: &HeaderMap) -> Outcome {
    match decided {
        Ok(Decision::Answer(answer)) => {
            let (status, label) = (Some(answer.status), Some(ctx.answer));
            Outcome { status, answer: label, ..Outcome::of(Does::Answers) }
        }
        Ok(Decision::Refuse(refusal)) => {
            let detail = Some(refusal.detail.into_owned());
            Outcome { detail, ..Outcome::refused(refusal.reason, refusal.label, refusal.status) }
        }
        Ok(Decision::RefuseForNow(now)) => {
            let (label, status) = refuse::answer_for_now(headers, &now);
            Outcome::refused(now.reason, label, status)
        }
        Ok(Decision::PassThrough(reason)) => Outcome::passes(reason, ctx),
        Ok(Decision::Foreseen(foreseen)) => Outcome::foreseen(foreseen),
        // Nothing is handed over for an explanation.
        Ok(Decision::HandOver(_) | Decision::Board(_) | Decision::Abandon) => Outcome::of(Does::Streams),
        Err(error) => {
            let status = match error.etype() {
                ErrorType::HTTPStatus(code) => StatusCode::from_u16(*code).ok(),
                _ => None,
            };
            let status = status.unwrap_or(StatusCode::BAD_REQUEST);
            Outcome::refused(RefusalReason::Error, "refused", status)
        }
    }
}

/// What is answered where the API has nothing that such a request waits for.
fn told_otherwise(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::NameTheChoices => "403 with the choices of `share`, if the API answers with a document",
        Fallback::NameTheReadings => "406 with the reason, if the API answers with a document",
        Fallback::CloseNotFound => "a WebSocket that is closed with 4404, if the API says 404 or 410",
        Fallback::OwnWebSocket => "pollcast's own WebSocket, if the API answers with a document",
        Fallback::RefuseOrigin => "403 for the Origin, unless the API accepts the WebSocket",
    }
}
