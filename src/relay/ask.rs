//! The request of a poll: exactly the fields of contract §10, nothing else of a client.
//!
//! Must not know: how it is sent.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

use crate::config::{Route, Upstream};
use crate::resource::{ResourceKey, Validators};
use crate::upstream::Ask;

const USER_AGENT: &str = concat!("pollcast/", env!("CARGO_PKG_VERSION"));
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_POLLCAST_SUBSCRIBERS: HeaderName = HeaderName::from_static("x-pollcast-subscribers");

/// One poll of `key`. `validators`: of the snapshot we have, if any.
pub fn poll(key: &ResourceKey, route: &Route, validators: Option<&Validators>, followers: usize) -> Ask {
    let parts = key.parts();
    let upstream = &route.upstream;
    let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
        (header::ACCEPT, route.poll.accept.clone()),
        (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        (header::USER_AGENT, HeaderValue::from_static(USER_AGENT)),
    ];
    headers.extend(forwarded(upstream, parts.proto, parts.host.as_deref()));
    headers.retain(|(name, _)| !parts.class.iter().any(|(own, _)| own == name));
    headers.extend(parts.class.iter().cloned());
    let varying = parts
        .vary
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    headers.extend(varying);
    // What the operator says replaces what we would.
    headers.retain(|(name, _)| !route.poll.headers.iter().any(|(set, _)| set == name));
    headers.extend(route.poll.headers.iter().cloned());
    if let Some(validators) = validators {
        headers.extend(validators.etag.clone().map(|v| (header::IF_NONE_MATCH, v)));
        headers.extend(
            validators
                .last_modified
                .clone()
                .map(|v| (header::IF_MODIFIED_SINCE, v)),
        );
    }
    headers.push((X_POLLCAST_SUBSCRIBERS, HeaderValue::from(followers)));
    Ask {
        method: Method::GET,
        path_and_query: key.target(),
        host: host(upstream, parts.host.as_deref()),
        headers,
        body: Bytes::new(),
        timeout: route
            .poll
            .timeout
            .min(upstream.total_timeout)
            .max(Duration::from_millis(1)),
        max_body: route.poll.max_body,
    }
}

/// The Host of a request to this upstream.
pub fn host(upstream: &Upstream, key_host: Option<&str>) -> String {
    let fixed = upstream.host.as_deref().or(key_host);
    let first = upstream.servers.first().map(|server| server.address.as_str());
    fixed.or(first).unwrap_or_default().to_owned()
}

fn forwarded(
    upstream: &Upstream,
    proto: &'static str,
    host: Option<&str>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let said = upstream.forwarded.as_ref();
    let proto = said.and_then(|f| f.proto.as_deref()).unwrap_or(proto);
    let host = said.and_then(|f| f.host.as_deref()).or(host);
    let proto = HeaderValue::try_from(proto).ok().map(|v| (X_FORWARDED_PROTO, v));
    let host = host
        .and_then(|h| HeaderValue::try_from(h).ok())
        .map(|v| (X_FORWARDED_HOST, v));
    proto.into_iter().chain(host)
}
