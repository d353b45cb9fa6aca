//! Which route covers a path: the most specific pattern wins, and a path that servers read
//! differently never slips past a route (contract §11).
//!
//! Must not know: methods, clients.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use http::StatusCode;
use matchit::{InsertError, Router};

use super::route_patterns::{
    checked_parameters, fold, fold_pattern, is_guard, is_same_gate, patterns, without_escapes,
};
use crate::config::{Config, Route, Upstream, host_name};
use crate::resource::{CanonicalPath, Readings, canonical_path, exact_path, resolved, tidied};

/// All routes, by host and pattern.
pub struct Routes {
    /// Of hosts that some route names.
    named: HashMap<String, Site>,
    /// Of all others.
    others: Site,
    /// The pattern of each route alone, by its index; the value is the name of a `{*rest}` that matched nothing.
    alone: HashMap<usize, Router<Option<String>>>,
}

/// What a raw path is.
#[derive(Debug, Clone)]
pub enum Match {
    /// Covered, under this path: the canonical one, or one that servers read differently as it came.
    Covered {
        /// The route that covers the request.
        route: Arc<Route>,
        /// The path in its canonical form.
        path: String,
    },
    /// No route covers the request.
    Uncovered,
    /// Some reading of it is covered, but not every one by the same route: it passes through as it came, and
    /// nothing of the operator's goes with it. `upstream`: that of all its readings, if they have one in common.
    Doubtful {
        /// The upstream of all readings, if they have one in common.
        upstream: Option<Arc<Upstream>>,
    },
    /// Some reading of it is a route with `authenticate`, and not every one: the request is refused.
    Ambiguous,
}

impl Match {
    /// The status and the words for what is no resource.
    pub fn refusal(&self) -> (StatusCode, &'static str) {
        match self {
            Match::Covered { .. } | Match::Uncovered => (StatusCode::NOT_FOUND, "no route covers this path"),
            Match::Doubtful { .. } => {
                let detail = "servers read this path differently, and one route does not cover every reading";
                (StatusCode::NOT_FOUND, detail)
            }
            Match::Ambiguous => {
                let detail = "servers read this path differently, and some reading of it is protected";
                (StatusCode::BAD_REQUEST, detail)
            }
        }
    }
}

/// The routes of one host.
#[derive(Default)]
struct Site {
    /// As the patterns are written.
    escaped: Router<Arc<Route>>,
    /// Without their escapes: what servers read. One router takes no two that are the same. Empty where no pattern
    /// has an escape.
    decoded: Vec<Router<Arc<Route>>>,
    /// Both in lower case and without a slash at the end. Empty where no route has `authenticate`.
    folded: Vec<Router<Folded>>,
}

/// A pattern of a route in lower case.
#[derive(Clone)]
struct Folded {
    route: Arc<Route>,
    pattern: Arc<str>,
}

/// What the readings of one path have led to.
#[derive(Default)]
struct Found {
    route: Option<Arc<Route>>,
    upstream: Option<Arc<Upstream>>,
    parameters: Option<Vec<String>>,
    /// Some reading is covered.
    is_covered: bool,
    /// Not every reading leads to one route.
    differs: bool,
    /// Not every reading leads to one upstream.
    scatters: bool,
    is_guarded: bool,
    any: bool,
}

impl Routes {
    /// The patterns were tried against each other when the configuration was validated.
    ///
    /// # Errors
    /// A pattern is none.
    pub fn new(config: &Config) -> Result<Routes, InsertError> {
        let mut alone = HashMap::new();
        for route in &config.routes {
            let mut router = Router::new();
            for (pattern, rest) in patterns(&route.path) {
                router.insert(pattern, rest)?;
            }
            alone.insert(route.index, router);
        }
        let names = config.routes.iter().flat_map(|route| route.hosts.iter().cloned());
        let mut named = HashMap::new();
        for name in names {
            if let Entry::Vacant(place) = named.entry(name) {
                let site = Site::of(config, Some(place.key()))?;
                place.insert(site);
            }
        }
        Ok(Routes { named, others: Site::of(config, None)?, alone })
    }

    /// Finds what covers a raw path on a host. `host`: as the client said it.
    pub fn find(&self, host: Option<&str>, raw_path: &str) -> Match {
        self.site(host).find(raw_path)
    }

    /// Whether a route of some host may cover a path.
    pub fn may_cover(&self, path: &str) -> bool {
        let mut sites = self.named.values().chain([&self.others]);
        sites.any(|site| !matches!(site.find(path), Match::Uncovered))
    }

    fn site(&self, host: Option<&str>) -> &Site {
        if self.named.is_empty() {
            return &self.others;
        }
        let named = host.and_then(|host| self.named.get(&host_name(host)));
        named.unwrap_or(&self.others)
    }

