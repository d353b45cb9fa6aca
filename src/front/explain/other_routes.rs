//! Routes that nearly cover a request, and what keeps each from it.
//!
//! Must not know: what becomes of the request.

use std::sync::Arc;

use crate::config::{Config, Route, host_name};
use crate::front::request::route_patterns::{fold, patterns};
use crate::front::services::Shared;
use crate::resource::tidied;

/// Most routes that are named.
const NEAR_COUNT_MAX: usize = 8;

/// A route that nearly covers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Near {
    pub(super) route: String,
    /// What keeps it from that.
    pub(super) why: String,
}

/// Finds them, those first that come nearest. `covering`: the route that covers the request.
pub(super) fn of(shared: &Shared, host: Option<&str>, path: &str, covering: Option<&Route>) -> Vec<Near> {
    let path = tidied(path);
    let config: &Config = &shared.config;
    let others = config.routes.iter().filter(|route| covering.is_none_or(|own| own.index != route.index));
    let mut found: Vec<(usize, Near)> = others
        .filter_map(|route| {
            let (rank, why) = kept(shared, route, host, &path, covering)?;
            Some((rank, Near { route: route.path.clone(), why }))
        })
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, near)| near).take(NEAR_COUNT_MAX).collect()
}

/// What keeps a route from a path, and how near it comes. Returns `None` if it has nothing to do with it.
fn kept(
    shared: &Shared,
    route: &Arc<Route>,
    host: Option<&str>,
    path: &str,
    covering: Option<&Route>,
) -> Option<(usize, String)> {
    let is_of_host =
        route.hosts.is_empty() || host.is_some_and(|host| route.hosts.contains(&host_name(host)));
    if shared.routes.matches(route, path) {
        if !is_of_host {
            return Some((0, format!("its hosts are {}", route.hosts.join(", "))));
        }
        return Some((
            1,
            match covering {
                Some(own) => format!("it matches, too, and {} is more specific", own.path),
                None => "it matches one reading of the path, and does not cover all of them".to_owned(),
            },
        ));
    }
    let folded = fold(path);
    if patterns(&route.path).iter().any(|(pattern, _)| differs_by_case(pattern, &folded)) {
        return Some((2, "it differs in letter case, or in slashes".to_owned()));
    }
    let (wanted, said) = (segments(&route.path), segments(path));
    if route.path.contains("{*") {
        return None;
    }
    let different: Vec<usize> =
        (0..wanted.len().min(said.len())).filter(|at| !fits(wanted[*at], said[*at])).collect();
    match (wanted.len() as isize - said.len() as isize, different.as_slice()) {
        (0, [at]) if is_near(&wanted, *at, said[*at]) => Some((
            3,
            format!("its segment {} is {:?}, and the path has {:?} there", at + 1, wanted[*at], said[*at]),
        )),
        (1, []) => Some((4, format!("it has one segment more: {:?}", wanted[said.len()]))),
        (-1, []) => Some((4, format!("the path has one segment more: {:?}", said[wanted.len()]))),
        _ => None,
    }
}

/// Whether a route whose segments differ in one place alone is likely to be meant: it has another word of the path, or nearly
/// the one that differs.
fn is_near(wanted: &[&str], at: usize, said: &str) -> bool {
    let has_another = wanted.iter().enumerate().any(|(other, word)| other != at && !word.contains('{'));
    has_another || letters_apart(wanted[at], said) <= TYPING_ERRORS_MAX
}

/// Letters in which a word may differ from another that is meant.
const TYPING_ERRORS_MAX: usize = 2;

/// Longest word that is compared letter by letter.
const WORD_CHARS_MAX: usize = 64;

/// How many letters have to be added, left out or replaced to make one word of another (Levenshtein).
fn letters_apart(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().max(other.len()) > WORD_CHARS_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, same) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != same);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn segments(path: &str) -> Vec<&str> {
    path.trim_start_matches('/').split('/').collect()
}

/// Whether a segment of a path is one of a pattern.
fn fits(pattern: &str, segment: &str) -> bool {
    match (pattern.find('{'), pattern.rfind('}')) {
        (Some(start), Some(end)) => {
            segment.len() > start + (pattern.len() - end - 1)
                && segment.starts_with(&pattern[..start])
                && segment.ends_with(&pattern[end + 1..])
        }
        _ => pattern == segment,
    }
}

/// Whether a folded path is one of a pattern whatever the letter case.
fn differs_by_case(pattern: &str, folded: &str) -> bool {
    let folded_pattern = fold(pattern);
    let (wanted, said) = (segments(&folded_pattern), segments(folded));
    wanted.len() == said.len() && wanted.iter().zip(&said).all(|(wanted, said)| fits(wanted, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_letter_by_letter() {
        for (one, other, apart) in [
            ("", "", 0),
            ("price", "prices", 1),
            ("prices", "orders", 4),
            ("abc", "acb", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(letters_apart(one, other), apart, "{one} {other}");
        }
    }

    #[test]
    fn a_segment_fits_its_pattern() {
        for (pattern, segment, wanted) in [
            ("a", "a", true),
            ("a", "b", false),
            ("{x}", "b", true),
            ("v{x}.json", "v1.json", true),
            ("v{x}.json", "v.json", false),
            ("v{x}", "w1", false),
        ] {
            assert_eq!(fits(pattern, segment), wanted, "{pattern} {segment}");
        }
    }
}
