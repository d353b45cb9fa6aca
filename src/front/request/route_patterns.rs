//! The patterns of routes as servers may read them, and what two routes have in common (contract §11).
//!
//! Must not know: which route covers a path.

use std::sync::Arc;

use crate::config::{Authenticate, Route};
use crate::resource::decode_lossy;

/// Whether a route has `authenticate`, and its API may take other spellings of its path for it.
pub(super) fn is_guard(route: &Route) -> bool {
    route.authenticate.is_some() && !route.exact_spelling
}

/// The values that the claims of a token are held against, decoded. `None` where nothing is.
pub(super) fn checked_parameters(route: &Route, parameters: &matchit::Params<'_, '_>) -> Option<Vec<String>> {
    let claims = &route.authenticate.as_ref()?.jwt.as_ref()?.claims;
    let values = claims.iter().map(|(name, _)| decode_lossy(parameters.get(name).unwrap_or_default()));
    (!claims.is_empty()).then(|| values.collect())
}

/// Whether two routes let the same clients in for the same reasons, so that a path of the one may pass for one of
/// the other.
pub(super) fn is_same_gate(one: &Route, other: &Route) -> bool {
    let (Some(one), Some(other)) = (&one.authenticate, &other.authenticate) else { return false };
    let jwt = |who: &Authenticate| who.jwt.clone();
    let same_jwt = match (jwt(one), jwt(other)) {
        // Routes take the rules of `defaults` as they are: the very same.
        (Some(one), Some(other)) => one.claims.is_empty() && Arc::ptr_eq(&one, &other),
        (None, None) => true,
        _ => false,
    };
    let same_forward = match (&one.forward, &other.forward) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    };
    let same_keys = match (&one.keys, &other.keys) {
        (Some(one), Some(other)) => one.header == other.header && one.clients == other.clients,
        (None, None) => true,
        _ => false,
    };
    same_jwt
        && same_forward
        && same_keys
        && one.client_certificate == other.client_certificate
        && one.token == other.token
}

/// A route's pattern, and what its `{*rest}` matches besides: nothing, with the name of that parameter.
pub(in crate::front) fn patterns(pattern: &str) -> Vec<(String, Option<String>)> {
    let mut patterns = vec![(pattern.to_owned(), None)];
    if let Some(at) = pattern.rfind("/{*") {
        let name = pattern[at + 3..].trim_end_matches('}').to_owned();
        patterns.push((pattern[..=at].to_owned(), Some(name)));
    }
    patterns
}

/// A pattern as servers read the paths that match it.
pub(super) fn without_escapes(pattern: &str) -> String {
    // A brace that is one has two in a pattern.
    decode_lossy(&pattern.replace("%7B", "{{").replace("%7D", "}}"))
}

/// A pattern without what many servers do not tell apart in the paths that match it. Parameters keep their names.
pub(super) fn fold_pattern(pattern: &str) -> String {
    let mut folded = String::with_capacity(pattern.len());
    let mut is_name = false;
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // A brace that is one has two in a pattern.
            '{' | '}' if characters.peek() == Some(&character) => {
                characters.next();
                folded.extend([character, character]);
            }
            '{' | '}' => {
                is_name = character == '{';
                folded.push(character);
            }
            _ if is_name => folded.push(character),
            _ => folded.extend(folded_letter(character)),
        }
    }
    without_last_slash(folded)
}

/// A path without what many servers do not tell apart: letter case, one slash at the end, and dots behind a name
/// (Windows; suffixes in Spring).
pub(in crate::front) fn fold(path: &str) -> String {
    let folded = match path.is_ascii() {
        true => path.to_ascii_lowercase(),
        false => path.chars().flat_map(folded_letter).collect(),
    };
    without_last_slash(match folded.contains("./") || folded.ends_with('.') {
        true => without_last_dots(&folded),
        false => folded,
    })
}

/// A letter in lower case, by way of its upper case: servers that compare in upper case take `ſ` for `s`, and `ı` for `i`.
fn folded_letter(letter: char) -> impl Iterator<Item = char> {
    letter.to_uppercase().flat_map(char::to_lowercase)
}

fn without_last_dots(path: &str) -> String {
    let without = |segment| match str::trim_end_matches(segment, '.') {
        "" => segment,
        name => name,
    };
    path.split('/').map(without).collect::<Vec<_>>().join("/")
}

fn without_last_slash(mut path: String) -> String {
    if path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    path
}
