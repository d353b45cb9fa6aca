//! Accepted, then shown (contract §13): a holder's change goes to the other nodes before its own clients get it, and what
//! they refuse is dropped. What a poll found that brought no change is told afterwards.
//!
//! A node without other nodes accepts everything at once. Must not know: how the others are reached.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backplane::{
    Found, Release, Report, Rhythm, Role, SharedContent, SharedFeed, SharedItem, Trouble, TroubleKind,
    Written,
};
use super::feed::Follower;
use super::pacing::Paced;
use super::poller::Poller;
use super::sharing::{Begun, Sharing};
use crate::frame::State;
use crate::hub::{Draft, News, Outcome, PollNumber};
use crate::resource::Snapshot;

/// A holder that could not connect so many times in a row lets another node try.
const UNCONNECTED_MAX: u32 = 3;

/// The interval may differ by this part from what the others know before they are told.
const INTERVAL_PART: u32 = 4;

/// The outcome of a poll whose result was dropped.
pub(super) const REFUSED: &str = "refused";

/// A content that is about to be shown.
pub(super) struct Candidate {
    pub(super) snapshot: Arc<Snapshot>,
    /// On a feed: its new items.
    pub(super) news: Option<News>,
    pub(super) is_change: bool,
    pub(super) upstream_age: Duration,
    pub(super) rhythm: Rhythm,
}

impl Candidate {
    /// The content of a poll.
    pub(super) fn of(draft: &Draft, news: Option<News>, upstream_age: Duration, paced: Paced) -> Candidate {
        let (snapshot, is_change) = (draft.snapshot().clone(), draft.is_change());
        Candidate { snapshot, news, is_change, upstream_age, rhythm: rhythm(paced) }
    }

    /// The content that a poll confirmed.
    pub(super) fn unchanged(snapshot: Arc<Snapshot>, upstream_age: Duration, paced: Paced) -> Candidate {
        Candidate { snapshot, news: None, is_change: false, upstream_age, rhythm: rhythm(paced) }
    }
}

impl Poller {
    /// A poll starts: what it brings belongs to the role of this moment.
    pub(super) fn begin_shared_poll(&mut self, number: PollNumber) {
        if let Some(sharing) = &mut self.sharing {
            // Writes that all nodes were told of have numbers among the wants.
            let wants = sharing.inbox.wants().max(self.topic.told_write());
            sharing.poll = Begun { role: sharing.inbox.role(), wants, number };
        }
    }

    /// Whether a content may be shown: the others have accepted it, or there are none.
    pub(super) async fn is_accepted(&mut self, candidate: impl FnOnce() -> Candidate) -> bool {
        if self.sharing.is_none() {
            return true;
        }
        let candidate = candidate();
        let (gone, pace) = (self.is_gone(), self.timing.pace.parts());
        let feed = self.content_state.feed.as_ref().map(|feed| (feed.order(), feed.cursor().cloned()));
        let items_max = self.route.feed.as_ref().map_or(0, |feed| feed.history);
        let Some(sharing) = self.sharing.as_mut() else { return true };
        let (role, begun) = (sharing.inbox.role(), sharing.poll.role);
        // Nothing else was published since it started.
        if role == Role::Alone {
            sharing.keep_own(candidate.news, items_max);
            sharing.shows_own();
            return true;
        }
        if !sharing.standing.may_tell(begun, role) {
            return false;
        }
        if !sharing.must_tell(&candidate, gone) {
            return true;
        }
        let feed = feed.map(|(list_order, cursor)| sharing.feed(candidate.news, list_order, cursor));
        let content = SharedContent {
            order: sharing.standing.next_order(),
            after: sharing.standing.shown().unwrap_or_default(),
            snapshot: candidate.snapshot.clone(),
            feed,
            upstream_age: candidate.upstream_age,
            age: Duration::ZERO,
            settled: sharing.poll.wants,
            rhythm: candidate.rhythm,
            pace,
        };
        match sharing.membership.write(&content).await {
            Written::Accepted => {
                sharing.shows(content.order, candidate.snapshot);
                sharing.own_items.clear();
                sharing.told = Some((Instant::now(), candidate.rhythm));
                sharing.settled = sharing.settled.max(sharing.poll.wants);
                true
            }
            Written::TooLarge => {
                sharing.shows_own();
                true
            }
            Written::Refused | Written::Lost => false,
        }
    }

