//! The followers of each resource: topics by key, joining and retiring under one lock.
//!
//! Must not know: how a resource is polled (poll) or how bytes reach a client (fanout).

mod attend;
mod attendance;
mod charged_client;
mod claim;
mod claims;
mod confirmation;
mod contents;
mod draft;
mod elsewhere;
mod exceptions;
mod full;
mod history;
mod index;
mod interest;
mod item_positions;
mod items;
mod later;
mod named;
mod outcomes;
mod pace;
mod path_digests;
mod poll_number;
mod presence;
mod publisher;
mod reload;
mod resource_limits;
mod subscription;
mod topic;
mod user_activity;
mod view;
mod write_pace;
mod writes;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

pub use crate::hub::poll_number::PollNumber;
pub use attendance::{Attend, Attendance};
pub use charged_client::{ChargeLimits, ChargedClient};
pub use claim::Claim;
pub use confirmation::Confirmation;
pub use draft::Draft;
pub use exceptions::{EXCEPTION_TIME_MAX, EXCEPTION_TIME_MIN, Exception, ExceptionKind};
pub use full::Full;
pub use items::News;
pub use later::LaterConfirmation;
pub use named::{Name, Named, OpenNames};
pub use outcomes::{Outcomes, REMEMBERED_POLLS_MAX};
pub use pace::{Pace, Paced, Streak, Watch, Watches};
pub use presence::{Presence, PresenceBell, PresenceListener, PresenceServices, Presences, Roll};
pub use publisher::{Publisher, Retained};
pub use reload::Ended;
pub use subscription::{Delivery, Resume, Subscription};
pub use topic::{Bell, Topic};
pub use view::{Audience, Closing, Failure, Outcome, Relayed, View};
pub use views::Views;
pub use writes::{Touch, Wave};

use crate::config::Route;
use crate::frame::{Compressions, Format};
use crate::resource::{HeldBytes, PathDigest, PathDigester, ResourceKey};

/// How much there may be of topics.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most topics (`limits.resources`).
    pub topics: usize,
    /// Most bytes of histories and patches (`limits.history_bytes`).
    pub history_bytes: usize,
}

/// What came of making room for snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Whether what is left is within the bound.
    pub fits: bool,
    /// Topics that have to retire.
    pub evicted: usize,
}

/// After a search found no topic that could make room, there is no further search for this long: a refusal must not
/// cost a walk over all topics.
const BYTES_PAUSE: Duration = Duration::from_millis(50);

/// All topics.
pub struct Hub {
    topics: DashMap<ResourceKey, Arc<Topic>>,
    exceptions: exceptions::Exceptions,
    index: index::Index,
    bells: Box<[Arc<dyn Bell>]>,
    charges: Arc<resource_limits::Charges<Topic>>,
    contents: contents::Contents,
    /// Topics with clients hold too much: cold ones are not looked for before then.
    bytes_pause: Mutex<Option<Instant>>,
    max_topics: AtomicUsize,
    /// Bytes of all histories, and the most there may be (`limits.history_bytes`).
    history_bytes: AtomicUsize,
    max_history_bytes: AtomicUsize,
    /// The routes by their numbers, once there was a reload. Before it all routes are the first configuration's.
    live: RwLock<Option<HashMap<usize, Arc<Route>>>>,
    next_id: AtomicU64,
    epoch: Instant,
    users: user_activity::Users,
    compressions: Arc<Compressions>,
    watches: Watches,
    presences: Arc<Presences>,
}

