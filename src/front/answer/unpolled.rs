//! Which plain requests are not polled for first (contract §3): those that will pass through whatever a poll says,
//! and those for which a poll costs more than they ask for.
//!
//! Must not know: how a poll is done, what an answer carries.

use std::time::Instant;

use http::{Method, StatusCode, header};

use crate::front::access::authorize;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::Decision;
use crate::front::freshness::is_remembered;
use crate::front::request::transport_choice::Accept;
use crate::front::request::{delta_choice, transport_choice};
use crate::hub::{Audience, ExceptionKind, Outcome, Topic, View};
use crate::metrics::{Bypass, RefusalReason};
use crate::resource::ResourceKey;

impl CoveredRequest<'_> {
    /// What is decided before a poll is waited for. Returns `None` if the request takes part in one.
    pub(super) async fn before_a_poll(&mut self, key: &ResourceKey) -> Option<Decision> {
        let shared = &self.front.shared;
        if !shared.explains() {
            shared.hub.welcome(key);
        }
        // The user of an idle session is there again with this request.
        if let Some(kind) = self.exception(key).filter(|kind| *kind != ExceptionKind::SessionIdle) {
            return Some(Decision::PassThrough(kind.into()));
        }
        if authorize::is_refused(shared, &self.route, key, self.client()) {
            return Some(Decision::PassThrough(Bypass::Unauthorized));
        }
        if self.only_if_cached() && !self.has_young(key) {
            let detail = "only-if-cached, and no fresh answer is held";
            return Some(Decision::refuse(RefusalReason::OnlyIfCached, StatusCode::GATEWAY_TIMEOUT, detail));
        }
        if self.takes_the_apis_pace(key).await {
            return Some(Decision::PassThrough(Bypass::Pace));
        }
        self.passes_unpolled(key).map(Decision::PassThrough)
    }

    /// Whether the client wants no poll on its behalf (RFC 9111 §5.2.1.7).
    fn only_if_cached(&self) -> bool {
        transport_choice::has_token(&self.headers, header::CACHE_CONTROL, "only-if-cached")
    }

    fn has_young(&self, key: &ResourceKey) -> bool {
        let topic = self.front.shared.hub.get(key);
        topic.is_some_and(|topic| topic.is_young(&topic.view()))
    }

    /// Why a plain request passes through without a poll. Returns `None` if it may be polled for.
    fn passes_unpolled(&self, key: &ResourceKey) -> Option<Bypass> {
        let shared = &self.front.shared;
        let Some(topic) = shared.hub.get(key) else {
            let rest = shared.config.times.unshared_rest;
            return if !self.admits_expected() {
                Some(Bypass::Accept)
            } else if self.method == Method::HEAD {
                Some(Bypass::Head)
            } else {
                let admits = match shared.explains() {
                    true => shared.new_keys.would_admit(self.route.index, Instant::now()),
                    false => shared.new_keys.admits(self.route.index, Instant::now(), rest),
                };
                (!admits).then_some(Bypass::Unshared)
            };
        };
        let view = topic.view();
        let takes_patches =
            delta_choice::of_answer(&self.route, &self.headers, self.query.as_deref()).is_some();
        let admits = match &view.frame {
            Some(frame) => takes_patches || self.admits(&frame.snapshot),
            None => self.admits_expected(),
        };
        if !admits {
            return Some(Bypass::Accept);
        }
        if let Some(reason) = self.prefers_another_form(&view).filter(|_| !takes_patches) {
            return Some(reason);
        }
        let at_once = topic.is_young(&view) || is_remembered(&view, self.route.poll.interval) || view.rests();
        // What is wrong with a body is nothing to a request that asks for none.
        let is_answered = at_once && (!matches!(view.outcome, Outcome::Failed(_)) || self.has_stale(&view));
        (self.method == Method::HEAD && !is_answered).then_some(Bypass::Head)
    }

    /// Whether the request is answered from a view as it is, so that no poll is waited for.
    pub(super) fn is_enough(&self, topic: &Topic, view: &View) -> bool {
        // A request after a write is not answered with what a healthy upstream said before it.
        let is_overtaken = view.answered().is_some() && topic.is_aged(view);
        topic.is_young(view)
            || (view.is_young() && self.writes.is_unconfirmed)
            || (is_remembered(view, self.route.poll.interval) && !is_overtaken)
            || view.rests()
            || view.closing.is_some()
    }

    /// Whether the last good state may still be answered while polls fail.
    fn has_stale(&self, view: &View) -> bool {
        let is_usable = view.frame.is_some() && !view.withdrawn && !view.condition.state.is_gone();
        is_usable && view.confirmed_at().is_some_and(|at| at.elapsed() <= self.route.stale_if_error)
    }

    /// Whether the client's `Accept` lets it be sent anything that counts as data on the route.
    fn admits_expected(&self) -> bool {
        let expected = &self.route.poll.expect;
        let accept = Accept::of(&self.headers);
        expected.is_empty() || expected.iter().any(|essence| accept.admits(essence))
    }

    /// Notes whether what the first poll of a new key brought could be shared.
    pub(super) fn note_new_key(&self, key: &ResourceKey, view: &View) {
        let shared = &self.front.shared;
        let is_ones = match &view.outcome {
            _ if self.exception(key) == Some(ExceptionKind::NotShareable) => true,
            Outcome::Relay(relayed) if relayed.audience != Audience::All => true,
            Outcome::Data => false,
            Outcome::Relay(_) | Outcome::Failed(_) | Outcome::Cold => return,
        };
        let rest = shared.config.times.unshared_rest;
        shared.new_keys.note(self.route.index, self.ctx.client, !is_ones, Instant::now(), rest);
    }
}
