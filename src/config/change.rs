//! The settings of changes: what counts as one, and how it is told. They are the route's `change`, `delta` and `feed`.
//!
//! Must not know: bodies; what a rule does to one is `change/`.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json_path::JsonPath;

/// Members of a JSON body: one by its place, or all that an expression finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Members {
    /// RFC 6901; the empty text is the whole body.
    Pointer(String),
    /// RFC 9535. Boxed: few routes have one.
    Path(Box<JsonPath>),
}

/// What counts as a change (contract §2). Without a rule bytes are compared. Members are those of
/// what is published: with `select` their places start there, and a container stands for all in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Members whose values do not count; published as they were when the version was made.
    pub ignore: Vec<Members>,
    /// Only this part is published: a JSON Pointer.
    pub select: Option<String>,
    /// Bodies are compared, and published, as canonical JSON (RFC 8785), whatever else is said.
    /// Every rule but `select` implies it.
    pub canonical: bool,
    /// Numbers that differ from the published one by no more than this are the same. First match
    /// counts.
    pub tolerance: Vec<(Members, f64)>,
    /// Arrays whose order means nothing, and the member of their items that tells those apart.
    pub array_keys: Vec<ArrayKey>,
    /// Lines of bodies that are no JSON that do not count; published as they were when the version was made.
    pub ignore_lines: Vec<LinePattern>,
}

/// A regular expression that is looked for in each line, in time linear in the line.
#[derive(Clone)]
pub struct LinePattern(Regex);

/// What one expression may take in memory once it is compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl LinePattern {
    /// # Errors
    /// Why the text is no regular expression, or one that is too large.
    pub fn parse(text: &str) -> Result<LinePattern, String> {
        let built =
            RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build();
        built.map(LinePattern).map_err(|error| error.to_string())
    }

    /// Returns whether the expression is found anywhere in the line.
    pub fn matches(&self, line: &str) -> bool {
        self.0.is_match(line)
    }
}

impl fmt::Debug for LinePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LinePattern").field(&self.0.as_str()).finish()
    }
}

impl PartialEq for LinePattern {
    fn eq(&self, other: &LinePattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// An array that is a set.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayKey {
    /// Which arrays; `None` for every one whose items all have the key.
    pub of: Option<Members>,
    /// JSON Pointer from an item to its key.
    pub key: String,
}

impl Change {
    /// Whether bodies are rewritten into canonical JSON.
    pub fn is_canonical(&self) -> bool {
        self.canonical || !self.ignore.is_empty() || !self.tolerance.is_empty() || !self.array_keys.is_empty()
    }

    /// Whether there is any rule for JSON: bodies have to be JSON then, unless there are rules for lines too.
    pub fn has_rules(&self) -> bool {
        self.is_canonical() || self.select.is_some()
    }
}

/// Patches instead of whole bodies (contract §5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delta {
    /// Whether clients that ask for patches get them (default: true).
    pub enabled: bool,
    /// A patch larger than this part of the body is not worth sending.
    pub patch_max_ratio: f64,
}

/// The resource is a list of items, and new ones are events (contract §8).
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// JSON Pointer to the array.
    pub items: String,
    /// JSON Pointers from an item to what names it: one, or several that name it together.
    pub id: Vec<String>,
    /// The order of the list. `None` if the first polls are to show it.
    pub order: Option<Order>,
    /// How the upstream is asked for new items alone. `None` if each poll reads the list from its start (default).
    pub cursor: Option<Cursor>,
    /// How more items are read when a page does not reach back to the last one. `None` if each poll reads one page
    /// (default).
    pub pages: Option<Pages>,
    /// Items that a subscriber without an id gets first.
    pub replay: usize,
    /// An item whose content changed is an event again.
    pub tells_updates: bool,
    /// An item that left the whole list and came back is an event again.
    pub tells_returns: bool,
    /// Most items that the history of a resource remembers, beside those on the current page.
    pub history: usize,
}

/// The order of the items in the upstream's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first item is the newest one.
    NewestFirst,
    /// The last item is the newest one.
    OldestFirst,
    /// By name, by priority, or by nothing: where an item stands says nothing about its age.
    Unordered,
}

/// The upstream is asked only for what is new since its own cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Name of the query parameter.
    pub query: String,
    /// JSON Pointer to its next value in the answer.
    pub from: String,
}

/// How more of a list is had when two successive pages do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    /// JSON Pointer to the next page, a URL or (with `query`) a value. `None` stands for the `Link` header with
    /// rel="next", and with `query` for numbers from 2 on.
    pub next: Option<String>,
    /// Query parameter that takes the value.
    pub query: Option<String>,
    /// Most pages of one poll.
    pub max: usize,
}
