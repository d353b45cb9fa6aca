//! What becomes of a request, as data: handlers decide, and `act` does it.
//!
//! Must not know: sessions, how anything of it is written.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::config::Route;
use crate::fanout::{ClientPermit, Following, Messages};
use crate::metrics::{Bypass, RefusalReason};
use crate::transport::{Expulsion, Transport};

/// What becomes of a request.
pub(in crate::front) enum Decision {
    /// pollcast answers.
    Answer(Answer),
    /// pollcast refuses, with a problem document.
    Refuse(Box<Refusal>),
    /// pollcast refuses a client for now: overload or a limit.
    RefuseForNow(Box<ForNow>),
    /// The connection leaves Pingora for a shard.
    HandOver(Box<Departure>),
    /// The stream of HTTP/2 leaves its request's task for its connection's.
    Board(Box<Boarding>),
    /// The API answers.
    PassThrough(Bypass),
    /// The client has gone: nothing is left to do.
    Abandon,
    /// Nothing is done, as the request is only explained: what would be done next.
    Foreseen(Foreseen),
}

/// What would be done next for a request that is only explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) struct Foreseen {
    pub(in crate::front) what: Prospect,
    /// What it waits for before that. If it comes out otherwise, so does the answer.
    pub(in crate::front) after: Option<Awaited>,
}

