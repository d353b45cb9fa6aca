//! A resource with followers: the latest state, a bounded history of versions, and the followers
//! that are to be told. No private queues: a follower is a position.
//!
//! Must not know: how the state came (the publisher says) or how it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::claims::Claims;
use super::history::History;
use super::interest::Interest;
use super::items::Items;
use super::named::Elsewhere;
use super::outcomes::Outcomes;
use super::pace::Pace;
use super::resource_limits::Charge;
use super::user_activity::User;
use super::view::View;
use super::written::Written;
use crate::config::Route;
use crate::frame::{Chain, Compressions, Format, PatchKind, Rules};
use crate::resource::{ResourceKey, Version, opaque_tag};

/// The polls that are asked for besides the schedule, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Wants {
    /// An ordinary request waits for a poll of at least this number, which is made at once.
    pub(super) now: AtomicU64,
    /// A client asks for this poll whatever the age of what is held.
    pub(super) refresh: AtomicU64,
    /// A client with an unknown version waits for this one. There is at most one such poll in half an interval.
    pub(super) confirm: AtomicU64,
}

/// One polled resource.
pub struct Topic {
    id: u64,
    key: ResourceKey,
    /// A reload may give it a newer form that means the same.
    pub(super) route: ArcSwap<Route>,
    pub(super) rules: ArcSwap<Rules>,
    pub(super) compressions: Arc<Compressions>,
    pub(super) view: watch::Sender<Arc<View>>,
    /// Wakes the followers that live in tasks when there may be news for them.
    pub(super) news: watch::Sender<()>,
    /// Oldest first; bounded by `history.versions`.
    pub(super) history: Mutex<History>,
    /// On a feed: bounded by `feed.history`.
    pub(super) items: Mutex<Items>,
    /// Items that followers came from and that are not remembered.
    pub(super) missed: Mutex<Vec<Box<str>>>,
    pub(super) followers: AtomicUsize,
    pub(super) visitors: AtomicUsize,
    /// In milliseconds of the hub's epoch.
    pub(super) interest: Interest,
    pace: Pace,
    outcomes: Outcomes,
    /// Its owner; `None` once it has left the hub.
    pub(super) charge: Mutex<Option<Charge<Topic>>>,
    /// Bytes that it holds, as the poller last said.
    pub(super) weight: AtomicUsize,
    /// Memory or room is short: retire as soon as no client attends.
    pub(super) evicted: AtomicBool,
    formats: [AtomicUsize; Format::COUNT],
    /// Patches of each kind are made until then, by the same clock, for followers that come again.
    patches_until: [AtomicU64; PatchKind::COUNT],
    shards: Box<[Membership]>,
    bells: Box<[Arc<dyn Bell>]>,
    pub(super) wants: Wants,
    /// The plain requests that get the answers of the polls that they caused.
    pub(super) claims: Claims,
    /// Number of the last poll that started.
    pub(super) started: AtomicU64,
    pub(super) written: Written,
    pub(super) elsewhere: Elsewhere,
    pub(super) demand: Notify,
    pub(super) epoch: Instant,
    pub(super) user: Option<Arc<User>>,
}

/// The members that one shard has in a topic.
#[derive(Debug, Default)]
struct Membership {
    members: AtomicUsize,
    /// The bell was rung and the shard has not looked yet.
    rung: AtomicBool,
}

impl Topic {
    pub(super) fn new(
        id: u64,
        key: ResourceKey,
        route: Arc<Route>,
        bells: Box<[Arc<dyn Bell>]>,
        epoch: Instant,
        user: Option<Arc<User>>,
        compressions: Arc<Compressions>,
    ) -> Arc<Topic> {
        Arc::new(Topic {
            id,
            key,
            rules: ArcSwap::from_pointee(Rules::of(&route, &compressions)),
            compressions,
            view: watch::Sender::new(Arc::new(View::cold(route.poll.interval))),
            news: watch::Sender::new(()),
            history: Mutex::default(),
            items: Mutex::default(),
            missed: Mutex::default(),
            followers: AtomicUsize::new(0),
            visitors: AtomicUsize::new(0),
            interest: Interest::default(),
            pace: Pace::default(),
            outcomes: Outcomes::default(),
            charge: Mutex::default(),
            weight: AtomicUsize::new(0),
            evicted: AtomicBool::new(false),
            formats: Default::default(),
            patches_until: Default::default(),
            shards: bells.iter().map(|_| Membership::default()).collect(),
            bells,
            wants: Wants::default(),
            claims: Claims::default(),
            started: AtomicU64::new(0),
            written: Written::default(),
            elsewhere: Elsewhere::default(),
            demand: Notify::new(),
            epoch,
            user,
            route: ArcSwap::new(route),
        })
    }

