//! A list of items from poll to poll (contract §8): which of them are new, and in which order they
//! are told.
//!
//! Pure. Must not know: how pages are had, who is told.

use std::num::NonZeroUsize;

use bytes::Bytes;
use lru::LruCache;

use super::Unfit;
use crate::config::{Feed, Order};
use crate::resource::{Element, Json, Kind};

/// One item of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the upstream calls it.
    pub name: String,
    /// As the upstream wrote it.
    pub text: Bytes,
}

/// The items of one answer, in the upstream's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// The upstream's cursor for what comes after this, where there is one.
    pub cursor: Option<String>,
    /// What the body says about its next page.
    pub next: Option<String>,
}

impl Page {
    /// Reads the items of a body.
    ///
    /// # Errors
    /// There is no list where `feed.items` points, or an item without a name (`no-items`).
    pub fn read(rules: &Feed, json: &Json) -> Result<Page, Unfit> {
        let unfit = |reason: String| Unfit { class: "no-items", reason };
        let list = json.root().pointer(&rules.items).filter(|list| list.kind() == Kind::Array);
        let list = list.ok_or_else(|| {
            unfit(format!("the body has no list at {:?}, where feed.items points", rules.items))
        })?;
        let mut entries = Vec::new();
        for (index, item) in list.items().enumerate() {
            let name = item.pointer(&rules.id).and_then(scalar).ok_or_else(|| {
                let (items, id) = (&rules.items, &rules.id);
                unfit(format!(
                    "item {index} of {items:?} has no text or number at {id:?}, where feed.id points"
                ))
            })?;
            // Copied: a slice would keep the whole page in memory for as long as the item is remembered.
            entries.push(Entry { name, text: Bytes::copy_from_slice(item.raw()) });
        }
        let at = |pointer: Option<&String>| json.root().pointer(pointer?).and_then(scalar);
        Ok(Page {
            entries,
            cursor: at(rules.cursor.as_ref().map(|cursor| &cursor.from)),
            next: at(rules.pages.as_ref().and_then(|pages| pages.next.as_ref())),
        })
    }
}

/// A text or a number, as text.
fn scalar(value: Element) -> Option<String> {
    match value.kind() {
        Kind::String => value.string().map(|text| text.into_owned()),
        Kind::Number => std::str::from_utf8(value.raw()).ok().map(str::to_owned),
        Kind::Null | Kind::Bool | Kind::Array | Kind::Object => None,
    }
}

/// What is new in a poll.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fresh {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Nothing of what came before was on the pages: items may be missing.
    pub gap: bool,
}

/// What is known of a list: the names seen, and its order.
#[derive(Debug)]
pub struct Tracker {
    rules: Feed,
    order: Option<Order>,
    /// Names by digest, with the digest of the content; least recently seen on a page first.
    seen: LruCache<[u8; 16], [u8; 16]>,
}

impl Tracker {
    pub fn new(rules: &Feed) -> Tracker {
        let capacity = NonZeroUsize::new(rules.history).unwrap_or(NonZeroUsize::MIN);
        Tracker { rules: rules.clone(), order: rules.order, seen: LruCache::new(capacity) }
    }

    /// The order of the upstream's lists, as far as it is known.
    pub fn order(&self) -> Option<Order> {
        self.order
    }

    /// Whether a page reaches back to what is known: nothing is missing between the two.
    pub fn reaches(&self, page: &Page) -> bool {
        self.seen.is_empty()
            || page.entries.iter().any(|entry| self.seen.contains(&digest(entry.name.as_bytes())))
    }

    /// What is new on these pages, in the order in which they were had. Afterwards it is known. An item
    /// that appears between known ones (its number was given before its place was taken) is new, too.
    pub fn take(&mut self, pages: &[Page]) -> Fresh {
        let all: Vec<&Entry> = pages.iter().flat_map(|page| &page.entries).collect();
        self.learn_order(&all);
        let reached =
            self.rules.cursor.is_some() || all.is_empty() || pages.iter().any(|page| self.reaches(page));
        let first = self.seen.is_empty();
        // The page and the history: what is on the page is never forgotten while it is there.
        let room = self.rules.history + all.len();
        self.seen.resize(NonZeroUsize::new(room).unwrap_or(NonZeroUsize::MIN));
        let mut fresh = Vec::new();
        // What is older than the oldest known item was there before we looked: a page that grew, or one
        // that was followed too far back.
        let mut is_past = !first && reached && self.rules.cursor.is_none();
        // From the oldest on, so that the newest are remembered longest.
        let newest_first = self.order.unwrap_or(Order::NewestFirst) == Order::NewestFirst;
        let oldest_first: Box<dyn Iterator<Item = &&Entry>> =
            if newest_first { Box::new(all.iter().rev()) } else { Box::new(all.iter()) };
        for entry in oldest_first {
            let content = digest(&entry.text);
            match self.seen.put(digest(entry.name.as_bytes()), content) {
                None if !is_past => fresh.push((*entry).clone()),
                None => {}
                Some(before) => {
                    is_past = false;
                    if self.rules.tells_updates && before != content {
                        fresh.push((*entry).clone());
                    }
                }
            }
        }
        Fresh { gap: !first && !reached, entries: fresh }
    }

    /// Finds the order when the file does not say it: names that rise or fall through the whole page,
    /// else the end at which new items stand beside known ones.
    fn learn_order(&mut self, all: &[&Entry]) {
        if self.order.is_some() {
            return;
        }
        let numbers: Option<Vec<u128>> = all.iter().map(|entry| entry.name.parse().ok()).collect();
        if let Some(numbers) = numbers.filter(|numbers| numbers.len() > 1) {
            if numbers.windows(2).all(|pair| pair[0] < pair[1]) {
                self.order = Some(Order::OldestFirst);
            } else if numbers.windows(2).all(|pair| pair[0] > pair[1]) {
                self.order = Some(Order::NewestFirst);
            }
            return;
        }
        let known: Vec<bool> =
            all.iter().map(|entry| self.seen.contains(&digest(entry.name.as_bytes()))).collect();
        let edge = (known.first(), known.last());
        self.order = match edge {
            (Some(false), Some(true)) => Some(Order::NewestFirst),
            (Some(true), Some(false)) => Some(Order::OldestFirst),
            _ => None,
        };
    }
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    short
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
