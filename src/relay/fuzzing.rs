//! Ways in for the fuzz targets (`tests/fuzz`). Must not know: what they check.

use std::time::SystemTime;

use http::HeaderMap;

use super::exchange::fuzzing;

/// The fields of an upstream's answer that are parsed here.
pub fn fields(headers: &HeaderMap) {
    fuzzing::redirect(headers);
    fuzzing::cookies(headers, SystemTime::now());
    let _ = super::feed::link(headers);
}
