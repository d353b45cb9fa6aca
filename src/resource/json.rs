//! JSON text with the places of its values: what rules, patches and feeds read a body by.
//!
//! A value takes sixteen bytes and is not copied, so that numbers and strings stay as the upstream wrote them: no digit
//! is ever lost. Of members with one name the last counts, as in every common reader. Must not know: rules, patches.

mod node;
mod parser;

pub use node::{DEPTH_MAX, Kind, Malformed};

use std::borrow::Cow;

use bytes::Bytes;
use node::Node;

/// Most bytes of a text: places are 32 bits wide.
const TEXT_BYTES_MAX: usize = u32::MAX as usize;

/// A JSON text and its values.
#[derive(Debug)]
pub struct Json {
    text: Bytes,
    nodes: Vec<Node>,
    /// Nodes that a rule ignores, in order; none lies within another.
    ignored: Vec<u32>,
}

impl Json {
    /// Reads a text; a byte order mark is forgiven. The text is kept, not copied.
    pub fn parse(text: Bytes) -> Result<Json, Malformed> {
        let marked = text.starts_with(b"\xef\xbb\xbf");
        let text = if marked { text.slice(3..) } else { text };
        if text.len() > TEXT_BYTES_MAX {
            return Err(Malformed { at: TEXT_BYTES_MAX, wanted: "the end" });
        }
        if let Err(error) = std::str::from_utf8(&text) {
            return Err(Malformed { at: error.valid_up_to(), wanted: "UTF-8" });
        }
        let nodes = parser::nodes(&text)?;
        Ok(Json { text, nodes, ignored: Vec::new() })
    }

    /// Marks the values that start at these bytes (in order) as ignored.
    #[must_use]
    pub fn ignoring(mut self, starts: &[u32]) -> Json {
        let mut starts = starts.iter().peekable();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            while starts.next_if(|start| **start < node.start).is_some() {}
            if starts.next_if(|start| **start == node.start).is_some() {
                node.ignored = true;
                self.ignored.push(at as u32);
            }
        }
        self
    }

    /// Returns the value that the text is.
    pub fn root(&self) -> Element<'_> {
        Element { json: self, at: 0 }
    }

    /// The text, without a byte order mark.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Number of values and names.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes held beside the text.
    pub fn weight(&self) -> usize {
        size_of::<Json>()
            + self.nodes.capacity() * size_of::<Node>()
            + self.ignored.capacity() * size_of::<u32>()
    }
}

/// A value in its text.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    json: &'a Json,
    at: u32,
}

impl<'a> Element<'a> {
    fn node(&self) -> &'a Node {
        &self.json.nodes[self.at as usize]
    }

    /// Returns what the value is.
    pub fn kind(&self) -> Kind {
        self.node().kind
    }

    /// Its place among all values and names of the text.
    pub fn index(&self) -> usize {
        self.at as usize
    }

    /// Values and names in it, itself included.
    pub fn nodes_within(&self) -> usize {
        (self.node().next - self.at) as usize
    }

    /// Returns the value as it stands in the text.
    pub fn raw(&self) -> &'a [u8] {
        let node = self.node();
        &self.json.text[node.start as usize..node.end as usize]
    }

    /// The same, sharing the text's memory.
    pub fn bytes(&self) -> Bytes {
        self.json.text.slice_ref(self.raw())
    }

    /// Returns whether a rule ignores the value itself.
    pub fn is_ignored(&self) -> bool {
        self.node().ignored
    }

    /// Whether a rule ignores it or something within it.
    pub fn has_ignored(&self) -> bool {
        let ignored = &self.json.ignored;
        let first = ignored.partition_point(|&at| at < self.at);
        ignored.get(first).is_some_and(|&at| at < self.node().next)
    }

    /// The items of an array; none for anything else.
    pub fn items(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        self.children(Kind::Array)
    }

    /// Names and values of an object as they stand, also of names that come again; none for
    /// anything else.
    pub fn members(&self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> + use<'a> {
        let mut parts = self.children(Kind::Object);
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    fn children(&self, of: Kind) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let json = self.json;
        let node = self.node();
        let end = if node.kind == of { node.next } else { self.at + 1 };
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            let here = (at < end).then_some(Element { json, at })?;
            at = here.node().next;
            Some(here)
        })
    }

    /// The value of a member: the last one of this name.
    pub fn get(&self, name: &str) -> Option<Element<'a>> {
        let named = |key: &Element| key.string().is_some_and(|found| found == name);
        self.members().filter(|(key, _)| named(key)).last().map(|(_, value)| value)
    }

    /// Returns the value that a JSON Pointer (RFC 6901) leads to from here. A pointer starts with `/` or is empty.
    pub fn pointer(&self, pointer: &str) -> Option<Element<'a>> {
        let mut tokens = pointer.split('/');
        if tokens.next() != Some("") {
            return None;
        }
        tokens.try_fold(*self, |found, token| match found.kind() {
            Kind::Array => found.items().nth(index_of(token)?),
            _ if token.contains('~') => found.get(&token.replace("~1", "/").replace("~0", "~")),
            _ => found.get(token),
        })
    }

    /// Returns the content of a string. `None` if the value is no string, or has half of a surrogate pair in it.
    pub fn string(&self) -> Option<Cow<'a, str>> {
        let raw = self.raw();
        let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if memchr::memchr(b'\\', inner).is_none() {
            return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
        }
        serde_json::from_slice::<String>(raw).ok().map(Cow::Owned)
    }

    /// Returns the value as a tree of `serde_json`, for readers that want one. Numbers are rounded to what it can hold;
    /// strings that are no text are null.
    pub fn value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self.kind() {
            Kind::Object => {
                let member =
                    |(name, value): (Element, Element)| Some((name.string()?.into_owned(), value.value()));
                Value::Object(self.members().filter_map(member).collect())
            }
            Kind::Array => Value::Array(self.items().map(|item| item.value()).collect()),
            Kind::String => self.string().map_or(Value::Null, |text| Value::String(text.into_owned())),
            _ => serde_json::from_slice(self.raw()).unwrap_or(Value::Null),
        }
    }
}

/// An array index as RFC 6901 writes it: digits without leading zeros.
fn index_of(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    plain.then(|| token.parse().ok()).flatten()
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
