//! Path patterns: which ones are well-formed, and which two cannot live together.
//!
//! Must not know: what a route does.

use std::collections::HashMap;

use super::super::problem::Findings;
use super::super::problem::Place;

/// Whether a path without parameters is one: absolute, in canonical form, without query.
pub fn plain(path: &str) -> Result<(), &'static str> {
    match has_escaped_slash(path) {
        true => Err(
            "has a percent escape that stands for \"/\" or \"\\\"; only a route's path with spelling: exact may",
        ),
        false => well_formed(path),
    }
}

/// Whether a path has a `/` or `\\` as data: servers disagree on it unless `spelling: exact` says how it is read.
pub fn has_escaped_slash(path: &str) -> bool {
    path.contains("%2F") || path.contains("%5C")
}

fn well_formed(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("is not a path; it starts with \"/\"");
    }
    if path.contains(['?', '#']) {
        return Err("has a query or fragment; only the path belongs here");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`|;".contains(&byte)) {
        return Err("has a character that a canonical path has not; write it percent-encoded");
    }
    if path.contains("//") || path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("has an empty, \".\" or \"..\" segment");
    }
    let mut escapes = path.split('%').skip(1);
    if !escapes.all(|after| {
        let code = after.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        code.is_some_and(|code| code != 0) && !after.starts_with('+')
    }) {
        return Err("has a percent escape that is invalid, or stands for NUL");
    }
    // Canonical paths are matched: a pattern in another form would match no path, and guard none.
    let mut escapes = path.split('%').skip(1).filter_map(|after| after.get(..2));
    if !escapes.all(|code| {
        let byte = u8::from_str_radix(code, 16).unwrap_or_default();
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !is_plain && !code.contains(|digit: char| digit.is_ascii_lowercase())
    }) {
        return Err("has a percent escape that no canonical path has; escapes are like %C3%A9, and none of \
                    a-z, A-Z, 0-9 and -._~ has one");
    }
    Ok(())
}

/// The parameters of a pattern, in order, or why it is none.
pub fn parameters(pattern: &str) -> Result<Vec<&str>, &'static str> {
    well_formed(pattern)?;
    let mut names = Vec::new();
    let mut segments = pattern.split('/').peekable();
    while let Some(segment) = segments.next() {
        let Some((before, rest)) = segment.split_once('{') else {
            match segment.contains('}') {
                true => return Err("has a \"}\" without \"{\""),
                false => continue,
            }
        };
        let Some((name, after)) = rest.split_once('}') else {
            return Err(
                "has a \"{\" without \"}\"; a parameter is a part of one segment, as /prices/{symbol}",
            );
        };
        if before.contains('}') || after.contains(['{', '}']) {
            return Err("has two parameters in one segment; write at most one between two \"/\"");
        }
        let (name, whole) = name.strip_prefix('*').map_or((name, false), |name| (name, true));
        let letters = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
        if name.is_empty() || !name.bytes().all(letters) {
            return Err("has a parameter without a plain name; a name is letters, digits and \"_\"");
        }
        if whole && !(before.is_empty() && after.is_empty() && segments.peek().is_none()) {
            return Err("has a {*rest} that is not the whole end of the path");
        }
        if names.contains(&name) {
            return Err("has the same parameter twice");
        }
        names.push(name);
    }
    Ok(names)
}

/// The patterns so far, as the front will match them.
#[derive(Default)]
pub struct Patterns {
    /// The paths by host; those of routes without `hosts` stand under `None`.
    by_host: HashMap<Option<String>, Site>,
}

#[derive(Default)]
struct Site {
    router: matchit::Router<()>,
    /// Pattern and index of the route.
    known: Vec<(String, usize)>,
}

impl Patterns {
    /// Adds a well-formed pattern, or tells which route it conflicts with. Routes of different hosts do not.
    pub fn add(
        &mut self,
        place: &Place,
        pattern: &str,
        hosts: &[String],
        index: usize,
        findings: &mut Findings,
    ) {
        let all = [None];
        let named: Vec<Option<String>> = hosts.iter().cloned().map(Some).collect();
        for host in if hosts.is_empty() { &all[..] } else { &named[..] } {
            let site = self.by_host.entry(host.clone()).or_default();
            if let Err(message) = site.add(pattern, index) {
                return findings.bad(place, pattern, &message);
            }
        }
    }
}

impl Site {
    fn add(&mut self, pattern: &str, index: usize) -> Result<(), String> {
        match self.router.insert(pattern, ()) {
            Ok(()) => {
                self.known.push((pattern.to_owned(), index));
                Ok(())
            }
            Err(matchit::InsertError::Conflict { with }) => {
                let other = self.known.iter().find(|(known, _)| *known == with);
                let other = other
                    .map_or_else(|| format!("{with:?}"), |(path, index)| format!("routes[{index}] ({path})"));
                Err(match with == pattern {
                    true => format!("is also the path of {other}"),
                    false => format!(
                        "conflicts with {other}: one request could match both, and neither is more specific"
                    ),
                })
            }
            Err(error) => Err(format!("is no path pattern: {error}")),
        }
    }
}
