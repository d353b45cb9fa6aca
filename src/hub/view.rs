//! What a follower may see of a topic: the latest content, how the resource is doing, how the last
//! poll ended. Replaced as a whole.
//!
//! Must not know: its readers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::later::LaterConfirmation;
use crate::config::Order;
use crate::frame::{Condition, Frame, State};
use crate::upstream::schedule::Why;

/// Why a topic ends all its subscriptions. `reason()` is the word on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The answer is one user's (contract §11).
    NotShareable,
    /// The upstream refuses the class's credentials.
    Credentials,
    /// The upstream rotated the class's own cookie.
    SessionRotated,
    /// The user was away for longer than `max_session_polls`: polls must not keep a session alive.
    SessionIdle,
    /// Gone for longer than `gone_after`, or of a route that a reload has removed.
    Gone,
    /// Its first snapshot found no room (`limits.snapshot_bytes`, `limits.snapshot_bytes_per_address`).
    NoRoom,
    /// A reload has made another resource of it.
    Reconfigured,
    /// An operator has switched its route off: the client comes back to the API itself.
    SwitchedOff,
    /// The poll loop ended unexpectedly; a reconnect starts a new one.
    Internal,
}

impl Closing {
    /// The word that clients and metrics get for it.
    pub fn reason(self) -> &'static str {
        match self {
            Closing::NotShareable => "not-shareable",
            Closing::Credentials => "credentials",
            Closing::SessionRotated => "session-rotated",
            Closing::SessionIdle => "session-idle",
            Closing::Gone => "gone",
            Closing::NoRoom => "snapshot-bytes",
            Closing::Reconfigured => "reconfigured",
            Closing::SwitchedOff => "switched-off",
            Closing::Internal => "internal",
        }
    }
}

/// A poll that gave no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Short class, also the metric's label: `connect`, `first-byte-timeout`, `status`, ….
    pub class: &'static str,
    /// The status of the answer; `None` if there was no answer.
    pub status: Option<StatusCode>,
    /// The whole story, naming upstream and server.
    pub reason: String,
}

impl Failure {
    /// Whether the upstream was too slow rather than wrong: 504 instead of 502.
    pub fn is_timeout(&self) -> bool {
        self.class.ends_with("timeout")
    }
}

/// An upstream answer that is passed on as it came, never published (contract §3).
#[derive(Debug, Clone)]
pub struct Relayed {
    /// The status of the upstream's answer.
    pub status: StatusCode,
    /// The words behind the status, where they are not the usual ones.
    pub phrase: Option<Box<str>>,
    /// The fields of the answer that are passed on.
    pub headers: HeaderMap,
    /// The body of the answer, decoded.
    pub body: Bytes,
    /// What it depends on of a request, besides the key's other parts.
    pub vary: Vec<HeaderName>,
    /// What the poll said in the fields that the answer's `Vary` names.
    pub said: Vec<(HeaderName, Option<HeaderValue>)>,
    /// The clients that may have the answer.
    pub audience: Audience,
    /// What is wrong with the answer: the last good state is preferred to it while that is good enough. `None` for the
    /// answer of an upstream that is well, which counts at once.
    pub failure: Option<Failure>,
    /// The upstream asked not to be asked before then.
    pub not_before: Option<Instant>,
}

/// The requests that may be given an answer that is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// All clients that ask for the resource.
    All,
    /// The clients that asked for a push form; an ordinary request asks for itself.
    Push,
    /// The one request that caused the poll (see [`Claim`](super::Claim)); others ask for themselves.
    Cause,
    /// `None` if each asks for itself.
    Nobody,
}

/// How the last poll ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// No poll has ended yet.
    Cold,
    /// The poll brought a state.
    Data,
    /// The poll brought an answer that is relayed as it came.
    Relay(Arc<Relayed>),
    /// The poll failed, and there is nothing to relay.
    Failed(Arc<Failure>),
}

/// How long an answer that is passed on is remembered at most.
const REMEMBERED_TIME_MAX: Duration = Duration::from_secs(5);

