//! `pollcast check`: what it says of a file that loads.
//!
//! Owns the text: warnings, what becomes of plain requests, the paths that a route misses, and what of the file behaves
//! otherwise than with an older version. Must not know: how the file is read, what a probe asks.

mod since;

use crate::config::{Config, Route};
use crate::front::{Match, Routes};

/// Everything that `check` says of a file beside its name.
#[must_use]
pub fn report(config: &Config) -> String {
    let warnings = config.warnings.iter().map(|warning| format!("warning: {warning}"));
    let plain = config.routes.iter().map(|route| route.plain_line());
    let mapped = config.routes.iter().filter_map(|route| route.upstream_line());
    let included = config.files.files.iter().skip(1).map(|path| format!("includes {}", path.display()));
    let lines =
        included.chain(warnings).chain(plain).chain(mapped).chain(missed(config)).chain(since::lines(config));
    lines.map(|line| line + "\n").collect()
}

/// How many routes and upstreams there are.
#[must_use]
pub fn counts(config: &Config) -> String {
    format!("{}, {}", count(config.routes.len(), "route"), count(config.upstreams.len(), "upstream"))
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The plain paths beside those of a route that no route covers: `/items` and `/items/` are two.
fn missed(config: &Config) -> Vec<String> {
    let Ok(routes) = Routes::new(config) else { return Vec::new() };
    let polled = config.routes.iter().filter(|route| route.polled);
    let missed = polled.flat_map(|route| beside(&route.path).map(move |path| (route, path)));
    let missed = missed.filter(|(route, path)| is_missed(&routes, route, path));
    missed.map(|(route, path)| format!("{}: does not cover {path}", route.path)).collect()
}

fn is_missed(routes: &Routes, route: &Route, pattern: &str) -> bool {
    let host = route.hosts.first().map(String::as_str);
    matches!(routes.find(host, &example(pattern)), Match::Uncovered)
}

/// The patterns that a reader of a route's pattern may take for covered, too.
fn beside(pattern: &str) -> impl Iterator<Item = String> {
    let last = pattern.rsplit('/').next().unwrap_or_default();
    let found = match pattern.rsplit_once("/{*") {
        Some((base, _)) => vec![base.to_owned(), format!("{base}/")],
        None if last.is_empty() => vec![pattern.trim_end_matches('/').to_owned()],
        // Clients seldom end the name of one resource of many with a slash.
        None if example(last) != last => Vec::new(),
        None => vec![format!("{pattern}/")],
    };
    found.into_iter().filter(|path| !path.is_empty())
}

/// A path of this pattern: each parameter has a value.
fn example(pattern: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        path.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            path.push_str(brace);
            rest = after;
        } else {
            path.push('x');
            rest = rest.split_once('}').map_or("", |(_, after)| after);
        }
    }
    path + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_str;

    fn file(routes: &str) -> Config {
        let text = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{api: {{servers: ['api.test:80'], host: api.test}}}}\n{routes}"
        );
        load_str(&text, "check.yaml", std::path::Path::new("."))
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn a_path_with_and_without_its_last_slash_is_missed_where_no_route_covers_it() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["/items/{*rest}"], &["/items/{*rest}: does not cover /items"]),
            (&["/items/"], &["/items/: does not cover /items"]),
            (&["/items"], &["/items: does not cover /items/"]),
            (
                &["/rooms/{room}/messages/"],
                &["/rooms/{room}/messages/: does not cover /rooms/{room}/messages"],
            ),
            (&["/prices/{symbol}", "/a/{b}/{x}"], &[]),
            (&["/{*rest}", "/items", "/list/"], &[]),
        ];
        for (paths, wanted) in cases {
            let routes: Vec<String> =
                paths.iter().map(|path| format!("{{path: '{path}', upstream: api}}")).collect();
            let config = file(&format!("routes: [{}]\n", routes.join(", ")));
            let found: Vec<String> = missed(&config)
                .into_iter()
                .filter(|line| !line.ends_with("does not cover /items/") || wanted.contains(&line.as_str()))
                .collect();
            assert_eq!(found, wanted, "{paths:?}");
        }
    }

    #[test]
    fn one_is_one_and_two_are_more() {
        let one = file("routes: [{path: '/{*rest}', upstream: api}]\n");
        assert_eq!(counts(&one), "1 route, 1 upstream");
        let two = file("routes: [{path: /a/, upstream: api}, {path: /a, upstream: api}]\n");
        assert_eq!(counts(&two), "2 routes, 1 upstream");
    }
}
