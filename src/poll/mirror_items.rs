//! Items of a feed over changes of the node that polls: each is told once, and what is missing is said to be (contract §8,
//! §13).
//!
//! Must not know: how a content is shown.

use std::sync::Arc;

use bytes::Bytes;

use super::backplane::{SharedContent, SharedFeed, SharedItem};
use super::feed::items_of;
use super::poller::Poller;
use super::sharing::Sharing;
use crate::config;
use crate::frame::{Item, wire_id};
use crate::hub;

impl Poller {
    /// Followers of this node have what it polled for itself; items that others told meanwhile may be missing to them.
    pub(super) fn note_missed_items(&mut self, content: SharedContent) {
        let items_max = self.route.feed.as_ref().map_or(0, |feed| feed.history);
        let Some(sharing) = &mut self.sharing else { return };
        sharing.standing.passes_over(content.order);
        sharing.owed_items.extend(content.feed.into_iter().flat_map(|feed| feed.items));
        let excess = sharing.owed_items.len().saturating_sub(items_max);
        sharing.owed_items.drain(..excess);
    }

    /// Whether followers of a feed have missed items that others told: they are not among those that follow now, nor among
    /// those that they were told before.
    pub(super) fn takes_owed_gap(&mut self, news: &hub::News) -> bool {
        let owed = self.sharing.as_mut().map(|sharing| std::mem::take(&mut sharing.owed_items));
        let owed = owed.unwrap_or_default();
        if owed.is_empty() {
            return false;
        }
        let told = self.topic.remembered_items();
        let is_news = |item: &SharedItem| {
            news.items.iter().any(|(name, text)| *name == item.name && *text == item.text)
        };
        !owed.iter().all(|item| is_news(item) || was_told(item, &told))
    }
}

impl Sharing {
    /// The items of a content that followers of this node have not been told. `told`: what they were told; `shows_own`: the
    /// last of it was polled for this node alone.
    pub(super) fn news(&mut self, feed: SharedFeed, told: &[Arc<Item>], shows_own: bool) -> hub::News {
        self.last.list_order = feed.list_order.or(self.last.list_order);
        self.last.cursor = feed.cursor;
        self.own_items.clear();
        let before = feed.items.len();
        let news: Vec<_> = feed.items.into_iter().filter(|item| !was_told(item, told)).collect();
        let gap = match shows_own && !told.is_empty() {
            // Where nothing is known, what came between is missing.
            true => !news.is_empty() && news.len() == before,
            false => feed.gap,
        };
        hub::News { items: news.into_iter().map(|item| (item.name, item.text)).collect(), gap }
    }
}

/// Whether followers were told this very item.
fn was_told(item: &SharedItem, told: &[Arc<Item>]) -> bool {
    let id = wire_id(&item.name);
    told.iter().any(|told| told.id == id && told.text == item.text)
}

/// A node that is new to a feed knows the items of its page, too: readers go on from any of them, as on the node that
/// polled it.
pub(super) fn add_page(rules: &config::Feed, page: &Bytes, feed: &mut SharedFeed) {
    let is_newest_first = feed.list_order == Some(config::Order::NewestFirst);
    let mut items = items_of(rules, page, is_newest_first).unwrap_or_default();
    items.retain(|(name, _)| !feed.items.iter().any(|item| item.name == *name));
    let older = items.into_iter().map(|(name, text)| SharedItem { name, text });
    feed.items.splice(..0, older);
}
