//! Why a request passes through to the upstream: one closed set for `detail` of Cache-Status, for the access log
//! and for the label `reason` of `pollcast_requests_total`.
//!
//! Must not know: how any of it is found out.

/// Why a request passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// No route covers its path. It is not told so in Cache-Status: nothing here has to do with it.
    Uncovered,
    /// Servers read its path in several ways, and not all of them lead to one route (contract §11).
    Path,
    /// It has more query parameters than a key may have (`limits.query_parameters`).
    QueryParameters,
    /// The route says `poll: off`.
    PollOff,
    /// It is neither GET nor HEAD.
    Method,
    /// It has a body.
    Body,
    /// The route leaves ordinary polls to the API (`plain: pass`).
    Plain,
    /// It wants a part of the body (`Range`).
    Range,
    /// It wants the state only if that is the one it names (`If-Match`, `If-Unmodified-Since`).
    Condition,
    /// The route does not allow the transport that it asks for.
    Transport,
    /// The WebSocket is one of the API's own (contract §1).
    WebSocket,
    /// It carries credentials, and the route does not say which clients may share its answers.
    Credentials,
    /// The class that it belongs to cannot be told.
    Class,
    /// It has a header whose meaning is not known (contract §11).
    Header,
    /// It asks for a list that is polled by a cursor, so that no snapshot is the whole of it.
    Cursor,
    /// Its Accept does not admit what is known, or prefers something else.
    Accept,
    /// It asks for a state without asking for the body, and no snapshot is young.
    Head,
    /// The answer depends on more header fields with every poll, or on one that no poll can say.
    Vary,
    /// The answer says that it is for one client alone.
    NotShareable,
    /// The answer cannot be a snapshot (contract §1).
    Uncoverable,
    /// The upstream's 404 or 410 lasted for `gone_after`.
    Gone,
    /// Its user was not there for `max_session_polls`.
    SessionIdle,
    /// A limit of resources leaves no room for its own.
    Limit,
    /// The poll loop ended while the request waited for it.
    Ended,
    /// On `share: authorize` its own credentials are not given what is shared.
    Unauthorized,
    /// The upstream's own quota allows no poll now, and nothing is known.
    Quota,
    /// Its client seems to expect the API's own wait (contract §3).
    Pace,
    /// The answers of this route were all for one client alone of late.
    Unshared,
    /// It is a push form whose client is only known to the API (contract §11).
    AskFirst,
}

impl Bypass {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Bypass::Uncovered => "uncovered",
            Bypass::Path => "path",
            Bypass::QueryParameters => "query-parameters",
            Bypass::PollOff => "poll-off",
            Bypass::Method => "method",
            Bypass::Body => "body",
            Bypass::Plain => "plain",
            Bypass::Range => "range",
            Bypass::Condition => "condition",
            Bypass::Transport => "transport",
            Bypass::WebSocket => "websocket",
            Bypass::Credentials => "credentials",
            Bypass::Class => "class",
            Bypass::Header => "header",
            Bypass::Cursor => "cursor",
            Bypass::Accept => "accept",
            Bypass::Head => "head",
            Bypass::Vary => "vary",
            Bypass::NotShareable => "not-shareable",
            Bypass::Uncoverable => "uncoverable",
            Bypass::Gone => "gone",
            Bypass::SessionIdle => "session-idle",
            Bypass::Limit => "limit",
            Bypass::Ended => "ended",
            Bypass::Unauthorized => "unauthorized",
            Bypass::Quota => "quota",
            Bypass::Pace => "pace",
            Bypass::Unshared => "unshared",
            Bypass::AskFirst => "ask-first",
        }
    }
}
