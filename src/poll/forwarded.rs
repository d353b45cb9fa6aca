//! For whom a poll says that it is, and by what way its clients came (contract §10).
//!
//! An API that lets its own network in reads the fields of proxies, and takes a request without any for its
//! neighbour's. So a poll says the fields that pass-through says, with an address that is no machine's.
//! Must not know: the clients.

use std::fmt::Write;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};

use crate::config::Upstream;
use crate::upstream::Ask;

/// An address of documentation (RFC 5737), which no network has.
const NOBODY: &str = "192.0.2.1";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The fields of a request to this upstream that no client makes itself. `proto`, `host`: of the key.
pub fn fields(
    upstream: &Upstream,
    proto: &str,
    host: Option<&str>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
    let said = upstream.forwarded.as_ref();
    let address = said.and_then(|said| said.address.as_deref()).unwrap_or(NOBODY);
    let proto = said.and_then(|said| said.proto.as_deref()).unwrap_or(proto);
    let host = said.and_then(|said| said.host.as_deref()).or(host);
    let fields = [
        (X_FORWARDED_FOR, Some(address)),
        (X_REAL_IP, Some(address)),
        (X_FORWARDED_PROTO, Some(proto)),
        (X_FORWARDED_HOST, host),
    ];
    fields
        .map(|(name, text)| (name, text.and_then(|text| HeaderValue::try_from(text).ok())))
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

/// Adds the field of RFC 7239, which some servers read before all others. It says what those say, so that links that
/// are built from it are the same.
pub(super) fn add_standard(ask: &mut Ask) {
    if ask.headers.iter().any(|(name, _)| *name == header::FORWARDED) {
        return;
    }
    let said = |name: &HeaderName| {
        let field = ask.headers.iter().find(|(found, _)| found == name);
        field.and_then(|(_, value)| value.to_str().ok())
    };
    let mut text = String::new();
    for (parameter, name) in
        [("for", &X_FORWARDED_FOR), ("proto", &X_FORWARDED_PROTO), ("host", &X_FORWARDED_HOST)]
    {
        let Some(value) = said(name) else { continue };
        let separator = if text.is_empty() { "" } else { ";" };
        let is_token = !value.is_empty()
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        // Quotes and backslashes are in none of these: addresses and authorities.
        let _ = match value.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => write!(text, "{separator}{parameter}=\"[{address}]\""),
            _ if is_token => write!(text, "{separator}{parameter}={value}"),
            _ => write!(text, "{separator}{parameter}=\"{}\"", value.replace(['"', '\\'], "")),
        };
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        ask.headers.push((header::FORWARDED, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Forwarded;
    use crate::hub::tests::route::{key, route, upstream};

    fn lines(upstream: &Upstream, host: Option<&str>) -> Vec<String> {
        fields(upstream, "http", host)
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn a_poll_is_for_a_client_that_no_network_knows() {
        let wanted = [
            "x-forwarded-for: 192.0.2.1",
            "x-real-ip: 192.0.2.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: api.test:8080",
        ];
        assert_eq!(lines(&upstream(), Some("api.test:8080")), wanted);
        assert_eq!(lines(&upstream(), None), wanted[..3]);
        let said = Forwarded { address: Some("unknown".into()), proto: Some("https".into()), host: None };
        let told = Upstream { forwarded: Some(said), ..upstream() };
        assert_eq!(
            lines(&told, None),
            ["x-forwarded-for: unknown", "x-real-ip: unknown", "x-forwarded-proto: https"]
        );
    }

    #[test]
    fn the_standard_field_says_the_same() {
        let cases = [
            ("192.0.2.1", "api.test", "for=192.0.2.1;proto=http;host=api.test"),
            ("2001:db8::1", "api.test:8080", "for=\"[2001:db8::1]\";proto=http;host=\"api.test:8080\""),
            ("unknown", "[::1]:80", "for=unknown;proto=http;host=\"[::1]:80\""),
        ];
        for (address, host, wanted) in cases {
            let mut route = route();
            let said = Forwarded { address: Some(address.into()), proto: None, host: Some(host.into()) };
            route.upstream = std::sync::Arc::new(Upstream { forwarded: Some(said), ..upstream() });
            let mut ask = crate::poll::request::poll(&key("/a"), &route, None, 0);
            add_standard(&mut ask);
            add_standard(&mut ask);
            let said: Vec<_> = ask.headers.iter().filter(|(name, _)| *name == header::FORWARDED).collect();
            assert_eq!(said.len(), 1);
            assert_eq!(said[0].1, wanted);
        }
    }
}
