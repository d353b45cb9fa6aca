//! Why a connection ends, and whether its client is to come back.
//!
//! Must not know: how a protocol says it.

use std::time::Duration;

use http::StatusCode;

use crate::hub::Closing;

/// Why the fan-out ends a connection that its topic did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its topic closed.
    Topic(Closing),
    /// The process stops; `retry` spreads the reconnects.
    Drain {
        /// The client waits this long before it comes back.
        retry: Duration,
    },
    /// It has lasted for the route's `max_age`; the client is to come back at once, perhaps elsewhere.
    MaxAge,
    /// The proof by which the client was let in counts no longer.
    Expelled(Expulsion),
}

impl End {
    /// Returns the word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            End::Topic(closing) => closing.reason(),
            End::Drain { .. } => "drain",
            End::MaxAge => "max-age",
            End::Expelled(why) => why.reason(),
        }
    }

    /// Whether the client would be served if it came back.
    pub fn reconnect(self) -> bool {
        !matches!(
            self,
            End::Topic(Closing::NotShareable | Closing::Gone | Closing::SessionIdle)
                | End::Expelled(Expulsion::Revoked | Expulsion::Forbidden)
        )
    }
}

/// Why a client that was let in may not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expulsion {
    /// Its token or the like has run out.
    Expired,
    /// An operator ended all its subject's streams.
    Revoked,
    /// The upstream gives it something else now.
    Forbidden,
}

impl Expulsion {
    /// The status and the words of an answer that says it.
    pub fn refusal(self) -> (StatusCode, &'static str) {
        match self {
            Expulsion::Forbidden => {
                (StatusCode::FORBIDDEN, "the upstream gives this client something else now")
            }
            Expulsion::Expired | Expulsion::Revoked => {
                (StatusCode::UNAUTHORIZED, "what let this client in is no longer good")
            }
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Expulsion::Expired => "expired",
            Expulsion::Revoked => "revoked",
            Expulsion::Forbidden => "forbidden",
        }
    }
}
