//! The poll loop of one resource: ask, judge, publish, wait. It owns the resource's `Publisher`.
//!
//! Must not know: subscribers beyond their number, transports.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::COOKIE;
use tokio::time::{Instant, sleep_until};

use super::after_write::Echo;
use super::backplane::Role;
use super::content_state::ContentState;
use super::counters::Counters;
use super::fetch_state::FetchState;
use super::plan::Action;
use super::remembered::{Last, Remembered};
use super::services::Services;
use super::sharing::{Sharing, lost, told};
use super::timing::Timing;
use crate::config::Route;
use crate::hub::{Closing, ExceptionKind, PollNumber, Publisher, Retained, Topic};
use crate::upstream::classify::{Terms, judge};
use crate::upstream::schedule::{Pace, Why};
use crate::upstream::{Answer, FetchError};

/// One resource's loop.
pub(super) struct Poller {
    pub(super) services: Arc<Services>,
    pub(super) topic: Arc<Topic>,
    pub(super) route: Arc<Route>,
    pub(super) publisher: Option<Publisher>,
    /// `None` if no other node polls the resource.
    pub(super) sharing: Option<Box<Sharing>>,
    /// When it is polled.
    pub(super) timing: Timing,
    /// How it is asked for.
    pub(super) fetch_state: FetchState,
    /// What is known of its content beside what is published.
    pub(super) content_state: ContentState,
    /// How far the polls for the last write are.
    pub(super) echo: Echo,
    /// The poll loops of its upstream.
    pub(super) sharers: Option<Arc<AtomicUsize>>,
    counters: Counters,
}

impl Poller {
    pub(super) fn new(services: Arc<Services>, publisher: Publisher) -> Poller {
        let topic = publisher.topic().clone();
        let remembered = services.take_failing(topic.key());
        services.metrics.resources.inc();
        let route = topic.route().clone();
        let upstream = route.upstream.name.as_str();
        let sharers = services.settings().sharers(upstream);
        if let Some(sharers) = &sharers {
            sharers.fetch_add(1, Ordering::Relaxed);
        }
        let key = topic.key();
        let pace = Pace::new(services.next_seed(), remembered.as_ref().map(|r| r.failing));
        let was_document = remembered.as_ref().is_some_and(|r| r.document);
        let mut poller = Poller {
            sharing: services.backplane().and_then(|backplane| Sharing::attend(&**backplane, &topic)),
            publisher: Some(publisher),
            timing: Timing::new(pace, key),
            fetch_state: FetchState::new(&route, key, services.bodies.claim()),
            content_state: ContentState::new(&route, key, was_document, services.hub.account()),
            echo: Echo::default(),
            sharers,
            counters: Counters::new(services.metrics.polling(upstream, &route.path)),
            route,
            topic,
            services,
        };
        if let Some(remembered) = remembered {
            poller.remember(remembered);
        }
        poller
    }

    /// Whether there ever was a snapshot, as far as is known.
    pub(super) fn is_document(&self) -> bool {
        self.content_state.was_document || self.topic.view().frame.is_some()
    }

    /// Goes on where an earlier topic of this resource ended: in the middle of a backoff.
    fn remember(&mut self, remembered: Remembered) {
        let now = Instant::now();
        let (Some(last), Some(publisher)) = (remembered.last, &mut self.publisher) else {
            return;
        };
        if remembered.due > now {
            let wait = remembered.due - now;
            self.timing.due = remembered.due;
            let (status, reason) = last.told();
            publisher.stale(status, reason, wait);
            // No poll of this topic: no reader's wait for one is over.
            match last {
                Last::Failure(failure) => publisher.fail(0, failure, wait),
                Last::Answer(relayed) => publisher.relay(0, relayed, None, wait),
            }
        }
    }

    /// Polls until no client attends, the topic closes, or another node is to poll. Gives the publisher back in the last
    /// case.
    pub(super) async fn run(&mut self, publisher: Publisher) -> Option<Publisher> {
        self.publisher = Some(publisher);
        while let Some(publisher) = self.publisher.take() {
            if self.topic.is_closed() {
                // Its clients have left already.
                drop(publisher.retire());
                return None;
            }
            self.follow_route();
            if self.timing.has_expired() {
                // No client may ask with it any more, nor follow what it got.
                publisher.close(Closing::Credentials, None);
                return None;
            }
            let publisher = match &self.sharing {
                None => publisher,
                Some(sharing) if !sharing.is_still() => return Some(publisher),
                Some(_) => self.answer_others(publisher).await,
            };
            let situation = self.situation();
            self.let_others_poll(&situation);
            match situation.decide() {
                Action::Retire => match publisher.retire() {
                    Ok(()) => tracing::debug!(resource = ?self.topic.key(), "retired"),
                    Err(Retained(publisher)) => self.publisher = Some(publisher),
                },
                Action::Sleep(until) => {
                    self.publisher = Some(publisher);
                    self.sleep(self.timing.expires.map_or(until, |at| at.min(until))).await;
                }
                Action::Poll if self.is_session_idle() => {
                    let reason = "no ordinary request of its user came for longer than max_session_polls";
                    publisher.close(Closing::SessionIdle, Some((ExceptionKind::SessionIdle, reason)));
                }
                Action::Poll => {
                    self.publisher = Some(publisher);
                    self.poll().await;
                }
            }
        }
        None
    }

