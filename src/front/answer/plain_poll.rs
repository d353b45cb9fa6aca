//! The ordinary poll of a covered URL (contract §3): from the snapshot if it is young, else after
//! one poll that all waiting requests share.
//!
//! A covered URL never works worse than an uncovered one: in every doubt the request passes
//! through. Must not know: push clients.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::timeout;

use crate::config::Share;
use crate::fanout::Revocable;
use crate::frame::{Coding, Frame, PatchKind, State};
use crate::front::access::authorize;
use crate::front::access::reason::Reason;
use crate::front::answer::confirming_poll::Confirmed;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::{Decision, Refusal};
use crate::front::request::transport_choice::Accept;
use crate::front::request::{accept, content_coding, cors, delta_choice};
use crate::front::resource_key;
use crate::front::resource_key::VARY_TURNS_MAX;
use crate::hub::{Attend, Attendance, Claim, Failure, Outcome, Streak, Topic, View};
use crate::metrics::{Bypass, RefusalReason};
use crate::resource::{IfNoneMatch, ResourceKey, Snapshot, Version};
use crate::transport::answer::{self, CacheStatus};

impl CoveredRequest<'_> {
    /// Decides about a plain poll of a resource that may be shared.
    pub(in crate::front) async fn poll(&mut self, base: &ResourceKey) -> Decision {
        for _ in 0..VARY_TURNS_MAX {
            let key = self.full_key(base);
            if let Some(decision) = self.before_a_poll(&key).await {
                return decision;
            }
            let Ok(attendance) = self.attend(&key, Attend::Visit) else {
                return Decision::PassThrough(Bypass::Limit);
            };
            // The resource stays attended to until the request is decided.
            let (attendance, view, polled) = match self.polled(&key, attendance).await {
                ControlFlow::Continue(polled) => polled,
                ControlFlow::Break(decision) => return decision,
            };
            let topic = attendance.topic().clone();
            let view = match self.held(base, &key, &topic, view).await {
                ControlFlow::Continue(view) => view,
                ControlFlow::Break(decision) => return decision,
            };
            match self.fits(base, &key, &view) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(None) => continue,
                ControlFlow::Break(Some(reason)) => return Decision::PassThrough(reason),
            }
            if !self.is_authorized(&topic).await {
                // What it gets by itself is right for it.
                return Decision::PassThrough(Bypass::Unauthorized);
            }
            return self.answer(&key, &view, polled).await;
        }
        Decision::PassThrough(Bypass::Vary)
    }

    /// Whether a view is the one that this request selects, and may be given to it. Breaks with the reason why it passes
    /// through, or with `None` if its key has to be made again.
    pub(super) fn fits(
        &self,
        base: &ResourceKey,
        key: &ResourceKey,
        view: &View,
    ) -> ControlFlow<Option<Bypass>> {
        if let Some(kind) = self.exception(key) {
            return ControlFlow::Break(Some(kind.into()));
        }
        if let Some(names) = resource_key::chosen_by(view)
            && !self.selects(base, key, names)
        {
            return ControlFlow::Break(None);
        }
        if let Some(reason) = self.prefers_another_form(view) {
            return ControlFlow::Break(Some(reason));
        }
        if view.closing.is_some() && !matches!(view.outcome, Outcome::Relay(_)) {
            // The topic ended under this request; its own fetch says what is right for it.
            return ControlFlow::Break(Some(Bypass::Ended));
        }
        ControlFlow::Continue(())
    }

    /// A view that is young enough, and whether that took a poll. Breaks with the answer that a poll took
    /// for this request alone.
    async fn polled(
        &mut self,
        key: &ResourceKey,
        mut attendance: Attendance,
    ) -> ControlFlow<Decision, (Attendance, Arc<View>, bool)> {
        let topic = attendance.topic().clone();
        let is_new = topic.started() == 0;
        topic.visited(self.connection_number());
        let written = self.writes.await_in_view(&self.route, &topic).await;
        let is_cold = topic.view().frame.is_none();
        let mut confirmation = self.await_confirmation(&attendance).await;
        let claim = attendance.take_claim();
        let (mut view, polled, claim) = self.young_view(&topic, claim).await;
        if is_cold && topic.is_shared() {
            // What other nodes had stored may be older, too.
            confirmation = self.await_confirmation(&attendance).await;
            view = topic.view();
        }
        if confirmation == Confirmed::Missing {
            return ControlFlow::Break(Decision::PassThrough(Bypass::UnknownVersion));
        }
        let confirmed = confirmation == Confirmed::Waited;
        self.writes.are_in(&view);
        if is_new {
            self.note_new_key(key, &view);
        }
        match self.take_claimed(claim) {
            Some(decision) => ControlFlow::Break(decision),
            None => ControlFlow::Continue((attendance, view, polled || written || confirmed)),
        }
    }

    /// The view after a hold, where the client would be told that nothing has changed (`hold_not_modified`).
    async fn held(
        &mut self,
        base: &ResourceKey,
        key: &ResourceKey,
        topic: &Arc<Topic>,
        view: Arc<View>,
    ) -> ControlFlow<Decision, Arc<View>> {
        // The API has to admit the client before the answer is held: the time of an answer would tell a stranger whether
        // the version that it guessed is the current one.
        if let Some(version) = self.would_be_unchanged(base, key, &view)
            && let Ok(revocable) = self.authorized(topic).await
        {
            Box::pin(self.slow_304(key, version, revocable)).await?;
            self.writes.await_in_view(&self.route, topic).await;
            return ControlFlow::Continue(topic.view());
        }
        ControlFlow::Continue(view)
    }

    /// Whether the client's own credentials get what the topic holds, where the route asks for it.
    async fn is_authorized(&self, topic: &Arc<Topic>) -> bool {
        // Boxed: most requests are not asked, and carry no room for it.
        self.route.share != Share::Authorize
            || Box::pin(authorize::admits(&self.front.shared, &self.route, topic, self.client())).await
    }

    /// What a held request stays by, where the route asks for it.
    ///
    /// # Errors
    /// Its own credentials get something else than the topic holds.
    async fn authorized(&self, topic: &Arc<Topic>) -> Result<Option<Arc<Revocable>>, Reason> {
        if self.route.share != Share::Authorize {
            return Ok(None);
        }
        Box::pin(authorize::admit(&self.front.shared, &self.route, topic, self.client())).await
    }

    /// Why the form that is held is not the one that this client would get (contract §3): by its Accept, or as the API
    /// looks at the User-Agent. Returns `None` if it is.
    pub(super) fn prefers_another_form(&self, view: &View) -> Option<Bypass> {
        let held = view.frame.as_ref().and_then(|frame| frame.snapshot.content_type.as_ref());
        if accept::prefers_another(&self.route, &self.headers, held) {
            return Some(Bypass::Accept);
        }
        let names = resource_key::chosen_by(view)?;
        accept::depends_on_agent(&self.route, names).then_some(Bypass::Vary)
    }

    /// The version of a snapshot that would be answered with 304.
    pub(super) fn would_be_unchanged(
        &self,
        base: &ResourceKey,
        key: &ResourceKey,
        view: &View,
    ) -> Option<Version> {
        let snapshot = &view.frame.as_ref()?.snapshot;
        let held = self.route.hold_not_modified.is_some()
            && matches!(view.outcome, Outcome::Data)
            && view.closing.is_none()
            && is_not_modified(&self.headers, snapshot)
            && self.admits(snapshot)
            && self.prefers_another_form(view).is_none()
            && self.selects(base, key, &snapshot.vary);
        held.then_some(snapshot.version)
    }

    /// A view that is young enough to answer from, after one poll if need be. True: it polled. `claim`: to the
    /// topic's first poll; the claim that comes back is to the last one.
    async fn young_view(&self, topic: &Arc<Topic>, claim: Option<Claim>) -> (Arc<View>, bool, Option<Claim>) {
        let view = topic.view();
        if self.is_enough(topic, &view) {
            return (view, false, claim);
        }
        let (number, newer) = topic.want_poll_for(&view);
        let claim = newer.or(claim);
        let known = matches!(view.outcome, Outcome::Failed(_) | Outcome::Relay(_));
        // An upstream that is known to fail is not waited for longer than a first answer may take.
        let patience =
            if known { self.route.first_answer } else { self.route.poll.timeout + Duration::from_secs(1) };
        let ended = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
        match timeout(patience, ended).await {
            Ok(view) => (view, true, claim),
            Err(_) => (topic.view(), true, claim),
        }
    }

    /// Answers from what is known (contract §3).
    pub(in crate::front) async fn answer(
        &mut self,
        key: &ResourceKey,
        view: &View,
        polled: bool,
    ) -> Decision {
        let gone = matches!(view.condition.state, State::Gone { .. });
        let age = view.confirmed_at().map(|at| at.elapsed());
        // What the upstream has withdrawn is given to no client any more, whatever fails since.
        let usable = view.frame.as_ref().filter(|_| !gone && !view.withdrawn);
        match (&view.outcome, usable, age) {
            (Outcome::Data, Some(frame), Some(age)) => {
                let ttl = view.effective_interval.saturating_sub(age).as_secs();
                let status = match polled {
                    _ if self.writes.is_unconfirmed => CacheStatus::Stale,
                    true => CacheStatus::Miss,
                    false => CacheStatus::Hit { ttl },
                };
                self.snapshot(key, view, frame, view.upstream_age + age, status).await
            }
            (_, Some(frame), Some(age)) if age <= self.route.stale_if_error => {
                self.snapshot(key, view, frame, view.upstream_age + age, CacheStatus::Stale).await
            }
            (Outcome::Relay(relayed), _, _) => {
                self.relay(relayed).unwrap_or(Decision::PassThrough(Bypass::NotShareable))
            }
            (Outcome::Failed(failure), _, _) => self.failed(failure),
            (Outcome::Cold | Outcome::Data, _, _) => {
                let detail = format!("upstream {:?} has not answered in time", self.route.upstream.name);
                Decision::refuse(RefusalReason::FirstAnswer, StatusCode::GATEWAY_TIMEOUT, detail)
            }
        }
    }

    async fn snapshot(
        &mut self,
        key: &ResourceKey,
        view: &View,
        frame: &Arc<Frame>,
        age: Duration,
        status: CacheStatus,
    ) -> Decision {
        let snapshot = &frame.snapshot;
        let patches = delta_choice::of_answer(&self.route, &self.headers, self.query.as_deref())
            .filter(|_| !snapshot.forbids_transformation());
        if patches.is_none() && !self.admits(snapshot) {
            return Decision::PassThrough(Bypass::Accept);
        }
        self.ctx.answer = status.label();
        let unchanged = is_not_modified(&self.headers, snapshot);
        let patch = patches.filter(|_| !unchanged).and_then(|kind| self.patch(key, view, kind));
        if self.front.shared.explains() {
            return self.foreseen_answer(snapshot, unchanged, patch.is_some());
        }
        if let Some((base, patch)) = patch {
            self.ctx.answer = "patch";
            let mut headers = answer::patched(snapshot, key, &self.route, base, patch.len());
            self.finish(&mut headers);
            return Decision::answer(StatusCode::IM_USED, headers, patch);
        }
        let gzip = match content_coding::coding(&self.route, key, &self.headers) {
            Coding::Plain => None,
            // What is not needed is not made.
            Coding::Deflated if unchanged => frame.gzip_made().cloned(),
            Coding::Deflated => compressed(frame).await,
        };
        let (code, mut headers, body) = if unchanged {
            self.ctx.answer = "not_modified";
            let headers = answer::not_modified(snapshot, key, &self.route, age, Some(status), gzip.is_some());
            (StatusCode::NOT_MODIFIED, headers, Default::default())
        } else {
            let headers = answer::full(snapshot, key, &self.route, age, Some(status), gzip.as_ref());
            (snapshot.status, headers, gzip.unwrap_or_else(|| snapshot.body.clone()))
        };
        self.finish(&mut headers);
        let is_hit = matches!(status, CacheStatus::Hit { .. });
        let streak = self.paced(key, frame.seq, is_hit);
        if is_hit && let Some(departure) = self.stay(key, view, code, (&headers, &body), streak) {
            return Decision::HandOver(Box::new(departure));
        }
        Decision::answer(code, headers, body)
    }

    /// Notes for the connection's pace what it is answered. Returns how it comes back, if that is looked at.
    fn paced(&self, key: &ResourceKey, seq: u64, is_hit: bool) -> Option<Streak> {
        let connection = self.paced_connection()?;
        let topic = self.front.shared.hub.get(key)?;
        Some(topic.pace().answered(connection, topic.now_ms(), seq, is_hit))
    }

    /// The fields of this client alone.
    fn finish(&mut self, headers: &mut HeaderMap) {
        if self.writes.is_unconfirmed {
            // The state may lack the last write; the client is told so.
            let status = HeaderValue::from_static("pollcast; fwd=stale; detail=unconfirmed");
            headers.insert("cache-status", status);
            self.front.shared.metrics.unconfirmed.with_label_values(&[&self.route.path]).inc();
        }
        if let Some(applied) = self.applied.take() {
            headers.insert("preference-applied", applied);
        }
        cors::add(headers, &self.route, &self.headers);
    }

    /// The difference between what the client has and the view, if it is remembered and small.
    fn patch(&self, key: &ResourceKey, view: &View, kind: PatchKind) -> Option<(Version, Bytes)> {
        let topic = self.front.shared.hub.get(key)?;
        if !self.front.shared.explains() {
            // It will ask again: from now on there is something to answer with.
            topic.keep_patches(kind);
        }
        let lines = self.headers.get_all(header::IF_NONE_MATCH).iter().map(|v| v.as_bytes());
        let have = IfNoneMatch::parse(lines)?.first()?;
        let chain = topic.chain(view, have, kind)?;
        Some((have, chain.joined()?))
    }

    /// Whether the client's `Accept` lets it be sent this, and nothing would be changed that the upstream forbids to
    /// change.
    pub(in crate::front) fn admits(&self, snapshot: &Snapshot) -> bool {
        if answer::is_transformed(snapshot, &self.route, self.headers.get(header::ACCEPT_ENCODING)) {
            return false;
        }
        let essence = snapshot.media_type.as_ref().map(|t| t.essence.as_str());
        essence.is_none_or(|essence| Accept::of(&self.headers).admits(essence))
    }

    fn failed(&self, failure: &Failure) -> Decision {
        if failure.class == "quota" {
            // Without a route it would have been asked, too: how much it may ask is between it and the API.
            return Decision::PassThrough(Bypass::Quota);
        }
        if matches!(failure.class, "encoding" | "coding") {
            // There was an answer: what its bytes are is for the client to find out, as without a route.
            return Decision::PassThrough(Bypass::Uncoverable);
        }
        let status = match failure.class {
            // Nothing was asked: it may be had later.
            "budget" | "breaker" => StatusCode::SERVICE_UNAVAILABLE,
            _ if failure.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        let reason = RefusalReason::PollFailed;
        let refusal = match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                Refusal::later(reason, status, failure.reason.clone(), self.route.poll.interval)
            }
            _ => Refusal::of(reason, status, failure.reason.clone()),
        };
        Refusal { label: "failed", ..refusal }.decision()
    }
}

/// Bodies from this size on are compressed on another thread: it takes a millisecond and more.
const HEAVY_BODY_BYTES_MIN: usize = 64 * 1024;

/// The body as a gzip file, made by the first that asks. Returns `None` if it is not worth it.
async fn compressed(frame: &Arc<Frame>) -> Option<Bytes> {
    if frame.gzip_made().is_some() || frame.snapshot.body.len() <= HEAVY_BODY_BYTES_MIN {
        return frame.gzip().cloned();
    }
    let frame = frame.clone();
    // It fails only when the process ends; then the plain body will do.
    tokio::task::spawn_blocking(move || frame.gzip().cloned()).await.ok().flatten()
}

/// RFC 9110 §13.2.2: If-None-Match, else If-Modified-Since on equality with the upstream's own
/// date.
fn is_not_modified(headers: &HeaderMap, snapshot: &Snapshot) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().map(|v| v.as_bytes());
    match IfNoneMatch::parse(lines) {
        Some(condition) => condition.matches(snapshot.version),
        None => {
            let since = headers.get(header::IF_MODIFIED_SINCE);
            since.is_some() && since == snapshot.headers.get(header::LAST_MODIFIED)
        }
    }
}
