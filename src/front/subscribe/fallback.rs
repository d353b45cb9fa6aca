//! How far a request is that asks the API before pollcast answers (contract §1, §6, §11), and what pollcast answers then.
//!
//! Must not know: which requests ask.

/// What pollcast answers where the API's answer is not given as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Fallback {
    /// 403 that names the choices: the API answered a push form with a document.
    NameTheChoices,
    /// 406 that says why nothing is pushed: not every reading of the path leads to one route (contract §11).
    NameTheReadings,
    /// A close with 4404: there is nothing to send, and the API has no WebSocket either.
    CloseNotFound,
    /// pollcast's own WebSocket: the API has a document, and none of the subprotocols that the client offers.
    OwnWebSocket,
    /// 403 for a WebSocket of an origin that the route does not let in: the API has no WebSocket of its own.
    RefuseOrigin,
}

/// How far a request is that asks the API first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::front) enum AskFirst {
    /// It does not.
    #[default]
    No,
    /// It is on its way.
    Sent(Fallback),
    /// The API's answer was put aside: pollcast answers.
    Discarded(Fallback),
}