    /// A number that no other topic of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The key of the resource.
    pub fn key(&self) -> &ResourceKey {
        &self.key
    }

    /// When the user whose credentials are on the polls last asked for something. Returns `None` if the polls
    /// carry no user's.
    pub fn user_seen_at(&self) -> Option<Instant> {
        self.user.as_ref().map(|user| user.seen_at())
    }

    /// The state now.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Waits until `ready` holds for the view, and gives that view.
    pub async fn wait_for(&self, mut ready: impl FnMut(&View) -> bool) -> Arc<View> {
        let mut views = self.view.subscribe();
        match views.wait_for(|view| ready(view)).await {
            Ok(view) => view.clone(),
            // The sender lives in `self`, so that it cannot be gone here.
            Err(_) => self.view(),
        }
    }

    /// Notes that the shard looks now: the next change rings its bell again. A shard calls it before `view()`.
    pub fn look(&self, shard: u16) {
        self.shards[usize::from(shard)].rung.store(false, Ordering::SeqCst);
    }

    /// Rings every shard that has members and was not rung yet.
    pub(super) fn ring(self: &Arc<Self>) {
        for (membership, bell) in self.shards.iter().zip(&self.bells) {
            if membership.members.load(Ordering::SeqCst) > 0 && !membership.rung.swap(true, Ordering::SeqCst)
            {
                bell.ring(self);
            }
        }
    }

    /// Registers a reader: from now on `format` is encoded at publish time.
    pub(super) fn reads(&self, format: Format) {
        self.formats[format.index()].fetch_add(1, Ordering::SeqCst);
    }

    /// Takes one reader away. Patches are made a while longer, since a long-poll comes again.
    pub(super) fn reads_no_more(&self, format: Format) {
        self.formats[format.index()].fetch_sub(1, Ordering::SeqCst);
        if let Some(kind) = format.patches() {
            self.keep_patches(kind);
        }
    }

    /// Patches are made for as long as polls go on without followers (`linger`): a client that reads
    /// them is likely to come again.
    pub fn keep_patches(&self, kind: PatchKind) {
        let until = self.now_ms() + self.route().poll.linger.as_millis() as u64;
        self.patches_until[kind as usize].fetch_max(until, Ordering::SeqCst);
    }

    /// Returns how many followers read this format.
    pub fn readers(&self, format: Format) -> usize {
        self.formats[format.index()].load(Ordering::SeqCst)
    }

    pub(super) fn is_read(&self, format: Format) -> bool {
        self.readers(format) > 0
    }

    pub(super) fn wants_patches(&self, kind: PatchKind) -> bool {
        let reads = |format: &Format| format.patches() == Some(kind) && self.is_read(*format);
        Format::ALL.iter().any(reads)
            || self.patches_until[kind as usize].load(Ordering::SeqCst) > self.now_ms()
    }

    /// The patches from a version a follower has to the view's, if all are there and are smaller
    /// than the whole.
    pub fn chain(&self, view: &View, from: Version, kind: PatchKind) -> Option<Chain> {
        let frame = view.frame.as_ref()?;
        if let Some(patch) = frame.patch(kind).filter(|patch| patch.base == from) {
            return Some(Chain::One(patch.clone()));
        }
        let most = frame.snapshot.body.len();
        let history = self.history.lock();
        let whole = history.chain(from, frame.version(), kind, most);
        // Clients see a version before the history has it.
        let chain = whole.or_else(|| {
            let last = frame.patch(kind)?;
            let mut chain = history.chain(from, last.base, kind, most.saturating_sub(last.text.len()))?;
            chain.push(last.clone());
            Some(chain)
        });
        chain.map(Chain::Many)
    }

    pub(super) fn join_shard(&self, shard: u16) {
        let membership = &self.shards[usize::from(shard)];
        if membership.members.fetch_add(1, Ordering::SeqCst) == 0 {
            // If the bell rang after the last member had left, the shard perhaps never looked.
            membership.rung.store(false, Ordering::SeqCst);
        }
    }

    pub(super) fn leave_shard(&self, shard: u16) {
        self.shards[usize::from(shard)].members.fetch_sub(1, Ordering::SeqCst);
    }

