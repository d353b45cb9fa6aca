//! The poll loop of one resource: ask, judge, publish, wait. It owns the resource's `Publisher`.
//!
//! Must not know: subscribers beyond their number, transports.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use tokio::time::{Instant, sleep_until};

use super::after_write::Echo;
use super::backplane::Role;
use super::exchange::{Item, Tag};
use super::feed::Follower;
use super::plan::Action;
use super::remembered::{Last, Remembered};
use super::request::target;
use super::sharing::{Sharing, lost, told};
use super::stakes::Stakes;
use crate::change::Detector;
use crate::config::Route;
use crate::hub::{Closing, ExceptionKind, PollNumber, Publisher, Retained, Topic};
use crate::identity::expiry_hint;
use crate::metrics::PollMetrics;
use crate::resource::{HeldBytes, MediaType, ResourceKey, Validators};
use crate::upstream::classify::{Terms, judge};
use crate::upstream::schedule::Pace;
use crate::upstream::{Answer, BodyClaim, FetchError, Held};

/// One resource's loop.
pub(super) struct Poller {
    pub(super) stakes: Arc<Stakes>,
    pub(super) topic: Arc<Topic>,
    pub(super) route: Arc<Route>,
    pub(super) publisher: Option<Publisher>,
    /// `None` if no other node polls the resource.
    pub(super) sharing: Option<Box<Sharing>>,
    pub(super) pace: Pace,
    /// An earlier topic of this resource had a snapshot.
    was_document: bool,
    /// None while it is at work.
    pub(super) detector: Option<Detector>,
    /// When the schedule (interval or backoff) asks for the next poll.
    pub(super) due: Instant,
    /// The upstream's `Retry-After` lasts until then.
    pub(super) not_before: Instant,
    pub(super) last_start: Option<Instant>,
    /// The poll waits for its turn since then.
    pub(super) waiting: Option<Instant>,
    /// How long the last one waited.
    pub(super) waited: Duration,
    /// A bit for each of the last polls, set where it found a change.
    pub(super) changes: u16,
    /// The validators that the poll in flight carries: a 304 is an answer to them.
    pub(super) asked: Option<Validators>,
    /// Newer validators for the content held, which a 304 brought.
    pub(super) renewed: Option<Validators>,
    /// The last 304 was about another version: the next poll asks for the whole content.
    pub(super) distrusted: bool,
    /// Where the last answer came from, if redirects led to another target than the resource's.
    pub(super) settled: Option<String>,
    /// Why the last answer's redirect was not followed, where the route lets some be.
    pub(super) unfollowed: Option<String>,
    /// The last poll carried cookies of the poller's own.
    pub(super) carried_jar: bool,
    /// What it is in a batch; `None` if it is polled by itself.
    pub(super) item: Option<Item>,
    /// The batch that the content is from.
    pub(super) tag: Option<Arc<Tag>>,
    /// The media type of the resource so far.
    pub(super) known_type: Option<MediaType>,
    /// On a feed: what is known of its list.
    pub(super) feed: Option<Follower>,
    pub(super) gone_since: Option<Instant>,
    /// When the class's own token says that it ends.
    pub(super) expires: Option<Instant>,
    pub(super) echo: Echo,
    /// The upstream's own quotas that its polls count for.
    pub(super) quotas: Held,
    /// One of them counts for all polls of the upstream.
    pub(super) counts_for_all: bool,
    metrics: PollMetrics,
    /// What this topic holds besides content that others may have, too.
    pub(super) held: HeldBytes,
    /// The room that its bodies take while a poll is in progress.
    pub(super) claim: Arc<BodyClaim>,
    /// Head and body of the last whole answer: what a client polling for itself would have cost.
    last_cost: usize,
    /// The server of the exchange that just failed, and the whole reason, for the operator's log alone.
    pub(super) failing: (Option<String>, Option<String>),
}

impl Poller {
    pub(super) fn new(stakes: Arc<Stakes>, publisher: Publisher) -> Poller {
        let topic = publisher.topic().clone();
        let now = Instant::now();
        let remembered = stakes.take_failing(topic.key());
        stakes.metrics.resources.inc();
        let upstream = topic.route().upstream.name.as_str();
        if let Some(sharers) = stakes.sharers(upstream) {
            sharers.fetch_add(1, Ordering::Relaxed);
        }
        let mut poller = Poller {
            pace: Pace::new(stakes.next_seed(), remembered.as_ref().map(|r| r.failing)),
            was_document: remembered.as_ref().is_some_and(|r| r.document),
            detector: None,
            route: topic.route().clone(),
            sharing: stakes.backplane().and_then(|backplane| Sharing::attend(&**backplane, &topic)),
            publisher: Some(publisher),
            due: now,
            not_before: now,
            last_start: None,
            waiting: None,
            waited: Duration::ZERO,
            changes: 0,
            asked: None,
            renewed: None,
            distrusted: false,
            settled: None,
            unfollowed: None,
            carried_jar: false,
            item: Item::of(topic.route(), topic.key()),
            tag: None,
            known_type: None,
            feed: topic
                .route()
                .feed
                .as_ref()
                .map(|rules| Follower::new(rules, target(topic.key(), topic.route()))),
            gone_since: None,
            expires: expiry(topic.key()).filter(|at| *at > now),
            echo: Echo::default(),
            quotas: Held::default(),
            counts_for_all: false,
            metrics: stakes.metrics.polling(upstream, &topic.route().path),
            held: stakes.hub.account(),
            claim: stakes.bodies.claim(),
            last_cost: 0,
            failing: (None, None),
            topic,
            stakes,
        };
        if let Some(remembered) = remembered {
            poller.remember(remembered);
        }
        poller
    }

