//! The followers of each resource: topics by key, joining and retiring under one lock.
//!
//! Must not know: how a resource is polled (poll) or how bytes reach a client (fanout).

mod attendance;
mod claim;
mod claims;
mod contents;
mod draft;
mod exceptions;
mod full;
mod history;
mod index;
mod interest;
mod item_positions;
mod items;
mod pace;
mod payer;
mod poll_number;
mod publisher;
mod resource_limits;
mod subscription;
mod topic;
mod user_activity;
mod view;
mod write_pace;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;
use tokio::time::Instant;

pub use crate::hub::poll_number::PollNumber;
pub use attendance::{Attend, Attendance};
pub use claim::Claim;
pub use draft::Draft;
pub use exceptions::{EXCEPTION, EXCEPTION_MAX, Exception, ExceptionKind};
pub use full::Full;
pub use items::News;
pub use pace::{Pace, Paced, Streak, Watch, Watches};
pub use payer::{Payer, Purse};
pub use publisher::{Publisher, Retained};
pub use subscription::{Delivery, Resume, Subscription};
pub use topic::{Bell, Topic};
pub use view::{Audience, Closing, Failure, Outcome, Relayed, View};
pub use views::Views;
pub use writes::{Touch, Wave};

use crate::config::Route;
use crate::frame::{Compressions, Format};
use crate::resource::{HeldBytes, ResourceKey};

/// What came of making room for snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// All that is left is within the bound.
    pub fits: bool,
    /// Topics that have to retire.
    pub evicted: usize,
}

/// Where nothing gives way, it is not looked for again for this long: a refusal must not cost a walk over all topics.
const BYTES_PAUSE: Duration = Duration::from_millis(50);

/// Number of a topic's first poll.
const FIRST_POLL: PollNumber = 1;

/// All topics.
pub struct Hub {
    topics: DashMap<ResourceKey, Arc<Topic>>,
    exceptions: exceptions::Exceptions,
    index: index::Index,
    bells: Box<[Arc<dyn Bell>]>,
    charges: Arc<resource_limits::Charges<Topic>>,
    contents: contents::Contents,
    /// What is attended to holds too much: cold topics are not looked for before then.
    bytes_pause: Mutex<Option<Instant>>,
    max_topics: usize,
    /// Bytes of all histories, and the most there may be (`limits.history_bytes`).
    history_bytes: AtomicUsize,
    max_history_bytes: usize,
    next_id: AtomicU64,
    epoch: Instant,
    users: user_activity::Users,
    compressions: Arc<Compressions>,
    watches: Watches,
}

impl Hub {
    /// One bell per shard; a subscription names its shard by index.
    pub fn new(bells: Vec<Arc<dyn Bell>>, max_topics: usize, max_history_bytes: usize) -> Arc<Hub> {
        Arc::new(Hub {
            topics: DashMap::new(),
            exceptions: exceptions::Exceptions::new(max_topics),
            index: index::Index::default(),
            bells: bells.into(),
            charges: Arc::default(),
            contents: contents::Contents::default(),
            bytes_pause: Mutex::default(),
            max_topics,
            history_bytes: AtomicUsize::new(0),
            max_history_bytes,
            next_id: AtomicU64::new(1),
            epoch: Instant::now(),
            users: user_activity::Users::new(max_topics),
            compressions: Arc::default(),
            watches: Watches::default(),
        })
    }

    /// Attends to a resource, charged to no client. See [`Hub::attend_for`].
    ///
    /// # Errors
    /// The limit that leaves no room.
    pub fn attend(
        self: &Arc<Self>,
        key: &ResourceKey,
        route: &Arc<Route>,
        kind: Attend,
        start: impl FnOnce(Publisher),
    ) -> Result<Attendance, Full> {
        self.attend_for(None, key, route, kind, start)
    }

