//! `${NAME}` and `${NAME:-default}` inside a value, replaced from the environment.
//!
//! They are replaced after the file was parsed, so that the environment gives values and never structure. Must not
//! know: the process environment; the caller hands in the lookup.

use std::borrow::Cow;

/// Longest value after replacement, bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// How a variable is looked up; `None` if it is not set.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The value with every `${…}` replaced; `$${` stands for `${`, any other `$` for itself.
/// Borrowed when the environment was not asked. The error says what is wrong and holds nothing of the environment.
pub(super) fn expand<'a>(value: &'a str, lookup: Lookup<'_>) -> Result<Cow<'a, str>, String> {
    if !value.contains("${") {
        return Ok(Cow::Borrowed(value));
    }
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(dollar) = rest.find("${") {
        if let Some(before) = rest[..dollar].strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &rest[dollar + 2..];
            continue;
        }
        expanded.push_str(&rest[..dollar]);
        let Some(length) = rest[dollar..].find('}') else {
            return Err("\"${\" without its \"}\"; write \"$${\" for a literal \"${\"".to_owned());
        };
        expanded.push_str(&variable(&rest[dollar + 2..dollar + length], lookup)?);
        rest = &rest[dollar + length + 1..];
        if expanded.len() > VALUE_BYTES_MAX {
            return Err("is longer than 64KiB with the environment put in".to_owned());
        }
    }
    expanded.push_str(rest);
    Ok(Cow::Owned(expanded))
}

/// The path of a value that is the text of a file: `${file:/run/secrets/token}`.
pub(super) fn file_of(value: &str) -> Option<&str> {
    value.trim().strip_prefix("${file:")?.strip_suffix('}').filter(|path| !path.contains('}'))
}

/// Returns the value for the text between the braces.
fn variable(inside: &str, lookup: Lookup<'_>) -> Result<String, String> {
    if inside.starts_with("file:") {
        return Err("${file:…} is a whole value, with nothing beside it".to_owned());
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let mut letters = name.bytes();
    let starts_well = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    if !starts_well || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_') {
        return Err(
            "a variable is written ${NAME} or ${NAME:-default}, the name of letters, digits and _".to_owned()
        );
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(format!("the default of ${{{name}}} cannot hold another variable"));
    }
    match (lookup(name), default) {
        // As in a shell, `:-` also replaces what is set but empty.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            Err(format!("the environment variable {name} is not set; set it or write ${{{name}:-default}}"))
        }
    }
}
