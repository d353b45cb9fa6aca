//! How much one request may be: its head, its target, its body.
//!
//! Must not know: routes, what a request asks for.

use http::{HeaderMap, StatusCode, header};
use pingora::{Error, ErrorType, Result};

use super::framing;
use crate::config::Limits;
use crate::front::connection::Connection;
use crate::front::decision::{Afterwards, Refusal};
use crate::front::services::Shared;
use crate::metrics::RefusalReason;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) struct Excess {
    status: StatusCode,
    detail: &'static str,
    /// The limit, as metrics say it.
    reason: RefusalReason,
    /// Nothing after it can be trusted.
    closes: bool,
}

impl Excess {
    const fn of(status: StatusCode, reason: RefusalReason, detail: &'static str) -> Excess {
        Excess { status, detail, reason, closes: false }
    }

    const fn closing(self) -> Excess {
        Excess { closes: true, ..self }
    }

    /// As the client is told it.
    pub(in crate::front) fn refusal(self) -> Refusal {
        let afterwards = if self.closes { Afterwards::Shutdown } else { Afterwards::Usual };
        Refusal::of(self.reason, self.status, self.detail).and_then(afterwards)
    }
}

/// What a head within the limits may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Size {
    Usual,
    /// Its query has more parameters than a resource's name may have.
    ManyParameters,
}

impl Size {
    /// What it means, for operators.
    pub(in crate::front) fn told(self) -> &'static str {
        match self {
            Size::Usual => "its head is within the limits",
            Size::ManyParameters => {
                "it has more parameters than limits.query_parameters, so that it has no key"
            }
        }
    }
}

/// Judges a request's head. What is found is counted.
///
/// # Errors
/// The first limit that it exceeds.
pub(in crate::front) fn check(shared: &Shared, connection: &Connection<'_>) -> Result<Size, Excess> {
    let limits = &shared.config.limits;
    let request = connection.head();
    let judged = match connection.is_http2() {
        true => decoded(&request.headers, limits),
        false => raw(&connection.raw_head(), limits),
    };
    let judged = judged.and_then(|()| head(request.raw_path(), &request.headers, limits));
    judged.inspect_err(|excess| shared.metrics.refused(excess.reason))
}

fn raw(raw: &[u8], limits: &Limits) -> Result<(), Excess> {
    if raw.len() > limits.header_bytes {
        let detail = "the head is larger than limits.header_bytes";
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Excess::of(status, RefusalReason::HeaderBytes, detail).closing());
    }
    let bad =
        |bad: framing::BadHead| Excess::of(StatusCode::BAD_REQUEST, RefusalReason::Framing, bad.0).closing();
    framing::check(raw).map_err(bad)
}

/// A head of HTTP/2 as large as it is without compression.
fn decoded(headers: &HeaderMap, limits: &Limits) -> Result<(), Excess> {
    // As HTTP/1 would write each line: `name: value` and its end.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.header_bytes {
        let detail = "the head is larger than limits.header_bytes";
        return Err(Excess::of(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RefusalReason::HeaderBytes,
            detail,
        ));
    }
    Ok(())
}

fn head(target: &[u8], headers: &HeaderMap, limits: &Limits) -> Result<Size, Excess> {
    if headers.len() > limits.header_fields {
        let detail = "there are more header fields than limits.header_fields";
        return Err(Excess::of(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RefusalReason::HeaderFields,
            detail,
        ));
    }
    if target.len() > limits.url_bytes {
        let detail = "path and query are longer than limits.url_bytes";
        return Err(Excess::of(StatusCode::URI_TOO_LONG, RefusalReason::UrlBytes, detail));
    }
    Ok(if has_many_parameters(target, limits) { Size::ManyParameters } else { Size::Usual })
}

/// Whether a path and query has more parameters than a resource's name may have (contract §12).
pub(in crate::front) fn has_many_parameters(target: &[u8], limits: &Limits) -> bool {
    target.iter().filter(|byte| **byte == b'&').count() >= limits.query_parameters
}

/// Judges the body of a request that is about to pass through, as far as its head tells.
///
/// # Errors
/// It is longer than `limits.request_body`.
pub(in crate::front) fn announced(shared: &Shared, headers: &HeaderMap) -> Result<(), Excess> {
    let Some(most) = shared.config.limits.request_body else { return Ok(()) };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    // A number that does not fit is larger than any limit.
    let too_long = length.is_some_and(|length| length.parse::<usize>().map_or(true, |length| length > most));
    if !too_long {
        return Ok(());
    }
    shared.metrics.refused(RefusalReason::RequestBody);
    Err(Excess::of(StatusCode::PAYLOAD_TOO_LARGE, RefusalReason::RequestBody, TOO_LONG))
}

const TOO_LONG: &str = "the body is longer than limits.request_body";

/// Counts a piece of a body that passes through and did not announce its length.
///
/// # Errors
/// Status 413 with the first piece that is too much.
pub(in crate::front) fn passes(shared: &Shared, passed: &mut usize, piece: usize) -> Result<()> {
    *passed = passed.saturating_add(piece);
    match shared.config.limits.request_body {
        Some(most) if *passed > most => {
            shared.metrics.refused(RefusalReason::RequestBody);
            Error::e_explain(ErrorType::HTTPStatus(413), TOO_LONG)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_of_a_head_has_its_own_answer() {
        let limits = Limits { header_fields: 3, url_bytes: 20, query_parameters: 2, ..Limits::default() };
        let fields = |count: usize| {
            let names = (0..count).map(|n| http::HeaderName::try_from(format!("x-{n}")).unwrap());
            names.map(|name| (name, http::HeaderValue::from_static("1"))).collect::<HeaderMap>()
        };
        let judged = |target: &str, count| {
            head(target.as_bytes(), &fields(count), &limits).err().map(|excess| excess.status.as_u16())
        };
        assert_eq!(judged("/a?b=1&c=2", 3), None);
        assert_eq!(judged("/a", 4), Some(431));
        assert_eq!(head(b"/a?b=1&c=2&d", &fields(3), &limits), Ok(Size::ManyParameters));
        assert_eq!(head(b"/a?b=1&c=2", &fields(3), &limits), Ok(Size::Usual));
        assert_eq!(judged(&format!("/{}", "a".repeat(20)), 3), Some(414));
    }

    #[test]
    fn a_repeated_field_counts_as_often_as_it_is_there() {
        let limits = Limits { header_fields: 2, ..Limits::default() };
        let mut headers = HeaderMap::new();
        for _ in 0..3 {
            headers.append("x", http::HeaderValue::from_static("1"));
        }
        assert!(head(b"/", &headers, &limits).is_err());
    }

    #[test]
    fn a_head_of_http2_is_as_large_as_it_would_be_on_http1() {
        let limits = Limits { header_bytes: 60, ..Limits::default() };
        let mut headers = HeaderMap::new();
        headers.append("x-some-name", http::HeaderValue::from_static("some value"));
        assert!(decoded(&headers, &limits).is_ok());
        for _ in 0..2 {
            headers.append("x-some-name", http::HeaderValue::from_static("some value"));
        }
        assert_eq!(decoded(&headers, &limits).unwrap_err().status.as_u16(), 431);
    }

    #[test]
    fn a_long_head_ends_its_connection() {
        let limits = Limits { header_bytes: 30, ..Limits::default() };
        let excess = raw(b"GET / HTTP/1.1\r\nhost: a.example.com\r\n\r\n", &limits).unwrap_err();
        assert!(excess.closes);
        assert_eq!(excess.status.as_u16(), 431);
    }
}
