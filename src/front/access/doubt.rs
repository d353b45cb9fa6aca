//! Headers that make requests pass through, as they may choose the content or say who asks: the former are counted, all
//! are said once by name (contract §11).
//!
//! Must not know: which headers these are, what becomes of their requests.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;

use crate::config::Route;
use crate::metrics::{DoubtOutcome, Metrics};
use crate::resource::credentials;

/// Names that are said in the log; more are only counted.
const NAMES_MAX: usize = 64;

/// Longest part of a name that is said, bytes.
const NAME_BYTES_MAX: usize = 128;

/// The names that were said.
pub struct Doubts {
    said: Mutex<HashSet<Box<str>>>,
    /// Names that are said at most.
    names_max: usize,
}

impl Default for Doubts {
    fn default() -> Doubts {
        Doubts { said: Mutex::default(), names_max: NAMES_MAX }
    }
}

impl Doubts {
    /// Returns doubts of which nothing is said in the log.
    pub(in crate::front) fn silent() -> Doubts {
        Doubts { names_max: 0, ..Doubts::default() }
    }

    /// Counts a request with a header in doubt, and says the header's name if it is a new one.
    pub(in crate::front) fn note(
        &self,
        metrics: &Metrics,
        route: &Route,
        name: &HeaderName,
        outcome: DoubtOutcome,
    ) {
        metrics.doubtful_headers.with_label_values(&[route.path.as_str(), outcome.label()]).inc();
        let name: &str = name.as_str();
        let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
        if !self.is_new(name) {
            return;
        }
        let became = match outcome {
            DoubtOutcome::Passed => "a plain request with it goes to the API",
            DoubtOutcome::Asked => "a push request with it is the API's",
            DoubtOutcome::Counted => "it means nothing, as the route says `share: public`",
        };
        tracing::info!(
            "header {name} may choose the content of route {}, and no Vary has named it: {became}. Say \
             `vary: [{name}]` if it chooses, `ignore_headers: [{name}]` if it means nothing",
            route.path
        );
    }

    /// Says the names of the credentials with which plain requests went to the API, each once.
    pub(in crate::front) fn note_credentials(&self, route: &Route, headers: &HeaderMap) {
        for (name, _) in credentials(route, headers) {
            let name = name.as_str();
            let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
            if !self.is_new(name) {
                continue;
            }
            let by = if name == "cookie" { "cookie:NAME" } else { name };
            tracing::info!(
                "header {name} says who asks, and route {} does not say that it names a class: a plain request with it \
                 goes to the API. Say `share: {{ by: [\"{by}\"] }}` if those with equal values get the same, \
                 `share: public` if all do",
                route.path
            );
        }
    }

    /// Says once of a route that its push clients get the form for pollcast's own User-Agent.
    pub(in crate::front) fn note_agent(&self, route: &Route) {
        if self.is_new(&format!("user-agent {}", route.path)) {
            tracing::info!(
                "route {}: the API answers by User-Agent, and push clients get the form for pollcast's own. Say \
                 `vary: [user-agent]` for a resource of each, `ignore_vary: [user-agent]` if it means nothing",
                route.path
            );
        }
    }

    fn is_new(&self, name: &str) -> bool {
        let mut said = self.said.lock();
        said.len() < self.names_max && !said.contains(name) && said.insert(name.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_said_once_and_no_more_than_there_may_be() {
        let doubts = Doubts::default();
        assert!(doubts.is_new("x-a"));
        assert!(!doubts.is_new("x-a"));
        let said = (0..1000).filter(|n| doubts.is_new(&format!("x-{n}"))).count();
        assert_eq!(said, NAMES_MAX - 1);
    }
}
