//! Canonical JSON (RFC 8785) of a body under its rules: members in order, one form for each number
//! and string, arrays that are sets in the order of their keys, numbers within their tolerance as
//! they were published.
//!
//! Departs from RFC 8785 where it would lose digits (`number`). Must not know: versions, headers.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use super::json_members::Marks;
use super::number;
use crate::config::Change;
use crate::resource::{Element, Kind};

/// A body in its canonical form.
pub(super) struct Canonical {
    pub(super) body: Vec<u8>,
    /// The same without the ignored values. `None` if nothing is ignored.
    pub(super) counted: Option<Vec<u8>>,
    /// Where the ignored values start in the body.
    pub(super) ignored: Vec<u32>,
}

/// The byte that stands for an ignored item of an array where the others are compared: no JSON text has it.
const IGNORED: u8 = 0;

/// Writes a value. `published` is the state before this one, which was written here, too.
pub(super) fn write(
    change: &Change,
    marks: &Marks,
    root: Element<'_>,
    published: Option<Element<'_>>,
) -> Canonical {
    let room = root.raw().len();
    let out = Canonical {
        body: Vec::with_capacity(room),
        counted: marks.any_ignored.then(|| Vec::with_capacity(room)),
        ignored: Vec::new(),
    };
    let mut writer = Writer { change, marks, out, hidden: false };
    writer.hideable(root, |writer| writer.value(root, published, None));
    writer.out
}

struct Writer<'r> {
    change: &'r Change,
    marks: &'r Marks,
    out: Canonical,
    /// Whether it is within an ignored value.
    hidden: bool,
}

impl<'r> Writer<'r> {
    fn put(&mut self, bytes: &[u8]) {
        self.out.body.extend_from_slice(bytes);
        if !self.hidden
            && let Some(counted) = &mut self.out.counted
        {
            counted.extend_from_slice(bytes);
        }
    }

    /// Writes a value. An ignored one is left out of what counts.
    fn hideable(&mut self, value: Element<'_>, write: impl FnOnce(&mut Self)) {
        if self.hidden || !self.marks.is_ignored(value) {
            write(self);
            return;
        }
        self.out.ignored.push(self.out.body.len() as u32);
        self.hidden = true;
        write(self);
        self.hidden = false;
    }

    fn value(&mut self, value: Element<'_>, published: Option<Element<'_>>, tolerance: Option<usize>) {
        let tolerance = self.marks.tolerance(value, tolerance);
        match value.kind() {
            Kind::Object => self.object(value, published, tolerance),
            Kind::Array => self.array(value, published, tolerance),
            Kind::Number => self.number(value, published, tolerance),
            Kind::String => self.put(&string(value)),
            Kind::Null | Kind::Bool => self.put(value.raw()),
        }
    }

    fn number(&mut self, value: Element<'_>, published: Option<Element<'_>>, tolerance: Option<usize>) {
        let allowed = tolerance.map(|rule| self.change.tolerance[rule].1);
        let held = published.filter(|p| p.kind() == Kind::Number).map(|p| p.raw());
        match (allowed, held) {
            (Some(allowed), Some(held)) if number::within(value.raw(), held, allowed) => self.put(held),
            _ => self.put(&number::canonical(value.raw())),
        }
    }

    fn object(&mut self, object: Element<'_>, published: Option<Element<'_>>, tolerance: Option<usize>) {
        // The published members stand in the same order.
        let mut before = published.into_iter().flat_map(|p| p.members()).peekable();
        let mut counts = false;
        self.put(b"{");
        for (at, Member { name, raw, value }) in members(object).into_iter().enumerate() {
            let earlier = |(key, _): &(Element, Element)| {
                key.string().is_some_and(|key| order(&key, &name) == Ordering::Less)
            };
            while before.next_if(earlier).is_some() {}
            let same = |(key, _): &(Element, Element)| key.string().is_some_and(|key| key == name);
            let published = before.next_if(same).map(|(_, value)| value);
            if at > 0 {
                self.out.body.push(b',');
            }
            let shown = !self.hidden && !self.marks.is_ignored(value);
            if let Some(counted) = self.out.counted.as_mut().filter(|_| shown) {
                counted.extend(counts.then_some(b','));
                counted.extend_from_slice(&raw);
                counted.push(b':');
                counts = true;
            }
            self.out.body.extend_from_slice(&raw);
            self.out.body.push(b':');
            self.hideable(value, |writer| writer.value(value, published, tolerance));
        }
        self.put(b"}");
    }

    fn array(&mut self, array: Element<'_>, published: Option<Element<'_>>, tolerance: Option<usize>) {
        let published = published.filter(|p| p.kind() == Kind::Array);
        match self.key_of(array).and_then(|key| Some((key, keyed(array, key)?))) {
            Some((key, items)) => {
                let items = items.into_iter().map(|(key, item)| (Some(key), item));
                self.items(items, Before::by_key(published, key), tolerance);
            }
            None => {
                self.items(array.items().map(|item| (None, item)), Before::in_order(published), tolerance)
            }
        }
    }

    fn items<'a>(
        &mut self,
        items: impl Iterator<Item = (Option<Key>, Element<'a>)>,
        mut before: Before<'_>,
        tolerance: Option<usize>,
    ) {
        self.put(b"[");
        for (at, (key, item)) in items.enumerate() {
            if at > 0 {
                self.put(b",");
            }
            if !self.hidden && self.marks.is_ignored(item) {
                self.out.counted.as_mut().into_iter().for_each(|counted| counted.push(IGNORED));
            }
            let published = before.next(key.as_ref());
            self.hideable(item, |writer| writer.value(item, published, tolerance));
        }
        self.put(b"]");
    }