    /// Attends to a resource. When it is not polled yet, it is charged to `purse`, and `start` gets the
    /// one `Publisher` inside the call, so that a request that is dropped later never owns it. The key's
    /// lock is free again by then; others may already attend, and `start` must hand the publisher on at
    /// once.
    ///
    /// # Errors
    /// The limit that leaves no room, although topics without clients have made way.
    pub fn attend_for(
        self: &Arc<Self>,
        purse: Option<Purse>,
        key: &ResourceKey,
        route: &Arc<Route>,
        kind: Attend,
        start: impl FnOnce(Publisher),
    ) -> Result<Attendance, Full> {
        if let Some(topic) = self.topics.get(key) {
            return Attendance::new(topic.clone(), kind);
        }
        if !self.make_room(0).fits {
            return Err(Full::Bytes);
        }
        // Before the key's lock is taken: what makes room has a key, too.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let charge = self.charge(id, purse, route)?;
        match self.topics.entry(key.clone()) {
            Entry::Occupied(entry) => Attendance::new(entry.get().clone(), kind),
            Entry::Vacant(entry) => {
                let topic = Topic::new(
                    id,
                    key.clone(),
                    route.clone(),
                    self.bells.clone(),
                    self.epoch,
                    self.users.begin(key),
                    self.compressions.clone(),
                );
                // Attended to before a client can find it, and before there is a poller to retire it.
                let mut attendance = Attendance::new(topic.clone(), kind)?;
                attendance.claim = (kind == Attend::Visit).then(|| topic.claim(FIRST_POLL)).flatten();
                drop(entry.insert(topic.clone()));
                topic.charge_with(charge);
                // Before the first poll: a write finds every topic that may hold something older.
                self.index.insert(&topic);
                start(Publisher::new(topic, self.clone()));
                Ok(attendance)
            }
        }
    }

    /// Room for one more topic of a route.
    fn charge(
        &self,
        id: u64,
        purse: Option<Purse>,
        route: &Route,
    ) -> Result<resource_limits::Charge<Topic>, Full> {
        let purse = purse.unwrap_or_default();
        let of_payer = purse.resources.map(|(payer, most)| (resource_limits::Owner::Payer(payer), most));
        let of_bytes = purse.bytes.map(|(address, most)| (resource_limits::Owner::Bytes(address), most));
        let of_route = route.max_resources.map(|most| (resource_limits::Owner::Route(route.index), most));
        // The narrowest first: a client that invents names pays with its own.
        let owners = of_payer
            .into_iter()
            .chain(of_bytes)
            .chain(of_route)
            .chain([(resource_limits::Owner::All, self.max_topics)]);
        self.charges.take(id, owners, |topic| self.give_way(topic))
    }

    /// Removes a topic for another one unless a client attends to it.
    fn give_way(&self, topic: &Arc<Topic>) -> bool {
        let left = self.retire(topic);
        if left {
            topic.evict();
        }
        left
    }

    /// Notes that a topic holds so many bytes now. Returns false if its address holds more than it may, although topics
    /// without followers have made way.
    pub fn weigh(&self, topic: &Topic, bytes: usize) -> bool {
        topic.weight.store(bytes, Ordering::Relaxed);
        for _ in 0..resource_limits::TRIES {
            // The lock of a topic's charge is free again before another topic has to go.
            let owner = topic.charge.lock().as_mut().and_then(|charge| charge.weigh(bytes));
            let Some(owner) = owner else { return true };
            let Some(coldest) = self.charges.coldest(&owner) else { return false };
            self.give_way(&coldest);
        }
        false
    }

    /// Bounds what all snapshots hold (`limits.snapshot_bytes`). Only the first call counts.
    pub fn bound_snapshots(&self, bytes_max: usize) {
        self.contents.bound(bytes_max);
    }

    /// An account for what a topic holds besides its content.
    pub fn account(&self) -> HeldBytes {
        self.contents.account()
    }

    /// Bytes that all snapshots hold.
    pub fn snapshot_bytes(&self) -> usize {
        self.contents.total()
    }

    /// Whether a follower may read this form of what is held: it is made already, or there is room for it
    /// (`limits.snapshot_bytes`).
    pub fn has_room_to_read(&self, view: &View, format: Format) -> bool {
        let more = view.frame.as_ref().map_or(0, |frame| frame.bytes_to_make(format));
        more == 0 || self.make_room(more).fits
    }

    /// Has topics without clients retire, the longest untouched first, until snapshots with `more` bytes are within their
    /// bound.
    pub fn make_room(&self, more: usize) -> Room {
        let Some(excess) = self.contents.excess(more) else { return Room { fits: true, evicted: 0 } };
        let now = Instant::now();
        if self.bytes_pause.lock().is_some_and(|until| now < until) {
            return Room { fits: false, evicted: 0 };
        }
        let mut cold = self.topics();
        cold.retain(|topic| topic.is_cold());
        cold.sort_by_cached_key(|topic| topic.touched_at());
        let (mut freed, mut evicted) = (0, 0);
        for topic in cold {
            if freed >= excess {
                break;
            }
            freed += topic.weight.load(Ordering::Relaxed);
            topic.evict();
            evicted += 1;
        }
        let fits = freed >= excess;
        if !fits {
            *self.bytes_pause.lock() = Some(now + BYTES_PAUSE);
        }
        Room { fits, evicted }
    }

