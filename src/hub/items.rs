//! The items of a feed that a topic remembers (contract §8): a bounded row in the order of delivery.
//!
//! Must not know: how items are found, who has seen which.

use std::collections::VecDeque;
use std::sync::Arc;

use super::topic::Topic;
use crate::frame::Item;
use crate::resource::Version;

/// Items that are new in a snapshot, oldest first.
#[derive(Debug, Default)]
pub struct News {
    /// What the upstream calls each, and its JSON.
    pub items: Vec<(String, bytes::Bytes)>,
    /// Items may be missing before these: followers are told.
    pub gap: bool,
}

/// Oldest first, numbered without holes but for the gaps.
#[derive(Debug)]
pub(super) struct Items {
    row: VecDeque<Arc<Item>>,
    /// Number of the next item.
    next: u64,
}

impl Default for Items {
    fn default() -> Self {
        Items { row: VecDeque::new(), next: 1 }
    }
}

impl Items {
    /// Numbers news without adding it yet. A gap leaves a number out, so that no position before it
    /// can be followed by what comes after.
    pub(super) fn number(&self, news: News) -> Vec<Arc<Item>> {
        let first = self.next + u64::from(news.gap);
        let numbered = (first..).zip(news.items);
        numbered.map(|(seq, (name, text))| Arc::new(Item::new(seq, &name, text))).collect()
    }

    /// Adds what was numbered; gives the bytes by which it grew.
    pub(super) fn push(&mut self, items: &[Arc<Item>]) -> usize {
        for item in items {
            self.next = item.seq + 1;
            self.row.push_back(item.clone());
        }
        items.iter().map(|item| item.weight()).sum()
    }

    /// Forgets the oldest; gives its bytes.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.row.pop_front().map(|item| item.weight())
    }

    pub(super) fn len(&self) -> usize {
        self.row.len()
    }

    pub(super) fn weight(&self) -> usize {
        self.row.iter().map(|item| item.weight()).sum()
    }

    /// Where a follower stands that has seen the item of this name. Of several (an item that was
    /// updated) the earliest: rather something twice than something never.
    pub(super) fn position(&self, id: &str) -> Option<u64> {
        self.row.iter().find(|item| item.id == id).map(|item| item.seq)
    }

    /// Everything after a position; none: something in between is not remembered.
    pub(super) fn after(&self, seq: u64, until: u64) -> Option<Vec<Arc<Item>>> {
        if seq >= until {
            return Some(Vec::new());
        }
        let start = self.row.partition_point(|item| item.seq <= seq);
        let mut expected = seq + 1;
        let mut items = Vec::new();
        for item in self.row.range(start..).take_while(|item| item.seq <= until) {
            if item.seq != expected {
                return None;
            }
            expected += 1;
            items.push(item.clone());
        }
        (expected == until + 1).then_some(items)
    }

    /// The position from which everything up to `until` is remembered, at most `most` items back.
    pub(super) fn earliest(&self, until: u64, most: usize) -> u64 {
        let mut at = until;
        let end = self.row.partition_point(|item| item.seq <= until);
        for item in self.row.range(..end).rev().take(most) {
            if item.seq != at {
                break;
            }
            at -= 1;
        }
        at
    }
}

impl Topic {
    /// Where a follower of a feed stands: after the item of this name, or after the newest item of
    /// the page of this version. None: neither is remembered.
    pub(super) fn item_position(&self, id: &str) -> Option<u64> {
        if let Some(at) = self.items.lock().position(id) {
            return Some(at);
        }
        let version = Version::parse(id)?;
        let view = self.view();
        let current = view.frame.as_ref().filter(|frame| frame.version() == version);
        match current.and_then(|frame| frame.batch.as_ref()) {
            Some(batch) => Some(batch.until()),
            None => self.history.lock().find(version).map(|past| past.items_until),
        }
    }

    /// Whether this process remembers the item or version that a follower of a feed comes from.
    pub fn knows_position(&self, id: &str) -> bool {
        self.item_position(id).is_some()
    }

    pub(super) fn earliest_item(&self, until: u64, most: usize) -> u64 {
        self.items.lock().earliest(until, most)
    }

    pub(super) fn items_after(&self, seq: u64, until: u64) -> Option<Vec<Arc<Item>>> {
        self.items.lock().after(seq, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(items: &mut Items, names: &[&str], gap: bool) {
        let news = News { items: names.iter().map(|n| ((*n).to_owned(), "{}".into())).collect(), gap };
        let numbered = items.number(news);
        items.push(&numbered);
    }

    fn names(items: Option<Vec<Arc<Item>>>) -> Option<Vec<String>> {
        items.map(|items| items.iter().map(|item| item.id.clone()).collect())
    }

    #[test]
    fn a_position_is_followed_by_what_came_after_it() {
        let mut items = Items::default();
        add(&mut items, &["a", "b"], false);
        add(&mut items, &["c"], false);
        let at = items.position("a").unwrap();
        assert_eq!(names(items.after(at, 3)).unwrap(), ["b", "c"]);
        assert_eq!(names(items.after(at, 2)).unwrap(), ["b"]);
        assert_eq!(names(items.after(3, 3)).unwrap(), [""; 0]);
        assert_eq!(items.position("z"), None);
    }

    #[test]
    fn what_fell_out_and_what_lies_before_a_gap_cannot_be_followed() {
        let mut items = Items::default();
        add(&mut items, &["a", "b", "c"], false);
        items.pop();
        assert_eq!(names(items.after(0, 3)), None);
        assert_eq!(names(items.after(1, 3)).unwrap(), ["b", "c"]);
        add(&mut items, &["x", "y"], true);
        assert_eq!(names(items.after(3, 6)), None);
        assert_eq!(items.earliest(6, 10), 4);
        assert_eq!(names(items.after(4, 6)).unwrap(), ["x", "y"]);
        assert_eq!(items.earliest(6, 1), 5);
        assert_eq!(items.earliest(6, 0), 6);
    }
}