    /// Goes on under the form that the topic's route has now. A shorter interval counts from the last poll on.
    pub(super) fn follow_route(&mut self) {
        let route = self.topic.route();
        if Arc::ptr_eq(&route, &self.route) {
            return;
        }
        let (before, now) = (self.route.poll.interval, route.poll.interval);
        self.route = route.clone();
        if now < before && self.timing.pace.failing().is_none() && self.rests_by_interval() {
            let due = self.timing.last_start.map_or(self.timing.due, |start| start + now);
            self.timing.due = self.timing.due.min(due).max(self.timing.not_before);
        }
    }

    /// Whether nothing but the route's own interval says when the next poll is.
    fn rests_by_interval(&self) -> bool {
        matches!(self.topic.view().why, Why::Interval)
    }

    /// Whether its polls would keep a user's session alive after the user has left.
    fn is_session_idle(&self) -> bool {
        let carries_cookie = self.topic.key().parts().class.iter().any(|(name, _)| name == COOKIE);
        let most = self.route.poll.max_session_polls.filter(|_| carries_cookie);
        most.zip(self.topic.user_seen_at()).is_some_and(|(most, seen)| seen.elapsed() >= most)
    }

    /// Sleeps, but wakes for demands; meanwhile tells followers when their content gets old.
    async fn sleep(&mut self, until: Instant) {
        let stale_at = self.stale_at();
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.topic.demanded() => {}
            () = told(self.sharing.as_deref()) => {}
            () = sleep_until(stale_at.unwrap_or(until)), if stale_at.is_some() => self.tell_stale(),
        }
    }

    async fn poll(&mut self) {
        let started = Instant::now();
        let (inbox, role) = self
            .sharing
            .as_ref()
            .map_or((None, Role::Alone), |sharing| (Some(sharing.inbox.clone()), sharing.standing.role()));
        let topic = self.topic.clone();
        let asked = tokio::select! {
            biased;
            asked = self.ask_upstream() => asked,
            () = lost(inbox, role) => None,
            () = topic.closed() => None,
        };
        let upstream = self.route.upstream.clone();
        let Some((number, started, result)) = asked else {
            // Another node polls, or the resource is none any more: what this poll would bring is no one's.
            self.timing.forget_start();
            self.fetch_state.span = None;
            self.drop_result(started);
            return;
        };
        let Some(publisher) = self.publisher.take() else {
            return;
        };
        let received = self.received(result.as_ref().ok());
        let traceparent = self.traceparent(received.as_ref());
        let outcome = match result {
            Ok(answer) => self.answered(publisher, number, &answer).await,
            Err(error) => self.unreachable(publisher, number, &error),
        };
        self.end_span(received, outcome);
        if outcome == "failed" {
            // The content is from an earlier one, whatever this batch said.
            self.fetch_state.tag = None;
        }
        let upstream = upstream.name.as_str();
        self.services.metrics.polled(upstream, &self.route.path, outcome);
        self.topic.outcomes().push(outcome);
        self.counters.took(started.elapsed(), traceparent.as_ref());
        if !self.topic.pace().is_asked() {
            self.services.hub.watches().answered(upstream, started.elapsed());
        }
        self.listen(number, outcome);
        self.tell_others(outcome);
        self.counters.saved(self.topic.followers());
    }

    /// Waits for the turn, and asks. Gives the poll's number and start with what came.
    async fn ask_upstream(&mut self) -> Option<(PollNumber, Instant, Result<Answer, FetchError>)> {
        let turn = self.turn().await;
        let number = self.publisher.as_ref()?.start_poll();
        let started = self.timing.start();
        self.begin_shared_poll(number);
        let result = match turn {
            Ok(turn) => self.fetch(turn).await,
            Err(error) => Err(error),
        };
        Some((number, started, result))
    }

    /// Acts on an answer; gives the outcome's label.
    async fn answered(&mut self, publisher: Publisher, number: PollNumber, answer: &Answer) -> &'static str {
        self.counters.answered(answer);
        self.learn_quota(answer);
        let terms = Terms {
            route: &self.route,
            private: self.topic.key().is_private(),
            known_type: self.content_state.media_type.as_ref(),
        };
        let verdict = judge(answer, &terms);
        self.act(publisher, number, answer, verdict).await
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.services.metrics.resources.dec();
        if let Some(sharers) = &self.sharers {
            sharers.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(failing) = self.timing.pace.failing() {
            let remembered = Remembered {
                failing,
                due: self.timing.due,
                document: self.is_document(),
                last: Last::of(&self.topic.view().outcome),
            };
            self.services.keep_failing(self.topic.key(), remembered);
        }
    }
}
