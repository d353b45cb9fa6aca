//! Whether a body is a list of items that could be a feed.
//!
//! Must not know: requests.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::noise::is_time;

/// How deep an array is looked for.
const DEPTH_MAX: usize = 3;

/// Fewest items whose order is believed: of fewer it may be chance.
const ORDERED_MIN: usize = 5;

/// Lengths at which a list looks like a page of a longer one.
const PAGES: [usize; 8] = [10, 20, 25, 30, 50, 100, 200, 500];

/// An array of objects that have names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// JSON Pointer, as `feed` takes it.
    pub(super) items: String,
    /// JSON Pointers from an item: one, or several that name it together.
    pub(super) id: Vec<String>,
    /// The value for `feed.order`: the order that shows, else `none`.
    pub(super) order: &'static str,
    pub(super) count: usize,
    /// Its length looks like that of a page.
    pub(super) is_page: bool,
}

/// The longest such array.
pub(super) fn listing(body: &Value) -> Option<Listing> {
    let mut found = Vec::new();
    look(body, String::new(), 0, &mut found);
    found.into_iter().max_by_key(|listing| listing.count)
}

fn look(value: &Value, at: String, depth: usize, found: &mut Vec<Listing>) {
    match value {
        Value::Array(items) => found.extend(read(items, at)),
        Value::Object(members) if depth < DEPTH_MAX => {
            for (name, value) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                look(value, format!("{at}/{name}"), depth + 1, found);
            }
        }
        _ => {}
    }
}

fn read(items: &[Value], at: String) -> Option<Listing> {
    let first = items.first()?.as_object()?;
    if items.len() < 2 {
        return None;
    }
    let id = name_of(items, first)?;
    let moment = first.iter().find(|(_, value)| value.as_str().is_some_and(is_time)).map(|(name, _)| name);
    let by_name = || order(items, id.first()?);
    let order = moment.and_then(|name| order(items, &pointer(name))).or_else(by_name);
    let order = order.filter(|_| items.len() >= ORDERED_MIN).unwrap_or("none");
    let count = items.len();
    Some(Listing { items: at, id, order, count, is_page: PAGES.contains(&count) })
}

fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// What names the items: the likeliest member that no two have equal; one of `metadata`; two that do so together.
fn name_of(items: &[Value], first: &Map<String, Value>) -> Option<Vec<String>> {
    let mut names: Vec<&String> = first.keys().filter(|name| rank(name).is_some()).collect();
    names.sort_by_key(|name| rank(name));
    if let Some(name) = names.iter().map(|name| pointer(name)).find(|name| is_unique(items, &[name])) {
        return Some(vec![name]);
    }
    let nested = ["/metadata/uid", "/metadata/id", "/metadata/name", "/meta/id", "/meta/uid"];
    if let Some(name) = nested.into_iter().find(|name| is_unique(items, &[name])) {
        return Some(vec![name.to_owned()]);
    }
    let scopes = SCOPES.iter().filter(|scope| first.contains_key(**scope)).map(|scope| pointer(scope));
    let named: Vec<String> = names.iter().map(|name| pointer(name)).collect();
    let mut pairs = scopes.flat_map(|scope| named.iter().map(move |name| [scope.clone(), name.clone()]));
    pairs.find(|[scope, name]| scope != name && is_unique(items, &[scope, name])).map(Vec::from)
}

/// Where a name counts: beside it another item may have the same.
const SCOPES: [&str; 14] = [
    "vhost",
    "namespace",
    "tenant",
    "project",
    "group",
    "owner",
    "site",
    "region",
    "zone",
    "cluster",
    "host",
    "node",
    "job",
    "kind",
];

/// How likely a member of this name tells items apart; less is likelier. Returns `None` if not at all.
pub(super) fn rank(name: &str) -> Option<usize> {
    const NAMES: [&str; 14] = [
        "id",
        "_id",
        "uuid",
        "uid",
        "guid",
        "fingerprint",
        "key",
        "sha",
        "hash",
        "slug",
        "symbol",
        "code",
        "name",
        "hostname",
    ];
    let name = name.to_ascii_lowercase();
    // The name of a thing is the last that is tried: two may well have the same.
    let by_end = || name.ends_with("id").then_some(NAMES.len() - 3);
    NAMES
        .iter()
        .position(|known| *known == name)
        .map(|rank| rank * 2)
        .or_else(|| by_end().map(|rank| rank * 2 + 1))
}

/// All items have texts or whole numbers at these places, and no two have the same.
fn is_unique(items: &[Value], names: &[impl AsRef<str>]) -> bool {
    let mut seen = HashSet::new();
    items.iter().all(|item| {
        let parts = names.iter().map(|name| match item.pointer(name.as_ref()) {
            Some(Value::String(text)) => Some(Value::from(text.as_str())),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                Some(Value::from(number.clone()))
            }
            _ => None,
        });
        let parts: Option<Vec<Value>> = parts.collect();
        parts.is_some_and(|parts| seen.insert(Value::Array(parts).to_string()))
    })
}

fn order(items: &[Value], name: &str) -> Option<&'static str> {
    let values: Vec<&Value> = items.iter().filter_map(|item| item.pointer(name)).collect();
    let rises = |pair: &[&Value]| match (pair[0], pair[1]) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) if is_time(a) && is_time(b) => Some(a.cmp(b)),
        _ => None,
    };
    let steps: Option<Vec<_>> = values.windows(2).map(rises).collect();
    let steps = steps.filter(|_| values.len() == items.len())?;
    let (mut up, mut down) = (false, false);
    for step in steps {
        up |= step.is_lt();
        down |= step.is_gt();
    }
    match (up, down) {
        (true, false) => Some("oldest_first"),
        (false, true) => Some("newest_first"),
        _ => None,
    }
}
