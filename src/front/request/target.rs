//! The target of a request as text, none of its bytes lost.
//!
//! Pingora's URI has replacement characters for what is no UTF-8: two targets would become one. Must not know:
//! routes.

use std::borrow::Cow;

use pingora::http::RequestHeader;

use crate::resource::target_text;

/// The raw path.
pub(in crate::front) fn path(request: &RequestHeader) -> Cow<'_, str> {
    let raw = request.raw_path();
    target_text(raw.split(|byte| *byte == b'?').next().unwrap_or_default())
}

/// The raw query, without the question mark.
pub(in crate::front) fn query(request: &RequestHeader) -> Option<Cow<'_, str>> {
    let raw = request.raw_path();
    let at = memchr::memchr(b'?', raw)?;
    Some(target_text(&raw[at + 1..]))
}
