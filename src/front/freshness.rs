//! How young what is known of a resource has to be for a client, and the wait until it is (contract §3, §9).
//!
//! Must not know: which form the answer has.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use tokio::time::{Instant, timeout};

use crate::config::Route;
use crate::frame::State;
use crate::hub::{Attendance, Closing, Relayed, Topic, View};

/// The writes before a request, as far as its answer has to know of them (contract §9).
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::front) struct PriorWrites {
    /// It has waited for them.
    is_awaited: bool,
    /// Number of the first poll that knows of all of them.
    poll: u64,
    /// The answer may be older than one of them.
    pub(in crate::front) is_unconfirmed: bool,
}

impl PriorWrites {
    /// Waits until they are in the view, for `write_wait` at most and once a request. Returns whether it had to.
    pub(in crate::front) async fn await_in_view(&mut self, route: &Route, topic: &Topic) -> bool {
        self.poll = topic.aged();
        let waited = !self.is_awaited && await_writes(route, topic).await;
        self.is_awaited |= waited;
        self.is_unconfirmed = self.may_be_newer_than(topic, &topic.view());
        waited
    }

    /// Notes what there is to wait for. Returns whether the request would wait for a poll; it does not.
    pub(in crate::front) fn would_wait(&mut self, topic: &Topic) -> bool {
        self.poll = topic.aged();
        self.is_unconfirmed = self.may_be_newer_than(topic, &topic.view());
        has_writes_to_await(topic, &topic.view())
    }

    /// Notes the view that the request is answered from.
    pub(in crate::front) fn are_in(&mut self, view: &View) {
        self.is_unconfirmed &= view.settled < self.poll;
    }

    /// Whether what is known may be older than one of them: what cannot be waited for, since it did not come in time,
    /// or another write always comes first.
    fn may_be_newer_than(&self, topic: &Topic, view: &View) -> bool {
        view.settled < self.poll
            && view.frame.is_some()
            && (topic.is_unconfirmed(view) || topic.is_written_often())
    }
}

/// Whether there is a write to wait for: one that is not in the view, where there would not always be another.
fn has_writes_to_await(topic: &Topic, view: &View) -> bool {
    topic.is_unconfirmed(view) && !(view.frame.is_some() && topic.is_written_often())
}

/// Waits until the writes so far are in the view, for `write_wait` at most; not where there would always be one to wait
/// for. Returns whether it had to.
async fn await_writes(route: &Route, topic: &Topic) -> bool {
    if !has_writes_to_await(topic, &topic.view()) {
        return false;
    }
    timeout(route.write_wait, topic.settled()).await.map_or(true, |_| true)
}

/// Whether a push client begins with a view as it is, so that it waits for no poll. `has_others`: other clients follow the
/// resource.
pub(in crate::front) fn is_enough_to_follow(
    route: &Route,
    topic: &Topic,
    view: &View,
    has_others: bool,
) -> bool {
    let is_young = view.is_young() && (!topic.is_aged(view) || topic.is_written_often());
    let is_overtaken = view.answered().is_some() && topic.is_aged(view);
    let settled = is_young || (is_remembered(view, route.poll.interval) && !is_overtaken);
    settled || (has_others && view.ended > 0)
}

/// The state a push client begins with: young, or after `first_answer` whatever there is.
/// True: a poll later than number `before` confirmed it, one that started after this request
/// came, so that no version of the client's can be newer (contract §2).
pub(in crate::front) async fn first_view(
    route: &Route,
    attendance: &Attendance,
    before: u64,
) -> (Arc<View>, bool) {
    let topic = attendance.topic();
    let view = topic.view();
    // This client is one of the followers.
    if is_enough_to_follow(route, topic, &view, topic.followers() > 1) {
        return (view, false);
    }
    let number = topic.want_poll_after(&view);
    let ended = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
    let view = match timeout(route.first_answer, ended).await {
        Ok(view) => view,
        Err(_) => topic.view(),
    };
    let is_confirmed = view.confirmed > before;
    (view, is_confirmed)
}

/// What the upstream said, where it is an end rather than a failure: passed on as a status, a redirect among them.
pub(in crate::front) fn refusal(view: &View) -> Option<&Arc<Relayed>> {
    let relayed = view.answered()?;
    let gone = matches!(view.condition.state, State::Gone { .. });
    let leads = relayed.status.is_redirection() && relayed.headers.contains_key(header::LOCATION);
    let ends = leads || matches!(relayed.status.as_u16(), 401 | 403 | 404 | 410);
    let private = view.closing == Some(Closing::Credentials);
    ((view.frame.is_none() || gone || private) && (ends || private)).then_some(relayed)
}

/// A refusal or failure that is not asked about again so soon.
pub(in crate::front) fn is_remembered(view: &View, interval: Duration) -> bool {
    view.remembered_until(interval).is_some_and(|until| Instant::now() < until)
}
