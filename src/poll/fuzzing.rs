//! Ways in for the fuzz targets (`tests/fuzz`). Must not know: what they check.

use std::collections::HashSet;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;

use super::exchange::fuzzing;
use crate::change::feed::Page;
use crate::config::{Batch, Feed};
use crate::resource::Json;

/// The fields of an upstream's answer that are parsed here.
pub fn fields(headers: &HeaderMap) {
    fuzzing::redirect(headers);
    fuzzing::cookies(headers, SystemTime::now());
    let _ = super::feed::link(headers);
}

/// A body as a page of a feed and as the answer to a batch.
pub fn page(body: Bytes) {
    if let Ok(json) = Json::parse(body.clone()) {
        let _ = Page::read(&Feed { items: "/items".into(), id: vec!["/id".into()], ..Feed::unsaid() }, &json);
    }
    let batch = Batch { items: "/items".into(), key: "/id".into(), ..Batch::unsaid() };
    fuzzing::batch(body, &batch, &HashSet::from(["1".to_owned()]));
}
