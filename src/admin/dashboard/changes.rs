//! What changed between two states of a resource, for people: the members of JSON that differ with both values, or the
//! lines of a text.
//!
//! Must not know: whose eyes may see it.

use serde_json::{Value, json};

use crate::resource::Snapshot;

/// Bodies longer than this are not compared.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Most differences of one change that are told.
const DIFFERENCES_MAX: usize = 40;

/// Most characters of a value that are told.
const VALUE_CHARACTERS_MAX: usize = 160;

/// Most levels of JSON that are walked; a deeper value is told as a whole.
const DEPTH_MAX: usize = 32;

/// Tells what changed: `kind` is `json`, `text`, `large` or `binary`, `lines` are the differences, and `more` says whether
/// there are others.
pub(super) fn tell(before: &Snapshot, after: &Snapshot) -> Value {
    if before.body.len().max(after.body.len()) > BODY_BYTES_MAX {
        return json!({ "kind": "large", "lines": [], "more": false });
    }
    let mut found = Found { lines: Vec::new(), more: false };
    let values = |snapshot: &Snapshot| serde_json::from_slice::<Value>(snapshot.text()?).ok();
    let kind = match (values(before), values(after)) {
        (Some(old), Some(new)) => {
            walk(&mut String::new(), &old, &new, 0, &mut found);
            "json"
        }
        _ => match (text(before), text(after)) {
            (Some(old), Some(new)) => {
                lines(old, new, &mut found);
                "text"
            }
            _ => "binary",
        },
    };
    json!({ "kind": kind, "lines": found.lines, "more": found.more })
}

struct Found {
    lines: Vec<Value>,
    more: bool,
}

impl Found {
    fn add(&mut self, place: &str, before: Option<String>, after: Option<String>) {
        if self.lines.len() == DIFFERENCES_MAX {
            self.more = true;
            return;
        }
        self.lines.push(json!({ "place": place, "before": before, "after": after }));
    }
}

fn text(snapshot: &Snapshot) -> Option<&str> {
    std::str::from_utf8(snapshot.text()?).ok()
}

fn walk(place: &mut String, before: &Value, after: &Value, depth: usize, found: &mut Found) {
    if before == after || found.more {
        return;
    }
    let mut step = |name: &str, before: Option<&Value>, after: Option<&Value>| {
        let length = place.len();
        place.push('/');
        // JSON Pointer (RFC 6901).
        place.push_str(&name.replace('~', "~0").replace('/', "~1"));
        match (before, after) {
            (Some(before), Some(after)) => walk(place, before, after, depth + 1, found),
            _ => found.add(place, before.map(short), after.map(short)),
        }
        place.truncate(length);
    };
    match (before, after) {
        (Value::Object(old), Value::Object(new)) if depth < DEPTH_MAX => {
            old.iter().for_each(|(name, value)| step(name, Some(value), new.get(name)));
            let added = new.iter().filter(|(name, _)| !old.contains_key(*name));
            added.for_each(|(name, value)| step(name, None, Some(value)));
        }
        (Value::Array(old), Value::Array(new)) if depth < DEPTH_MAX => {
            for at in 0..old.len().max(new.len()) {
                step(&at.to_string(), old.get(at), new.get(at));
            }
        }
        _ => found.add(place, Some(short(before)), Some(short(after))),
    }
}

fn short(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The lines between those that both texts begin and end with.
fn lines(before: &str, after: &str, found: &mut Found) {
    let (mut old, mut new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    while old.last().is_some_and(|line| new.last() == Some(line)) {
        old.pop();
        new.pop();
    }
    let same = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    for at in same..old.len().max(new.len()) {
        let line = |lines: &[&str]| lines.get(at).map(|line| cut(line));
        found.add(&format!("line {}", at + 1), line(&old), line(&new));
    }
}
