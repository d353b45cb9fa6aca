//! What poll loops need of the other nodes that poll the same resources (contract §13).
//!
//! A resource has one holder at a time: its poll loop asks the upstream, has each change accepted, and only then shows
//! it. The other nodes mirror what was accepted. A node without other nodes is its own holder: it has no backplane,
//! and its loops neither wait nor allocate for one. Must not know: engines, clients, how anything is sealed.

mod content;
mod inbox;
mod notice;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::config::Route;
use crate::resource::{PathDigester, ResourceKey};

pub use content::{
    Found, LookUp, Order, Release, Report, Rhythm, Role, SharedContent, SharedFeed, SharedItem, Stored,
    Trouble, TroubleKind, Want, Written,
};
pub use inbox::{Inbox, News};
pub use notice::{Nearness, PLACES_MAX, Place, Reached, ToldWrite, WriteListener, WriteNotice};

/// The other nodes.
#[async_trait]
pub trait Backplane: Send + Sync {
    /// Begins to attend to a resource. Returns `None` if it is not shared with other nodes (a credential class with
    /// `cluster.private: local`, a route with `cluster: off`): then this node polls it as if it were the only one.
    ///
    /// The backplane claims it and tells `inbox`, in this order: the content that is stored, the number of the newest
    /// want, and the role of this node; later what others write, report and want, and each new role. What this node
    /// wrote itself it need not be told. It does so within `cluster.timeout`; where it cannot, the role is
    /// [`Role::Alone`], or stays [`Role::Waiting`] with `when_lost: hold`. It attends until the membership is dropped.
    fn attend(&self, key: &ResourceKey, route: &Arc<Route>, inbox: Arc<Inbox>)
    -> Option<Arc<dyn Membership>>;

    /// Tells the other nodes of a write. Returns once the engine has told them, or `None` if it did not say so within
    /// `cluster.timeout`.
    async fn tell_write(&self, _notice: &WriteNotice) -> Option<ToldWrite> {
        None
    }

    /// Has this one hear of the writes of other nodes. Only the first call counts.
    fn hear_writes(&self, _listener: Arc<dyn WriteListener>) {}

    /// What the places of notices are named with: those of this node with the first one, those of other nodes with any.
    /// Empty if writes are not told.
    fn digesters(&self) -> Vec<Arc<dyn PathDigester>> {
        Vec::new()
    }
}

/// This node's part in one resource. Dropped when the resource has no client here any more: a holder's claim and an
/// unclaimed record end with it.
#[async_trait]
pub trait Membership: Send + Sync {
    /// Stores a content and tells the others, if its fence is the newest one and its order greater than what is stored.
    /// Answers once it had its turn, and not later than `cluster.timeout` after the engine last answered anything.
    async fn write(&self, content: &SharedContent) -> Written;

    /// Tells the others what a poll found that brought no new content: with the next beat, or at once if it failed, is
    /// relayed or settles a want. Never waits.
    fn report(&self, fence: u64, report: Report);

    /// Asks the holder for something, and gives the number of the want: wants of all kinds are counted together. It is
    /// answered by whatever comes with a `settled` that is not lower. While this node claims many resources, wants wait.
    /// Returns `None` if the engine did not answer in time.
    async fn want(&self, want: Want) -> Option<u64>;

    /// Reads what is stored, if a node may have missed it. `have`: the order of what is held here.
    async fn look_up(&self, have: Order) -> LookUp;

    /// Lets others take over. Until one does, this node goes on under its fence.
    fn release(&self, fence: u64, why: Release);

    /// Whether its holder has given it up for want of clients, and no node has claimed it since.
    fn is_dormant(&self) -> bool {
        false
    }

    /// Whether its holder claimed it so lately that its first poll may be on the way.
    fn is_begun(&self) -> bool {
        false
    }

    /// A client of this node wants the resource polled again after it was released.
    fn claim(&self);

    /// What is stored was below what is shown here for a lease, and was taken: the engine has lost what it had accepted.
    fn note_regression(&self) {}

    /// Without a sign of its holder for this long, a resource goes to another node.
    fn lease(&self) -> Duration;
}
