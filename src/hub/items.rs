//! The items of a feed that a topic remembers (contract §8): a bounded row in the order of delivery.
//!
//! Must not know: how items are found, which client has seen which.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::frame::Item;

/// Items that are new in a snapshot, oldest first.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// The upstream's name of each item, and its JSON.
    pub items: Vec<(String, bytes::Bytes)>,
    /// Whether items may be missing before these. Followers are told so.
    pub gap: bool,
}

/// The items, oldest first. Their numbers have holes only where there are gaps.
#[derive(Debug)]
pub(super) struct Items {
    row: VecDeque<Arc<Item>>,
    /// Number of the next item.
    next: u64,
    /// Names that clients came with and the upstream knew, and where they stand.
    aliases: VecDeque<(String, u64)>,
}

/// Number of the first item. It leaves room for the numbers of older items that the upstream gives later.
const FIRST_ITEM_NUMBER: u64 = 1 << 32;

/// Most names of clients that are remembered.
const ALIASES_MAX: usize = 256;

impl Default for Items {
    fn default() -> Self {
        Items { row: VecDeque::new(), next: FIRST_ITEM_NUMBER, aliases: VecDeque::new() }
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

    /// Adds numbered items. Returns the bytes by which the row grew.
    pub(super) fn push(&mut self, items: &[Arc<Item>]) -> usize {
        for item in items {
            self.next = item.seq + 1;
            self.row.push_back(item.clone());
        }
        items.iter().map(|item| item.weight()).sum()
    }

    /// Number of the newest item.
    pub(super) fn newest(&self) -> u64 {
        self.next - 1
    }

    pub(super) fn oldest(&self) -> Option<&Arc<Item>> {
        self.row.front()
    }

    /// Puts older items in front of the oldest one, and remembers that a client stands before all of them. Returns the
    /// bytes by which the row grew.
    pub(super) fn put_before(&mut self, id: &str, entries: Vec<(String, bytes::Bytes)>) -> usize {
        let first = self.row.front().map_or(self.next, |item| item.seq);
        let start = first.saturating_sub(entries.len() as u64);
        let mut grown = 0;
        for ((name, text), back) in entries.into_iter().rev().zip(1..) {
            let seq = first.saturating_sub(back);
            let item = Arc::new(Item::new(seq, &name, text));
            grown += item.weight();
            self.row.push_front(item);
        }
        self.know(id, start.saturating_sub(1));
        grown
    }

    /// Notes that a client which names this item stands at this place.
    pub(super) fn know(&mut self, id: &str, at: u64) {
        if self.aliases.len() >= ALIASES_MAX {
            self.aliases.pop_front();
        }
        self.aliases.push_back((id.to_owned(), at));
    }

    /// Forgets the oldest item. Returns its bytes.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.row.pop_front().map(|item| item.weight())
    }

    pub(super) fn all(&self) -> Vec<Arc<Item>> {
        self.row.iter().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.row.len()
    }

    pub(super) fn weight(&self) -> usize {
        self.row.iter().map(|item| item.weight()).sum()
    }

    /// Where a follower stands that has seen the item of this name. An item that was updated is there several times,
    /// and the earliest counts: the follower gets an item twice rather than never.
    pub(super) fn position(&self, id: &str) -> Option<u64> {
        let item = self.row.iter().find(|item| item.id == id).map(|item| item.seq);
        item.or_else(|| self.aliases.iter().rev().find(|(alias, _)| alias == id).map(|(_, at)| *at))
    }

    /// Returns everything after a position. `None` if something in between is not remembered.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn add(items: &mut Items, names: &[&str], gap: bool) {
        let news = News { items: names.iter().map(|n| ((*n).to_owned(), "{}".into())).collect(), gap };
        let numbered = items.number(news);
        items.push(&numbered);
    }

    /// The number of the `n`th item.
    fn nth(n: u64) -> u64 {
        FIRST_ITEM_NUMBER - 1 + n
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
        assert_eq!(names(items.after(at, nth(3))).unwrap(), ["b", "c"]);
        assert_eq!(names(items.after(at, nth(2))).unwrap(), ["b"]);
        assert_eq!(names(items.after(nth(3), nth(3))).unwrap(), [""; 0]);
        assert_eq!(items.position("z"), None);
    }

    #[test]
    fn what_fell_out_and_what_lies_before_a_gap_cannot_be_followed() {
        let mut items = Items::default();
        add(&mut items, &["a", "b", "c"], false);
        items.pop();
        assert_eq!(names(items.after(nth(0), nth(3))), None);
        assert_eq!(names(items.after(nth(1), nth(3))).unwrap(), ["b", "c"]);
        add(&mut items, &["x", "y"], true);
        assert_eq!(names(items.after(nth(3), nth(6))), None);
        assert_eq!(items.earliest(nth(6), 10), nth(4));
        assert_eq!(names(items.after(nth(4), nth(6))).unwrap(), ["x", "y"]);
        assert_eq!(items.earliest(nth(6), 1), nth(5));
        assert_eq!(items.earliest(nth(6), 0), nth(6));
    }

    #[test]
    fn what_a_client_missed_is_put_in_front() {
        let mut items = Items::default();
        add(&mut items, &["d", "e"], false);
        items.put_before("a", vec![("b".into(), "{}".into()), ("c".into(), "{}".into())]);
        let at = items.position("a").unwrap();
        assert_eq!(names(items.after(at, nth(2))).unwrap(), ["b", "c", "d", "e"]);
        items.know("z", items.newest());
        assert_eq!(names(items.after(items.position("z").unwrap(), nth(2))).unwrap(), [""; 0]);
        (0..2 * ALIASES_MAX).for_each(|n| items.know(&n.to_string(), 1));
        assert_eq!(items.aliases.len(), ALIASES_MAX);
    }
}
