//! The held long-poll (contract §4): one answer, at a change or at the end of the wait.
//!
//! Must not know: what the connection does next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::answer;
use super::compact_instant::Moment;
use super::plain_poll::servable;
use super::repeat::Repeat;
use super::{End, Output, Step};
use crate::config::Route;
use crate::frame::State;
use crate::hub::{Closing, Delivery, View};
use crate::resource::{IfNoneMatch, ResourceKey, Version};

/// A held request.
#[derive(Debug)]
pub struct LongPoll(Held);

/// What a held request needs for its answer.
#[derive(Debug)]
pub struct Held {
    /// When it is answered at the latest.
    pub deadline: Moment,
    /// What does not change while the request is held.
    pub common: Arc<Common>,
    /// The version that the client has.
    pub have: Have,
    /// The body of the version it has was compressed.
    pub coded: bool,
    /// How long it waits, milliseconds.
    pub wait_ms: u32,
    /// The request that may come next without a new decision.
    pub repeat: Option<Repeat>,
}

/// What many held requests of one resource have in common, so that it is there once.
#[derive(Debug)]
pub struct Common {
    /// The key of the resource.
    pub key: ResourceKey,
    /// The route that covers the resource.
    pub route: Arc<Route>,
    /// Lines of the head that are made beforehand: Preference-Applied, CORS, Connection.
    pub extra: Bytes,
    /// Whether the client speaks HTTP/1.0.
    pub http10: bool,
    /// The clients take gzip, and this resource is compressed.
    pub gzip: bool,
    /// The connection serves another request; on HTTP/1.0 it ends all the same (contract §4).
    pub keep: bool,
}

impl PartialEq for Common {
    fn eq(&self, other: &Common) -> bool {
        let flags = |common: &Common| (common.http10, common.gzip, common.keep);
        self.key == other.key
            && Arc::ptr_eq(&self.route, &other.route)
            && self.extra == other.extra
            && flags(self) == flags(other)
    }
}

/// The answer that ends a wait, before it is written in the client's version of HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The status of the answer.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The word for logs and metrics.
    pub reason: &'static str,
    /// The connection serves no further request here.
    pub is_last: bool,
}

impl Answer {
    fn new(status: StatusCode, headers: HeaderMap, body: Bytes, reason: &'static str) -> Answer {
        Answer { status, headers, body, reason, is_last: false }
    }

    fn problem(status: StatusCode, reason: &'static str, detail: &str) -> Answer {
        let title = status.canonical_reason().unwrap_or("Error");
        let (headers, body) = answer::problem(status, title, detail);
        Answer::new(status, headers, body, reason)
    }
}

/// What a held client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Have {
    /// The version that a 304 would confirm.
    Version(Version),
    /// The items of a feed up to one that it named.
    Items,
}

/// How long a client is held that asked for `wait`: up to a sixteenth less, so that they do not all end at once.
/// `chance` is a random number from 0 to 1.
pub fn hold(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(1.0 - chance / 16.0)
}

impl LongPoll {
    /// A held poll that waits for a change or its deadline.
    pub fn new(held: Held) -> LongPoll {
        LongPoll(held)
    }

    /// Returns the answer that a delivery makes. `None` if it makes none.
    pub fn answer_to(&self, delivery: &Delivery, view: &View) -> Option<Answer> {
        let Held { common, have, .. } = &self.0;
        let (key, route) = (&common.key, &*common.route);
        let answer = |status, headers, body| Some(Answer::new(status, headers, body, "answered"));
        match delivery {
            Delivery::Frame(frame) => {
                let since = view.confirmed_at().map_or(Duration::ZERO, |at| at.elapsed());
                let snapshot = &frame.snapshot;
                let gzip = frame.gzip_made().filter(|_| common.gzip);
                let headers = answer::full(snapshot, key, route, view.upstream_age + since, None, gzip);
                answer(snapshot.status, headers, gzip.unwrap_or(&snapshot.body).clone())
            }
            // Chains of JSON patches are never empty, and can be joined.
            Delivery::Patches(chain) => {
                let (frame, (patch, (base, _))) =
                    view.frame.as_ref().zip(chain.joined().zip(chain.ends()))?;
                let headers = answer::patched(&frame.snapshot, key, route, base, patch.len());
                answer(StatusCode::IM_USED, headers, patch)
            }
            Delivery::Items(batch) => {
                let last = batch.items().last().map(|item| item.id.as_str());
                Some(self.items(batch.array(), last, None, "answered"))
            }
            // The client has to read the page again: the item that it named is unknown, or too far back.
            Delivery::Reset(reason) if *have == Have::Items => {
                Some(self.items(Bytes::from_static(b"[]"), None, Some(reason), "reset"))
            }
            // What follows is the answer; one answer has no room for who else waits.
            Delivery::Reset(_) | Delivery::Presence(_) => None,
            Delivery::Condition(condition) => match condition.state {
                State::Gone { status } => {
                    Some(Answer::problem(status, "gone", "the upstream says that it is gone"))
                }
                State::Fresh | State::Stale { .. } => None,
            },
            Delivery::Closing(closing) => Some(self.answer_to_end(End::Topic(*closing), Some(view))),
        }
    }

