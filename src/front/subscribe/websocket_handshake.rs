//! The WebSocket opening handshake (RFC 6455 §4.2).
//!
//! Must not know: what is sent afterwards.

use std::ops::ControlFlow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version as HttpVersion, header};
use pingora::http::RequestHeader;
use tungstenite::handshake::derive_accept_key;

use crate::front::decision::{Decision, Refusal};
use crate::front::request::content_coding::Deflate;
use crate::metrics::RefusalReason;
use crate::transport::answer;

/// Why a handshake is refused, with the fields that say what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::front) struct BadHandshake {
    pub(in crate::front) status: StatusCode,
    pub(in crate::front) detail: &'static str,
}

/// The name of pollcast's own subprotocol.
pub(in crate::front) const PROTOCOL: &str = "pollcast.v1";

/// The subprotocols that a handshake offers, as they are written.
fn offered(request: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = request.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let names = lines.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.map(str::trim).filter(|name| !name.is_empty())
}

/// Whether a handshake offers the envelope protocol.
pub(super) fn offers_ours(request: &HeaderMap) -> bool {
    offered(request).any(|name| name.eq_ignore_ascii_case(PROTOCOL))
}

/// Whether a handshake offers subprotocols and none of ours: the API's own WebSocket (contract §1).
pub(in crate::front) fn offers_others(request: &HeaderMap) -> bool {
    request.contains_key(header::SEC_WEBSOCKET_PROTOCOL) && !offers_ours(request)
}

/// The subprotocol of an answer to a client that offers some: clients fail a connection that names none.
fn chosen(request: &HeaderMap) -> Option<HeaderValue> {
    let ours = offers_ours(request).then_some(PROTOCOL);
    ours.or_else(|| offered(request).next()).and_then(|name| HeaderValue::from_str(name).ok())
}

/// The fields of the 101. `deflate`: what was agreed on about compression.
pub(in crate::front) fn accept(
    request: &HeaderMap,
    http11: bool,
    deflate: Option<Deflate>,
) -> Result<HeaderMap, BadHandshake> {
    let bad = |detail| BadHandshake { status: StatusCode::BAD_REQUEST, detail };
    if !http11 {
        return Err(bad("WebSocket needs HTTP/1.1"));
    }
    if request.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        let detail = "Sec-WebSocket-Version must be 13";
        return Err(BadHandshake { status: StatusCode::UPGRADE_REQUIRED, detail });
    }
    let key = request.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if !is_key(key) {
        return Err(bad("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::try_from(derive_accept_key(key)).map_err(|_| bad("bad Sec-WebSocket-Key"))?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = chosen(request) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Some(deflate) = deflate {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, deflate.answer());
    }
    Ok(headers)
}

fn is_key(key: &[u8]) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// What a refused client is told besides the status.
pub(in crate::front) fn refusal(status: StatusCode) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    if status == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110 §15.5.22 wants it there.
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    headers
}

/// The 101 of a request. Breaks with a refusal if it is no handshake.
pub(super) fn greeting(request: &RequestHeader, deflate: Option<Deflate>) -> ControlFlow<Decision, Bytes> {
    match accept(&request.headers, request.version == HttpVersion::HTTP_11, deflate) {
        Ok(headers) => {
            let head = answer::head_bytes(StatusCode::SWITCHING_PROTOCOLS, &headers, b"", false);
            ControlFlow::Continue(head.freeze())
        }
        Err(bad) => {
            let refused =
                Refusal::of(RefusalReason::Handshake, bad.status, bad.detail).with(refusal(bad.status));
            ControlFlow::Break(refused.decision())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: &'static str, key: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(version)),
            (header::SEC_WEBSOCKET_KEY, HeaderValue::from_static(key)),
        ])
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let headers = accept(&request("13", "dGhlIHNhbXBsZSBub25jZQ=="), true, None).unwrap();
        assert_eq!(headers[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_client_that_offers_subprotocols_gets_one_of_them() {
        for (offered, ours, others, chosen) in [
            (&[][..], false, false, None),
            (&["pollcast.v1"], true, false, Some("pollcast.v1")),
            (&["chat, pollcast.v1"], true, false, Some("pollcast.v1")),
            (&["v1.json"], false, true, Some("v1.json")),
            (&[" soap , v1.json"], false, true, Some("soap")),
            (&["", "v1.json"], false, true, Some("v1.json")),
            // It offers something that cannot be read.
            (&[""], false, true, None),
        ] {
            let mut request = request("13", "dGhlIHNhbXBsZSBub25jZQ==");
            for line in offered {
                request.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line));
            }
            assert_eq!((offers_ours(&request), offers_others(&request)), (ours, others), "{offered:?}");
            let headers = accept(&request, true, None).unwrap();
            let said = headers.get(header::SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap());
            assert_eq!(said, chosen, "{offered:?}");
        }
    }

    #[test]
    fn other_versions_and_bad_keys_are_refused() {
        let status = |version, key, http11| accept(&request(version, key), http11, None).unwrap_err().status;
        assert_eq!(status("8", "dGhlIHNhbXBsZSBub25jZQ==", true), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(status("13", "short", true), StatusCode::BAD_REQUEST);
        assert_eq!(status("13", "dGhlIHNhbXBsZSBub25jZQ==", false), StatusCode::BAD_REQUEST);
    }
}