/// Everything a follower may see, replaced as a whole by the publisher.
#[derive(Debug, Clone)]
pub struct View {
    /// The last state, encoded.
    pub frame: Option<Arc<Frame>>,
    /// The condition of the resource: fresh, stale or gone.
    pub condition: Arc<Condition>,
    /// Number of the last poll that ended.
    pub ended: u64,
    /// Number of the last poll that gave or confirmed data.
    pub confirmed: u64,
    /// How many look-ups of what clients named have ended (contract §13).
    pub look_ups: u64,
    /// Number of the newest poll that knows of all writes before it: the view has their effect, or polls looked for one
    /// long enough (contract §9).
    pub settled: u64,
    /// When the last poll that replaced the view gave or confirmed data.
    pub(super) confirmed_at: Option<Instant>,
    /// Where other nodes publish, too: later confirmations of the same content.
    pub(super) later: Option<Arc<LaterConfirmation>>,
    /// When the content last changed.
    pub changed_at: Option<std::time::Instant>,
    /// When the last poll ended.
    pub ended_at: Option<Instant>,
    /// The upstream's own Age at that time.
    pub upstream_age: Duration,
    /// What the last poll brought.
    pub outcome: Outcome,
    /// Whether the upstream has answered with something else than the content: then ordinary polls do not get that
    /// content any more, even if polls fail later.
    pub withdrawn: bool,
    /// When the next poll is due, as far as is known.
    pub(super) next_poll: Option<Instant>,
    /// A snapshot younger than this is a hit for ordinary polls.
    pub effective_interval: Duration,
    /// Why the next poll comes when it comes.
    pub why: Why,
    /// On a feed: the order of the upstream's list, as far as it is known.
    pub order: Option<Order>,
    /// Why the resource has ended, if it has.
    pub closing: Option<Closing>,
}

impl View {
    /// Before the first poll.
    pub(super) fn cold(effective_interval: Duration) -> View {
        View {
            frame: None,
            condition: Arc::new(Condition::new(0, State::Fresh)),
            ended: 0,
            confirmed: 0,
            look_ups: 0,
            settled: 0,
            confirmed_at: None,
            later: None,
            changed_at: None,
            ended_at: None,
            upstream_age: Duration::ZERO,
            outcome: Outcome::Cold,
            withdrawn: false,
            next_poll: None,
            effective_interval,
            why: Why::Interval,
            order: None,
            closing: None,
        }
    }

    /// When the last poll gave or confirmed data, on whichever node.
    pub fn confirmed_at(&self) -> Option<Instant> {
        self.confirmed_at.max(self.later_at())
    }

    /// When the next poll is due, as far as is known.
    pub fn next_poll(&self) -> Option<Instant> {
        let is_due_by_interval = matches!(self.outcome, Outcome::Data);
        let later = self.later_at().filter(|at| is_due_by_interval && Some(*at) > self.confirmed_at);
        later.map(|at| at + self.effective_interval).max(self.next_poll)
    }

    /// When a content was last confirmed without another view: this one, or one before it.
    fn later_at(&self) -> Option<Instant> {
        self.later.as_ref()?.at()
    }

    /// Whether the state is young enough for an ordinary poll, or as a push client's first state.
    pub fn is_young(&self) -> bool {
        matches!(self.outcome, Outcome::Data)
            && self.closing.is_none()
            && self.confirmed_at().is_some_and(|at| at.elapsed() < self.effective_interval)
    }

    /// Whether the upstream asked not to be asked for a while that is not over: a request then has no poll to wait for.
    pub fn rests(&self) -> bool {
        matches!(self.outcome, Outcome::Relay(_) | Outcome::Failed(_))
            && self.why == Why::RetryAfter
            && self.next_poll.is_some_and(|at| Instant::now() < at)
    }

    /// Until when a failure, or an answer that is passed on, is remembered, its `Retry-After` included: a waiting
    /// request is answered with it and not with a new poll (contract §3). After that a request may ask again
    /// whatever the backoff, which is for scheduled polls: a covered URL never works worse than an
    /// uncovered one. `interval`: the route's. Returns `None` if there is nothing of the kind.
    pub fn remembered_until(&self, interval: Duration) -> Option<Instant> {
        let not_before = match &self.outcome {
            Outcome::Relay(relayed) => relayed.not_before,
            Outcome::Failed(_) => None,
            Outcome::Cold | Outcome::Data => return None,
        };
        let usual = self.ended_at? + interval.min(REMEMBERED_TIME_MAX);
        Some(not_before.map_or(usual, |not_before| not_before.max(usual)))
    }

    /// The answer of the last poll, if it was no data, from an upstream that is well: what an ordinary poll gets
    /// now, whatever state there was before.
    pub fn answered(&self) -> Option<&Arc<Relayed>> {
        match &self.outcome {
            Outcome::Relay(relayed) if relayed.failure.is_none() => Some(relayed),
            _ => None,
        }
    }

    /// Whether a follower of `self` may have something to be told by `next`. `awaited` is the newest poll that a
    /// follower waits for.
    pub(super) fn differs(&self, next: &View, awaited: u64) -> bool {
        let seq = |view: &View| view.frame.as_ref().map(|frame| frame.seq);
        seq(self) != seq(next)
            || self.condition.seq != next.condition.seq
            || self.closing != next.closing
            || self.look_ups != next.look_ups
            || (self.confirmed < awaited && self.confirmed < next.confirmed)
    }
}
