//! Which route covers a path: the most specific pattern wins, and a path that servers read
//! differently never slips past a route (contract §11).
//!
//! Must not know: methods, clients.

use std::sync::Arc;

use crate::config::{Config, Route, Share};
use crate::resource::{CanonicalPath, canonical_path, decodings, may_hide};

/// All routes, by pattern.
pub struct Routes {
    router: matchit::Router<Arc<Route>>,
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
        for route in &config.routes {
            router.insert(route.path.clone(), route.clone())?;
        }
        Ok(Routes { router })
    }

    pub fn find(&self, raw_path: &str) -> Match {
        match canonical_path(raw_path) {
            CanonicalPath::Plain(path) => {
                let found = self.router.at(&path).ok().map(|found| found.value.clone());
                if may_hide(&path) && self.may_be_guarded(raw_path, found.as_deref()) {
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
        let is_guarded = |route: &Route| {
            let asks = route.share != Share::Public || route.authenticate.is_some();
            asks && taken_for.is_none_or(|taken| taken.index != route.index)
        };
        decodings(raw_path).iter().any(|reading| self.router.at(reading).is_ok_and(|m| is_guarded(m.value)))
    }

    /// The values of a route's `{parameters}` in a canonical path.
    pub fn parameters(&self, path: &str) -> Vec<(String, String)> {
        let Ok(found) = self.router.at(path) else {
            return Vec::new();
        };
        found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}
