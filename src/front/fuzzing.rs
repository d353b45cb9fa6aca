//! Ways in for the fuzz targets (`tests/fuzz`). Must not know: what they check.

use http::HeaderMap;

use super::request::content_coding;
use super::request::transport_choice::Accept;
use super::subscribe::websocket_handshake;
use crate::config::{Route, Upstream};
use crate::listener::proxy_protocol;

/// The fields of a client that are parsed here.
pub fn fields(headers: &HeaderMap) {
    let accept = Accept::of(headers);
    let _ = (accept.admits("text/event-stream"), accept.admits("application/json"));
    let _ = content_coding::deflate(headers);
    let _ = websocket_handshake::accept(headers, true, None);
}

/// A route with everything as it is by default.
pub fn route() -> Route {
    Route::unsaid(std::sync::Arc::new(Upstream::unsaid("api")))
}

/// The first bytes of a connection from a proxy.
pub fn preamble(bytes: &[u8]) {
    proxy_protocol::fuzzed(bytes);
}
