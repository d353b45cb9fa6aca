//! Ways in for the fuzz targets (`tests/fuzz`). Must not know: what they check.

use http::{HeaderMap, HeaderValue, header};

use super::{decode, head};

/// A raw head.
pub fn head(raw: &[u8]) {
    let _ = head::fault(raw);
}

/// A body under codings that `how` chooses. Returns `None` if the body is not what they say, or is longer than `most`.
pub fn decoded(how: u8, body: &[u8], most: usize) -> Option<Vec<u8>> {
    let name = ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, gzip", "identity"][usize::from(how) % 7];
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    decode::decode(&decode::codings(&headers).ok()?, body.to_vec(), most).ok()
}
