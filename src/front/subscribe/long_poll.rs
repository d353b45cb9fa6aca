//! A request that becomes a held long-poll (contract §4): whether it is held, for how long, and the
//! lines of its answer that are this client's alone.
//!
//! Must not know: what ends the wait.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version as HttpVersion, header};

use crate::fanout::{ClientPermit, Following};
use crate::frame::{Coding, Format};
use crate::front::answer::confirming_poll::Confirmed;
use crate::front::answer::repeats;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::{Boarding, Decision};
use crate::front::freshness;
use crate::front::request::{content_coding, cors, delta_choice};
use crate::hub::{Attendance, Resume, Topic, View};
use crate::metrics::Bypass;
use crate::resource::{IfNoneMatch, ResourceKey, Version};
use crate::transport::{self, Common, Differing, Have, Held, LongPoll, Transport, answer};

/// What a long-poll waits for.
pub(super) enum Wanted {
    /// Items behind the one that it names.
    Items(Resume),
    /// What the API says to its tag, as the feed is polled with a cursor.
    Cursor,
    /// Nothing: it names no version, and is answered once what it names besides is confirmed.
    State,
    /// Nothing: it is answered at once.
    Answer,
    /// Nothing: its Accept does not admit the state.
    NotAdmitted,
    /// Another version than this one.
    Change { have: Version, of_patches: bool },
}

