//! Answers to operators, and the parameters of their calls.
//!
//! Must not know: what a call does.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::transport::answer::GUARDS;

/// The body of an answer: whole, or a stream of events.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Returns an answer that is there as a whole.
pub fn whole(response: Response<Full<Bytes>>) -> Response<Body> {
    response.map(BodyExt::boxed_unsync)
}

/// Returns an answer of this content type, which no cache keeps and no page of another site can use.
pub fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(GUARDS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// Returns an answer in plain text.
pub fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
}

/// Returns an error as `application/problem+json` (RFC 9457).
pub fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({ "title": title, "status": status.as_u16(), "detail": detail });
    typed(status, "application/problem+json", format!("{body}\n").into())
}

/// Returns the decoded values of a call's parameters with these names, or what is said to a request that is no call, or
/// names one of them twice.
pub fn arguments<const N: usize>(
    request: &Request<Incoming>,
    names: [&str; N],
) -> Result<[Option<String>; N], Box<Response<Full<Bytes>>>> {
    if request.method() != Method::POST {
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "this call has an effect: use POST");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Err(Box::new(response));
    }
    let mut values = [const { None }; N];
    let query = request.uri().query().unwrap_or_default();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let Some(at) = names.iter().position(|known| *known == name) else { continue };
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        if values[at].replace(decoded).is_some() {
            let detail = format!("{name} is there twice");
            return Err(Box::new(problem(StatusCode::BAD_REQUEST, &detail)));
        }
    }
    Ok(values)
}
