//! What a poll loop does for the other nodes beside its polls: it goes on where a mirror was, answers what needs no poll,
//! and lets others take over.
//!
//! Must not know: how a poll is made, how the other nodes are reached.

use super::backplane::{Found, Release, Report, Role};
use super::plan::Situation;
use super::poller::Poller;
use crate::hub::Publisher;

impl Poller {
    /// This node polls from now on: it goes on where the other one was, as far as that was told.
    pub(super) fn take_over(&mut self, role: Role) {
        let Some(sharing) = &mut self.sharing else { return };
        sharing.begin(role);
        let Some(pace) = sharing.last.pace.take() else { return };
        self.timing.pace.resume(pace);
        let view = self.topic.view();
        self.timing.last_start = view.confirmed_at();
        self.fetch_state.begin_anew();
        self.content_state.gone_since = None;
        self.resume_feed();
    }

    /// A holder answers what other nodes and its own clients want to know, where that needs no poll.
    pub(super) async fn answer_others(&mut self, publisher: Publisher) -> Publisher {
        let view = self.topic.view();
        let is_young = self.topic.is_young(&view);
        let Some(sharing) = self.sharing.as_mut().filter(|sharing| sharing.fence().is_some()) else {
            return publisher;
        };
        if let Some(wants) = sharing.answered_by_youth(is_young)
            && let Some(fence) = sharing.fence()
        {
            sharing.settled = wants;
            let age = view.confirmed_at().map(|at| at.elapsed()).unwrap_or_default();
            let order = sharing.standing.shown().unwrap_or_default();
            sharing.membership.report(fence, Report { order, settled: wants, age, found: Found::Unchanged });
        }
        // What nothing was published for has to be polled anyway.
        let is_shown = sharing.standing.shown().is_some();
        if is_shown && self.is_to_look_up(&view) {
            return self.look_up_named(publisher).await;
        }
        publisher
    }

    /// A holder whose clients want no polls lets others take over, and claims the resource again when they do.
    pub(super) fn let_others_poll(&mut self, situation: &Situation) {
        let Some(sharing) = self.sharing.as_mut() else { return };
        let Some(fence) = sharing.fence() else { return };
        let is_dormant = !situation.active && (situation.deserted || situation.next_poll().is_none());
        if is_dormant && !sharing.is_released {
            sharing.is_released = true;
            sharing.membership.release(fence, Release::Dormant);
        } else if situation.active && sharing.is_released {
            sharing.is_released = false;
            sharing.membership.claim();
        }
    }
}