    /// The result of a poll is dropped: what it taught the loop is unlearned. Gives the outcome's label.
    pub(super) fn drop_result(&mut self, due: Instant) -> &'static str {
        self.timing.due = due;
        let view = self.topic.view();
        if let Some(frame) = &view.frame {
            self.content_state.media_type.clone_from(&frame.snapshot.media_type);
        }
        self.fetch_state.forget_answer();
        self.resume_feed();
        REFUSED
    }

    /// On a feed: goes on from what is published, and not from what was read last.
    pub(super) fn resume_feed(&mut self) {
        let Some(rules) = self.route.feed.as_ref() else { return };
        let view = self.topic.view();
        let texts: Vec<_> = self.topic.remembered_items().iter().map(|item| item.text.clone()).collect();
        let page = view.frame.as_ref().map(|frame| &*frame.snapshot);
        let last = self.sharing.as_ref().map(|sharing| sharing.last.clone()).unwrap_or_default();
        let base = super::request::target(self.topic.key(), &self.route);
        self.content_state.feed =
            Some(Follower::resumed(rules, base, page, &texts, last.list_order.or(view.order), last.cursor));
    }

    /// Tells the others what the poll that just ended found, if they have not got it as a content.
    pub(super) fn tell_others(&mut self, outcome: &str) {
        // A topic that has ended tells nothing: the next node finds out for itself.
        if self.sharing.is_none() || self.publisher.is_none() {
            return;
        }
        let view = self.topic.view();
        let next_poll = self.timing.until_due();
        let rest = self.timing.rest();
        let Some(sharing) = self.sharing.as_mut().filter(|_| outcome != REFUSED) else { return };
        let Role::Holder { fence } = sharing.poll.role else { return };
        if sharing.inbox.role() != sharing.poll.role {
            return;
        }
        let found = match &view.outcome {
            Outcome::Data if outcome == "changed" => return,
            Outcome::Cold => return,
            Outcome::Data => Found::Unchanged,
            Outcome::Failed(failure) => {
                let kind = TroubleKind::of(failure.class);
                let trouble = Trouble { kind, status: failure.status, reason: failure.reason.clone() };
                Found::Failed { trouble, next_poll }
            }
            Outcome::Relay(answer) => {
                let gone = match view.condition.state {
                    State::Gone { status } => Some(status),
                    State::Fresh | State::Stale { .. } => None,
                };
                Found::Relayed { answer: answer.clone(), gone, rest, next_poll }
            }
        };
        let unconnected = matches!(&view.outcome, Outcome::Failed(failure) if failure.class == "connect");
        sharing.unconnected = if unconnected { sharing.unconnected + 1 } else { 0 };
        sharing.settled = sharing.settled.max(sharing.poll.wants);
        let order = sharing.standing.shown().unwrap_or_default();
        sharing
            .membership
            .report(fence, Report { order, settled: sharing.settled, age: Duration::ZERO, found });
        if sharing.unconnected == UNCONNECTED_MAX {
            sharing.membership.release(fence, Release::CannotConnect);
        }
    }

    /// Whether followers were told that the resource is no more.
    fn is_gone(&self) -> bool {
        matches!(self.topic.view().condition.state, State::Gone { .. })
    }
}

impl Sharing {
    /// Whether the others have to be told of a content: it differs from what they have, or what is known of it does and
    /// they were not told within the interval.
    fn must_tell(&self, candidate: &Candidate, gone: bool) -> bool {
        let Some(theirs) = self.others_have.as_ref().filter(|_| self.standing.is_told()) else { return true };
        let own = &candidate.snapshot;
        if theirs.version != own.version || candidate.is_change || gone {
            return true;
        }
        let Some((at, rhythm)) = self.told else { return true };
        if at.elapsed() < candidate.rhythm.interval {
            return false;
        }
        let differs = rhythm.interval.abs_diff(candidate.rhythm.interval);
        differs > rhythm.interval / INTERVAL_PART
            || theirs.headers != own.headers
            || theirs.validators != own.validators
            || theirs.vary != own.vary
            || theirs.content_type != own.content_type
    }

    /// What a feed's content says beside its page.
    fn feed(
        &mut self,
        news: Option<News>,
        list_order: crate::config::Order,
        cursor: Option<String>,
    ) -> SharedFeed {
        let news = news.unwrap_or_default();
        let new = news.items.into_iter().map(|(name, text)| SharedItem { name, text });
        let items = self.own_items.iter().cloned().chain(new).collect();
        (self.last.list_order, self.last.cursor) = (Some(list_order), cursor.clone());
        SharedFeed { items, gap: news.gap, list_order: Some(list_order), cursor }
    }

    /// Remembers items that the followers of this node alone are told.
    fn keep_own(&mut self, news: Option<News>, items_max: usize) {
        let news = news.unwrap_or_default();
        self.own_items.extend(news.items.into_iter().map(|(name, text)| SharedItem { name, text }));
        let excess = self.own_items.len().saturating_sub(items_max);
        self.own_items.drain(..excess);
    }
}

/// The rhythm that follows from a poll.
fn rhythm(paced: Paced) -> Rhythm {
    let next_poll = paced.due.saturating_duration_since(Instant::now());
    Rhythm { interval: paced.effective, next_poll, why: paced.why }
}