impl CoveredRequest<'_> {
    /// Decides about a long-poll of a resource that may be followed.
    pub(super) async fn long_poll(
        &mut self,
        key: &ResourceKey,
        attendance: Attendance,
        view: &View,
        is_confirmed: bool,
        asked: Duration,
        permit: ClientPermit,
    ) -> Decision {
        self.is_patient = true;
        let mut attendance = attendance;
        if freshness::refusal(view).is_none() {
            self.take_seat(&mut attendance, true);
        }
        let wait = asked.min(self.route.max_wait);
        match self.wanted(attendance.topic(), view, is_confirmed) {
            Wanted::Items(resume) => {
                let format = Format::Body(Coding::Plain);
                self.hold(attendance, view, wait, Have::Items, format, resume, permit).await
            }
            Wanted::Cursor => self.hold_by_cursor(attendance, view, asked, permit),
            Wanted::State => self.confirmed_answer(key, &attendance, view, is_confirmed).await,
            Wanted::Answer => self.answer(key, view, is_confirmed).await,
            Wanted::NotAdmitted => Decision::PassThrough(Bypass::Accept),
            Wanted::Change { have, of_patches } => {
                let format = match of_patches {
                    true => Format::BodyDelta,
                    false => Format::Body(content_coding::coding(&self.route, key, &self.headers)),
                };
                let (have, resume) = (Have::Version(have), Resume::From(have));
                self.hold(attendance, view, wait, have, format, resume, permit).await
            }
        }
    }

    /// Answers at once a request that names no version. It may name a state all the same, by a tag of the upstream's.
    async fn confirmed_answer(
        &mut self,
        key: &ResourceKey,
        attendance: &Attendance,
        view: &View,
        is_confirmed: bool,
    ) -> Decision {
        let confirmation = match is_confirmed {
            true => Confirmed::Waited,
            false => self.await_confirmation(attendance).await,
        };
        match confirmation {
            Confirmed::Unneeded => self.answer(key, view, false).await,
            Confirmed::Waited => self.answer(key, &attendance.topic().view(), true).await,
            Confirmed::Missing => Decision::PassThrough(Bypass::UnknownVersion),
        }
    }

    /// What a long-poll waits for, if it does. `is_confirmed`: a poll that started after it came has confirmed the view.
    pub(super) fn wanted(&self, topic: &Topic, view: &View, is_confirmed: bool) -> Wanted {
        if self.route.feed.is_some()
            && let resume @ Resume::Item(_) = self.resume_of_long_poll()
        {
            return Wanted::Items(resume);
        }
        if self.has_cursor() {
            return Wanted::Cursor;
        }
        let (Some(have), Some(frame)) = (self.has(view), &view.frame) else { return Wanted::State };
        let known = is_confirmed || topic.is_not_newer(have);
        let differs = frame.version() != have && known && view.is_young();
        if view.withdrawn || freshness::refusal(view).is_some() || differs {
            return Wanted::Answer;
        }
        let patches = delta_choice::of_answer(&self.route, &self.headers, self.query.as_deref());
        if patches.is_none() && !self.admits(&frame.snapshot) {
            return Wanted::NotAdmitted;
        }
        Wanted::Change { have, of_patches: patches.is_some() }
    }

    /// Waits: in a shard, or on HTTP/2 in the task of its connection.
    #[allow(clippy::too_many_arguments, reason = "what a held request is")]
    async fn hold(
        &mut self,
        attendance: Attendance,
        view: &View,
        wait: Duration,
        have: Have,
        format: Format,
        resume: Resume,
        permit: ClientPermit,
    ) -> Decision {
        let deadline = Instant::now() + transport::hold(wait, fastrand::f64());
        let applied = format!("wait={}", wait.as_secs());
        let keep = self.keeps_alive();
        let http10 = self.version != HttpVersion::HTTP_11;
        let is_http2 = self.connection.is_http2();
        let extra = if is_http2 { Bytes::new() } else { self.held_fields(&applied, keep, http10) };
        let repeat = match (have, format) {
            // A client that asks no more is to be missed in time (`presence`).
            (Have::Version(_), Format::Body(_)) if keep && self.route.presence.is_none() => {
                // Each of them may be the beginning of a span, whose parent its names of tracing say.
                repeats::repeat(self, attendance.topic().key(), view, Differing::Condition)
            }
            _ => None,
        };
        let common = Common {
            // The topic's own: a key of each request would be held as long as the request.
            key: attendance.topic().key().clone(),
            route: attendance.topic().route().clone(),
            extra,
            http10,
            gzip: format == Format::Body(Coding::Deflated),
            keep,
        };
        let held = LongPoll::new(Held {
            deadline: deadline.into(),
            common: self.front.shared.interned.intern(common),
            have,
            coded: format == Format::Body(Coding::Deflated)
                && view.frame.as_ref().is_some_and(|frame| frame.gzip_made().is_some()),
            wait_ms: wait.as_millis() as u32,
            repeat,
        });
        if is_http2 {
            let following = Following::One(self.subscribe(attendance, None, format, resume, view));
            let (headers, transport) = (self.held_headers(&applied), Transport::LongPoll(held));
            let boarding = Boarding { headers, opening: Bytes::new(), transport, following, permit };
            return Decision::Board(Box::new(boarding));
        }
        let shard = self.front.shared.fanout.choose();
        let subscription = self.subscribe(attendance, Some(shard), format, resume, view);
        self.hand_over(shard, Bytes::new(), Transport::LongPoll(held), Some(subscription), permit)
    }

    /// The version that a long-poll says it has; of several the current one.
    fn has(&self, view: &View) -> Option<Version> {
        let lines = self.headers.get_all(header::IF_NONE_MATCH).iter().map(|v| v.as_bytes());
        let current = view.frame.as_ref().map(|frame| frame.version());
        let condition = IfNoneMatch::parse(lines)?;
        current
            .filter(|version| condition.matches(*version) || self.has_upstreams_tag(view))
            .or(condition.first())
    }

    /// Whether the client names the upstream's own tag of the current snapshot: it has it from an answer that passed
    /// through (contract §4).
    fn has_upstreams_tag(&self, view: &View) -> bool {
        let tag = view.frame.as_ref().and_then(|frame| frame.snapshot.validators.etag.as_ref());
        let Some(tag) = tag.and_then(|tag| tag.to_str().ok()).map(opaque) else { return false };
        let lines = self.headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|said| opaque(said) == tag)
    }

    /// The fields of this client alone.
    fn held_headers(&self, applied: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(applied) = HeaderValue::try_from(applied) {
            headers.insert("preference-applied", applied);
        }
        cors::add(&mut headers, &self.route, &self.headers);
        headers
    }

    /// The same as lines, with what the connection does afterwards.
    fn held_fields(&self, applied: &str, keep: bool, http10: bool) -> Bytes {
        let mut headers = self.held_headers(applied);
        if !keep || http10 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer::lines(&headers)
    }
}

/// An entity tag for the weak comparison (RFC 9110 §8.8.3.2).
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}
