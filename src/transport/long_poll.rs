//! The held long-poll (contract §4): one answer, at a change or at the end of the wait.
//!
//! Must not know: what the connection does next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;

use super::answer;
use super::compact_instant::Moment;
use super::plain_poll::servable;
use super::repeat::Repeat;
use super::{End, Expulsion, Output, Step};
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
    /// What its next request may be without a new decision.
    pub repeat: Option<Repeat>,
}

/// What many held requests of one resource have in common, so that it is there once.
#[derive(Debug)]
pub struct Common {
    /// The key of the resource.
    pub key: ResourceKey,
    /// The route that covers the resource.
    pub route: Arc<Route>,
    /// Ready-made lines: Preference-Applied, CORS, Connection.
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

/// What a held client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Have {
    /// This version, as its own 304 will say.
    Version(Version),
    /// Items of a feed up to one it named.
    Items,
}

/// How long a client is held that asked for `wait`: up to a sixteenth less, so that they do not all end at
/// once. `chance`: from 0 to 1.
pub fn hold(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(1.0 - chance / 16.0)
}

impl LongPoll {
    /// A held poll that waits for a change or its deadline.
    pub fn new(held: Held) -> LongPoll {
        LongPoll(held)
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery, view: &View) -> Step {
        let held = &self.0;
        match delivery {
            Delivery::Frame(frame) => {
                let since = view.confirmed_at.map_or(Duration::ZERO, |at| at.elapsed());
                let age = view.upstream_age + since;
                let snapshot = &frame.snapshot;
                let gzip = frame.gzip_made().filter(|_| held.common.gzip);
                let headers = answer::full(snapshot, &held.common.key, &held.common.route, age, None, gzip);
                let head =
                    answer::head_bytes(snapshot.status, &headers, &held.common.extra, held.common.http10);
                let body = gzip.unwrap_or(&snapshot.body).clone();
                self.answer(Output::two(head.freeze(), body), "answered")
            }
            Delivery::Patches(chain) => match (&view.frame, chain.joined().zip(chain.ends())) {
                (Some(frame), Some((patch, (base, _)))) => {
                    let headers = answer::patched(
                        &frame.snapshot,
                        &held.common.key,
                        &held.common.route,
                        base,
                        patch.len(),
                    );
                    let head = answer::head_bytes(
                        StatusCode::IM_USED,
                        &headers,
                        &held.common.extra,
                        held.common.http10,
                    );
                    self.answer(Output::two(head.freeze(), patch), "answered")
                }
                // Chains of JSON patches are never empty, and can be joined.
                _ => Step::Wait,
            },
            Delivery::Items(batch) => {
                self.items(batch.array(), batch.items().last().map(|item| item.id.as_str()), None, "answered")
            }
            // It has to read the page again: what it named is nowhere, or too far back.
            Delivery::Reset(reason) if held.have == Have::Items => {
                self.items(Bytes::from_static(b"[]"), None, Some(reason), "reset")
            }
            // What follows is the answer.
            Delivery::Reset(_) => Step::Wait,
            Delivery::Condition(condition) => match condition.state {
                State::Gone { status } => self.problem(status, "gone", "the upstream says that it is gone"),
                State::Fresh | State::Stale { .. } => Step::Wait,
            },
            Delivery::Closing(closing) => self.end(End::Topic(*closing), Some(view)),
        }
    }

    pub(super) fn repeat(&self) -> Option<&Repeat> {
        self.0.repeat.as_ref()
    }

    /// The same request again: what `If-None-Match` says that the client has. Returns `None` if the front has to look
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

    /// It is held again, until `deadline`. `coded`: the body of what it has was sent compressed.
    pub fn hold_again(&mut self, have: Version, deadline: Instant, coded: bool) {
        (self.0.have, self.0.deadline, self.0.coded) = (Have::Version(have), deadline.into(), coded);
    }

    /// When it is answered at the latest if it is held from now on.
    pub fn deadline_from(&self, now: Instant, chance: f64) -> Instant {
        now + hold(Duration::from_millis(self.0.wait_ms.into()), chance)
    }

