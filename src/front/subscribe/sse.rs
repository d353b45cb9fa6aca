//! A request that becomes an event stream (contract §5): its head, where it resumes, and its place:
//! a shard, or on HTTP/2 the task of its connection.
//!
//! Must not know: what is sent after the head.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode, Version as HttpVersion, header};

use crate::config::Route;
use crate::fanout::{ClientPermit, Following};
use crate::frame::{Coding, Format, Frame};
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::{Boarding, Decision};
use crate::front::freshness;
use crate::front::request::{content_coding, cors, delta_choice};
use crate::hub::{Attendance, Resume, View};
use crate::metrics::{Bypass, RefusalReason};
use crate::resource::{resume_switch, switch};
use crate::transport::{Framing, Sse, Transport, answer};

/// Longest name of an item that a client may come back with; longer ones are none of ours.
const ITEM_ID_BYTES_MAX: usize = 1024;

impl CoveredRequest<'_> {
    /// Decides about an event stream of a resource that may be followed.
    pub(super) fn sse(
        &mut self,
        attendance: Attendance,
        view: &View,
        is_confirmed: bool,
        permit: ClientPermit,
    ) -> Decision {
        if let Some(decision) = self.instead_of_sse(view) {
            return decision;
        }
        let framing = match self.version {
            HttpVersion::HTTP_11 => Framing::Chunked,
            _ => Framing::Bare,
        };
        let sse = Sse::new(framing, heartbeat(&self.route), retry(&self.route), Instant::now());
        let patches = delta_choice::of_stream(&self.route, &self.headers, self.query.as_deref());
        let coding = content_coding::coding(&self.route, attendance.topic().key(), &self.headers);
        let (sse, format) = match patches {
            Some(kind) => (sse.of_patches(), Format::SseDelta(kind, coding)),
            None => (sse, Format::Sse(coding)),
        };
        let mut headers = answer::event_stream();
        let mut sse = match coding {
            Coding::Plain => sse,
            Coding::Deflated => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                sse.compressed()
            }
        };
        if answer::is_compressed(attendance.topic().key(), &self.route) {
            headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        cors::add_beside(&mut headers, &self.route, &self.headers, Some(view));
        let resume = match self.resume() {
            // What comes first depends on what is current when the stream begins: it may be this version by then.
            Resume::From(version) if is_confirmed => Resume::FromConfirmed(version),
            resume => resume,
        };
        if self.connection.is_http2() {
            let subscription = self.subscribe(attendance, None, format, resume, view);
            let (opening, transport) = (sse.opening(), Transport::Sse(sse));
            let following = Following::One(subscription);
            return Decision::Board(Box::new(Boarding { headers, opening, transport, following, permit }));
        }
        say_framing(&mut headers, framing);
        let http10 = framing == Framing::Bare;
        let mut greeting = answer::head_bytes(StatusCode::OK, &headers, b"", http10);
        greeting.extend_from_slice(&sse.opening());
        let shard = self.front.shared.fanout.choose();
        let subscription = self.subscribe(attendance, Some(shard), format, resume, view);
        self.hand_over(shard, greeting.freeze(), Transport::Sse(sse), Some(subscription), permit)
    }

    /// What a client gets in the place of an event stream that would begin with this view. Returns `None` if it gets that.
    pub(super) fn instead_of_sse(&mut self, view: &View) -> Option<Decision> {
        if let Some(relayed) = freshness::refusal(view) {
            let relayed = self.relay_to_push(relayed);
            return Some(relayed.unwrap_or(Decision::PassThrough(Bypass::NotShareable)));
        }
        let is_text = |frame: &Arc<Frame>| match self.front.shared.explains() {
            // Nothing is encoded for an explanation.
            true => frame.is_text(),
            false => frame.sse().is_ok(),
        };
        if view.frame.as_ref().is_none_or(is_text) {
            return None;
        }
        let detail = "the body is not text, and route says no `encoding: base64`";
        Some(Decision::refuse(RefusalReason::NotText, StatusCode::NOT_ACCEPTABLE, detail))
    }

    /// Where a client comes from: what it names, and on a feed the parameter of the upstream's own cursor.
    pub(in crate::front) fn resume(&self) -> Resume {
        let Some(feed) = &self.route.feed else {
            return self.named().map_or(Resume::Start, |id| Resume::from_state(&id));
        };
        let cursor = || switch(self.query.as_deref(), Some(&feed.cursor.as_ref()?.query));
        at_item(self.named().or_else(cursor))
    }

    /// Where a long-poll on a feed comes from. One with the upstream's own cursor asks for the upstream's own document
    /// (contract §4).
    pub(in crate::front) fn resume_of_long_poll(&self) -> Resume {
        at_item(self.named())
    }

    /// The version or item that a client says it has: in the header, else by the names that polyfills use.
    fn named(&self) -> Option<String> {
        let header = self.text(header::HeaderName::from_static("last-event-id"));
        let query = || resume_switch(self.query.as_deref(), &self.route.switches);
        header.filter(|id| !id.is_empty()).or_else(query)
    }
}

/// Says in the head of HTTP/1 where the body ends.
pub(super) fn say_framing(headers: &mut HeaderMap, framing: Framing) {
    match framing {
        Framing::Chunked => headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        Framing::Bare => headers.insert(header::CONNECTION, HeaderValue::from_static("close")),
    };
}

/// How long a client waits before it comes back: each another time, so that not all come at once.
pub(super) fn retry(route: &Route) -> Duration {
    let (least, most) = route.retry;
    least + most.saturating_sub(least).mul_f64(fastrand::f64())
}

/// How long a stream is silent before a comment: each another time, so that not all are written to at once.
pub(super) fn heartbeat(route: &Route) -> Duration {
    route.heartbeat.mul_f64(0.9 + fastrand::f64() * 0.2)
}

/// Behind an item of this name, or at the start.
fn at_item(id: Option<String>) -> Resume {
    let id = id.filter(|id| !id.is_empty() && id.len() <= ITEM_ID_BYTES_MAX);
    id.map_or(Resume::Start, |id| Resume::Item(id.into()))
}
