//! Whether a GET may be polled at all: some take something away, or give each client a value of its own.
//!
//! Must not know: requests; what is suggested of what may be polled.

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::listing::rank;
use super::noise::{is_time, looks_like_noise};
use crate::config::{Route, says_credential};
use crate::resource::matches_pattern;
use crate::upstream::Answer;
use crate::upstream::schedule::directive;

/// Why nothing is suggested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpollable {
    /// An answer without content came after one with content.
    Empties,
    /// Each poll brought something else, with nothing in common with the one before.
    NewEachTime,
    /// Answers that are for one asker have another secret or name each time.
    OneTime,
}

impl Unpollable {
    /// Returns the reason as a sentence for people.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Unpollable::Empties => {
                "this GET may take something away: an answer without content came after one with content"
            }
            Unpollable::NewEachTime => {
                "this GET may take something away: each poll brought something new in full, with nothing in common with \
                 the one before"
            }
            Unpollable::OneTime => {
                "each answer has a value of its own and says that it is for one asker (no-store, or another Set-Cookie \
                 each time): shared, everybody would get one and the same"
            }
        }
    }
}

/// Why this should not be polled. Returns `None` if nothing speaks against it.
pub(super) fn unpollable(polls: &[Answer], route: &Route) -> Option<Unpollable> {
    if empties(polls) {
        return Some(Unpollable::Empties);
    }
    let good: Vec<Answer> = polls.iter().filter(|answer| answer.status.is_success()).cloned().collect();
    let steps: Vec<(&Answer, &Answer)> =
        good.windows(2).filter_map(|pair| Some((pair.first()?, pair.get(1)?))).collect();
    if steps.is_empty() || steps.iter().any(|(before, after)| before.body == after.body) {
        return None;
    }
    let values = bodies(&good).filter(|values| values.len() == good.len());
    let is_one_time = match &values {
        Some(values) => values.windows(2).all(has_new_secret),
        None => steps.iter().all(|(before, after)| has_new_token(&before.body, &after.body)),
    };
    if is_one_time && is_for_one(&good, &route.ignore_cookies) {
        return Some(Unpollable::OneTime);
    }
    let is_stored = good.iter().any(|answer| directive(&answer.headers, "no-store").is_none());
    // One member that is new each time is most often a reading, unless no answer may be kept.
    let values_min = if is_stored { 2 } else { 1 };
    let is_new = match &values {
        Some(values) => values.windows(2).all(|pair| shares_nothing(&pair[0], &pair[1], values_min)),
        None => steps.iter().all(|(before, after)| shares_no_line(&before.body, &after.body)),
    };
    // Two answers may differ by chance.
    (is_new && steps.len() >= 2).then_some(Unpollable::NewEachTime)
}

fn empties(polls: &[Answer]) -> bool {
    let is_empty = |answer: &Answer| {
        matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT)
            || (answer.status.is_success() && answer.body.is_empty())
    };
    polls.windows(2).any(|pair| pair[0].status == StatusCode::OK && !is_empty(&pair[0]) && is_empty(&pair[1]))
}

/// All answers say no-store, or set a cookie of another value each time.
fn is_for_one(polls: &[Answer], ignore_cookies: &[String]) -> bool {
    let cookies = |headers: &HeaderMap| -> Vec<String> {
        let lines = headers.get_all(header::SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.map(|line| line.split(';').next().unwrap_or_default().trim().to_owned());
        let tells = |pair: &String| {
            let name = pair.split('=').next().unwrap_or_default();
            !ignore_cookies.iter().any(|pattern| matches_pattern(pattern, name))
        };
        pairs.filter(tells).collect()
    };
    let is_rotating = |pair: &[Answer]| {
        let (before, after) = (cookies(&pair[0].headers), cookies(&pair[1].headers));
        !before.is_empty() && !after.is_empty() && before != after
    };
    polls.iter().all(|answer| directive(&answer.headers, "no-store").is_some())
        || polls.windows(2).all(is_rotating)
}

/// A member differs whose name says secret, or whose value looks like a name that was made for this answer.
fn has_new_secret(pair: &[Value]) -> bool {
    let [before, after] = pair else { return false };
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => after.iter().any(|(name, value)| {
            let Some(old) = before.get(name).filter(|old| *old != value) else { return false };
            let is_secret =
                is_secret_name(name) && !value.is_object() && !value.is_array() && !value.is_null();
            let is_token = value.as_str().is_some_and(is_token) && !looks_like_noise(name, value);
            is_secret || is_token || has_new_secret(&[old.clone(), value.clone()])
        }),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => before
            .iter()
            .zip(after)
            .any(|(old, new)| old != new && has_new_secret(&[old.clone(), new.clone()])),
        (Value::String(before), Value::String(after)) => {
            before != after && is_token(after) && !is_time(after)
        }
        _ => false,
    }
}

fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    says_credential(&lower) || ["sid", "nonce", "ticket", "otp", "challenge"].contains(&lower.as_str())
}

/// Letters, digits, `-`, `_`, `.`, `~`, `+`, `/` and `=` in one word, too long to be guessed, with digits or both cases.
fn is_token(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
    let any = |wanted: fn(&u8) -> bool| text.bytes().any(|byte| wanted(&byte));
    text.len() >= 16
        && text.bytes().all(is_sign)
        && any(u8::is_ascii_alphabetic)
        && (any(u8::is_ascii_digit) || (any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase)))
}

/// What differs between two texts stands in one word that looks like a token.
fn has_new_token(before: &[u8], after: &[u8]) -> bool {
    let start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let is_end = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(byte));
    let from = after[..start].iter().rposition(is_end).map_or(0, |at| at + 1);
    let to = after[start..].iter().position(is_end).map_or(after.len(), |at| start + at);
    std::str::from_utf8(&after[from..to]).is_ok_and(is_token)
}

/// Two JSON bodies have no value in common, and what is new has names or texts: readings of meters are data. `values_min`:
/// bodies with fewer values show nothing.
fn shares_nothing(before: &Value, after: &Value, values_min: usize) -> bool {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    items(before, String::new(), &mut old);
    items(after, String::new(), &mut new);
    let is_named = |(place, value): &(String, Value)| {
        let name = place.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
        let is_name = name.eq_ignore_ascii_case("id") || name.ends_with("_id") || name.ends_with("Id");
        is_name
            || (value.is_string()
                && !looks_like_noise(name, value)
                && !is_reading(value.as_str().unwrap_or_default()))
    };
    if new.len() < values_min || !new.iter().any(is_named) {
        return false;
    }
    // A list may bring the same item at another place.
    match (before, after) {
        (Value::Array(before), Value::Array(after)) => {
            !after.iter().any(|item| before.contains(item) || before.iter().any(|old| has_name_of(item, old)))
        }
        _ => !new.iter().any(|item| old.contains(item)),
    }
}

/// Whether two items of a list are one and the same by the likeliest name that one of them has.
fn has_name_of(item: &Value, other: &Value) -> bool {
    let members = item.as_object().into_iter().flatten();
    let named = members.filter(|(_, value)| value.is_string() || value.is_number());
    let ranked = named.filter_map(|(name, value)| Some((rank(name)?, name, value)));
    ranked.min_by_key(|(rank, ..)| *rank).is_some_and(|(_, name, value)| other.get(name) == Some(value))
}

/// The values of a body with their places, as far as a comparison needs.
fn items(value: &Value, at: String, found: &mut Vec<(String, Value)>) {
    const VALUES_MAX: usize = 2000;
    if found.len() >= VALUES_MAX {
        return;
    }
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| items(value, format!("{at}/{name}"), found));
        }
        Value::Array(values) => {
            values
                .iter()
                .enumerate()
                .for_each(|(number, value)| items(value, format!("{at}/{number}"), found));
        }
        value => found.push((at, value.clone())),
    }
}

