//! The held long-poll (contract §4): one answer, at a change or at the end of the wait.
//!
//! Must not know: what the connection does next.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;

use super::answer;
use super::{End, Output, Step};
use crate::config::Route;
use crate::frame::State;
use crate::hub::{Closing, Delivery, View};
use crate::resource::{ResourceKey, Version};

/// A held request. Boxed: it is larger than what the other protocols need.
#[derive(Debug)]
pub struct LongPoll(Box<Held>);

/// What a held request needs for its answer.
#[derive(Debug)]
pub struct Held {
    /// When it is answered at the latest.
    pub deadline: Instant,
    pub key: ResourceKey,
    pub route: std::sync::Arc<Route>,
    /// The version the client has, as its own 304 will say.
    pub version: Version,
    /// Ready-made lines of this client alone: Preference-Applied, CORS, Connection.
    pub extra: Bytes,
    pub http10: bool,
    /// The connection serves another request; on HTTP/1.0 it ends all the same (contract §4).
    pub keep: bool,
}

impl LongPoll {
    pub fn new(held: Held) -> LongPoll {
        LongPoll(Box::new(Held { keep: held.keep && !held.http10, ..held }))
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery, view: &View) -> Step {
        let held = &self.0;
        match delivery {
            Delivery::Frame(frame) => {
                let since = view.confirmed_at.map_or(Duration::ZERO, |at| at.elapsed());
                let age = view.upstream_age + since;
                let snapshot = &frame.snapshot;
                let headers = answer::full(snapshot, &held.key, &held.route, age, None);
                let head = answer::head_bytes(snapshot.status, &headers, &held.extra, held.http10);
                self.answer(Output::two(head.freeze(), snapshot.body.clone()), "answered")
            }
            Delivery::Patches(chain) => match (&view.frame, chain.joined().zip(chain.ends())) {
                (Some(frame), Some((patch, (base, _)))) => {
                    let headers = answer::patched(&frame.snapshot, &held.key, &held.route, base, patch.len());
                    let head = answer::head_bytes(StatusCode::IM_USED, &headers, &held.extra, held.http10);
                    self.answer(Output::two(head.freeze(), patch), "answered")
                }
                // Chains of JSON patches are never empty, and can be joined.
                _ => Step::Wait,
            },
            Delivery::Items(batch) => {
                let array = batch.array();
                let headers = answer::items(&held.key, &held.route, array.len());
                let head = answer::head_bytes(StatusCode::OK, &headers, &held.extra, held.http10);
                self.answer(Output::two(head.freeze(), array), "answered")
            }
            // What follows is the answer.
            Delivery::Reset(_) => Step::Wait,
            Delivery::Condition(condition) => match condition.state {
                State::Gone { status } => self.problem(status, "gone", "the upstream says that it is gone"),
                State::Fresh | State::Stale { .. } => Step::Wait,
            },
            Delivery::Closing(closing) => self.end(End::Topic(*closing)),
        }
    }

    fn answer(&self, output: Output, reason: &'static str) -> Step {
        if self.0.keep { Step::GiveBack(output, reason) } else { Step::Finish(output, reason) }
    }

    fn problem(&self, status: StatusCode, reason: &'static str, detail: &str) -> Step {
        let title = status.canonical_reason().unwrap_or("Error");
        let (headers, body) = answer::problem(status, title, detail);
        let head = answer::head_bytes(status, &headers, &self.0.extra, self.0.http10);
        self.answer(Output::two(head.freeze(), body), reason)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.0.deadline)
    }

    pub(super) fn expired(&mut self) -> Step {
        self.answer(self.not_modified(&self.0.extra), "timeout")
    }

    /// A 304 with the client's own version: nothing newer is known.
    fn not_modified(&self, extra: &[u8]) -> Output {
        let held = &self.0;
        let headers = answer::unchanged(held.version, &held.key, &held.route);
        let head = answer::head_bytes(StatusCode::NOT_MODIFIED, &headers, extra, held.http10);
        Output::one(head.freeze())
    }

    pub(super) fn end(&mut self, end: End) -> Step {
        match end {
            End::Topic(Closing::NotShareable) => {
                let detail = "the upstream's answers are one user's; the route needs `share`";
                self.problem(StatusCode::FORBIDDEN, end.reason(), detail)
            }
            End::Topic(Closing::Credentials) => {
                let detail = "the upstream refuses these credentials";
                self.problem(StatusCode::UNAUTHORIZED, end.reason(), detail)
            }
            End::Topic(Closing::Gone) => {
                self.problem(StatusCode::GONE, end.reason(), "the upstream says that it is gone")
            }
            // The next request finds out more; on a drain it finds another process.
            End::Topic(_) | End::Drain { .. } => {
                let mut extra = without_connection(&self.0.extra);
                extra.extend_from_slice(b"Connection: close\r\n");
                Step::Finish(self.not_modified(&extra), end.reason())
            }
        }
    }
}

/// The extra lines without a `Connection` field.
fn without_connection(extra: &[u8]) -> Vec<u8> {
    let lines = extra.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.to_ascii_lowercase().starts_with(b"connection:")).flatten().copied().collect()
}
