//! A list of items from poll to poll (contract §8): which of them are new, and in which order they
//! are told.
//!
//! Pure. Must not know: how pages are had, the followers.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::ops::Range;

use bytes::Bytes;
use lru::LruCache;

use super::Unfit;
use super::order::Evidence;
use super::pagination::{Extent, Part, Said};
use crate::config::{Feed, Order};
use crate::resource::{Element, Json, Kind};

/// One item of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The upstream's name for it.
    pub name: String,
    /// The JSON as the upstream wrote it.
    pub text: Bytes,
}

/// The items of one answer, in the upstream's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The items of the page, in its order.
    pub entries: Vec<Entry>,
    /// The upstream's cursor for what comes after this, where there is one.
    pub cursor: Option<String>,
    /// What the body says about its next page.
    pub next: Option<String>,
}

impl Entry {
    /// An item by itself, as it was told. Returns `None` if it has no name.
    pub fn of_text(rules: &Feed, text: &Bytes) -> Option<Entry> {
        let json = Json::parse(text.clone()).ok()?;
        Some(Entry { name: name(&rules.id, json.root()).ok()?, text: text.clone() })
    }
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
            let name = name(&rules.id, item).map_err(|id| {
                let items = &rules.items;
                unfit(format!(
                    "item {index} of {items:?} has no text or number at {id:?}, where feed.id points"
                ))
            })?;
            // The text is copied: a slice would keep the whole page in memory for as long as the item is remembered.
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

/// Returns the name of an item: the value at its place, or the values at several places as a JSON array, which no two
/// lists of values share.
///
/// # Errors
/// The place where there is neither a text nor a number.
fn name<'a>(places: &'a [String], item: Element) -> Result<String, &'a str> {
    let value = |place: &'a String| item.pointer(place).and_then(scalar).ok_or(place.as_str());
    if let [place] = places {
        return value(place);
    }
    let values: Result<Vec<String>, &str> = places.iter().map(value).collect();
    Ok(serde_json::Value::from(values?).to_string())
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
    /// The new entries, oldest first; in the list's order if that says nothing about age.
    pub entries: Vec<Entry>,
    /// Whether the pages had no item that was known before: then items may be missing.
    pub gap: bool,
}

/// A digest of a name or a content, by which it is recognized.
type Digest = [u8; 16];

/// What is known of an item.
#[derive(Debug, Clone, Copy)]
struct Known {
    content: Digest,
    /// Number of the last answer that had it.
    last_on: u64,
    /// Whether it was missing on a page on which it would have stood.
    left: bool,
}

/// The knowledge of a list: the names that were seen, its order, and how much of it the last answer had.
#[derive(Debug)]
pub struct Tracker {
    rules: Feed,
    evidence: Evidence,
    extent: Extent,
    /// Names by digest; least recently seen on an answer first.
    seen: LruCache<Digest, Known>,
    /// Number of the last answer, from 1.
    answers: u64,
    /// The names of the last answer, in the list's order.
    last: Vec<Digest>,
    last_was_whole: bool,
}

impl Tracker {
    /// A tracker that has seen no page yet.
    pub fn new(rules: &Feed) -> Tracker {
        let capacity = NonZeroUsize::new(rules.history).unwrap_or(NonZeroUsize::MIN);
        Tracker {
            rules: rules.clone(),
            evidence: Evidence::default(),
            extent: Extent::default(),
            seen: LruCache::new(capacity),
            answers: 0,
            last: Vec::new(),
            last_was_whole: false,
        }
    }

    /// A tracker that goes on where another one was. `told`: items that it told, oldest first; `page`: the last answer;
    /// `order`: as far as it showed.
    pub fn resumed(
        rules: &Feed,
        told: &[Entry],
        page: Option<&Page>,
        order: Option<Order>,
        said: &Said,
    ) -> Tracker {
        let mut tracker = Tracker::new(rules);
        tracker.seen.resize(NonZeroUsize::new(rules.history + told.len()).unwrap_or(NonZeroUsize::MIN));
        for entry in told {
            // On an answer before the first one that this tracker counts.
            let known = Known { content: digest(&entry.text), last_on: 0, left: false };
            tracker.seen.put(digest(entry.name.as_bytes()), known);
        }
        if let Some(order) = order {
            tracker.evidence.told(order);
        }
        if let Some(page) = page {
            tracker.take(std::slice::from_ref(page), said);
        } else if !told.is_empty() {
            tracker.answers = 1;
        }
        tracker
    }

    /// The order of the upstream's lists: as the file says, or as far as it shows.
    pub fn order(&self) -> Order {
        self.rules.order.or(self.evidence.order()).unwrap_or(Order::Unordered)
    }

    /// Whether the first item is taken for the newest. Pages lead back in time unless the answers show otherwise.
    pub fn is_newest_first(&self) -> bool {
        match self.rules.order.or(self.evidence.order()) {
            Some(order) => order == Order::NewestFirst,
            None => self.rules.pages.is_some(),
        }
    }

    /// Whether new items may stand on any page, even if others have only known ones.
    pub fn may_be_new_anywhere(&self) -> bool {
        matches!(self.rules.order.or(self.evidence.order()), Some(Order::OldestFirst | Order::Unordered))
    }

    /// Whether a page reaches back to what is known: nothing is missing between the two.
    pub fn reaches(&self, page: &Page) -> bool {
        self.seen.is_empty()
            || page.entries.iter().any(|entry| self.seen.contains(&digest(entry.name.as_bytes())))
    }