    /// Returns the key by which an array is a set, that of its first rule, if its items have it.
    fn key_of(&self, array: Element<'_>) -> Option<&'r str> {
        let named = self.marks.array_key(array);
        let rules = self.change.array_keys.iter().enumerate();
        let mut fitting = rules.filter(|(rule, key)| key.of.is_none() || Some(*rule) == named);
        fitting.next().map(|(_, key)| key.key.as_str())
    }
}

/// The items in the order of their keys. Returns `None` if one has none. Items with the same key, which no set
/// has, keep the upstream's order.
fn keyed<'a>(array: Element<'a>, key: &str) -> Option<Vec<(Key, Element<'a>)>> {
    let keyed = |item: Element<'a>| Some((Key::of(item.pointer(key)?), item));
    let mut items: Vec<_> = array.items().map(keyed).collect::<Option<_>>()?;
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    Some(items)
}

/// The published items of an array, found by key where it has one, else by index.
enum Before<'a> {
    ByKey(HashMap<Cow<'a, [u8]>, Element<'a>>),
    InOrder(Vec<Element<'a>>, usize),
}

impl<'a> Before<'a> {
    fn by_key(published: Option<Element<'a>>, key: &str) -> Before<'a> {
        let items = published.into_iter().flat_map(|array| array.items());
        let keyed = |item: Element<'a>| Some((plain(item.pointer(key)?), item));
        Before::ByKey(items.filter_map(keyed).collect())
    }

    fn in_order(published: Option<Element<'a>>) -> Before<'a> {
        Before::InOrder(published.into_iter().flat_map(|array| array.items()).collect(), 0)
    }

    /// `key` is that of the next item in the new array.
    fn next(&mut self, key: Option<&Key>) -> Option<Element<'a>> {
        match self {
            Before::ByKey(items) => items.get(key?.form()).copied(),
            Before::InOrder(items, at) => {
                *at += 1;
                items.get(*at - 1).copied()
            }
        }
    }
}

/// Returns the one form of a value that may be a key.
fn plain(key: Element<'_>) -> Cow<'_, [u8]> {
    match key.kind() {
        Kind::String => string(key),
        Kind::Number => number::canonical(key.raw()),
        _ => Cow::Borrowed(key.raw()),
    }
}

/// The order of items in a set: numbers by their value, then texts, then all others.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    Number(f64, Vec<u8>),
    Text(Vec<u8>),
    Other(Vec<u8>),
}

impl Key {
    fn of(element: Element<'_>) -> Key {
        let form = plain(element).into_owned();
        match element.kind() {
            Kind::Number => {
                let value = std::str::from_utf8(&form).ok().and_then(|text| text.parse().ok());
                Key::Number(value.unwrap_or(f64::INFINITY), form)
            }
            Kind::String => Key::Text(form),
            _ => Key::Other(form),
        }
    }

    fn form(&self) -> &[u8] {
        match self {
            Key::Number(_, form) | Key::Text(form) | Key::Other(form) => form,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Key::Number(..) => 0,
            Key::Text(_) => 1,
            Key::Other(_) => 2,
        }
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::Number(a, x), Key::Number(b, y)) => a.total_cmp(b).then_with(|| x.cmp(y)),
            (Key::Text(a), Key::Text(b)) | (Key::Other(a), Key::Other(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

struct Member<'a> {
    name: Cow<'a, str>,
    /// The name's canonical form.
    raw: Cow<'a, [u8]>,
    value: Element<'a>,
}

/// The members of an object in canonical order, each name once.
fn members(object: Element<'_>) -> Vec<Member<'_>> {
    let mut members: Vec<Member> = object
        .members()
        .map(|(key, value)| {
            let name = key.string();
            let raw = escaped(key, name.as_ref());
            // A name with half of a surrogate pair is no text: it is compared by its spelling.
            let name = name.unwrap_or_else(|| String::from_utf8_lossy(key.raw()));
            Member { name, raw, value }
        })
        .collect();
    if !members.is_sorted_by(|a, b| order(&a.name, &b.name) == Ordering::Less) {
        // The sort is stable, so that the last member of one name is the last of its run.
        members.sort_by(|a, b| order(&a.name, &b.name));
        members.reverse();
        members.dedup_by(|a, b| a.name == b.name);
        members.reverse();
    }
    members
}

/// Orders names by UTF-16 code units (RFC 8785 §3.2.3).
fn order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return a.cmp(b);
    }
    a.encode_utf16().cmp(b.encode_utf16())
}

/// The canonical form of a string.
fn string(string: Element<'_>) -> Cow<'_, [u8]> {
    match memchr::memchr(b'\\', string.raw()) {
        Some(_) => escaped(string, string.string().as_ref()),
        None => Cow::Borrowed(string.raw()),
    }
}

/// The canonical form of a string with this content.
fn escaped<'a>(string: Element<'a>, content: Option<&Cow<'_, str>>) -> Cow<'a, [u8]> {
    match content {
        Some(Cow::Owned(text)) => serde_json::to_vec(text).map_or(Cow::Borrowed(string.raw()), Cow::Owned),
        // Nothing is escaped in it, or it is no text.
        _ => Cow::Borrowed(string.raw()),
    }
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
