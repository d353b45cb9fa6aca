//! This node's part in a resource that other nodes poll, too (contract §13): its role, what is held here of the order
//! that all nodes share, and which wants are answered.
//!
//! Pure but for the inbox. Must not know: how a poll is made, how anything is published.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backplane::{Backplane, Inbox, Membership, Order, Rhythm, Role, SharedItem};
use super::standing::Standing;
use crate::config::Order as ListOrder;
use crate::hub::{PollNumber, Topic, View};
use crate::resource::Snapshot;
use crate::upstream::schedule::PaceParts;

/// Wants of this node that wait for their answers: one whose poll is on its way, and one behind it.
const WANTS_MAX: usize = 2;

/// The same with writes that all nodes were told of, which the holder polls for by itself.
const WAITING_MAX: usize = 8;

/// What one resource has to do with other nodes.
pub(super) struct Sharing {
    pub(super) inbox: Arc<Inbox>,
    pub(super) membership: Arc<dyn Membership>,
    /// Where this node stands in the order of contents.
    pub(super) standing: Standing,
    /// What the other nodes have.
    pub(super) others_have: Option<Arc<Snapshot>>,
    /// The poll in flight, or the last one.
    pub(super) poll: Begun,
    /// All wants up to this number are answered, if only by a poll that failed.
    pub(super) settled: u64,
    /// All wants up to this number are answered by polls that gave or confirmed data.
    proven: u64,
    /// What clients had named up to then was looked up (`Topic::names_said`).
    pub(super) looked_up: u64,
    pub(super) asks: Asks,
    pub(super) last: Last,
    /// Items that were told to followers of this node alone, as far as the route remembers any.
    pub(super) own_items: VecDeque<SharedItem>,
    /// Items that other nodes told while this one was alone: its followers have missed those that its next poll does not
    /// find.
    pub(super) owed_items: Vec<SharedItem>,
    /// When this node last wrote, and the interval that it told.
    pub(super) told: Option<(Instant, Rhythm)>,
    pub(super) is_released: bool,
    /// How many polls in a row did not connect.
    pub(super) unconnected: u32,
    /// What the holder has is below what is shown since then.
    pub(super) below_since: Option<Instant>,
}

/// What a poll started with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) role: Role,
    /// The newest want that it knew of.
    pub(super) wants: u64,
    pub(super) number: PollNumber,
}

/// What the holder said last, for the node that goes on where it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Last {
    /// `None` once it was taken over.
    pub(super) pace: Option<PaceParts>,
    pub(super) rhythm: Option<Rhythm>,
    pub(super) list_order: Option<ListOrder>,
    pub(super) cursor: Option<String>,
}

/// What this node asked the holder for.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// Oldest first.
    pub(super) waiting: VecDeque<Waiting>,
    /// The newest want that is to confirm versions and was answered, but by no data yet.
    unproven: Option<Waiting>,
    /// A version is known to no node.
    pub(super) needs_confirmation: bool,
    /// What the holder has was not told, or not all of it.
    pub(super) misses_content: bool,
    /// Until then the first poll of a holder that has just begun may bring what is asked for; `None` before that was looked
    /// at.
    pub(super) first_until: Option<Instant>,
    /// The engine did not answer: nothing is asked before then.
    pub(super) not_before: Option<Instant>,
}

/// A want that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// Requests that wait for this poll number are answered with it.
    pub(super) number: PollNumber,
    /// Whether versions that are not known are answered with it, too.
    pub(super) confirms: bool,
    /// Its number among all nodes' wants.
    pub(super) want: u64,
    /// It is a write that all nodes were told of at that time: nothing was asked for it.
    pub(super) told: Option<Instant>,
}

impl Sharing {
    /// Attends. Returns `None` if no other node shares the resource.
    pub(super) fn attend(backplane: &dyn Backplane, topic: &Topic) -> Option<Box<Sharing>> {
        let route = topic.route();
        let inbox = Arc::new(Inbox::new(route.feed.as_ref().map_or(0, |feed| feed.history)));
        let membership = backplane.attend(topic.key(), &route, inbox.clone())?;
        inbox.confirms(topic.is_shared_from_now_on());
        Some(Box::new(Sharing {
            inbox,
            membership,
            standing: Standing::default(),
            others_have: None,
            poll: Begun { role: Role::Waiting, wants: 0, number: 0 },
            settled: 0,
            proven: 0,
            looked_up: 0,
            asks: Asks::default(),
            last: Last::default(),
            own_items: VecDeque::new(),
            owed_items: Vec::new(),
            told: None,
            is_released: false,
            unconnected: 0,
            below_since: None,
        }))
    }

    /// The fence of this node, if it holds the resource.
    pub(super) fn fence(&self) -> Option<u64> {
        self.standing.fence()
    }

    /// Begins in a role that polls.
    pub(super) fn begin(&mut self, role: Role) {
        self.standing.polls(role);
        self.is_released = false;
        self.unconnected = 0;
    }

    /// Whether the loop may go on in the role in which it began.
    pub(super) fn is_still(&self) -> bool {
        self.inbox.role() == self.standing.role()
    }

