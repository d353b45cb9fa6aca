//! The request of a poll: exactly the fields of contract §10, nothing else of a client.
//!
//! Must not know: how it is sent.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

use super::forwarded;
use crate::config::{Connections, Route, Upstream};
use crate::resource::{ResourceKey, Validators, forwarded_prefix, upstream_target};
use crate::upstream::{Ask, Document};

pub(super) const USER_AGENT: &str = concat!("pollcast/", env!("CARGO_PKG_VERSION"));
const X_POLLCAST_SUBSCRIBERS: HeaderName = HeaderName::from_static("x-pollcast-subscribers");

const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Room for the fields of most polls.
const USUAL_FIELDS_COUNT: usize = 16;

/// One poll of `key`. `validators`: of the snapshot we have, if any.
pub fn poll(key: &ResourceKey, route: &Route, validators: Option<&Validators>, followers: usize) -> Ask {
    let parts = key.parts();
    let upstream = &route.upstream;
    let codings = if route.poll.accept_codings { "gzip, br, zstd" } else { "identity" };
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(USUAL_FIELDS_COUNT);
    headers.extend([
        (header::ACCEPT, route.poll.accept.clone()),
        (header::ACCEPT_ENCODING, HeaderValue::from_static(codings)),
        (header::USER_AGENT, HeaderValue::from_static(USER_AGENT)),
    ]);
    headers.extend(forwarded::fields(upstream, parts.proto, parts.host.as_deref()));
    headers.extend(forwarded_prefix(route, &parts.path).map(|prefix| (X_FORWARDED_PREFIX, prefix)));
    headers.retain(|(name, _)| !parts.class.iter().any(|(own, _)| own == name));
    headers.extend(parts.class.iter().cloned());
    // Where the client's Accept or User-Agent is in the key, it is what the API chooses by.
    headers.retain(|(name, _)| !parts.vary.iter().any(|(own, value)| own == name && value.is_some()));
    let varying = parts.vary.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    headers.extend(varying);
    // What the operator says replaces what we would.
    headers.retain(|(name, _)| !route.poll.headers.iter().any(|(set, _)| set == name));
    headers.extend(route.poll.headers.iter().cloned());
    if let Some(validators) = validators {
        headers.extend(validators.etag.clone().map(|v| (header::IF_NONE_MATCH, v)));
        headers.extend(validators.last_modified.clone().map(|v| (header::IF_MODIFIED_SINCE, v)));
    }
    headers.push((X_POLLCAST_SUBSCRIBERS, HeaderValue::from(followers)));
    Ask {
        method: Method::GET,
        path_and_query: target(key, route),
        host: host(upstream, parts.host.as_deref()),
        headers,
        body: Bytes::new(),
        timeout: route.poll.timeout.min(upstream.total_timeout).max(Duration::from_millis(1)),
        max_body: route.poll.max_body,
        class: connections(upstream, &parts.class),
        document: Document::Any,
        claim: None,
    }
}

/// Path and query of a resource on its upstream.
pub(super) fn target(key: &ResourceKey, route: &Route) -> String {
    let parts = key.parts();
    let target = upstream_target(route, &parts.path, parts.query.as_deref());
    // A path that is none of its route's is a batch's, which says itself what it asks for: here nothing of it goes out.
    target.unwrap_or_else(|| route.upstream_path.as_ref().map_or("/".to_owned(), |to| to.path.fixed_prefix()))
}

/// What keeps the connections of a class apart, where they are to be. The class without values has its own, too.
pub fn connections(upstream: &Upstream, class: &[(HeaderName, HeaderValue)]) -> Option<u64> {
    (upstream.connections == Connections::Class).then(|| {
        // Not by a hash whose collisions can be made: the values are clients'.
        let mut hasher = blake3::Hasher::new();
        for part in class.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    })
}

