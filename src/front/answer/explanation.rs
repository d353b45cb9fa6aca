//! What a plain poll would be answered, for operators who ask (`/-/explain`): the steps that a request takes, up to the
//! first one that would begin or await something.
//!
//! Must not know: how an explanation is shown.

use std::ops::ControlFlow;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::front::access::checks::Look;
use crate::front::access::{authorize, client_limit, resource_limits};
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::{Awaited, Decision, Prospect};
use crate::front::resource_key::VARY_TURNS_MAX;
use crate::front::steps;
use crate::front::trace::Subject;
use crate::hub::Attend;
use crate::metrics::Bypass;
use crate::resource::{ResourceKey, Snapshot};

impl CoveredRequest<'_> {
    /// Foresees what becomes of a plain poll of a resource that may be shared. Nothing is begun.
    pub(in crate::front) async fn foresee_poll(&mut self, base: &ResourceKey) -> Decision {
        for _ in 0..VARY_TURNS_MAX {
            let key = self.full_key(base);
            self.front.shared.note_resource(&key);
            self.front.shared.note(Subject::Resource, || steps::of_key(&key));
            if let Some(decision) = self.before_a_poll(&key).await {
                return decision;
            }
            if let ControlFlow::Break(decision) = self.foresee_view(base, &key).await {
                return decision;
            }
        }
        Decision::PassThrough(Bypass::Vary)
    }

    /// Foresees what the request gets from the resource as it is now. Goes on if the key has to be made again.
    async fn foresee_view(&mut self, base: &ResourceKey, key: &ResourceKey) -> ControlFlow<Decision> {
        let shared = self.front.shared.clone();
        let after = |awaited| ControlFlow::Break(Decision::foreseen(Prospect::Answer, Some(awaited)));
        if resource_limits::would_attend(&shared, self.asker(), &self.route, key, Attend::Visit).is_err() {
            return ControlFlow::Break(Decision::PassThrough(Bypass::Limit));
        }
        let Some(topic) = shared.hub.get(key) else {
            shared.note(Subject::State, || "no client has it polled: a poll begins with this one".to_owned());
            return after(Awaited::Poll);
        };
        let view = topic.view();
        shared.note(Subject::State, || steps::of_state(&topic, &view));
        if self.writes.would_wait(&topic) {
            return after(Awaited::Write);
        }
        if self.name_to_confirm(&topic, &view).is_some() {
            return after(Awaited::Confirmation);
        }
        if !self.is_enough(&topic, &view) {
            return after(Awaited::Poll);
        }
        self.writes.are_in(&view);
        let is_known = authorize::known(&shared, &self.route, key, self.client(), Look::Once);
        if let Some(length) = self.route.hold_not_modified
            && matches!(is_known, Some(Ok(())))
            && self.would_be_unchanged(base, key, &view).is_some()
            && self.may_wait()
            && client_limit::would_permit(&shared, self.ctx, Some(&self.route), false).is_ok()
        {
            return ControlFlow::Break(Decision::foreseen(Prospect::Hold(length, "not_modified"), None));
        }
        if let Some(reason) = self.fits(base, key, &view).break_value() {
            return reason.map_or(ControlFlow::Continue(()), |reason| {
                ControlFlow::Break(Decision::PassThrough(reason))
            });
        }
        match is_known {
            None => after(Awaited::Check),
            Some(Err(_)) => ControlFlow::Break(Decision::PassThrough(Bypass::Unauthorized)),
            Some(Ok(())) => ControlFlow::Break(self.answer(key, &view, false).await),
        }
    }

    /// The answer from a snapshot, as far as an explanation says it: without fields and body.
    pub(super) fn foreseen_answer(
        &mut self,
        snapshot: &Snapshot,
        unchanged: bool,
        has_patch: bool,
    ) -> Decision {
        let (status, label) = match (unchanged, has_patch) {
            (true, _) => (StatusCode::NOT_MODIFIED, "not_modified"),
            (false, true) => (StatusCode::IM_USED, "patch"),
            (false, false) => (snapshot.status, self.ctx.answer),
        };
        self.ctx.answer = label;
        Decision::answer(status, HeaderMap::new(), Bytes::new())
    }
}