impl Hub {
    /// Returns a hub without topics. `bells` has one bell for each shard; a subscription names its shard by index.
    pub fn new(bells: Vec<Arc<dyn Bell>>, max_topics: usize, max_history_bytes: usize) -> Arc<Hub> {
        Arc::new(Hub {
            topics: DashMap::new(),
            exceptions: exceptions::Exceptions::new(max_topics),
            index: index::Index::default(),
            bells: bells.into(),
            charges: Arc::default(),
            contents: contents::Contents::default(),
            bytes_pause: Mutex::default(),
            max_topics: AtomicUsize::new(max_topics),
            history_bytes: AtomicUsize::new(0),
            max_history_bytes: AtomicUsize::new(max_history_bytes),
            live: RwLock::default(),
            next_id: AtomicU64::new(1),
            epoch: Instant::now(),
            users: user_activity::Users::new(max_topics),
            compressions: Arc::default(),
            watches: Watches::default(),
            presences: Arc::default(),
        })
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
        for _ in 0..resource_limits::TRIES_MAX {
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

    /// Whether [`Hub::has_room_to_read`] would find room. No topic makes way.
    pub fn would_have_room_to_read(&self, view: &View, format: Format) -> bool {
        let more = view.frame.as_ref().map_or(0, |frame| frame.bytes_to_make(format));
        more == 0 || !self.is_short_of_bytes(more)
    }

    /// Whether snapshots with `more` bytes would hold more than they may, and those without clients do not suffice to
    /// change that.
    fn is_short_of_bytes(&self, more: usize) -> bool {
        let Some(excess) = self.contents.excess(more) else { return false };
        let cold = self.topics();
        let freed: usize = cold
            .iter()
            .filter(|topic| topic.is_cold())
            .map(|topic| topic.weight.load(Ordering::Relaxed))
            .sum();
        freed < excess
    }

    /// The topic of a key, if there is one; asking does not attend to it.
    pub fn get(&self, key: &ResourceKey) -> Option<Arc<Topic>> {
        self.topics.get(key).map(|topic| topic.clone())
    }

    /// All topics of a canonical path: any query, class, scheme and host.
    pub fn at_path(&self, path: &str) -> Vec<Arc<Topic>> {
        self.index.at_path(path)
    }

    /// Returns the paths below `folder`, which ends in `/`, that have topics, but no more than `most`.
    pub fn paths_below(&self, folder: &str, most: usize) -> Vec<String> {
        self.index.below(folder, most)
    }

    /// Has paths found by digests of each of these, too, by which other nodes name them. Only the first call counts, before
    /// there is any topic.
    pub fn find_by_digests(&self, digesters: Vec<Arc<dyn PathDigester>>) {
        self.index.begin_digests(digesters);
    }

    /// The path of a digest, or the folder above some paths. Returns `None` if no topic is there.
    pub fn path_of_digest(&self, digest: &PathDigest) -> Option<String> {
        self.index.find_digest(digest)
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

    /// Notes an ordinary request: the user whose session was idle is there again.
    pub fn welcome(&self, key: &ResourceKey) {
        self.exceptions.forget(key, |kind| kind == ExceptionKind::SessionIdle);
    }

    /// Notes that a poll brought data: polls are not refused any longer.
    pub fn admit_again(&self, key: &ResourceKey) {
        self.exceptions.forget(key, |kind| kind == ExceptionKind::Denied);
    }

    /// Notes that a snapshot of the key was made, so that the key can be covered.
    fn is_covered(&self, key: &ResourceKey) {
        self.exceptions.forget(key, ExceptionKind::grows);
    }

    /// Remembers that a key cannot be covered, and says for how long. Beyond `limits.resources` at a time a new one is
    /// not remembered.
    pub fn except(&self, key: &ResourceKey, kind: ExceptionKind, reason: &str) -> Duration {
        self.exceptions.put(key, kind, reason)
    }

    /// Returns the topics of this moment, for operators. The map is locked part by part, so that no request waits for
    /// all of it.
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

    /// Returns the number of topics.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Returns whether there is no topic.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Returns the watches of upstreams whose own pace a connection is trying.
    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Who follows which resource, on routes with `presence`.
    pub fn presences(&self) -> &Presences {
        &self.presences
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
        self.history_bytes.load(Ordering::Relaxed) > self.max_history_bytes.load(Ordering::Relaxed)
    }

    /// Returns the most topics that there may be (`limits.resources`).
    pub fn max_topics(&self) -> usize {
        self.max_topics.load(Ordering::Relaxed)
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