    /// Asks for a poll at once and gives the number it will have at least. A poll in flight counts, unless a write
    /// came after it had started.
    /// While the resource fails, it comes only when the backoff is over (`View::next_poll`), and
    /// while a relayed answer is remembered, only after that (`View::remembered_until`): a caller that does
    /// not want to wait so long looks at the outcome first.
    pub fn want_poll(&self) -> u64 {
        self.want_poll_after(&self.view())
    }

    /// The same for a client that wants a poll beside the schedule, whatever the age of what other nodes hold.
    pub fn want_refresh(&self) -> u64 {
        let number = self.next_poll(&self.view());
        self.wants.refresh.fetch_max(number, Ordering::SeqCst);
        self.want(number);
        number
    }

    /// Whether a client waits for a poll beside the schedule.
    pub fn is_to_refresh(&self, view: &View) -> bool {
        self.wants.refresh.load(Ordering::SeqCst) > view.ended
    }

    /// The same for a caller that finds a view too old. A poll that has ended since that view was read is the one that is
    /// wanted: another one would come on its heels.
    pub fn want_poll_after(&self, view: &View) -> u64 {
        let number = self.next_poll(view);
        self.want(number);
        number
    }

    /// Number of the next poll to end after this view that knows of all writes so far.
    pub(super) fn next_poll(&self, view: &View) -> u64 {
        (view.ended + 1).max(self.aged())
    }

    pub(super) fn want(&self, number: u64) {
        self.wants.now.fetch_max(number, Ordering::SeqCst);
        self.demand.notify_one();
    }

    /// Asks for this poll, unless it has started already.
    pub(super) fn want_confirmed(&self, number: u64) {
        self.wants.confirm.fetch_max(number, Ordering::SeqCst);
        self.demand.notify_one();
    }

    /// Number of the newest poll an ordinary request waits for.
    pub fn wanted_now(&self) -> u64 {
        self.wants.now.load(Ordering::SeqCst)
    }

    /// Number of the last poll that started.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// Has the poller decide anew.
    pub(super) fn wake(&self) {
        self.demand.notify_one();
    }

    /// Waits until something that the schedule depends on may have changed.
    pub async fn demanded(&self) {
        self.demand.notified().await;
    }

    /// Whether this process has held the version, as far as the history goes. What is held now is
    /// in the view first: one that is found is never newer than the view.
    pub fn has_held(&self, version: Version) -> bool {
        let view = self.view();
        view.frame.as_ref().is_some_and(|frame| frame.version() == version)
            || self.history.lock().find(version).is_some()
    }

    /// The same for a tag of the upstream's.
    pub fn has_held_tag(&self, opaque: &[u8]) -> bool {
        let is_it =
            |tag: &Option<HeaderValue>| tag.as_ref().is_some_and(|tag| opaque_tag(tag.as_bytes()) == opaque);
        let view = self.view();
        view.frame.as_ref().is_some_and(|frame| is_it(&frame.snapshot.validators.etag))
            || self.history.lock().has(|past| is_it(&past.tag))
    }

    /// The version of this tag, as far as the history goes.
    pub fn version_of(&self, tag: [u8; 6]) -> Option<Version> {
        let current = self.view().frame.as_ref().map(|frame| frame.version());
        current.filter(|version| version.tag() == tag).or_else(|| self.history.lock().version_of(tag))
    }

    /// The upstream's own tag of a version this process has held; the inner `None` if it gave no tag. For the current
    /// version it is the newest tag: the upstream may name the same content anew, and clients see a version before the
    /// history has it.
    pub fn upstream_tag(&self, version: Version) -> Option<Option<HeaderValue>> {
        let view = self.view();
        if let Some(frame) = view.frame.as_ref().filter(|frame| frame.version() == version) {
            return Some(frame.snapshot.validators.etag.clone());
        }
        let history = self.history.lock();
        history.find(version).map(|past| past.tag.clone())
    }

    /// Returns what is known of how quickly clients come back, and of whether the API itself makes them wait.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Returns how the last polls ended.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// Milliseconds of the topic's clock.
    pub fn now_ms(&self) -> u64 {
        // The clock begins with 1, as 0 stands for never.
        self.epoch.elapsed().as_millis() as u64 + 1
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Topic({:?}, {} followers)", self.key, self.followers())
    }
}

/// How a topic tells a shard that it has something new. Rung at most once until the shard has
/// looked (`Topic::look`), and once more if meanwhile all its members left and another one came.
pub trait Bell: Send + Sync {
    /// Says that this topic has something new. It must not block: poll loops call it.
    fn ring(&self, topic: &Arc<Topic>);
}