    /// The topic of a key, if there is one; asking does not attend to it.
    pub fn get(&self, key: &ResourceKey) -> Option<Arc<Topic>> {
        self.topics.get(key).map(|topic| topic.clone())
    }

    /// All topics of a canonical path: any query, class, scheme and host.
    pub fn at_path(&self, path: &str) -> Vec<Arc<Topic>> {
        self.index.at_path(path)
    }

    /// The paths below one that ends in `/` that have topics, at most so many.
    pub fn paths_below(&self, folder: &str, most: usize) -> Vec<String> {
        self.index.below(folder, most)
    }

    /// Whether there is any topic of a canonical path.
    pub fn has_topics_at(&self, path: &str) -> bool {
        self.index.has_path(path)
    }

    /// All topics of the route with this index.
    pub fn of_route(&self, route: usize) -> Vec<Arc<Topic>> {
        self.index.of_route(route)
    }

    /// What is known against a key, if anything still is.
    pub fn exception(&self, key: &ResourceKey) -> Option<Exception> {
        self.exceptions.get(key)
    }

    /// An ordinary request came: whose session was idle is there again.
    pub fn welcome(&self, key: &ResourceKey) {
        self.exceptions.forget(key, |kind| kind == ExceptionKind::SessionIdle);
    }

    /// A poll brought data: what was refused to polls before is not refused any more.
    pub fn admit_again(&self, key: &ResourceKey) {
        self.exceptions.forget(key, |kind| kind == ExceptionKind::Denied);
    }

    /// A snapshot of the key was made: it can be covered.
    fn is_covered(&self, key: &ResourceKey) {
        self.exceptions.forget(key, ExceptionKind::grows);
    }

    /// Remembers that a key cannot be covered, and says for how long. Beyond `limits.resources` at a time a new one is
    /// not remembered.
    pub fn except(&self, key: &ResourceKey, kind: ExceptionKind, reason: &str) -> Duration {
        self.exceptions.put(key, kind, reason)
    }

    /// The topics as they are now, for operators. Part by part: no request waits for all of them.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.iter().map(|entry| entry.value().clone()).collect()
    }

    /// Asks the topic without clients that was touched longest ago to retire. Returns false if all
    /// are in use.
    pub fn evict_oldest(&self) -> bool {
        let oldest =
            self.topics().into_iter().filter(|topic| topic.is_cold()).min_by_key(|topic| topic.touched_at());
        if let Some(topic) = &oldest {
            topic.evict();
        }
        oldest.is_some()
    }

    pub fn len(&self) -> usize {
        self.topics.len()
    }

    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// How long upstreams take while a connection tries their own pace.
    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    /// What was compressed so far.
    pub fn compressions(&self) -> &Compressions {
        &self.compressions
    }

    /// Bytes that the histories of all topics hold.
    pub fn history_bytes(&self) -> usize {
        self.history_bytes.load(Ordering::Relaxed)
    }

    fn history_is_full(&self) -> bool {
        self.history_bytes.load(Ordering::Relaxed) > self.max_history_bytes
    }

    pub fn max_topics(&self) -> usize {
        self.max_topics
    }

    /// Removes a topic if no client attends to it, decided under the key's lock. Returns true if it is gone, perhaps
    /// since it had to make room.
    fn retire(&self, topic: &Arc<Topic>) -> bool {
        let left = self
            .topics
            .remove_if(topic.key(), |_, current| Arc::ptr_eq(current, topic) && topic.is_deserted())
            .is_some();
        if left {
            self.leave(topic);
        }
        left || topic.has_left()
    }

    /// Removes a topic whatever its members: it is closing.
    fn remove(&self, topic: &Arc<Topic>) {
        self.topics.remove_if(topic.key(), |_, current| Arc::ptr_eq(current, topic));
        self.leave(topic);
    }

    fn leave(&self, topic: &Arc<Topic>) {
        self.index.remove(topic);
        topic.discharge();
    }
}

#[cfg(test)]
pub(crate) mod tests;
mod views;
mod written;
