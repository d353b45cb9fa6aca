//! Items of a feed over changes of the node that polls: each is told once, and what is missing is said to be (contract §8,
//! §13).
//!
//! Must not know: how a content is shown.

use std::collections::HashSet;
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

impl Poller {
    /// Adds to the items of a content those that its page alone has. Returns what followers were told, where some of that may
    /// be among them, and whether items may be missing all the same: `shows_own` says that the last of it was polled for
    /// this node alone.
    pub(super) fn complete_items(
        &self,
        content: &mut SharedContent,
        shows_own: bool,
    ) -> (Vec<Arc<Item>>, bool) {
        let (Some(rules), Some(sharing), Some(feed)) = (&self.route.feed, &self.sharing, &mut content.feed)
        else {
            return (Vec::new(), shows_own);
        };
        // Each new holder tells the others what it told its own followers alone, and a write that it took for lost may have
        // been accepted all the same: some of that they may have told, too.
        let is_continued = !shows_own
            && content.order.fence == sharing.standing.order().fence
            && Some(content.after) == sharing.standing.shown();
        let needs_told = feed.gap || !is_continued;
        let told = if needs_told { self.topic.remembered_items() } else { Vec::new() };
        let page = &content.snapshot.body;
        if self.topic.view().frame.is_none() {
            add_page(rules, page, feed);
            return (told, shows_own);
        }
        let is_whole = add_missed(rules, page, feed, &told);
        (told, shows_own && !is_whole)
    }
}

impl Sharing {
    /// The items of a content that followers of this node have not been told. `told`: what they were told. `is_apart`: the
    /// last of it was polled for this node alone, and the page of the content does not begin where it ended.
    pub(super) fn news(&mut self, feed: SharedFeed, told: &[Arc<Item>], is_apart: bool) -> hub::News {
        self.last.list_order = feed.list_order.or(self.last.list_order);
        self.last.cursor = feed.cursor;
        self.own_items.clear();
        let before = feed.items.len();
        let news: Vec<_> = feed.items.into_iter().filter(|item| !was_told(item, told)).collect();
        let gap = match is_apart && !told.is_empty() {
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
fn add_page(rules: &config::Feed, page: &Bytes, feed: &mut SharedFeed) {
    let is_newest_first = feed.list_order == Some(config::Order::NewestFirst);
    let mut items = items_of(rules, page, is_newest_first).unwrap_or_default();
    items.retain(|(name, _)| !feed.items.iter().any(|item| item.name == *name));
    let older = items.into_iter().map(|(name, text)| SharedItem { name, text });
    feed.items.splice(..0, older);
}

/// Where not all that came between was told by other nodes, the page itself may say it: whatever follows on it after the
/// last item that followers were told. Returns whether it says that.
fn add_missed(rules: &config::Feed, page: &Bytes, feed: &mut SharedFeed, told: &[Arc<Item>]) -> bool {
    let Some(order) = feed.list_order.filter(|_| !told.is_empty()) else { return false };
    let items = items_of(rules, page, order == config::Order::NewestFirst).unwrap_or_default();
    let known: HashSet<&str> = told.iter().map(|told| &*told.id).collect();
    let Some(last) = items.iter().rposition(|(name, _)| known.contains(&*wire_id(name))) else {
        return false;
    };
    let missed = items.into_iter().skip(last + 1).map(|(name, text)| SharedItem { name, text });
    let missed: Vec<_> = missed.collect();
    let names: HashSet<&str> = missed.iter().map(|item| &*item.name).collect();
    feed.items.retain(|item| !names.contains(&*item.name));
    feed.items.extend(missed);
    feed.gap = false;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Order;

    fn items(ids: std::ops::RangeInclusive<u64>) -> Vec<SharedItem> {
        let item = |id: u64| SharedItem { name: id.to_string(), text: format!("{{\"id\":{id}}}").into() };
        ids.map(item).collect()
    }

    fn page(ids: std::ops::RangeInclusive<u64>) -> Bytes {
        let texts: Vec<_> = items(ids).iter().rev().map(|item| item.text.clone()).collect();
        [b"[", &*texts.join(&b","[..]), b"]"].concat().into()
    }

    /// What a page of 3 to 12 adds to items that other nodes told, where followers were told these.
    fn missed(
        told: std::ops::RangeInclusive<u64>,
        by_others: std::ops::RangeInclusive<u64>,
    ) -> (Vec<u64>, bool) {
        let told: Vec<_> = (1..)
            .zip(items(told))
            .map(|(seq, item)| Arc::new(Item::new(seq, &item.name, item.text)))
            .collect();
        let mut feed = SharedFeed { items: items(by_others), gap: true, ..SharedFeed::default() };
        feed.list_order = Some(Order::NewestFirst);
        let rules = config::Feed { id: vec!["/id".into()], ..config::Feed::unsaid() };
        let is_whole = add_missed(&rules, &page(3..=12), &mut feed, &told);
        assert_eq!(feed.gap, !is_whole);
        let names = feed.items.iter().map(|item| item.name.parse().unwrap());
        (names.collect(), is_whole)
    }

    #[test]
    fn what_other_nodes_told_in_part_is_taken_from_the_page() {
        assert_eq!(missed(2..=5, 10..=12), ((6..=12).collect(), true));
    }

    #[test]
    fn a_page_that_begins_later_leaves_a_gap() {
        assert_eq!(missed(1..=2, 10..=12), ((10..=12).collect(), false));
    }
}