    /// Whether the client takes gzip.
    pub fn takes_gzip(&self) -> bool {
        self.0.common.gzip
    }

    fn items(&self, array: Bytes, last: Option<&str>, reset: Option<&str>, reason: &'static str) -> Step {
        let held = &self.0;
        let headers = answer::items(&held.common.key, &held.common.route, array.len(), last, reset);
        let head = answer::head_bytes(StatusCode::OK, &headers, &held.common.extra, held.common.http10);
        self.answer(Output::two(head.freeze(), array), reason)
    }

    fn answer(&self, output: Output, reason: &'static str) -> Step {
        let common = &self.0.common;
        if common.keep && !common.http10 {
            Step::GiveBack(output, reason)
        } else {
            Step::Finish(output, reason)
        }
    }

    fn problem(&self, status: StatusCode, reason: &'static str, detail: &str) -> Step {
        let title = status.canonical_reason().unwrap_or("Error");
        let (headers, body) = answer::problem(status, title, detail);
        let head = answer::head_bytes(status, &headers, &self.0.common.extra, self.0.common.http10);
        self.answer(Output::two(head.freeze(), body), reason)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.0.deadline.into())
    }

    pub(super) fn expired(&mut self, view: Option<&View>) -> Step {
        match self.0.have {
            Have::Version(version) => {
                self.answer(self.not_modified(version, &self.0.common.extra, view), "timeout")
            }
            Have::Items => self.items(Bytes::from_static(b"[]"), None, None, "timeout"),
        }
    }

    /// A 304 with the client's own version: nothing newer is known. It says what the 200 of that version would, if
    /// `view` still has it.
    fn not_modified(&self, version: Version, extra: &[u8], view: Option<&View>) -> Output {
        let held = &self.0;
        let headers = answer::unchanged_in(view, version, &held.common.key, &held.common.route, held.coded);
        let head = answer::head_bytes(StatusCode::NOT_MODIFIED, &headers, extra, held.common.http10);
        Output::one(head.freeze())
    }

    pub(super) fn end(&mut self, end: End, view: Option<&View>) -> Step {
        match end {
            End::Topic(Closing::NotShareable) => {
                let detail = "the upstream's answers are one user's; the route needs `share`";
                self.problem(StatusCode::FORBIDDEN, end.reason(), detail)
            }
            End::Topic(Closing::Credentials) => {
                let detail = "the upstream refuses these credentials";
                self.problem(StatusCode::UNAUTHORIZED, end.reason(), detail)
            }
            End::Expelled(Expulsion::Expired | Expulsion::Revoked) => {
                let detail = "what let this client in is no longer good";
                self.problem(StatusCode::UNAUTHORIZED, end.reason(), detail)
            }
            End::Expelled(Expulsion::Forbidden) => {
                let detail = "the upstream gives this client something else now";
                self.problem(StatusCode::FORBIDDEN, end.reason(), detail)
            }
            End::Topic(Closing::Gone) => {
                self.problem(StatusCode::GONE, end.reason(), "the upstream says that it is gone")
            }
            // The next request finds out more; on a drain it finds another process.
            End::Topic(_) | End::Drain { .. } | End::MaxAge => {
                let mut extra = without_connection(&self.0.common.extra);
                extra.extend_from_slice(b"Connection: close\r\n");
                let output = match self.0.have {
                    Have::Version(version) => self.not_modified(version, &extra, view),
                    Have::Items => {
                        let headers = answer::items(&self.0.common.key, &self.0.common.route, 2, None, None);
                        let head = answer::head_bytes(StatusCode::OK, &headers, &extra, self.0.common.http10);
                        Output::two(head.freeze(), Bytes::from_static(b"[]"))
                    }
                };
                Step::Finish(output, end.reason())
            }
        }
    }
}

/// The extra lines without a `Connection` field.
fn without_connection(extra: &[u8]) -> Vec<u8> {
    let lines = extra.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.to_ascii_lowercase().starts_with(b"connection:")).flatten().copied().collect()
}
