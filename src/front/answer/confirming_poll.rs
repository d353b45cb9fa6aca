//! Plain requests that name a state which this process has never held (contract §2, §13): of another node, of an answer
//! that passed through, of a replica that was ahead. What is held may be older than what such a client has seen.
//!
//! One poll confirms it first, which all requests that name such states share; there is at most one beside the schedule in half
//! an interval. Must not know: push clients, which have the same rule (`hub::Subscription`).

use http::header;
use tokio::time::{Instant, timeout};

use crate::front::covered_request::CoveredRequest;
use crate::hub::{Attendance, Name, Outcome, Topic, View};

/// Whether what is held may be answered to a request that names a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Confirmed {
    /// What is held is not older than what the request names, as far as is known.
    Unneeded,
    /// The same, and a poll or a look-up was waited for.
    Waited,
    /// It may be older, and neither a poll nor another node could say: the request is the API's.
    Missing,
}

impl CoveredRequest<'_> {
    /// Waits for a poll that starts after the request came, if it names a state that was never held and that poll can
    /// come within `first_answer`. Where other nodes publish the resource, too, what they have is looked up first, and
    /// nothing is answered that is not known to be as new.
    pub(in crate::front) async fn await_confirmation(&self, attendance: &Attendance) -> Confirmed {
        let topic = attendance.topic();
        let (view, is_shared) = (topic.view(), topic.is_shared());
        let Some(name) = self.name_to_confirm(topic, &view) else { return Confirmed::Unneeded };
        let patience = self.route.first_answer;
        let number = attendance.next_poll();
        if !is_shared {
            topic.want_confirmed_for(number, name);
            let ended = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
            return match timeout(patience, ended).await {
                Ok(_) => Confirmed::Waited,
                Err(_) => Confirmed::Unneeded,
            };
        }
        let named = topic.want_confirmed_for(number, name);
        let look_ups = view.look_ups;
        let is_over = |view: &View| {
            // Where polls fail, the look-up alone is waited for.
            let is_looked_up = !is_well(view) && view.look_ups != look_ups;
            is_looked_up || view.closing.is_some() || !topic.is_unconfirmed_for(named, view)
        };
        // What came of it is seen in the view.
        let _ = timeout(patience, topic.wait_for(is_over)).await;
        let view = topic.view();
        match view.closing.is_none() && topic.is_unconfirmed_for(named, &view) {
            true => Confirmed::Missing,
            false => Confirmed::Waited,
        }
    }

    /// The state that the request names and that has to be confirmed first. Returns `None` if there is none, or no poll for
    /// it can come in time.
    pub(in crate::front) fn name_to_confirm(&self, topic: &Topic, view: &View) -> Option<Name<'static>> {
        let is_shared = topic.is_shared();
        if view.closing.is_some() || !(is_well(view) || is_shared) {
            return None;
        }
        let lines = self.headers.get_all(header::IF_NONE_MATCH).iter();
        let name = topic.unknown_name(view, lines.filter_map(|line| line.to_str().ok()))?;
        let earliest = view.ended_at.map(|at| at + self.route.poll.interval / 2);
        // Of a slow resource half an interval is as near as its polls come.
        let is_too_late =
            !is_shared && earliest.is_some_and(|at| at > Instant::now() + self.route.first_answer);
        (!is_too_late).then_some(name)
    }
}

/// Whether the last poll brought data.
fn is_well(view: &View) -> bool {
    matches!(view.outcome, Outcome::Data)
}