    /// Whether some reading of a raw path is a route with `authenticate`.
    pub fn is_guarded(&self, host: Option<&str>, raw_path: &str) -> bool {
        match self.find(host, raw_path) {
            Match::Covered { route, .. } => route.authenticate.is_some(),
            Match::Ambiguous => true,
            Match::Uncovered | Match::Doubtful { .. } => false,
        }
    }

    /// Whether the pattern of a route, taken alone, matches a path.
    pub(in crate::front) fn matches(&self, route: &Route, path: &str) -> bool {
        self.alone.get(&route.index).is_some_and(|router| router.at(path).is_ok())
    }

    /// The values of a route's `{parameters}` in a path that it covers.
    pub fn parameters(&self, route: &Route, path: &str) -> Vec<(String, String)> {
        let Some(router) = self.alone.get(&route.index) else { return Vec::new() };
        let tidied = tidied(path);
        let Ok(found) = router.at(&tidied) else { return Vec::new() };
        let mut values: Vec<(String, String)> =
            found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        values.extend(found.value.clone().map(|name| (name, String::new())));
        values
    }
}

impl Site {
    /// `host`: a name that some route names; `None` stands for all others.
    fn of(config: &Config, host: Option<&str>) -> Result<Site, InsertError> {
        let here = |route: &Arc<Route>| match host {
            Some(host) => route.hosts.is_empty() || route.hosts.iter().any(|name| name == host),
            None => route.hosts.is_empty(),
        };
        let mut routes: Vec<Arc<Route>> = config.routes.iter().filter(|route| here(route)).cloned().collect();
        // Of two that match the same, the one that names the host is the more specific one.
        routes.sort_by_key(|route| route.hosts.is_empty());
        let has_escapes = routes.iter().any(|route| route.path.contains('%'));
        let has_guards = routes.iter().any(|route| is_guard(route));
        let mut site = Site::default();
        let all: Vec<(String, bool, Arc<Route>)> = routes
            .iter()
            .flat_map(|route| {
                patterns(&route.path).into_iter().map(|(p, rest)| (p, rest.is_some(), route.clone()))
            })
            .collect();
        // What a `{*rest}` matches besides is another's if that says so itself.
        for (pattern, is_beside, route) in all
            .iter()
            .filter(|(_, is_beside, _)| !is_beside)
            .chain(all.iter().filter(|(_, is_beside, _)| *is_beside))
        {
            match site.escaped.insert(pattern.clone(), route.clone()) {
                Err(InsertError::Conflict { .. }) if *is_beside || host.is_some() => continue,
                inserted => inserted?,
            }
            let plain = without_escapes(pattern);
            if has_escapes {
                insert(&mut site.decoded, &plain, route.clone())?;
            }
            if has_guards {
                let folded = |pattern: &str| {
                    let pattern: Arc<str> = fold_pattern(pattern).into();
                    (pattern.clone(), Folded { route: route.clone(), pattern })
                };
                let (pattern, value) = folded(pattern);
                insert(&mut site.folded, &pattern, value)?;
                let (plain, value) = folded(&plain);
                if plain != pattern {
                    insert(&mut site.folded, &plain, value)?;
                }
            }
        }
        Ok(site)
    }

    fn find(&self, raw: &str) -> Match {
        if let CanonicalPath::Plain(path) = canonical_path(raw) {
            let route = self.escaped.at(&path).ok().map(|found| found.value.clone());
            if self.is_one_reading(&path, route.as_ref()) {
                return match route {
                    Some(route) => Match::Covered { route, path },
                    None => Match::Uncovered,
                };
            }
            return self.judge(raw, Some(path));
        }
        self.judge(raw, None)
    }

    /// Whether nothing but its one form can be read in a canonical path.
    fn is_one_reading(&self, path: &str, route: Option<&Arc<Route>>) -> bool {
        let is_escaped = path.contains('%');
        if !is_escaped && self.decoded.is_empty() {
            return self.folded.is_empty() || !self.is_folded_guard(path, route);
        }
        false
    }

