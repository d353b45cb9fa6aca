//! Why a request passes through to the upstream: one closed set for `detail` of Cache-Status, for the access log
//! and for the label `reason` of `pollcast_requests_total`.
//!
//! Must not know: how any of it is found out.

use super::make::words;

words! {
    /// Why a request passes through.
    Bypass {
        /// No route covers its path. It is not told so in Cache-Status: nothing here has to do with it.
        Uncovered = "uncovered",
        /// Servers read its path in several ways, and not all of them lead to one route (contract §11).
        Path = "path",
        /// It has more query parameters than a key may have (`limits.query_parameters`).
        QueryParameters = "query-parameters",
        /// The route says `poll: off`.
        PollOff = "poll-off",
        /// An operator has switched the route off until the next reload.
        SwitchedOff = "switched-off",
        /// It is neither GET nor HEAD.
        Method = "method",
        /// It has a body.
        Body = "body",
        /// The route leaves ordinary polls to the API (`plain: pass`).
        Plain = "plain",
        /// It wants a part of the body (`Range`).
        Range = "range",
        /// It wants the state only if that is the one it names (`If-Match`, `If-Unmodified-Since`).
        Condition = "condition",
        /// The route does not allow the transport that it asks for.
        Transport = "transport",
        /// The WebSocket is one of the API's own (contract §1).
        WebSocket = "websocket",
        /// It carries credentials, and the route does not say which clients may share its answers.
        Credentials = "credentials",
        /// The class that it belongs to cannot be told.
        Class = "class",
        /// It has a header whose meaning is not known (contract §11).
        Header = "header",
        /// It asks for a list that is polled by a cursor, so that no snapshot is the whole of it.
        Cursor = "cursor",
        /// Its Accept does not admit what is known, or prefers something else.
        Accept = "accept",
        /// It asks for a state without asking for the body, and no snapshot is young.
        Head = "head",
        /// The answer depends on more header fields with every poll, or on one that no poll can say.
        Vary = "vary",
        /// The answer says that it is for one client alone.
        NotShareable = "not-shareable",
        /// The answer cannot be a snapshot (contract §1).
        Uncoverable = "uncoverable",
        /// The upstream's 404 or 410 lasted for `gone_after`.
        Gone = "gone",
        /// Its user was not there for `max_session_polls`.
        SessionIdle = "session-idle",
        /// A limit of resources leaves no room for its own.
        Limit = "limit",
        /// The poll loop ended while the request waited for it.
        Ended = "ended",
        /// On `share: authorize` its own credentials are not given what is shared.
        Unauthorized = "unauthorized",
        /// The upstream's own quota allows no poll now, and nothing is known.
        Quota = "quota",
        /// Its client seems to expect the API's own wait (contract §3).
        Pace = "pace",
        /// The answers of this route were all for one client alone of late.
        Unshared = "unshared",
        /// It is a push form whose client is only known to the API (contract §11).
        AskFirst = "ask-first",
        /// It names a state that no node of the cluster knows and that no poll could confirm (contract §13).
        UnknownVersion = "unknown-version",
    }
}