/// Makes it a poll for the effect of a write: past the caches on the way (contract §9).
pub fn after_write(ask: &mut Ask) {
    if !ask.headers.iter().any(|(name, _)| name == header::CACHE_CONTROL) {
        ask.headers.push((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")));
    }
}

/// The Host of a request to this upstream.
pub fn host(upstream: &Upstream, key_host: Option<&str>) -> String {
    let fixed = upstream.host.as_deref().or(key_host);
    let first = upstream.servers.first().map(|server| server.address.as_str());
    let first = first.map(|address| if address.starts_with("unix:") { "localhost" } else { address });
    fixed.or(first).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Forwarded, Upstream};
    use crate::hub::tests::route::{key, private_key, route, upstream};
    use crate::resource::KeyParts;

    fn lines(ask: &Ask) -> Vec<String> {
        let line =
            |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap_or("?"));
        ask.headers.iter().map(line).collect()
    }

    #[test]
    fn a_poll_says_exactly_this() {
        let ask = poll(&key("/a"), &route(), None, 3);
        assert_eq!((&ask.method, ask.path_and_query.as_str()), (&Method::GET, "/a"));
        assert_eq!(ask.host, "api.test");
        let agent = format!("user-agent: {USER_AGENT}");
        let wanted = [
            "accept: application/json, */*;q=0.5",
            "accept-encoding: gzip, br, zstd",
            &agent,
            "x-forwarded-for: 192.0.2.1",
            "x-real-ip: 192.0.2.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: api.test",
            "x-pollcast-subscribers: 3",
        ];
        assert_eq!(lines(&ask), wanted);
        assert_eq!(ask.timeout, upstream().total_timeout);
    }

    #[test]
    fn no_coding_is_asked_for_where_the_operator_says_so() {
        let mut route = route();
        route.poll.accept_codings = false;
        assert_eq!(lines(&poll(&key("/a"), &route, None, 0))[1], "accept-encoding: identity");
    }

    #[test]
    fn class_and_secondary_values_and_validators_go_along() {
        let tag = HeaderValue::from_static("W/\"1\"");
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        let validators = Validators { etag: Some(tag), last_modified: Some(date) };
        let language = HeaderValue::from_static("de");
        let key = ResourceKey::new(KeyParts {
            query: Some("b=1&a".into()),
            vary: vec![(header::ACCEPT_LANGUAGE, Some(language)), (header::ORIGIN, None)],
            ..private_key("/a").parts().clone()
        });
        let ask = poll(&key, &route(), Some(&validators), 0);
        assert_eq!(ask.path_and_query, "/a?b=1&a");
        let wanted = [
            "cookie: session=1",
            "accept-language: de",
            "if-none-match: W/\"1\"",
            "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
            "x-pollcast-subscribers: 0",
        ];
        assert_eq!(lines(&ask)[7..], wanted);
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let mut route = route();
        let agent = HeaderValue::from_static("legacy-client/1");
        route.poll.headers = vec![(header::USER_AGENT, agent)];
        route.upstream = std::sync::Arc::new(Upstream {
            host: Some("inner.test".into()),
            forwarded: Some(Forwarded {
                address: None,
                proto: Some("https".into()),
                host: Some("outer.test".into()),
            }),
            ..upstream()
        });
        let ask = poll(&key("/a"), &route, None, 0);
        assert_eq!(ask.host, "inner.test");
        let lines = lines(&ask);
        let agents: Vec<&String> = lines.iter().filter(|l| l.starts_with("user-agent")).collect();
        assert_eq!(agents, ["user-agent: legacy-client/1"]);
        assert!(lines.contains(&"x-forwarded-proto: https".to_owned()), "{lines:?}");
        assert!(lines.contains(&"x-forwarded-host: outer.test".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_poll_after_a_write_goes_past_caches() {
        let mut ask = poll(&key("/a"), &route(), None, 0);
        after_write(&mut ask);
        assert_eq!(lines(&ask).last().map(String::as_str), Some("cache-control: no-cache"));
    }

    #[test]
    fn without_any_host_the_servers_own_is_asked() {
        assert_eq!(host(&upstream(), None), "legacy.test:80");
    }
}