    /// A path that has, or may have, several readings. `canonical`: its one form, where its spelling has one.
    fn judge(&self, raw: &str, canonical: Option<String>) -> Match {
        let exact = exact_path(raw);
        let by_letter =
            exact.as_ref().and_then(|path| self.escaped.at(path).ok()).map(|found| found.value.clone());
        let readings = Readings::of(raw);
        if let (Some(route), Some(path)) = (by_letter, exact)
            && route.exact_spelling
        {
            // The operator's word for this route; not for one that others guard.
            let slips = route.authenticate.is_none() && self.found(raw, &readings, Some(&route)).is_guarded;
            return if slips { Match::Ambiguous } else { Match::Covered { route, path } };
        }
        let found = self.found(raw, &readings, None);
        match found.route {
            Some(route) if !found.differs && !found.is_guarded => {
                // What differs in signs alone that need no escape has its one form.
                let path = canonical.unwrap_or_else(|| raw.to_owned());
                Match::Covered { route, path }
            }
            _ if found.is_guarded => Match::Ambiguous,
            _ if found.is_covered => Match::Doubtful { upstream: found.upstream.filter(|_| !found.scatters) },
            _ => Match::Uncovered,
        }
    }

    /// Looks all readings up. `is_guarded`: a reading leads to a guard, and not every one to that same route.
    /// `taken_for`: the exact route that it is by its letters.
    fn found(&self, raw: &str, readings: &Readings, taken_for: Option<&Arc<Route>>) -> Found {
        let mut found = Found::default();
        let mut guards: Vec<Arc<Route>> = Vec::new();
        let exact_readings = resolved(raw);
        let mut see = |reading: &str, router: Option<&Router<Arc<Route>>>| {
            let hit = router.and_then(|router| router.at(reading).ok());
            let route = hit.as_ref().map(|hit| hit.value);
            if let Some(route) = route
                && route.authenticate.is_some()
                && (!route.exact_spelling || exact_readings.contains(reading))
                && !guards.iter().any(|guard| guard.index == route.index)
            {
                guards.push(route.clone());
            }
            let checked = hit.as_ref().and_then(|hit| checked_parameters(hit.value, &hit.params));
            found.see(route, checked);
        };
        for reading in &readings.escaped {
            see(reading, Some(&self.escaped));
        }
        for reading in &readings.decoded {
            if self.decoded.is_empty() {
                see(reading, Some(&self.escaped));
                continue;
            }
            let mut hits = self.decoded.iter().filter(|router| router.at(reading).is_ok()).peekable();
            if hits.peek().is_none() {
                see(reading, None);
            }
            for router in hits {
                see(reading, Some(router));
            }
        }
        let taken = taken_for.or(found.route.as_ref().filter(|_| !found.differs)).cloned();
        let is_other = |guard: &Arc<Route>| taken.as_ref().is_none_or(|taken| taken.index != guard.index);
        found.is_guarded = guards.iter().any(is_other)
            || (!self.folded.is_empty()
                && readings.iter().any(|reading| self.is_folded_guard(reading, taken.as_ref())));
        found
    }

    /// Whether a path differs from that of a route with `authenticate` only in letter case or one slash at the end, and
    /// `taken_for` is another route that does not authenticate alike. A route whose own path is spelt like that is the
    /// operator's word that the two are different.
    fn is_folded_guard(&self, path: &str, taken_for: Option<&Arc<Route>>) -> bool {
        let folded = fold(path);
        let spells = |pattern: &str| {
            taken_for.is_some_and(|taken| {
                patterns(&taken.path).iter().any(|(own, _)| fold_pattern(own) == pattern)
            })
        };
        self.folded.iter().filter_map(|router| router.at(&folded).ok()).any(|found| {
            let Folded { route, pattern } = found.value;
            is_guard(route)
                && taken_for.is_none_or(|taken| {
                    taken.index != route.index && !is_same_gate(taken, route) && !spells(pattern)
                })
        })
    }
}

impl Found {
    fn see(&mut self, route: Option<&Arc<Route>>, checked: Option<Vec<String>>) {
        let is_first = !std::mem::replace(&mut self.any, true);
        self.is_covered |= route.is_some();
        let index = |route: &Arc<Route>| route.index;
        // As it came, a path would leave what a route with `upstream_path` shows of its upstream.
        let upstream = route.filter(|route| route.upstream_path.is_none()).map(|route| &route.upstream);
        if is_first {
            (self.route, self.upstream, self.parameters) = (route.cloned(), upstream.cloned(), checked);
            return;
        }
        self.differs |= self.route.as_ref().map(index) != route.map(index) || self.parameters != checked;
        self.scatters |= self.upstream.as_ref().map(|u| &u.name) != upstream.map(|u| &u.name);
    }
}

/// Inserts into the first router that has no other pattern in its way.
fn insert<T: Clone>(routers: &mut Vec<Router<T>>, pattern: &str, value: T) -> Result<(), InsertError> {
    if routers.iter_mut().any(|router| router.insert(pattern, value.clone()).is_ok()) {
        return Ok(());
    }
    let mut alone = Router::new();
    alone.insert(pattern, value)?;
    routers.push(alone);
    Ok(())
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
