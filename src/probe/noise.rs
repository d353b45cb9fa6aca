//! Members that look like a time, an id of the answer or a measurement of its making, and not like data.
//!
//! Must not know: where a member stands.

use serde_json::Value;

/// Words of a name that say so.
const WORDS: [&str; 27] = [
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
    "alloc",
];

/// Last words of a name that are units of time.
const UNITS: [&str; 6] = ["ms", "us", "ns", "millis", "micros", "nanos"];

/// Ends of names, also where no letter shows that a word begins.
const ENDS: [&str; 5] = ["elapsed", "uptime", "alloc", "timestamp", "duration"];

/// Whether a member of this name and value means nothing to a client that follows the data.
pub(super) fn looks_like_noise(name: &str, value: &Value) -> bool {
    let words = words(name);
    let named = words.iter().any(|word| WORDS.contains(&word.as_str()))
        || words.last().is_some_and(|word| words.len() > 1 && UNITS.contains(&word.as_str()))
        || words.last().is_some_and(|word| ENDS.iter().any(|end| word.ends_with(end)));
    named || value.as_str().is_some_and(|text| is_time(text) || is_uuid(text))
}

/// generatedAt and generated_at are two words each.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (lower && c.is_uppercase()) {
            words.push(String::new());
        }
        lower = c.is_lowercase() || c.is_ascii_digit();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
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
