//! What a mirror asks of the other nodes for its own clients: a look at what is stored, or something of the holder.
//!
//! A look-up and a want are to a mirror what a poll is to a holder: each has a poll number of this node from the moment
//! that it begins, so that what clients wait for started after they came. Must not know: how a content is applied.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backplane::{LookUp, Membership, Order, Role, Stored, Want};
use super::poller::Poller;
use super::sharing::Waiting;
use super::standing::Floor;
use crate::hub::{OpenNames, Outcome, PollNumber, Publisher, Topic, View};

/// A question that is on its way.
pub(super) type Asking = Pin<Box<dyn Future<Output = Asked> + Send>>;

/// A question and what came of it.
pub(super) enum Asked {
    /// A want was sent.
    Wanted {
        number: PollNumber,
        confirms: bool,
        is_floor: bool,
        /// Its number among all nodes'; `None` if the engine did not answer.
        want: Option<u64>,
    },
    /// A write was told to all nodes, and the holder polls for it.
    Told {
        number: PollNumber,
        /// Its number among all nodes' wants.
        write: u64,
    },
    /// What is stored was read.
    LookedUp {
        /// What clients had named by then.
        names: OpenNames,
        found: LookUp,
    },
}

impl Poller {
    /// The next question, if there is one to be asked now.
    pub(super) fn next_ask(&mut self, publisher: &Publisher) -> Option<Asking> {
        let (now, view) = (Instant::now(), self.topic.view());
        let is_to_look_up = self.is_to_look_up(&view);
        let after_write =
            self.topic.poll_for_write().is_some_and(|at| at <= now) && !self.topic.is_deserted();
        let is_wanted = self.topic.wanted_now() > view.ended && self.wanted_from(&view, now) <= now;
        let (is_aged, is_to_refresh) = (self.topic.is_aged(&view), self.topic.is_to_refresh(&view));
        let sharing = self.sharing.as_mut()?;
        if sharing.asks.not_before.is_some_and(|at| at > now) {
            return None;
        }
        let is_floor = sharing.standing.floor() == Floor::Unknown;
        let is_unheard = sharing.asks.unheard_at(sharing.membership.lease()).is_some_and(|at| at <= now);
        let may_ask = sharing.asks.has_room() && !sharing.membership.is_dormant();
        if after_write && may_ask && !is_floor && !is_unheard {
            return Some(ask_for_writes(&self.topic, publisher, sharing.membership.clone()));
        }
        if sharing.asks.misses_content || is_to_look_up {
            sharing.asks.misses_content = false;
            sharing.looked_up = self.topic.names_said();
            let names = self.topic.begin_look_up();
            let (membership, have) =
                (sharing.membership.clone(), sharing.standing.shown().unwrap_or_default());
            return Some(Box::pin(async move {
                Asked::LookedUp { names, found: membership.look_up(have).await }
            }));
        }
        sharing.look_for_first(now);
        let asks = &mut sharing.asks;
        if !asks.has_room() {
            return None;
        }
        let want = if after_write || is_unheard {
            asks.asks_for_writes();
            Want::Poll
        } else if is_floor || std::mem::take(&mut asks.needs_confirmation) {
            // All nodes are back at once, with all of their resources: the API is not asked for all of them at once.
            Want::Confirmation
        } else if is_wanted && !asks.covers(self.topic.wanted_now()) {
            if matches!(view.outcome, Outcome::Cold) && !is_aged && !is_to_refresh && asks.may_come(now) {
                return None;
            }
            let beside_schedule = if is_to_refresh { Want::Confirmation } else { Want::Young };
            if is_aged { Want::Poll } else { beside_schedule }
        } else {
            return None;
        };
        let membership = sharing.membership.clone();
        let number = match want {
            Want::Poll => self.topic.take_writes(|| publisher.start_poll()).0,
            Want::Young | Want::Confirmation => publisher.start_poll(),
        };
        Some(Box::pin(async move {
            let confirms = want != Want::Young;
            Asked::Wanted { number, confirms, is_floor, want: membership.want(want).await }
        }))
    }

    /// Takes in what came of a question.
    pub(super) async fn take_answer(
        &mut self,
        mut publisher: Publisher,
        asked: Asked,
    ) -> ControlFlow<(), Publisher> {
        match asked {
            Asked::Wanted { number, confirms, is_floor, want } => {
                let view = self.topic.view();
                let Some(sharing) = self.sharing.as_mut() else { return ControlFlow::Continue(publisher) };
                let Some(want) = want else {
                    sharing.pause_asking(confirms);
                    return ControlFlow::Continue(publisher);
                };
                if is_floor {
                    sharing.standing.wants(want);
                }
                sharing.asks.waiting.push_back(Waiting { number, confirms, want, told: None });
                sharing.answered_before(want, &view, &mut publisher);
                ControlFlow::Continue(publisher)
            }
            Asked::Told { number, write } => {
                let view = self.topic.view();
                if let Some(sharing) = self.sharing.as_mut() {
                    sharing.asks.await_write(number, write);
                    sharing.answered_before(write, &view, &mut publisher);
                }
                ControlFlow::Continue(publisher)
            }
            Asked::LookedUp { names, found } => self.looked_up(publisher, names, found).await,
        }
    }