    /// What is new on these pages, in the order in which they were had. Afterwards it is known. `said`: how
    /// much of the list they are.
    ///
    /// What was not on the last answer is new, wherever it stands, unless that answer was only a part of a
    /// list whose order in time is proven: there, what is older than the oldest known item was there before.
    pub fn take(&mut self, pages: &[Page], said: &Said) -> Fresh {
        if pages.is_empty() {
            return Fresh::default();
        }
        let all: Vec<&Entry> = pages.iter().flat_map(|page| &page.entries).collect();
        let names: Vec<Digest> = all.iter().map(|entry| digest(entry.name.as_bytes())).collect();
        let is_first = self.answers == 0;
        self.answers += 1;
        let is_new: Vec<bool> = names.iter().map(|name| !self.was_on_last(name)).collect();
        self.evidence.names(all.iter().map(|entry| entry.name.as_str()));
        if !is_first {
            self.evidence.places(&is_new);
        }
        let part = self.part(&names, &is_new, said);
        let reached =
            self.rules.cursor.is_some() || all.is_empty() || pages.iter().any(|page| self.reaches(page));
        // A list in time of which everything is new has moved on further than it is long.
        let is_beyond = part != Part::Whole || (self.order() != Order::Unordered && !self.last.is_empty());
        let gap = !is_first && !reached && is_beyond;
        let entries = self.news(&all, &names, !is_first && reached);
        match part {
            Part::Whole => self.extent.was_whole(self.answers),
            Part::Limited => self.mark_removed(&names, &is_new),
            Part::Page => {}
        }
        self.last_was_whole = part == Part::Whole;
        self.last = names;
        Fresh { gap, entries }
    }

    /// Whether an item was on the answer before the current one.
    fn was_on_last(&self, name: &Digest) -> bool {
        self.seen.peek(name).is_some_and(|known| known.last_on == self.answers - 1)
    }

    /// How much of the list the current answer is.
    fn part(&mut self, names: &[Digest], is_new: &[bool], said: &Said) -> Part {
        if self.rules.cursor.is_some() || self.rules.pages.is_some() {
            return Part::Page;
        }
        let scrolled = self.evidence.is_numbered()
            && names.len() == self.last.len()
            && scrolled_out(&self.last, names, is_new).is_some();
        self.extent.judge(self.answers, names.len(), said, scrolled)
    }

    /// The entries that are to be told, oldest first. All of them are known afterwards.
    fn news(&mut self, all: &[&Entry], names: &[Digest], reached: bool) -> Vec<Entry> {
        // There is room for the page and the history: an item is not forgotten while it is on the page.
        let room = self.rules.history + all.len();
        self.seen.resize(NonZeroUsize::new(room).unwrap_or(NonZeroUsize::MIN));
        let mut is_past = reached && !self.last_was_whole && self.has_proven_order();
        let mut fresh = Vec::new();
        // The oldest comes first, so that the newest are remembered longest.
        let places: Box<dyn Iterator<Item = usize>> =
            if self.is_newest_first() { Box::new((0..all.len()).rev()) } else { Box::new(0..all.len()) };
        for place in places {
            let (entry, name) = (all[place], names[place]);
            let known = Known { content: digest(&entry.text), last_on: self.answers, left: false };
            let is_news = match self.seen.put(name, known) {
                None => !is_past,
                // The item is on this answer twice.
                Some(before) if before.last_on == self.answers => false,
                Some(before) => {
                    is_past = false;
                    let has_left = before.left || self.extent.has_left(before.last_on);
                    let changed = before.content != known.content;
                    (has_left && self.rules.tells_returns) || (changed && self.rules.tells_updates)
                }
            };
            if is_news {
                fresh.push(entry.clone());
            }
        }
        fresh
    }

    /// Whether what stands behind the known items is known to be older than they are.
    fn has_proven_order(&self) -> bool {
        let is_ordered = self.rules.order.is_none_or(|order| order != Order::Unordered);
        // With a cursor each answer has new items only.
        self.rules.cursor.is_none()
            && is_ordered
            && (self.rules.order.is_some() || self.rules.pages.is_some())
    }

    /// Marks the items of the last answer that are missing on this one and were not pushed out of its end.
    fn mark_removed(&mut self, names: &[Digest], is_new: &[bool]) {
        let pushed_out = scrolled_out(&self.last, names, is_new).unwrap_or_default();
        for (place, name) in self.last.iter().enumerate() {
            if !pushed_out.contains(&place)
                && let Some(known) = self.seen.peek_mut(name)
                && known.last_on != self.answers
            {
                known.left = true;
            }
        }
    }
}

/// Where in the last answer the items at one end stand that are not on this one, where new ones came in at the other
/// end: a window that moved on. Returns `None` if it does not look like one.
fn scrolled_out(last: &[Digest], names: &[Digest], is_new: &[bool]) -> Option<Range<usize>> {
    let kept: HashSet<&Digest> = names.iter().collect();
    let is_kept = |name: &Digest| kept.contains(name);
    let out = if is_new.first() == Some(&true) {
        last.iter().rposition(is_kept).map_or(0, |at| at + 1)..last.len()
    } else if is_new.last() == Some(&true) {
        0..last.iter().position(is_kept).unwrap_or(last.len())
    } else {
        return None;
    };
    Some(out).filter(|out| !out.is_empty())
}

fn digest(bytes: &[u8]) -> Digest {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    short
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
