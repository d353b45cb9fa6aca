//! Ways in for the fuzz targets (`tests/fuzz`). Must not know: what they check.

use std::collections::HashSet;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;

use super::batch_split;
use super::cookies::{Jars, Keep, Place};
use super::redirect::{self, Names};
use crate::config::Batch;

/// A redirect leads to a path of the same upstream, or nowhere.
pub fn redirect(headers: &HeaderMap) {
    let names = Names { hosts: vec!["api.test"], schemes: vec!["http"], servers: vec!["127.0.0.1:3000"] };
    if let Ok(target) = redirect::target(headers, "/a/b?c", &names) {
        // Which server that is asked of is said by the configuration.
        assert!(target.starts_with('/') && target.parse::<http::uri::PathAndQuery>().is_ok(), "{target:?}");
    }
}

/// What an answer sets comes back as one line.
pub fn cookies(headers: &HeaderMap, now: SystemTime) {
    let jars = Jars::default();
    let place = Place { resource: None, upstream: "api", host: "api.test", target: "/a/b" };
    jars.keep(place, headers, now, |_| Keep::ForUpstream);
    let _ = jars.cookies(place, now, |_| Keep::ForUpstream);
}

/// The answer to a batch has no items but those that were asked for.
pub fn batch(body: Bytes, batch: &Batch, wanted: &HashSet<String>) {
    if let Ok(items) = batch_split::items(body, batch, wanted) {
        assert!(items.keys().all(|name| wanted.contains(name)));
    }
}
