//! The context of a route's settings: the upstreams of the file, and its directory.
//!
//! Must not know: the settings.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use super::super::Upstream;
use super::super::problem::{Findings, Place, suggestion};

/// The context of a route's settings: what they may refer to.
pub struct Context<'a> {
    /// Relative paths are relative to it.
    pub base_dir: &'a Path,
    /// The upstreams of the file.
    pub upstreams: &'a [Arc<Upstream>],
    /// Names of those that something else than a route is asked by.
    pub used: RefCell<Vec<String>>,
}

/// The upstream of that name, or a problem that suggests one.
pub fn upstream_named(
    place: &Place,
    name: &str,
    upstreams: &[Arc<Upstream>],
    findings: &mut Findings,
) -> Option<Arc<Upstream>> {
    let found = upstreams.iter().find(|upstream| upstream.name == name);
    if found.is_none() {
        let near = suggestion(name, upstreams.iter().map(|upstream| upstream.name.as_str()));
        findings.bad(place, name, &format!("is not one of the upstreams{near}"));
    }
    found.cloned()
}
