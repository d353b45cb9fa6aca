//! Members that differ on every poll while the rest stays the same: times, request ids, counters.
//!
//! Must not know: requests.

use std::collections::BTreeMap;

use serde_json::Value;

/// Most differing values between two polls that are still told apart.
const MOST: usize = 1000;

/// Most members reported.
const REPORTED: usize = 20;

/// A member that differed between every two successive polls.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flapping {
    /// As `change.ignore` takes it: a JSON Pointer, or JSONPath through arrays.
    pub(super) place: String,
    /// It looks like a time, an id of the answer or the like, and not like data.
    pub(super) is_noise: bool,
}

/// What the polls have in common.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Flaps {
    pub(super) members: Vec<Flapping>,
    /// Steps from one poll to the next in which nothing else differed.
    pub(super) alone: usize,
    pub(super) steps: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Item,
}

/// The members that differ in every step of these bodies.
pub(super) fn flaps(bodies: &[Value]) -> Flaps {
    let mut steps = Vec::new();
    for pair in bodies.windows(2) {
        let mut found = BTreeMap::new();
        if let [before, after] = pair
            && differences(before, after, &mut Vec::new(), &mut found)
        {
            steps.push(found);
        } else {
            // Nearly everything differs.
            return Flaps::default();
        }
    }
    let Some((first, others)) = steps.split_first() else {
        return Flaps::default();
    };
    let mut members: Vec<Flapping> = first
        .iter()
        .filter(|(place, _)| !place.is_empty() && others.iter().all(|step| step.contains_key(*place)))
        .map(|(place, is_noise)| Flapping { place: place.clone(), is_noise: *is_noise })
        .collect();
    let alone = steps.iter().filter(|step| step.len() == members.len()).count();
    members.truncate(REPORTED);
    let alone = if members.is_empty() { 0 } else { alone };
    Flaps { members, alone, steps: steps.len() }
}

/// False: there are too many.
fn differences(a: &Value, b: &Value, at: &mut Vec<Step>, found: &mut BTreeMap<String, bool>) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                at.push(Step::Name(name.clone()));
                let few = match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => differences(a, b, at, found),
                    (_, newer) => note(newer.unwrap_or(&Value::Null), at, found),
                };
                at.pop();
                if !few {
                    return false;
                }
            }
            true
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            at.push(Step::Item);
            let few = a.iter().zip(b).all(|(a, b)| differences(a, b, at, found));
            at.pop();
            few
        }
        _ if a == b => true,
        _ => note(b, at, found),
    }
}

fn note(value: &Value, at: &[Step], found: &mut BTreeMap<String, bool>) -> bool {
    let name = at.iter().rev().find_map(|step| match step {
        Step::Name(name) => Some(name.as_str()),
        Step::Item => None,
    });
    let is_noise = looks_like_noise(name.unwrap_or_default(), value);
    found.entry(written(at)).and_modify(|all| *all &= is_noise).or_insert(is_noise);
    found.len() <= MOST
}

/// A JSON Pointer; through arrays JSONPath, as their items move.
fn written(at: &[Step]) -> String {
    if at.contains(&Step::Item) {
        let step = |step: &Step| match step {
            Step::Item => "[*]".to_owned(),
            Step::Name(name) if is_plain(name) => format!(".{name}"),
            // As JSONPath's double-quoted names, escapes are those of JSON.
            Step::Name(name) => format!("[{}]", Value::from(name.as_str())),
        };
        return format!("${}", at.iter().map(step).collect::<String>());
    }
    let step = |step: &Step| match step {
        Step::Name(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
        Step::Item => String::new(),
    };
    at.iter().map(step).collect()
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn looks_like_noise(name: &str, value: &Value) -> bool {
    const WORDS: [&str; 26] = [
        "at",
        "time",
        "timestamp",
        "date",
        "datetime",
        "now",
        "ts",
        "generated",
        "created",
        "updated",
        "fetched",
        "served",
        "expires",
        "uptime",
        "age",
        "elapsed",
        "took",
        "duration",
        "runtime",
        "latency",
        "nonce",
        "trace",
        "request",
        "requestid",
        "uuid",
        "etag",
    ];
    // generatedAt and generated_at are two words each.
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (lower && c.is_uppercase()) {
            words.push(String::new());
        }
        lower = c.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    let named = words.iter().any(|word| WORDS.contains(&word.as_str()));
    named || value.as_str().is_some_and(|text| is_time(text) || is_uuid(text))
}

/// The beginning of RFC 3339, or a date as HTTP writes it.
pub(super) fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = |at: usize, wanted: u8| match wanted {
        b'0' => bytes.get(at).is_some_and(u8::is_ascii_digit),
        wanted => bytes.get(at) == Some(&wanted),
    };
    (0..).zip(b"0000-00-00").all(|(at, wanted)| shape(at, *wanted)) || httpdate::parse_http_date(text).is_ok()
}

pub(super) fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}