/// What a request gets at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Prospect {
    /// An answer.
    Answer,
    /// A connection that is followed on, by this label of metrics.
    Stream(&'static str),
    /// It is held for this long at most, and counted under this label.
    Hold(Duration, &'static str),
    /// A WebSocket that is closed at once, with this code and this text.
    Close(u16, &'static str),
    /// One of pollcast's own helpers, which has its own answers for each resource that it is asked for.
    Helper,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Awaited {
    /// A poll of the resource.
    Poll,
    /// A poll that knows of a write (contract §9).
    Write,
    /// A poll that confirms what is held, since the client names a state that is not known here (contract §2).
    Confirmation,
    /// What the API gives the client's own credentials (`share: authorize`).
    Check,
    /// What another server says about the client, or the keys of its token (`authenticate`).
    Identity,
}

impl Awaited {
    /// The word for it.
    pub(in crate::front) fn word(self) -> &'static str {
        match self {
            Awaited::Poll => "poll",
            Awaited::Write => "write",
            Awaited::Confirmation => "confirmation",
            Awaited::Check => "check",
            Awaited::Identity => "identity",
        }
    }
}

/// A whole answer. HEAD, 204 and 304 have no body, whatever is given.
pub(in crate::front) struct Answer {
    pub(in crate::front) status: StatusCode,
    /// Other words behind the status than the usual ones.
    pub(in crate::front) phrase: Option<Box<str>>,
    pub(in crate::front) headers: HeaderMap,
    pub(in crate::front) body: Bytes,
}

/// Why a request is refused, in words for the client.
pub(in crate::front) struct Refusal {
    /// The same for metrics and the access log.
    pub(in crate::front) reason: RefusalReason,
    pub(in crate::front) status: StatusCode,
    pub(in crate::front) detail: Cow<'static, str>,
    /// More fields than a problem document has.
    pub(in crate::front) headers: HeaderMap,
    /// What becomes of the connection.
    pub(in crate::front) afterwards: Afterwards,
    /// How the request was answered, as metrics say it.
    pub(in crate::front) label: &'static str,
}

/// What becomes of a connection of HTTP/1 after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Afterwards {
    /// It serves another request, if its client wants that.
    Usual,
    /// It ends.
    Last,
    /// It ends at once: what follows on it cannot be trusted.
    Shutdown,
    /// It serves another request although an answer of the API's was not read to its end.
    GoesOn,
}

/// A refusal of a push client that may come again.
pub(in crate::front) struct ForNow {
    /// `None` for a client of many that names no covered route.
    pub(in crate::front) route: Option<Arc<Route>>,
    /// The client asks for an event stream: it may be one that a status ends for good.
    pub(in crate::front) event_stream: bool,
    /// The limit, as metrics say it.
    pub(in crate::front) reason: RefusalReason,
    /// The limit was counted when it bit.
    pub(in crate::front) is_counted: bool,
}

/// A connection that is about to leave Pingora, and what it becomes.
pub(in crate::front) struct Departure {
    pub(in crate::front) shard: u16,
    pub(in crate::front) greeting: Bytes,
    pub(in crate::front) transport: Transport,
    pub(in crate::front) following: Following,
    pub(in crate::front) permit: Option<ClientPermit>,
    pub(in crate::front) messages: Option<Messages>,
    /// The status of a whole answer that the greeting is: the request counts as that.
    pub(in crate::front) answered: Option<StatusCode>,
}

/// A stream of HTTP/2 that is about to leave its request's task.
pub(in crate::front) struct Boarding {
    /// Of the head of the stream; of a held long-poll the fields of its answer that are this client's alone.
    pub(in crate::front) headers: HeaderMap,
    pub(in crate::front) opening: Bytes,
    pub(in crate::front) transport: Transport,
    pub(in crate::front) following: Following,
    pub(in crate::front) permit: ClientPermit,
}

impl Decision {
    /// An answer with this head and body.
    pub(in crate::front) fn answer(status: StatusCode, headers: HeaderMap, body: Bytes) -> Decision {
        Decision::Answer(Answer { status, phrase: None, headers, body })
    }

    /// What is foreseen of a request that is only explained.
    pub(in crate::front) fn foreseen(what: Prospect, after: Option<Awaited>) -> Decision {
        Decision::Foreseen(Foreseen { what, after })
    }

    /// A refusal with a problem document.
    pub(in crate::front) fn refuse(
        reason: RefusalReason,
        status: StatusCode,
        detail: impl Into<Cow<'static, str>>,
    ) -> Decision {
        Refusal::of(reason, status, detail).decision()
    }

    /// A refusal of a client that was let in and may not stay: nothing of the resource.
    pub(in crate::front) fn expel(why: Expulsion) -> Decision {
        let (status, detail) = why.refusal();
        let reason = match why {
            Expulsion::Expired => RefusalReason::Expired,
            Expulsion::Revoked => RefusalReason::Revoked,
            Expulsion::Forbidden => RefusalReason::Forbidden,
        };
        Decision::refuse(reason, status, detail)
    }

    /// A refusal for now by a limit that is counted here.
    pub(in crate::front) fn refuse_for_now(
        route: Option<Arc<Route>>,
        event_stream: bool,
        reason: RefusalReason,
    ) -> Decision {
        Decision::RefuseForNow(Box::new(ForNow { route, event_stream, reason, is_counted: false }))
    }

    /// A refusal for now by a limit that was counted when it bit.
    pub(in crate::front) fn refuse_counted(
        route: Option<Arc<Route>>,
        event_stream: bool,
        reason: RefusalReason,
    ) -> Decision {
        Decision::RefuseForNow(Box::new(ForNow { route, event_stream, reason, is_counted: true }))
    }
}

impl Refusal {
    /// A refusal with these words.
    pub(in crate::front) fn of(
        reason: RefusalReason,
        status: StatusCode,
        detail: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        let (headers, detail) = (HeaderMap::new(), detail.into());
        Refusal { reason, status, detail, headers, afterwards: Afterwards::Usual, label: "refused" }
    }

    /// A refusal of a request that may come again, which says when.
    pub(in crate::front) fn later(
        reason: RefusalReason,
        status: StatusCode,
        detail: impl Into<Cow<'static, str>>,
        retry: Duration,
    ) -> Refusal {
        let mut more = HeaderMap::new();
        more.insert(header::RETRY_AFTER, HeaderValue::from(retry.as_secs().max(1)));
        Refusal::of(reason, status, detail).with(more)
    }

    /// With more fields.
    pub(in crate::front) fn with(self, headers: HeaderMap) -> Refusal {
        Refusal { headers, ..self }
    }

    /// With this end of the connection.
    pub(in crate::front) fn and_then(self, afterwards: Afterwards) -> Refusal {
        Refusal { afterwards, ..self }
    }

    /// As a decision.
    pub(in crate::front) fn decision(self) -> Decision {
        Decision::Refuse(Box::new(self))
    }
}
