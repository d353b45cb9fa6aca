//! What the poll loop knows of a resource's content beside what is published.
//!
//! Must not know: when it is polled, what is published.

use tokio::time::Instant;

use super::feed::Follower;
use super::request::target;
use crate::change::Detector;
use crate::config::Route;
use crate::resource::{HeldBytes, MediaType, ResourceKey};

/// What the poll loop knows of a resource's content.
pub(super) struct ContentState {
    /// An earlier topic of the resource had a snapshot.
    pub(super) was_document: bool,
    /// `None` while it is at work.
    pub(super) detector: Option<Detector>,
    /// The media type so far.
    pub(super) media_type: Option<MediaType>,
    /// On a feed: what is known of its list.
    pub(super) feed: Option<Follower>,
    /// The upstream says that it is gone since then.
    pub(super) gone_since: Option<Instant>,
    /// What the topic holds in memory besides content that others may have, too.
    pub(super) held: HeldBytes,
}

impl ContentState {
    /// Of a resource that was not polled yet by this loop.
    pub(super) fn new(route: &Route, key: &ResourceKey, was_document: bool, held: HeldBytes) -> ContentState {
        let feed = route.feed.as_ref().map(|rules| Follower::new(rules, target(key, route)));
        ContentState { was_document, detector: None, media_type: None, feed, gone_since: None, held }
    }
}