    async fn looked_up(
        &mut self,
        mut publisher: Publisher,
        names: OpenNames,
        found: LookUp,
    ) -> ControlFlow<(), Publisher> {
        let stored = match found {
            LookUp::Found(stored) => *stored,
            LookUp::Nothing => {
                publisher.fail_look_up();
                self.needs_confirmation(&names);
                return ControlFlow::Continue(publisher);
            }
            LookUp::Lost => {
                if let Some(sharing) = &mut self.sharing {
                    sharing.looked_up = 0;
                    sharing.pause_asking(false);
                }
                publisher.fail_look_up();
                return ControlFlow::Continue(publisher);
            }
        };
        let Stored { order, content, tags } = stored;
        if let Some(content) = content {
            publisher = self.apply(publisher, content, Role::Mirror, true).await?;
        }
        let is_shown = self.sharing.as_ref().is_some_and(|sharing| sharing.standing.shown() == Some(order));
        if is_shown {
            if !publisher.end_look_up(&names, &tags) {
                self.needs_confirmation(&names);
            }
        } else {
            publisher.fail_look_up();
            self.needs_confirmation(&names);
        }
        ControlFlow::Continue(publisher)
    }

    /// Whether clients named something that no look-up since then has looked for.
    pub(super) fn is_to_look_up(&self, view: &View) -> bool {
        let Some(sharing) = &self.sharing else { return false };
        self.topic.wanted_confirmation() > view.confirmed && self.topic.names_said() > sharing.looked_up
    }

    /// What was not found has to be polled for.
    fn needs_confirmation(&mut self, names: &OpenNames) {
        if !names.is_empty()
            && self.topic.wanted_confirmation() > self.topic.view().confirmed
            && let Some(sharing) = &mut self.sharing
        {
            sharing.asks.needs_confirmation = true;
        }
    }

    /// A holder looks up what clients name, too: where all of it was accepted before what it shows, no poll is needed; where
    /// something newer is stored, another node holds the resource.
    pub(super) async fn look_up_named(&mut self, mut publisher: Publisher) -> Publisher {
        let Some(sharing) = self.sharing.as_mut() else { return publisher };
        sharing.looked_up = self.topic.names_said();
        let names = self.topic.begin_look_up();
        let found = sharing.membership.look_up(sharing.standing.shown().unwrap_or_default()).await;
        match found {
            LookUp::Found(stored) if sharing.standing.shown() == Some(stored.order) => {
                publisher.end_look_up(&names, &stored.tags);
            }
            LookUp::Found(stored) => {
                let newer = stored.content.filter(|content| content.order > sharing.standing.order());
                newer.into_iter().for_each(|content| sharing.inbox.tell_content(content));
                publisher.fail_look_up();
            }
            LookUp::Nothing | LookUp::Lost => publisher.fail_look_up(),
        }
        publisher
    }
}

/// What answers the writes so far. Where the holder hears of them, too, it is not asked.
fn ask_for_writes(topic: &Topic, publisher: &Publisher, membership: Arc<dyn Membership>) -> Asking {
    let (number, told) = topic.take_writes(|| publisher.start_poll());
    Box::pin(async move {
        match told {
            Some(write) => Asked::Told { number, write },
            None => {
                let want = membership.want(Want::Poll).await;
                Asked::Wanted { number, confirms: true, is_floor: false, want }
            }
        }
    })
}

impl super::sharing::Sharing {
    /// The holder has polled, and what it has is below what is shown: the engine's clock went back. Once that has lasted
    /// for a lease it is taken as it is, for silence would be worse.
    pub(super) fn note_below(&mut self, stored: Order) {
        let since = *self.below_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.membership.lease() {
            let shown = self.standing.shown();
            tracing::warn!(?stored, ?shown, "the engine gave an older place to a newer content: it is shown");
            self.membership.note_regression();
            self.standing.regresses();
            self.below_since = None;
            self.asks.misses_content = true;
        }
    }

    /// Notes until when the first poll of a holder that has just begun may bring what is asked for.
    fn look_for_first(&mut self, now: Instant) {
        if self.asks.first_until.is_none() {
            let wait = if self.membership.is_begun() { self.membership.lease() / 3 } else { Duration::ZERO };
            self.asks.first_until = Some(now + wait);
        }
    }

    /// The answer to a want may have been faster than its number.
    fn answered_before(&mut self, want: u64, view: &View, publisher: &mut Publisher) {
        if want <= self.settled && self.standing.floor() == Floor::None {
            let (ended, confirmed) = (self.ended(want, view), self.confirmed(view));
            publisher.end_polls(ended, confirmed);
            publisher.settle(ended);
        }
    }

    /// The engine did not answer: the role follows, and until then nothing is asked again at once.
    fn pause_asking(&mut self, confirms: bool) {
        self.asks.needs_confirmation |= confirms;
        self.asks.not_before = Some(Instant::now() + self.membership.lease() / 3);
    }
}