    /// Whether there ever was a snapshot, as far as is known.
    pub(super) fn is_document(&self) -> bool {
        self.was_document || self.topic.view().frame.is_some()
    }

    /// Goes on where an earlier topic of this resource ended: in the middle of a backoff.
    fn remember(&mut self, remembered: Remembered) {
        let now = Instant::now();
        let (Some(last), Some(publisher)) = (remembered.last, &mut self.publisher) else {
            return;
        };
        if remembered.due > now {
            let wait = remembered.due - now;
            self.due = remembered.due;
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
            if self.has_expired() {
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
                    self.sleep(self.expires.map_or(until, |at| at.min(until))).await;
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

    /// Whether the class's own token has ended.
    pub(super) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|at| Instant::now() >= at)
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
        let asked = tokio::select! {
            biased;
            asked = self.ask_upstream() => asked,
            () = lost(inbox, role) => None,
        };
        let upstream = self.route.upstream.clone();
        let Some((number, started, result)) = asked else {
            // Another node polls: what this one would bring is no one's any more.
            self.waiting = None;
            self.last_start = None;
            self.drop_result(started);
            return;
        };
        let Some(publisher) = self.publisher.take() else {
            return;
        };
        let outcome = match result {
            Ok(answer) => self.answered(publisher, number, &answer).await,
            Err(error) => self.unreachable(publisher, number, &error),
        };
        if outcome == "failed" {
            // The content is from an earlier one, whatever this batch said.
            self.tag = None;
        }
        let upstream = upstream.name.as_str();
        self.stakes.metrics.polled(upstream, &self.route.path, outcome);
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        if !self.topic.pace().is_asked() {
            self.stakes.hub.watches().answered(upstream, started.elapsed());
        }
        self.listen(number, outcome);
        self.tell_others(outcome);
        self.count_saved();
    }

    /// Waits for the turn, and asks. Gives the poll's number and start with what came.
    async fn ask_upstream(&mut self) -> Option<(PollNumber, Instant, Result<Answer, FetchError>)> {
        let turn = self.turn().await;
        let number = self.publisher.as_ref()?.start_poll();
        let started = Instant::now();
        self.last_start = Some(started);
        self.begin_shared_poll(number);
        let result = match turn {
            Ok(turn) => self.fetch(turn).await,
            Err(error) => Err(error),
        };
        Some((number, started, result))
    }

    /// Acts on an answer; gives the outcome's label.
    async fn answered(&mut self, publisher: Publisher, number: PollNumber, answer: &Answer) -> &'static str {
        self.last_cost = answer.head_bytes + answer.body_bytes;
        self.metrics.head_bytes.inc_by(answer.head_bytes as u64);
        self.metrics.body_bytes.inc_by(answer.body_bytes as u64);
        self.learn_quota(answer);
        let terms = Terms {
            route: &self.route,
            private: self.topic.key().is_private(),
            known_type: self.known_type.as_ref(),
        };
        let verdict = judge(answer, &terms);
        self.act(publisher, number, answer, verdict).await
    }

    /// What every client polling for itself would have added.
    fn count_saved(&self) {
        let others = self.topic.followers().saturating_sub(1) as u64;
        self.metrics.saved_requests.inc_by(others);
        self.metrics.saved_bytes.inc_by(others * self.last_cost as u64);
    }
}

/// When the token in a class's `Authorization` says that it ends.
fn expiry(key: &ResourceKey) -> Option<Instant> {
    let field = key.parts().class.iter().find(|(name, _)| *name == AUTHORIZATION);
    let (_, token) = field?.1.to_str().ok()?.split_once(' ')?;
    expiry_hint(token.trim()).map(Instant::from_std)
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stakes.metrics.resources.dec();
        let upstream = self.route.upstream.name.as_str();
        if let Some(sharers) = self.stakes.sharers(upstream) {
            sharers.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(failing) = self.pace.failing() {
            let remembered = Remembered {
                failing,
                due: self.due,
                document: self.is_document(),
                last: Last::of(&self.topic.view().outcome),
            };
            self.stakes.keep_failing(self.topic.key(), remembered);
        }
    }
}
