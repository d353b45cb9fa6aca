//! A connection of ordinary polls (contract §3) that are answered from the latest snapshot, as long as
//! each repeats the one before and nothing has to be asked or waited for.
//!
//! Must not know: what happens to a request that it does not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;

use super::answer::{self, CacheStatus};
use super::plain_heads::{Heads, Said};
use super::repeat::Repeat;
use super::{Output, Step};
use crate::config::Route;
use crate::frame::Frame;
use crate::hub::{Attendance, Streak, View};
use crate::resource::{IfNoneMatch, Version};

/// One connection of ordinary polls.
pub struct Plain {
    attendance: Attendance,
    /// A number that no other connection has.
    connection: u64,
    /// How quickly it comes back. `None` if that says nothing about one client.
    streak: Option<Streak>,
    route: Arc<Route>,
    /// Ready-made lines of this client alone.
    extra: Bytes,
    /// The client takes gzip, and this resource is compressed.
    gzip: bool,
    pub(super) repeat: Repeat,
    /// The version that it was answered with last.
    told: Option<Version>,
    /// The form of the snapshot that the front has decided about.
    form: u64,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").field("repeat", &self.repeat).finish_non_exhaustive()
    }
}

/// An answer, and its label in metrics.
pub struct Answered {
    /// The bytes of the answer.
    pub output: Output,
    /// The label of the answer in metrics.
    pub label: &'static str,
    /// The status of the answer.
    pub status: StatusCode,
}

impl Plain {
    /// Answers plain polls of one connection for this resource.
    pub fn new(
        attendance: Attendance,
        (connection, streak): (u64, Option<Streak>),
        route: Arc<Route>,
        extra: Bytes,
        gzip: bool,
        repeat: Repeat,
    ) -> Plain {
        let view = attendance.topic().view();
        let frame = view.frame.as_ref();
        let told = frame.map(|frame| frame.version());
        let form = frame.map_or(0, |frame| frame.snapshot.form());
        Plain { attendance, connection, streak, route, extra, gzip, repeat, told, form }
    }

    /// The resource.
    pub fn topic(&self) -> &Arc<crate::hub::Topic> {
        self.attendance.topic()
    }

    /// Answers the same request again. `condition`: its `If-None-Match`. `heads`: those of its thread. Returns `None` if the
    /// front has to look at it, because the state is not young, or not sure, or of another form than before, or older
    /// perhaps than what the request names. An answer has the front's decision count from `now` on anew.
    pub fn answer(&mut self, condition: Option<&[u8]>, now: Instant, heads: &mut Heads) -> Option<Answered> {
        let topic = self.attendance.topic();
        let view = topic.view();
        let frame = servable(&view)?;
        let have = condition.and_then(|line| IfNoneMatch::parse([line]));
        let unchanged = have.as_ref().is_some_and(|have| have.matches(frame.version()));
        let is_sure = unchanged || condition.is_none_or(|line| self.is_known(&view, line, have.as_ref()));
        if !topic.is_young(&view) || topic.is_evicted() || !is_sure || frame.snapshot.form() != self.form {
            return None;
        }
        if let Some(streak) = &mut self.streak {
            let (now, pace) = (topic.now_ms(), topic.pace());
            if streak.returns(now) && pace.may_matter(now) {
                // The front decides whether the request is the API's.
                pace.takes_over(self.connection, *streak);
                return None;
            }
            streak.answered(now, frame.seq, true);
        }
        topic.visited(self.connection);
        // Only a compressed form that exists is used: a large body is not compressed on this thread.
        let gzip = frame.gzip_made().filter(|_| self.gzip);
        if self.gzip && gzip.is_none() && !frame.gzip_tried() {
            return None;
        }
        let since = view.confirmed_at().map_or(Duration::ZERO, |at| at.elapsed());
        let age = view.upstream_age + since;
        let said = Said {
            topic: topic.id(),
            generation: self.repeat.generation(),
            seq: frame.seq,
            confirmed: view.confirmed,
            unchanged,
            coded: gzip.is_some(),
            age: age.as_secs(),
            ttl: view.effective_interval.saturating_sub(since).as_secs(),
        };
        let head = self.with_extra(heads.get(said, || self.head(frame, said, age, gzip)));
        self.told = Some(frame.version());
        self.repeat.renew(now);
        let body = if unchanged { Bytes::new() } else { gzip.unwrap_or(&frame.snapshot.body).clone() };
        let (label, status) = match unchanged {
            true => ("not_modified", StatusCode::NOT_MODIFIED),
            false => ("hit", frame.snapshot.status),
        };
        Some(Answered { output: Output::two(head, body), label, status })
    }

    /// A head with the lines of this client alone at its end.
    fn with_extra(&self, head: Bytes) -> Bytes {
        const END: &[u8] = b"\r\n";
        match head.strip_suffix(END) {
            Some(lines) if !self.extra.is_empty() => [lines, &self.extra, END].concat().into(),
            _ => head,
        }
    }

    /// Whether the line of the client's `If-None-Match` names a state that was held here, as that was which this
    /// connection was told last.
    fn is_known(&self, view: &View, line: &[u8], have: Option<&IfNoneMatch>) -> bool {
        let is_told = || self.told.zip(have).is_some_and(|(told, have)| have.matches(told));
        let is_new = |line| self.topic().unknown_name(view, std::iter::once(line)).is_some();
        is_told() || std::str::from_utf8(line).map_or(true, |line| !is_new(line))
    }

    fn head(&self, frame: &Frame, said: Said, age: Duration, gzip: Option<&Bytes>) -> Bytes {
        let (key, snapshot) = (self.attendance.topic().key(), &frame.snapshot);
        let status = Some(CacheStatus::Hit { ttl: said.ttl });
        let (code, headers) = match said.unchanged {
            true => {
                let headers = answer::not_modified(snapshot, key, &self.route, age, status, gzip.is_some());
                (StatusCode::NOT_MODIFIED, headers)
            }
            false => (snapshot.status, answer::full(snapshot, key, &self.route, age, status, gzip)),
        };
        answer::head_bytes(code, &headers, b"", false).freeze()
    }

    /// Between two requests the connection ends without words.
    pub(super) fn end(&self, reason: &'static str) -> Step {
        Step::Finish(Output::default(), reason)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.repeat.until()
    }
}

/// The frame of a view that can be answered from without asking the API: the last poll gave it, and the
/// upstream chooses it by nothing that a client sends.
pub(super) fn servable(view: &View) -> Option<&Arc<Frame>> {
    let sure = matches!(view.outcome, crate::hub::Outcome::Data)
        && view.closing.is_none()
        && !view.condition.state.is_gone();
    view.frame.as_ref().filter(|frame| sure && frame.snapshot.vary.is_empty())
}
