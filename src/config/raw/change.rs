//! `change`, `delta` and `feed`: what counts as a change and how it is told.
//!
//! Must not know: defaults, bounds, what goes together.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, List, Number, Text};

/// `off`, or rules.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ChangeSetting {
    /// `off`.
    Word(Text),
    /// The rules.
    On(Box<Change>),
}

/// What counts as a change. Places are JSON Pointers, or JSONPath when they begin with `$`.
#[derive(Deserialize, JsonSchema)]
pub struct Change {
    /// Members that may differ without being a change.
    pub ignore: Option<List<Text>>,
    /// Lines of bodies that are no JSON that may differ without being a change: a regular expression, or several.
    pub ignore_lines: Option<OneOrSeveral>,
    /// JSON Pointer to the part that is published, or `off`: all of it.
    pub select: Option<Text>,
    /// `bytes`, or `json`: the order of members and the forms of numbers do not count.
    #[schemars(extend("enum" = ["bytes", "json"]))]
    pub compare: Option<Text>,
    /// Numbers closer than this are the same: one number for all, or one by place.
    pub tolerance: Option<ToleranceSetting>,
    /// Arrays whose order means nothing: JSON Pointer from their items to what tells those apart; for all
    /// arrays, or by place.
    pub array_key: Option<ArrayKeySetting>,
}

/// One number for all, or one by place.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ToleranceSetting {
    /// For all numbers.
    All(Number),
    /// In the order of the file: the first place that fits counts.
    ByPlace(#[schemars(with = "BTreeMap<String, Number>")] IndexMap<String, Number>),
}

/// One key for all arrays, or one by place.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ArrayKeySetting {
    /// For all arrays.
    All(Text),
    /// In the order of the file: the first place that fits counts.
    ByPlace(#[schemars(with = "BTreeMap<String, Text>")] IndexMap<String, Text>),
}

/// `true`, `false`, or how.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DeltaSetting {
    /// `true` or `false`.
    Word(Text),
    /// The settings of patches.
    On(Delta),
}

/// Patches for clients that ask for them.
#[derive(Deserialize, JsonSchema)]
pub struct Delta {
    /// A patch larger than this part of the body is not sent.
    pub patch_max_ratio: Option<Number>,
}

/// `off`, or a list of items.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FeedSetting {
    /// `off`.
    Word(Text),
    /// Where the items are, and what names them.
    On(Box<Feed>),
}

/// The resource is a list of items, and new ones are events.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["items", "id"]))]
pub struct Feed {
    /// JSON Pointer to the array; empty: the body is one.
    pub items: Option<Text>,
    /// JSON Pointer from an item to its name, or a list of them: the values name it together.
    pub id: Option<OneOrSeveral>,
    /// The order of the items, or `auto`: found from the first polls if it shows, else `none`.
    #[schemars(extend("enum" = ["auto", "newest_first", "oldest_first", "none"]))]
    pub order: Option<Text>,
    /// The upstream's own cursor.
    pub cursor: Option<Cursor>,
    /// How more is had when one page does not reach back to the last one.
    pub pages: Option<Pages>,
    /// Items that a new subscriber gets first.
    pub replay: Option<Count>,
    /// What happens when an item changes.
    #[schemars(extend("enum" = ["ignore", "event"]))]
    pub on_update: Option<Text>,
    /// What happens when an item that had left the list is on it again.
    #[schemars(extend("enum" = ["ignore", "event"]))]
    pub on_return: Option<Text>,
    /// How many items are remembered for clients that come back.
    pub history: Option<Count>,
}

/// One text, or several: JSON Pointers, regular expressions.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrSeveral {
    /// It alone.
    One(Text),
    /// Together, as `[/vhost, /name]` for the name of an item.
    Several(List<Text>),
}

/// The upstream's own cursor: it is asked only for what is new.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["query", "from"]))]
pub struct Cursor {
    /// Query parameter.
    pub query: Option<Text>,
    /// JSON Pointer to its next value in the answer.
    pub from: Option<Text>,
}

/// How more of a list is had.
#[derive(Deserialize, JsonSchema)]
pub struct Pages {
    /// `link`: the Link header; `number`: pages are numbered from 2; or a JSON Pointer to a URL or a value.
    pub next: Option<Text>,
    /// Query parameter that takes the number or value.
    pub query: Option<Text>,
    /// Most pages of one poll.
    pub max: Option<Count>,
}
