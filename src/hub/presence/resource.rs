//! The presence of one resource: its account under a lock, and the roll that was told last.
//!
//! Must not know: clocks, tasks, the upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::events::{self, Roll};
use super::followers::Followers;
use crate::config::Route;
use crate::resource::ResourceKey;

/// Who follows one resource. It is there as long as there is a follower.
pub struct Presence {
    id: u64,
    key: ResourceKey,
    state: Mutex<State>,
    roll: watch::Sender<Arc<Roll>>,
    /// The shards that have, or had, a member that is told of it.
    shards: Box<[AtomicBool]>,
}

/// What changes of it.
pub(super) struct State {
    /// The newest form of the route that covers the resource.
    pub(super) route: Arc<Route>,
    pub(super) followers: Followers,
    /// A task is about to tell what changed.
    pub(super) is_to_be_told: bool,
    /// A task waits for those that are overdue.
    pub(super) is_swept: bool,
    /// When it was last told.
    pub(super) told_at: Option<Instant>,
}

/// How a presence tells a shard that it has changed. It must not block.
pub trait PresenceBell: Send + Sync {
    /// Says that members that asked for it have something to be told.
    fn presence_changed(&self, presence: &Arc<Presence>);
}

impl Presence {
    pub(super) fn new(id: u64, key: ResourceKey, route: Arc<Route>, shards: usize) -> Presence {
        let (followers, told_at) = (Followers::default(), None);
        let state = State { route, followers, is_to_be_told: false, is_swept: false, told_at };
        Presence {
            id,
            key,
            state: Mutex::new(state),
            roll: watch::Sender::new(Arc::new(Roll::first())),
            shards: std::iter::repeat_with(AtomicBool::default).take(shards).collect(),
        }
    }

    /// A number that no other presence of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The key of the resource.
    pub fn key(&self) -> &ResourceKey {
        &self.key
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().followers.count() == 0
    }

    /// What was told last.
    pub(super) fn roll(&self) -> Arc<Roll> {
        self.roll.borrow().clone()
    }

    /// Changes whenever there is another roll.
    pub(super) fn rolls(&self) -> watch::Receiver<Arc<Roll>> {
        self.roll.subscribe()
    }

    /// From now on this shard is told.
    pub(super) fn tell(&self, shard: u16) {
        self.shards[usize::from(shard)].store(true, Ordering::SeqCst);
    }

    /// Makes the next roll, and rings the shards that are told.
    pub(super) fn publish(self: &Arc<Self>, bells: &[Arc<dyn PresenceBell>]) {
        let mut state = self.lock();
        let State { route, followers, .. } = &mut *state;
        let roll = Roll::next(&self.roll(), followers, route);
        (state.is_to_be_told, state.told_at) = (false, Some(Instant::now()));
        self.roll.send_replace(Arc::new(roll));
        drop(state);
        for (is_told, bell) in self.shards.iter().zip(bells) {
            if is_told.load(Ordering::SeqCst) {
                bell.presence_changed(self);
            }
        }
    }

    /// The answer to one who asks for it, under the form of the route that it came by.
    pub(super) fn answer(&self, route: &Route) -> Value {
        events::answer(&self.lock().followers, route)
    }

    /// How many follow.
    pub(super) fn count(&self) -> usize {
        self.lock().followers.count()
    }
}
