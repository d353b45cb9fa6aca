//! Answers of the legacy API: its validators, its talkative headers, its refusals, and what they weigh.
//!
//! Must not know: the resources, sockets, the clock.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

use super::ledger::header_block_bytes;

/// What the HTTP library adds to an answer's head by itself.
const DATE_LINE_BYTES: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// Headers as they gather over the years around such an API. No `max-age` above zero and no rate limits:
/// a proxy rightly obeys those, and the demo wants its default interval.
const HABITS: [(&str, &str); 17] = [
    (
        "cache-control",
        "max-age=0, must-revalidate, proxy-revalidate, stale-while-revalidate=0, stale-if-error=0",
    ),
    ("pragma", "no-cache"),
    ("expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("content-language", "en"),
    (
        "content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src 'self' data:; report-uri /csp-report",
    ),
    (
        "permissions-policy",
        "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()",
    ),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("x-ua-compatible", "IE=edge,chrome=1"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-permitted-cross-domain-policies", "none"),
    ("x-powered-by", "SalesroomServlet/2.4 (build 20090317-1142; rev 88213)"),
    ("x-application-context", "salesroom-api:production,eu-west,blue:8080"),
    (
        "x-feature-flags",
        "new-catalogue=off; autobid=on; buyers-premium-v2=on; currency-widget=off; legacy-paddles=on",
    ),
    ("x-backend-server", "app07.salesroom.internal"),
    ("x-content-source", "primary; region=eu-west; shard=4"),
    ("x-api-deprecation", "none planned"),
];

/// The state with a strong ETag, or 304 when the request already has it.
pub fn validated(asked: &HeaderMap, state: &Value) -> Response<Full<Bytes>> {
    let body = Bytes::from(state.to_string());
    let tag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..32]);
    let mut response = if tag_matches(asked, &tag) {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        of_bytes(StatusCode::OK, body)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Adds every header this API is used to send, the random ones of tracing included.
pub fn with_habits(mut response: Response<Full<Bytes>>, chance: &mut fastrand::Rng) -> Response<Full<Bytes>> {
    let (trace, span) = (chance.u128(..), chance.u64(..));
    let headers = response.headers_mut();
    for (name, value) in HABITS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("x-request-id", format!("{trace:032x}")),
        ("x-trace", format!("root={trace:032x}; span={span:016x}; sampled=1")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// Bytes of the answer's head on the wire, the status line, the date and the blank line included.
pub fn head_bytes(response: &Response<Full<Bytes>>) -> usize {
    let status = response.status();
    let status_line = "HTTP/1.1 200 ".len() + status.canonical_reason().map_or(0, str::len) + 2;
    status_line + header_block_bytes(response.headers()) + DATE_LINE_BYTES + 2
}

/// Whether a browser says that another site's page sends this.
pub fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else {
        return false;
    };
    let origin_host = origin.split_once("://").map(|(_, host)| host);
    origin_host != text(header::HOST)
}

/// RFC 9110 §13.1.2: a list, compared weakly.
fn tag_matches(headers: &HeaderMap, current: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == current)
}

/// JSON without any habits.
pub fn json(status: StatusCode, state: &Value) -> Response<Full<Bytes>> {
    of_bytes(status, Bytes::from(state.to_string()))
}

fn of_bytes(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}

/// An answer that is about the demo itself and never kept.
pub fn uncached_json(status: StatusCode, answer: &Value) -> Response<Full<Bytes>> {
    let mut response = json(status, answer);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal and its reason.
pub fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    uncached_json(status, &serde_json::json!({ "status": status.as_u16(), "detail": detail }))
}

/// Length of the body, bytes.
pub fn body_bytes(response: &Response<Full<Bytes>>) -> usize {
    hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0) as usize
}
