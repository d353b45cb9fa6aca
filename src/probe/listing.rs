//! Whether a body is a list of items that could be a feed.
//!
//! Must not know: requests.

use std::collections::HashSet;

use serde_json::Value;

use super::flapping::is_time;

/// How deep an array is looked for.
const DEPTH: usize = 3;

/// An array of objects that have names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// JSON Pointers, as `feed` takes them.
    pub(super) items: String,
    pub(super) id: String,
    /// As `feed.order` is written; none: cannot be told from these items.
    pub(super) order: Option<&'static str>,
    pub(super) count: usize,
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
        Value::Object(members) if depth < DEPTH => {
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
    let names = first.keys().filter(|name| rank(name).is_some() && is_unique(items, name));
    let id = names.min_by_key(|name| rank(name))?;
    let moment = first.iter().find(|(_, value)| value.as_str().is_some_and(is_time)).map(|(name, _)| name);
    let order = moment.and_then(|name| order(items, name)).or_else(|| order(items, id));
    let id = format!("/{}", id.replace('~', "~0").replace('/', "~1"));
    Some(Listing { items: at, id, order, count: items.len() })
}

/// How likely a member of this name tells items apart; less is likelier, none: not at all.
fn rank(name: &str) -> Option<usize> {
    const NAMES: [&str; 9] = ["id", "_id", "uuid", "guid", "key", "sha", "slug", "symbol", "code"];
    let name = name.to_ascii_lowercase();
    NAMES.iter().position(|known| *known == name).or_else(|| (name.ends_with("id")).then_some(NAMES.len()))
}

/// All items are objects with a text or whole number of that name, and no two have the same.
fn is_unique(items: &[Value], name: &str) -> bool {
    let mut seen = HashSet::new();
    items.iter().all(|item| match item.get(name) {
        Some(Value::String(text)) => seen.insert(text.clone()),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => seen.insert(number.to_string()),
        _ => false,
    })
}

fn order(items: &[Value], name: &str) -> Option<&'static str> {
    let values: Vec<&Value> = items.iter().filter_map(|item| item.get(name)).collect();
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
