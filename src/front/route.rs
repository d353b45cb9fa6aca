//! Which route covers a path: the most specific pattern wins, and a path that servers read
//! differently never slips past a route (contract §11).
//!
//! Must not know: methods, clients.

use std::sync::Arc;

use crate::config::{Config, Route, Share};
use crate::resource::{CanonicalPath, canonical_path, decode_lossy, decodings, may_hide};

/// All routes, by pattern.
pub struct Routes {
    router: matchit::Router<Arc<Route>>,
    /// Patterns with escapes, without these: what servers read. One router takes no two that are the same.
    read: Vec<matchit::Router<Arc<Route>>>,
}

/// What a raw path is.
#[derive(Debug, Clone)]
pub enum Match {
    /// Covered, under this canonical path.
    Covered {
        route: Arc<Route>,
        path: String,
    },
    Uncovered,
    /// Some reading of it is a route that is not public: it goes nowhere.
    Ambiguous,
}

impl Routes {
    /// The patterns were tried against each other when the configuration was validated.
    pub fn new(config: &Config) -> Result<Routes, matchit::InsertError> {
        let mut router = matchit::Router::new();
        let mut read: Vec<matchit::Router<Arc<Route>>> = Vec::new();
        for route in &config.routes {
            router.insert(route.path.clone(), route.clone())?;
            if !route.path.contains('%') {
                continue;
            }
            let pattern = without_escapes(&route.path);
            let known = read.iter_mut().any(|router| router.insert(pattern.clone(), route.clone()).is_ok());
            if !known {
                let mut alone = matchit::Router::new();
                alone.insert(pattern, route.clone())?;
                read.push(alone);
            }
        }
        Ok(Routes { router, read })
    }

    pub fn find(&self, raw_path: &str) -> Match {
        match canonical_path(raw_path) {
            CanonicalPath::Plain(path) => {
                let found = self.router.at(&path).ok().map(|found| found.value.clone());
                let is_hidden = may_hide(&path) && self.may_be_guarded(raw_path, found.as_deref());
                if is_hidden || self.is_read_as_guarded(&path, found.as_deref()) {
                    return Match::Ambiguous;
                }
                match found {
                    Some(route) => Match::Covered { route, path },
                    None => Match::Uncovered,
                }
            }
            CanonicalPath::Doubtful if self.may_be_guarded(raw_path, None) => Match::Ambiguous,
            CanonicalPath::Doubtful => Match::Uncovered,
        }
    }

    /// Whether some reading of a path is a route that is not public or asks who comes, other than the one that it is taken for.
    fn may_be_guarded(&self, raw_path: &str, taken_for: Option<&Route>) -> bool {
        decodings(raw_path).iter().any(|reading| self.is_guarded(reading, taken_for))
    }

    /// The same of the one reading that nearly every server has: signs that need no escape, and have one in the path
    /// or in the route's.
    fn is_read_as_guarded(&self, path: &str, taken_for: Option<&Route>) -> bool {
        let is_escaped = path.contains('%');
        (is_escaped || !self.read.is_empty())
            && match is_escaped {
                true => self.is_guarded(&decode_lossy(path), taken_for),
                false => self.is_guarded(path, taken_for),
            }
    }

    fn is_guarded(&self, reading: &str, taken_for: Option<&Route>) -> bool {
        let mut found = std::iter::once(&self.router).chain(&self.read).filter_map(|r| r.at(reading).ok());
        found.any(|found| {
            let asks = found.value.share != Share::Public || found.value.authenticate.is_some();
            asks && taken_for.is_none_or(|taken| taken.index != found.value.index)
        })
    }

    /// The values of a route's `{parameters}` in a canonical path.
    pub fn parameters(&self, path: &str) -> Vec<(String, String)> {
        let Ok(found) = self.router.at(path) else {
            return Vec::new();
        };
        found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// A pattern as servers read the paths that match it.
fn without_escapes(pattern: &str) -> String {
    // A brace that is one has two in a pattern.
    decode_lossy(&pattern.replace("%7B", "{{").replace("%7D", "}}"))
}
