//! Ways in for the fuzz targets (`tests/fuzz`). Must not know: what they check.

use std::time::SystemTime;

use http::HeaderMap;

use super::jar::{Jars, Place};
use super::redirect::{self, Names};

/// A redirect leads to a path of the same upstream, or nowhere.
pub fn redirect(headers: &HeaderMap) {
    let names = Names { hosts: vec!["api.test"], schemes: vec!["http"] };
    if let Ok(target) = redirect::target(headers, "/a/b?c", &names) {
        assert!(target.starts_with('/') && !target.starts_with("//"), "{target:?}");
    }
}

/// What an answer sets comes back as one line.
pub fn cookies(headers: &HeaderMap, now: SystemTime) {
    let jars = Jars::default();
    let place = Place { route: 0, host: "api.test", target: "/a/b" };
    jars.keep(place, headers, now, |_| true);
    let _ = jars.cookies(place, now);
}
