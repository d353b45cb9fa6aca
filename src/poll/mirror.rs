//! The second loop that owns a publisher: it shows what another node had accepted, in the order of all nodes, and never
//! goes back (contract §13).
//!
//! What clients wait for here is asked of the holder (`asks`); its numbers of polls are this node's own, so that no
//! client waits for a poll of another node's count. Must not know: how the other nodes are reached, how a poll is made.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::backplane::{Found, News, Order, Report, Rhythm, Role, SharedContent, TroubleKind};
use super::poller::Poller;
use super::standing::{Floor, Heard, Offer};
use crate::frame::State;
use crate::hub::{Closing, Confirmation, Draft, Failure, Outcome, PollNumber, Publisher, Relayed, Retained};
use crate::upstream::schedule::Why;

/// Without a sign of the holder for so many leases a mirror's content counts as overdue: by then another node polls.
const LEASES_OVERDUE: u32 = 3;

/// Why no poll is made for a request.
const ENGINE_LOST: &str =
    "the nodes cannot reach each other, and are to poll nothing meanwhile (cluster.when_lost)";

impl Poller {
    /// Mirrors until this node is to poll by itself, and gives the publisher back with the role. Returns `None` if the topic
    /// has ended.
    pub(super) async fn mirror(&mut self, publisher: Publisher) -> Option<(Publisher, Role)> {
        self.begin_mirror();
        self.publisher = Some(publisher);
        let mut asking = None;
        loop {
            // What is stored is told before the role that follows from it.
            let (role, news) = {
                let sharing = self.sharing.as_mut()?;
                let role = sharing.inbox.role();
                (role, sharing.inbox.take())
            };
            let publisher = self.publisher.take()?;
            let mut publisher = match self.hear(publisher, news, role).await {
                ControlFlow::Continue(publisher) => publisher,
                ControlFlow::Break(()) => return None,
            };
            if matches!(role, Role::Holder { .. } | Role::Alone) {
                return Some((publisher, role));
            }
            if self.timing.has_expired() {
                publisher.close(Closing::Credentials, None);
                return None;
            }
            self.follow_route();
            if self.is_left() || self.topic.is_closed() {
                match publisher.retire() {
                    Ok(()) => return None,
                    Err(Retained(kept)) => publisher = kept,
                }
            }
            if role == Role::Waiting {
                self.refuse_polls(&mut publisher);
            }
            if role == Role::Mirror {
                self.claim_dormant();
                if asking.is_none() {
                    asking = self.next_ask(&publisher);
                }
            }
            self.publisher = Some(publisher);
            // What was just told may have made the content overdue a while ago.
            self.tell_overdue();
            let (topic, until) = (self.topic.clone(), self.mirror_until());
            let inbox = self.sharing.as_ref()?.inbox.clone();
            inbox.rest(self.calm(role).filter(|_| asking.is_none()));
            tokio::select! {
                asked = async { match asking.as_mut() { Some(asking) => asking.await, None => std::future::pending().await } } => {
                    asking = None;
                    let publisher = self.publisher.take()?;
                    match self.take_answer(publisher, asked).await {
                        ControlFlow::Continue(publisher) => self.publisher = Some(publisher),
                        ControlFlow::Break(()) => return None,
                    }
                }
                () = inbox.told() => {}
                () = topic.demanded() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// A node that polled for itself takes only what is surely newer than that.
    fn begin_mirror(&mut self) {
        let shows_own = self.shows_own();
        let Some(sharing) = &mut self.sharing else { return };
        sharing.asks.stop_waiting();
        // What clients named may have been asked of a node that holds the resource no longer.
        sharing.looked_up = 0;
        sharing.standing.mirrors(shows_own);
    }

    /// Whether what is shown was polled for this node alone.
    fn shows_own(&self) -> bool {
        let has_place = self.sharing.as_ref().is_some_and(|sharing| sharing.standing.shown().is_some());
        !has_place && self.topic.view().frame.is_some()
    }

    /// Applies what was told.
    async fn hear(&mut self, mut publisher: Publisher, news: News, role: Role) -> ControlFlow<(), Publisher> {
        if let Some(content) = news.content {
            if matches!(role, Role::Holder { .. }) && self.shows_own() {
                // What this node polled for itself stands until its next poll, which the others get then.
                self.note_missed_items(content);
            } else {
                publisher = self.apply(publisher, content, role, false).await?;
            }
        }
        if let Some(report) = news.report {
            self.hear_report(&mut publisher, report);
        }
        ControlFlow::Continue(publisher)
    }

    /// Shows a content, if it is newer than what is shown. `is_whole`: no item of a feed is missing between what is shown
    /// and this content, apart from those that it says are gone.
    pub(super) async fn apply(
        &mut self,
        mut publisher: Publisher,
        mut content: SharedContent,
        role: Role,
        is_whole: bool,
    ) -> ControlFlow<(), Publisher> {
        let shows_own = self.shows_own();
        let Some(sharing) = self.sharing.as_mut() else { return ControlFlow::Continue(publisher) };
        if !sharing.may_apply(&content, is_whole, shows_own) {
            return ControlFlow::Continue(publisher);
        }
        if role == Role::Mirror && content.age >= content.rhythm.interval {
            // A holder that lives confirmed it within an interval, on the average half of it ago.
            content.age = content.rhythm.interval / 2;
        }
        let (told, is_apart) = self.complete_items(&mut content, shows_own);
        let Some(sharing) = self.sharing.as_mut() else { return ControlFlow::Continue(publisher) };
        let news = content.feed.take().map(|feed| sharing.news(feed, &told, is_apart));
        let draft = publisher.draft(content.snapshot.clone(), news);
        let Some(draft) = self.encoded(draft).await else {
            publisher.close(Closing::NoRoom, None);
            return ControlFlow::Break(());
        };
        let view = self.topic.view();
        let Some(sharing) = self.sharing.as_mut() else { return ControlFlow::Continue(publisher) };
        let (mut ended, confirmed) = sharing.answered(content.settled, &view);
        if view.ended == 0 && ended == 0 {
            // What the first request waits for.
            ended = publisher.start_poll();
        }
        sharing.shows(content.order, content.snapshot.clone());
        sharing.last.pace = Some(content.pace);
        publisher.order(sharing.last.list_order);
        let (age, upstream_age) = (content.age, content.upstream_age);
        self.is_admitted_again();
        publisher.publish_confirmed(Confirmation { ended, confirmed, upstream_age, age }, draft);
        self.settle_shown(&mut publisher, ended);
        self.content_state.media_type.clone_from(&content.snapshot.media_type);
        self.schedule_mirrored(&mut publisher, content.rhythm, age);
        self.account(0);
        ControlFlow::Continue(publisher)
    }

    /// Makes the forms that followers read. Returns `None` if there is no room for a first content.
    async fn encoded(&mut self, draft: Draft) -> Option<Draft> {
        if !self.has_room_for(&draft) {
            return None;
        }
        let bytes = if draft.is_heavy() { draft.snapshot().body.len() } else { 0 };
        let encode = move || {
            draft.encode();
            draft
        };
        let draft = self.services.compute.run(bytes, encode).await;
        self.has_room_for_forms(&draft).then_some(draft)
    }

    /// Takes in what the holder's last poll found.
    fn hear_report(&mut self, publisher: &mut Publisher, report: Report) {
        let view = self.topic.view();
        let Some(sharing) = self.sharing.as_mut() else { return };
        let gave_data = matches!(report.found, Found::Unchanged);
        match sharing.standing.heard(report.order, report.settled, gave_data) {
            Heard::Current => sharing.below_since = None,
            Heard::BelowFloor => return,
            Heard::Missed => {
                sharing.asks.misses_content = true;
                return;
            }
            Heard::Below => {
                if gave_data {
                    sharing.note_below(report.order);
                }
                return;
            }
        }
        if sharing.asks.misses_content {
            return;
        }
        let (mut ended, confirmed) = match report.found {
            Found::Unchanged => sharing.answered(report.settled, &view),
            Found::Failed { .. } | Found::Relayed { .. } => {
                (sharing.ended(report.settled, &view), view.confirmed)
            }
        };
        if view.ended == 0 && ended == 0 {
            ended = publisher.start_poll();
        }
        match report.found {
            Found::Unchanged if view.frame.is_some() => {
                let rhythm = sharing.last.rhythm;
                let upstream_age = view.upstream_age;
                let confirmation = Confirmation { ended, confirmed, upstream_age, age: report.age };
                publisher.confirm_with(confirmation, None);
                self.settle_shown(publisher, ended);
                if let Some(rhythm) = rhythm {
                    let rhythm = Rhythm { next_poll: rhythm.interval, ..rhythm };
                    self.schedule_mirrored(publisher, rhythm, report.age);
                }
            }
            Found::Unchanged => {}
            Found::Failed { trouble, next_poll } => {
                let class = trouble.kind.class();
                let failure = Failure { class, status: trouble.status, reason: trouble.reason };
                publisher.fail(ended, Arc::new(failure), next_poll);
                self.mirror_trouble(publisher, next_poll, Why::Backoff);
            }
            Found::Relayed { answer, gone, rest, next_poll } => {
                let not_before = rest.map(|rest| Instant::now() + rest);
                self.timing.not_before = not_before.unwrap_or_else(Instant::now);
                let answer = Relayed { not_before, ..Relayed::clone(&answer) };
                publisher.relay(ended, Arc::new(answer), gone, next_poll);
                let why = if rest.is_some() { Why::RetryAfter } else { Why::Backoff };
                self.mirror_trouble(publisher, next_poll, if gone.is_some() { Why::Gone } else { why });
            }
        }
    }

    /// After a failure elsewhere: the next poll, and `stale` at once where there is no content at all.
    fn mirror_trouble(&mut self, publisher: &mut Publisher, next_poll: Duration, why: Why) {
        let view = self.topic.view();
        self.timing.due = Instant::now() + next_poll;
        publisher.schedule(Some(self.timing.due), view.effective_interval, why);
        if view.frame.is_none()
            && let Some((status, reason)) = self.trouble(&view.outcome)
        {
            publisher.stale(status, &reason, next_poll);
        }
    }

    /// Readers wait no longer for the writes that these polls know of.
    fn settle_shown(&self, publisher: &mut Publisher, ended: PollNumber) {
        publisher.settle(ended);
    }

    fn schedule_mirrored(&mut self, publisher: &mut Publisher, rhythm: Rhythm, age: Duration) {
        let now = Instant::now();
        self.timing.due = now + rhythm.next_poll.saturating_sub(age);
        publisher.schedule(Some(self.timing.due), rhythm.interval, rhythm.why);
        if let Some(sharing) = &mut self.sharing {
            sharing.last.rhythm = Some(rhythm);
        }
    }

    /// Without the engine nothing is polled (`when_lost: hold`): a request gets what is there at once.
    fn refuse_polls(&self, publisher: &mut Publisher) {
        let view = self.topic.view();
        let is_awaited = self.topic.wanted_now() > view.ended || self.topic.is_aged(&view);
        let Some(sharing) = self.sharing.as_ref().filter(|_| view.frame.is_some() && is_awaited) else {
            return;
        };
        let number = publisher.start_poll();
        let (lease, reason) = (sharing.membership.lease(), ENGINE_LOST.to_owned());
        let failure = Failure { class: TroubleKind::Other.class(), status: None, reason };
        publisher.fail(number, Arc::new(failure), lease);
    }

    /// Clients of this node want polls of a resource that its holder has no client for any more: this node polls.
    fn claim_dormant(&self) {
        if let Some(sharing) = &self.sharing
            && sharing.membership.is_dormant()
            && self.is_active(Instant::now())
        {
            sharing.membership.claim();
        }
    }

    /// The content that is shown, where its next confirmation changes nothing here but its age.
    fn calm(&self, role: Role) -> Option<Order> {
        let view = self.topic.view();
        let sharing = self.sharing.as_ref().filter(|_| role == Role::Mirror)?;
        let is_well = matches!(view.outcome, Outcome::Data)
            && view.condition.state == State::Fresh
            && sharing.standing.floor() == Floor::None
            && sharing.below_since.is_none();
        let is_awaited = self.topic.wanted_now() > view.ended
            || self.topic.wanted_confirmation() > view.confirmed
            || self.topic.is_unsettled(&view)
            || self.topic.poll_for_write().is_some()
            || !sharing.asks.is_idle();
        sharing.standing.shown().filter(|_| is_well && !is_awaited)
    }

    /// Nothing of it is wanted here any more: no client attends, and none did for the linger.
    fn is_left(&self) -> bool {
        let keep_until = self.topic.touched_at() + self.route.poll.linger;
        self.topic.is_deserted() && (self.topic.is_evicted() || keep_until <= Instant::now())
    }

    /// When the mirror looks again without being told anything.
    fn mirror_until(&self) -> Instant {
        let now = Instant::now();
        let idle = now + self.route.poll.linger.max(Duration::from_secs(1));
        let asks = self.sharing.as_ref().and_then(|sharing| sharing.asks.not_before);
        let first = self.sharing.as_ref().and_then(|sharing| sharing.asks.first_until);
        let unheard = self.sharing.as_ref().and_then(|s| s.asks.unheard_at(s.membership.lease()));
        let left = (self.topic.is_deserted()).then(|| self.topic.touched_at() + self.route.poll.linger);
        let for_clients = [self.overdue_at(), left, self.timing.expires, self.topic.poll_for_write()];
        for_clients
            .into_iter()
            .chain([asks, first, unheard, self.remembered_end()])
            .flatten()
            .filter(|at| *at > now)
            .chain([idle])
            .min()
            .unwrap_or(idle)
    }

    /// When a request may ask again although the last poll failed.
    fn remembered_end(&self) -> Option<Instant> {
        let view = self.topic.view();
        let is_wanted = self.topic.wanted_now() > view.ended;
        is_wanted.then(|| self.wanted_from(&view, Instant::now()))
    }

    /// When followers are to hear `stale`: the holder's polls fail and the content is old, or no node says anything.
    fn overdue_at(&self) -> Option<Instant> {
        let view = self.topic.view();
        if view.condition.state != State::Fresh || self.topic.followers() == 0 {
            return None;
        }
        let lease = self.sharing.as_ref()?.membership.lease();
        let silent =
            view.confirmed_at()? + view.effective_interval + self.route.stale_after + LEASES_OVERDUE * lease;
        let is_failing = matches!(view.outcome, Outcome::Failed(_) | Outcome::Relay(_));
        let old = view.confirmed_at()? + view.effective_interval + self.route.stale_after;
        Some(if is_failing { old } else { silent })
    }

    fn tell_overdue(&mut self) {
        if self.overdue_at().is_some_and(|at| at <= Instant::now()) {
            self.tell_stale();
        }
    }
}

impl super::sharing::Sharing {
    /// Whether a content is to be shown: it is newer than what is, knows of what this node polled for itself, and on a feed
    /// follows what is shown. `shows_own`: followers were told what this node polled for itself; what was told meanwhile
    /// elsewhere is read whole, so that it is seen where both meet.
    fn may_apply(&mut self, content: &SharedContent, is_whole: bool, shows_own: bool) -> bool {
        if self.standing.offered(content.order, content.settled) != Offer::Newer {
            return false;
        }
        let is_first = self.standing.shown().is_none();
        let is_missing = shows_own || (!is_first && content.after > self.standing.order());
        if content.feed.is_some() && !is_whole && is_missing {
            self.asks.misses_content = true;
            return false;
        }
        true
    }
}