/// Texts without a line in common, that are no readings of one meter.
fn shares_no_line(before: &[u8], after: &[u8]) -> bool {
    let (Ok(before), Ok(after)) = (std::str::from_utf8(before), std::str::from_utf8(after)) else {
        return false;
    };
    let lines: Vec<&str> = before.lines().filter(|line| !line.trim().is_empty()).collect();
    let is_new = after.lines().filter(|line| !line.trim().is_empty()).all(|line| !lines.contains(&line));
    let without_digits = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let has_label = without_digits(after).contains([' ', '=', ':']);
    is_new && !is_reading(after) && !(has_label && without_digits(before) == without_digits(after))
}

/// A number with or without its unit, or a time.
fn is_reading(text: &str) -> bool {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_alphabetic() || c == '%' || c == '°').trim_end();
    is_time(text) || number.parse::<f64>().is_ok()
}

/// How the ETags look like names of revisions that clients send back: not only as conditions of a GET.
pub(super) fn revision(polls: &[Answer]) -> Option<String> {
    let last = polls.last()?;
    let tag = last.headers.get(header::ETAG)?.to_str().ok()?;
    let opaque = tag.trim_start_matches("W/").trim_matches('"');
    let is_counter =
        !opaque.is_empty() && opaque.len() <= 9 && opaque.bytes().all(|byte| byte.is_ascii_digit());
    let is_numbered = opaque.split_once('-').is_some_and(|(number, digest)| {
        !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && digest.len() >= 16
            && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let member =
        bodies(std::slice::from_ref(last)).and_then(|values| member_with(values.first()?, opaque, ""));
    match member {
        _ if opaque.is_empty() => None,
        Some(place) => Some(format!("the ETag is the value of {place}")),
        None if is_numbered => Some("the ETag is numbered".to_owned()),
        None if is_counter => Some("the ETag is a counter".to_owned()),
        None => None,
    }
}

/// The member whose value is this text, not deeper than in an object of the body.
fn member_with(value: &Value, text: &str, at: &str) -> Option<String> {
    let members = value.as_object()?;
    let is_it = |value: &Value| match value {
        Value::String(found) => found.trim_matches('"') == text,
        Value::Number(number) => number.to_string() == text,
        _ => false,
    };
    let place = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    let own = members.iter().find(|(_, value)| is_it(value)).map(|(name, _)| place(name));
    own.or_else(|| match at.is_empty() {
        true => members.iter().find_map(|(name, value)| member_with(value, text, &place(name))),
        false => None,
    })
}

/// The bodies that are JSON and could be compared; none if one of them is not.
pub(super) fn bodies(polls: &[Answer]) -> Option<Vec<Value>> {
    let good = polls.iter().filter(|answer| answer.status.is_success());
    let read = |answer: &Answer| {
        let text = answer.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&answer.body);
        serde_json::from_slice(text).ok()
    };
    let bodies: Option<Vec<Value>> = good.map(read).collect();
    bodies.filter(|bodies| !bodies.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_that_keep_their_names_are_the_same_whatever_else_differs() {
        let alerts = |time: &str| json!([{"fingerprint": "a", "at": time}, {"fingerprint": "b", "at": time}]);
        assert!(!shares_nothing(&alerts("x1"), &alerts("x2"), 2));
        let meters = |value: u32| json!([{"id": 1, "value": value}, {"id": 2, "value": value}]);
        assert!(!shares_nothing(&meters(1), &meters(2), 2));
        let taken = |id: u32| json!([{"id": id, "text": format!("message {id}")}]);
        assert!(shares_nothing(&taken(1), &taken(2), 2));
    }

    #[test]
    fn one_text_is_something_new_only_where_no_answer_may_be_kept() {
        let (one, two) = (json!({"message": "first"}), json!({"message": "second"}));
        assert!(shares_nothing(&one, &two, 1));
        assert!(!shares_nothing(&one, &two, 2));
        assert!(!shares_nothing(&json!({"celsius": 1}), &json!({"celsius": 2}), 1));
    }
}
