//! What goes together in a batch: resources as its items, and the polls that wait for others.
//!
//! Must not know: how a batch is asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answer::{Exchanged, Tag};
use super::batch_split;
use super::quarantine::Quarantine;
use crate::config::Route;
use crate::resource::{KeyParts, ResourceKey};
use crate::upstream::{FetchError, Priority};

/// A resource as one item of a batch.
#[derive(Debug, Clone)]
pub(in crate::poll) struct Item {
    pub(super) name: String,
    /// What the items of a request have in common: everything but the name.
    pub(super) group: ResourceKey,
}

impl Item {
    /// Returns `None` if the resource is polled by itself.
    pub(in crate::poll) fn of(route: &Route, key: &ResourceKey) -> Option<Item> {
        let batch = route.poll.batch.as_ref()?;
        if key.is_private() {
            return None;
        }
        let parts = key.parts();
        let batch_split::Share { name, path, query } =
            batch_split::item(route, batch, &parts.path, parts.query.as_deref())?;
        Some(Item { name, group: ResourceKey::new(KeyParts { path, query, ..parts.clone() }) })
    }
}

/// The first instant of the grid of a route that is not before `due`: resources that are due together
/// go together. `epoch`: where the grid starts.
pub(in crate::poll) fn on_grid(epoch: Instant, interval: Duration, due: Instant) -> Instant {
    let step = interval.as_nanos().max(1);
    let steps = due.saturating_duration_since(epoch).as_nanos().div_ceil(step);
    epoch + Duration::from_nanos(u64::try_from(steps * step).unwrap_or(u64::MAX))
}

/// The polls that wait for others to go with, by what they have in common. As many as there are
/// resources at most.
#[derive(Default)]
pub(in crate::poll) struct Batches {
    pub(super) waiting: Mutex<HashMap<ResourceKey, Vec<Poll>>>,
    pub(super) quarantine: Quarantine,
}

/// One resource's poll.
pub(super) struct Poll {
    pub(super) name: String,
    pub(super) priority: Priority,
    pub(super) followers: usize,
    /// It has to get past caches.
    pub(super) after_write: bool,
    /// The upstream has answered with this resource before: what goes wrong now is not its name's doing.
    pub(super) is_known: bool,
    /// The batch that the resource's content is from.
    pub(super) tag: Option<Arc<Tag>>,
    pub(super) reply: oneshot::Sender<Result<Exchanged, FetchError>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_that_are_due_together_go_together() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let (epoch, second) = (Instant::now(), Duration::from_secs(1));
        let grid = |ms| on_grid(epoch, second, epoch + Duration::from_millis(ms)) - epoch;
        assert_eq!([0, 1, 999, 1000].map(grid), [Duration::ZERO, second, second, second]);
        assert_eq!(grid(1001), 2 * second);
        assert_eq!(on_grid(epoch + second, second, epoch), epoch + second, "never before it starts");
    }
}