    /// Returns the answer at the end of the wait: a 304 with the client's own version, with the fields of that
    /// version's 200 if `view` still has it; on a feed an answer without items.
    pub fn answer_to_deadline(&self, view: Option<&View>) -> Answer {
        let Held { common, have, coded, .. } = &self.0;
        match have {
            Have::Version(version) => {
                let headers = answer::unchanged_in(view, *version, &common.key, &common.route, *coded);
                Answer::new(StatusCode::NOT_MODIFIED, headers, Bytes::new(), "timeout")
            }
            Have::Items => self.items(Bytes::from_static(b"[]"), None, None, "timeout"),
        }
    }

    /// What the client is told when the wait is ended.
    pub fn answer_to_end(&self, end: End, view: Option<&View>) -> Answer {
        let (status, detail) = match end {
            End::Topic(Closing::NotShareable) => {
                (StatusCode::FORBIDDEN, "the upstream's answers are one user's; the route needs `share`")
            }
            End::Topic(Closing::Credentials) => {
                (StatusCode::UNAUTHORIZED, "the upstream refuses these credentials")
            }
            End::Topic(Closing::Gone) => {
                (StatusCode::GONE, "it is gone: the upstream says so, or its route was removed")
            }
            End::Expelled(why) => why.refusal(),
            // The next request finds out more; on a drain it finds another process.
            End::Topic(_) | End::Drain { .. } | End::MaxAge => {
                let reason = end.reason();
                return Answer { reason, is_last: true, ..self.answer_to_deadline(view) };
            }
        };
        Answer::problem(status, end.reason(), detail)
    }

    fn items(&self, array: Bytes, last: Option<&str>, reset: Option<&str>, reason: &'static str) -> Answer {
        let Held { common, .. } = &self.0;
        let headers = answer::items(&common.key, &common.route, array.len(), last, reset);
        Answer::new(StatusCode::OK, headers, array, reason)
    }

    pub(super) fn repeat(&self) -> Option<&Repeat> {
        self.0.repeat.as_ref()
    }

    /// Reads what the client has from the `If-None-Match` of the same request. Returns `None` if the front has to look
    /// at it.
    pub fn has_again(&self, condition: Option<&[u8]>, view: &View) -> Option<Version> {
        let frame = servable(view)?;
        let condition = IfNoneMatch::parse([condition?])?;
        let current = frame.version();
        if condition.matches(current) {
            return Some(current);
        }
        condition.first().filter(|_| view.is_young())
    }

    /// Holds the request again, until `deadline`. `coded` says that the body it has was sent compressed.
    pub fn hold_again(&mut self, have: Version, deadline: Instant, coded: bool) {
        (self.0.have, self.0.deadline, self.0.coded) = (Have::Version(have), deadline.into(), coded);
    }

    /// Returns when a request is answered at the latest if it is held from now on.
    pub fn deadline_from(&self, now: Instant, chance: f64) -> Instant {
        now + hold(Duration::from_millis(self.0.wait_ms.into()), chance)
    }

    /// Whether the client takes gzip.
    pub fn takes_gzip(&self) -> bool {
        self.0.common.gzip
    }

    pub(super) fn deliver(&self, delivery: &Delivery, view: &View) -> Step {
        self.answer_to(delivery, view).map_or(Step::Wait, |answer| self.step(answer))
    }

    /// Returns when the wait ends without a change.
    pub fn deadline(&self) -> Instant {
        self.0.deadline.into()
    }

    pub(super) fn expired(&self, view: Option<&View>) -> Step {
        self.step(self.answer_to_deadline(view))
    }

    pub(super) fn end(&self, end: End, view: Option<&View>) -> Step {
        self.step(self.answer_to_end(end, view))
    }

    /// The answer on HTTP/1, and what becomes of the connection.
    fn step(&self, answer: Answer) -> Step {
        let Answer { status, headers, body, reason, is_last } = answer;
        let Common { extra, http10, keep, .. } = &*self.0.common;
        let head = if is_last {
            let mut extra = without_connection(extra);
            extra.extend_from_slice(b"Connection: close\r\n");
            answer::head_bytes(status, &headers, &extra, *http10)
        } else {
            answer::head_bytes(status, &headers, extra, *http10)
        };
        let output = Output::two(head.freeze(), body);
        match *keep && !http10 && !is_last {
            true => Step::GiveBack(output, reason),
            false => Step::Finish(output, reason),
        }
    }
}

/// The extra lines without a `Connection` field.
fn without_connection(extra: &[u8]) -> Vec<u8> {
    let lines = extra.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.to_ascii_lowercase().starts_with(b"connection:")).flatten().copied().collect()
}