    /// Whether a holder has a want that a poll at once answers. `is_young`: what is shown is young enough for an ordinary
    /// poll.
    pub(super) fn is_wanted(&self, is_young: bool) -> bool {
        // What is young answers a want only once it was told under this fence (`answered_by_youth`).
        let is_enough = is_young && self.standing.is_told();
        self.fence().is_some()
            && (self.inbox.polls() > self.settled || (self.inbox.wants() > self.settled && !is_enough))
    }

    /// Whether a holder has a want that a poll answers half an interval after the last one.
    pub(super) fn is_to_confirm(&self) -> bool {
        self.fence().is_some() && self.inbox.confirmations() > self.settled
    }

    /// The newest want, if all that are open are answered by a young state.
    pub(super) fn answered_by_youth(&self, is_young: bool) -> Option<u64> {
        let wants = self.inbox.wants();
        let is_open = self.standing.is_told() && wants > self.settled;
        let is_enough = self.inbox.polls().max(self.inbox.confirmations()) <= self.settled;
        (is_open && is_enough && is_young).then_some(wants)
    }

    /// The numbers that end with data that knows of the wants up to `settled`: of requests, and of unknown versions.
    pub(super) fn answered(&mut self, settled: u64, view: &View) -> (PollNumber, PollNumber) {
        self.proven = self.proven.max(settled);
        let ended = self.ended(settled, view);
        (ended, self.confirmed(view))
    }

    /// The number that ends with a poll that knows of the wants up to `settled`, whatever it gave: by itself it confirms no
    /// version.
    pub(super) fn ended(&mut self, settled: u64, view: &View) -> PollNumber {
        self.settled = self.settled.max(settled);
        let mut ended = view.ended;
        while let Some(first) = self.asks.waiting.front().copied().filter(|first| first.want <= self.settled)
        {
            self.asks.waiting.pop_front();
            ended = ended.max(first.number);
            if first.confirms {
                self.asks.unproven = Some(first);
            }
        }
        ended
    }

    /// The number of the newest want that data has answered and that is to confirm versions.
    pub(super) fn confirmed(&mut self, view: &View) -> PollNumber {
        let proven = self.asks.unproven.take_if(|unproven| unproven.want <= self.proven);
        proven.map_or(view.confirmed, |proven| view.confirmed.max(proven.number))
    }

    /// A content is shown that other nodes have.
    pub(super) fn shows(&mut self, order: Order, snapshot: Arc<Snapshot>) {
        self.standing.shows(order);
        self.others_have = Some(snapshot);
        self.below_since = None;
    }

    /// A content is shown that this node polled for itself.
    pub(super) fn shows_own(&mut self) {
        self.standing.shows_own();
        self.others_have = None;
    }
}

impl Asks {
    /// Nothing that was asked is waited for any more.
    pub(super) fn stop_waiting(&mut self) {
        self.waiting.clear();
        self.unproven = None;
        self.first_until = None;
    }

    /// Whether nothing was asked that is not answered, and nothing is to be asked.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.unproven.is_none() && !self.needs_confirmation && !self.misses_content
    }

    /// Whether a first content may come without being asked for.
    pub(super) fn may_come(&self, now: Instant) -> bool {
        self.first_until.is_some_and(|until| now < until)
    }

    /// Whether a further want may be sent now.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.iter().filter(|waiting| waiting.told.is_none()).count() < WANTS_MAX
    }

    /// Waits for a poll that knows of a write, which all nodes were told of.
    pub(super) fn await_write(&mut self, number: PollNumber, write: u64) {
        if self.waiting.len() >= WAITING_MAX {
            // Its readers wait for this one's poll, too.
            self.waiting.pop_back();
        }
        let told = Some(Instant::now());
        self.waiting.push_back(Waiting { number, confirms: true, want: write, told });
    }

    /// When a write counts as not heard of by the holder. Returns `None` if no write waits.
    pub(super) fn unheard_at(&self, lease: Duration) -> Option<Instant> {
        self.waiting.iter().find_map(|waiting| waiting.told).map(|told| told + lease)
    }

    /// The holder has not polled for a write: a want takes its place.
    pub(super) fn asks_for_writes(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.told = None);
    }

    /// Whether the poll of this number is asked for.
    pub(super) fn covers(&self, number: PollNumber) -> bool {
        self.waiting.iter().any(|waiting| waiting.number >= number)
    }
}

/// Waits until the other nodes tell something. Without other nodes that never happens.
pub(super) async fn told(sharing: Option<&Sharing>) {
    match sharing {
        Some(sharing) => sharing.inbox.told().await,
        None => std::future::pending().await,
    }
}

/// Waits until the role in which a poll started is lost to another node. Without other nodes that never happens.
pub(super) async fn lost(inbox: Option<Arc<Inbox>>, role: Role) {
    let Some(inbox) = inbox else { return std::future::pending().await };
    loop {
        let now = inbox.role();
        if now != role && now != Role::Alone {
            return;
        }
        inbox.told().await;
    }
}
