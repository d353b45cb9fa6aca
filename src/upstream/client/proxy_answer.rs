//! Answers of an HTTP proxy to requests in absolute form that are its own and not the API's.
//!
//! A proxy answers such requests in the API's place, and a status alone does not tell the two apart. Its own answer is
//! recognized by fields that only proxies send (RFC 9110 §11.7.1), and by the names that they give themselves in
//! errors, where no other intermediary says in Via that it passed the answer on: proxies add themselves to what they
//! pass on (RFC 9110 §7.6.3). In doubt the answer is the API's. Must not know: connections.

use http::header::{PROXY_AUTHENTICATE, SERVER, VIA};
use http::{HeaderMap, HeaderName, StatusCode};

use super::proxy::WANTS_CREDENTIALS;

/// Proxies that name themselves in `Server` in their own errors, and leave the API's `Server` as it is in what they pass
/// on.
const PRODUCTS: [&str; 6] = ["tinyproxy", "squid", "privoxy", "polipo", "3proxy", "ziproxy"];

const PROXY_AGENT: HeaderName = HeaderName::from_static("proxy-agent");
const X_SQUID_ERROR: HeaderName = HeaderName::from_static("x-squid-error");

/// Why a proxy answered itself, in an operator's words; `None` if the answer is the API's as far as can be told.
/// `place` is the server that was asked for.
pub(super) fn own(status: StatusCode, headers: &HeaderMap, place: &str) -> Option<String> {
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Some(WANTS_CREDENTIALS.to_owned());
    }
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let has_sign = headers.contains_key(PROXY_AUTHENTICATE)
        || product(headers).is_some_and(|product| is_first_hop(headers, &product));
    if !has_sign {
        return None;
    }
    let code = status.as_u16();
    Some(match code {
        401 => format!("the proxy answers {code}: it does not take the user and the password of `proxy`"),
        500.. => format!("the proxy cannot reach {place}: it answers {code}"),
        _ => format!("the proxy does not let pollcast reach {place}: it answers {code}"),
    })
}

/// The name, in lower case, that a proxy gives itself in an error.
fn product(headers: &HeaderMap) -> Option<String> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let name = |text: &str| {
        let first = text.trim().split(['/', ' ']).next().unwrap_or_default();
        first.to_ascii_lowercase()
    };
    if headers.contains_key(X_SQUID_ERROR) {
        return Some("squid".to_owned());
    }
    if let Some(agent) = text(&PROXY_AGENT) {
        return Some(name(agent));
    }
    text(&SERVER).map(name).filter(|name| PRODUCTS.contains(&name.as_str()))
}

/// Whether Via names no hop, or one of this product: then no other proxy or server passed the answer on.
fn is_first_hop(headers: &HeaderMap, product: &str) -> bool {
    let lines: Option<Vec<&str>> = headers.get_all(VIA).iter().map(|line| line.to_str().ok()).collect();
    let Some(lines) = lines else { return false };
    let mut hops = lines.iter().flat_map(|line| line.split(',')).map(str::trim).filter(|hop| !hop.is_empty());
    match (hops.next(), hops.next()) {
        (None, _) => true,
        (Some(hop), None) => hop.to_ascii_lowercase().contains(product),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const PLACE: &str = "api:80";

    /// What is told of an answer with these fields.
    fn told(status: u16, fields: &[(&str, &str)]) -> Option<String> {
        let field = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = fields.iter().map(field).collect();
        own(StatusCode::from_u16(status).unwrap(), &headers, PLACE)
    }

    #[test]
    fn a_proxys_own_answers_are_told_whatever_their_status() {
        type Case = (u16, &'static [(&'static str, &'static str)], &'static str);
        let cases: [Case; 12] = [
            (407, &[], "the proxy answers 407"),
            (407, &[("via", "1.1 a (x), 1.1 b (y)")], "the proxy answers 407"),
            (401, &[("proxy-authenticate", "Basic realm=x")], "does not take the user"),
            (401, &[("server", "tinyproxy/1.11.1"), ("www-authenticate", "Basic realm=x")], "does not take"),
            (403, &[("server", "tinyproxy/1.11.1")], "does not let pollcast reach api:80: it answers 403"),
            (500, &[("server", "tinyproxy/1.11.1")], "the proxy cannot reach api:80: it answers 500"),
            (
                503,
                &[("x-squid-error", "ERR_CONNECT_FAIL 111"), ("via", "1.1 squid.test (squid/5.7)")],
                "the proxy cannot reach api:80: it answers 503",
            ),
            (403, &[("x-squid-error", "ERR_ACCESS_DENIED 0")], "does not let pollcast"),
            (400, &[("server", "squid/6.1")], "does not let pollcast"),
            (502, &[("proxy-agent", "Fortinet-Proxy/1.0")], "cannot reach"),
            (504, &[("proxy-agent", "Apache"), ("via", "1.1 p (Apache/2.4)")], "cannot reach"),
            (404, &[("server", "Privoxy 3.0.34")], "does not let pollcast"),
        ];
        for (status, fields, wanted) in cases {
            let found = told(status, fields).unwrap_or_else(|| panic!("{status} {fields:?}"));
            assert!(found.contains(wanted), "{status} {fields:?}: {found}");
        }
    }

    #[test]
    fn an_answer_that_was_passed_on_is_the_apis() {
        type Case = (u16, &'static [(&'static str, &'static str)]);
        let cases: [Case; 11] = [
            (401, &[("www-authenticate", "Basic realm=x")]),
            (401, &[("via", "1.1 vm (tinyproxy/1.11.1)"), ("server", "nginx")]),
            (403, &[]),
            (503, &[("server", "nginx/1.22.1")]),
            (503, &[("server", "nginx"), ("via", "1.1 vm (tinyproxy/1.11.1)")]),
            // The API has a proxy of its own in front, whose error ours passed on.
            (
                503,
                &[("x-squid-error", "ERR_READ 0"), ("via", "1.1 api (squid/5.7), 1.1 vm (tinyproxy/1.11.1)")],
            ),
            (503, &[("x-squid-error", "ERR_READ 0"), ("via", "1.1 vm (tinyproxy/1.11.1)")]),
            (503, &[("server", "squid/5.7"), ("via", "1.1 api (squid/5.7), 1.1 ours (squid/6)")]),
            (200, &[("server", "tinyproxy/1.11.1")]),
            (302, &[("server", "squid/6"), ("proxy-agent", "x")]),
            (404, &[("server", "tinyproxyish/1")]),
        ];
        for (status, fields) in cases {
            assert_eq!(told(status, fields), None, "{status} {fields:?}");
        }
    }
}
