//! How a request reaches a configured upstream: its servers, their health, the connections to them,
//! and the bounds of an exchange (time, bytes, framing, codings).
//!
//! `servers` chooses a server, `target` is one, `client` connects and holds one exchange, `head`, `chunks`,
//! `document` and `decode` judge what came back, `trust` reads certificates, `connection_auth` knows what binds a
//! connection to its user, `max_requests` counts what passes through, `poll_bodies` bounds what polls read, `secret`
//! reads files that others replace, `failure` says what went wrong, `new_error` why a client cannot be built. `schedule` is when to ask, `classify` what an
//! answer is. Only `client` and `servers` name
//! Pingora. Must not know: resources, versions, what counts as data, subscribers.

mod breaker;
mod budget;
mod chunks;
pub mod classify;
mod client;
pub mod connection_auth;
mod decode;
mod document;
mod failure;
pub mod fields;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod max_requests;
mod new_error;
mod poll_bodies;
pub mod schedule;
mod secret;
mod servers;
mod target;
mod trust;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub use budget::{Bucket, Common, Fetched, Gate, Held, Quotas, Scope, Share, Turn};
pub use chunks::{BadAt, Chunks};
pub use client::{
    Bond, Chosen, Client, Server, Standing, Whose, Workaround, began_no_answer, unreached, wants_credentials,
    workarounds,
};
pub use document::{Document, NoDocument};
pub use failure::{Failure, FetchError};
pub use max_requests::{InFlight, Place};
pub use new_error::NewError;
pub use poll_bodies::{BodyClaim, BodyRoom, HeldBody};
pub use secret::WatchedSecret;

/// One request to an upstream.
#[derive(Clone)]
pub struct Ask {
    /// The method of the request.
    pub method: Method,
    /// The request target as the client spelled it; must start with `/`.
    pub path_and_query: String,
    /// The Host header; it goes out first.
    pub host: String,
    /// Everything else that goes out, in this order. A `Host` in here is left out, and a body gets its
    /// Content-Length unless one is given.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of the request; empty if it has none.
    pub body: Bytes,
    /// With `connections: class`, a number that keeps the connections of its class apart from all others.
    pub class: Option<u64>,
    /// The whole exchange, connecting and decoding included; the upstream's `total_timeout` if that is less.
    pub timeout: Duration,
    /// Most bytes of the body, on the wire and again when decoded.
    pub max_body: usize,
    /// What is known about the answer: one that is no document is not read (contract §1).
    pub document: Document,
    /// Where the memory of the body is charged. `None` for what is no poll.
    pub claim: Option<Arc<BodyClaim>>,
}

/// Queries, bodies and values may be secret: none is printed.
impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let bytes = self.body.len();
        write!(f, "{} {path} of {} with {}, {bytes} bytes", self.method, self.host, names.join(", "))
    }
}

/// A poll's place in the upstream's budget (contract §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority {
    /// The share of the budget that the request takes.
    pub class: Class,
    /// Its share among the polls of its class, at least 1.
    pub weight: u32,
    /// It never waits longer than this for its turn; `None` if it waits as long as it takes.
    pub patience: Option<Duration>,
}

impl Priority {
    /// Returns the weight of a poll: it grows with the followers, and is doubled if the resource changes often.
    pub fn weigh(followers: usize, changes: bool) -> u32 {
        let weight = 1 + (followers as u64 + 1).ilog2();
        if changes { 2 * weight } else { weight }
    }
}

/// The classes of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A request waits for it: cold, after a write, to confirm.
    Interactive,
    /// The schedule wants it, and the resource has followers.
    Scheduled,
    /// No client follows: lingering, `always`, pages and catch-ups.
    Refresh,
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of the answer.
    pub status: StatusCode,
    /// The words behind the status, where they are not the usual ones.
    pub phrase: Option<Box<str>>,
    /// As received: Content-Encoding and Content-Length speak of the wire, not of `body`.
    pub headers: HeaderMap,
    /// Content without its codings.
    pub body: Bytes,
    /// The body ended with the connection, so it cannot be told whether it is whole.
    pub close_delimited: bool,
    /// Bytes of the final head (HTTP/2: of its names and values).
    pub head_bytes: usize,
    /// Bytes of the body before decoding, without chunk framing.
    pub body_bytes: usize,
    /// The time from the call to the decoded body.
    pub elapsed: Duration,
    /// The room that the body takes among those of polls in progress.
    pub held: Option<Arc<HeldBody>>,
}
