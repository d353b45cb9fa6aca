//! Where an answer sends a poll: within the same upstream only (`poll.follow_redirects`).
//!
//! Pure. Must not know: how a request is made, how many redirects there were.

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, StatusCode, header};

/// Longest target followed, bytes.
const TARGET_BYTES_MAX: usize = 8 * 1024;

/// What an upstream may call itself in a `Location`.
#[derive(Debug, Clone)]
pub(super) struct Names<'a> {
    /// The Host of the request, and what it said in X-Forwarded-Host.
    pub(super) hosts: Vec<&'a str>,
    /// How it is reached, and what the request said in X-Forwarded-Proto.
    pub(super) schemes: Vec<&'a str>,
    /// The addresses of its servers: these go with the first scheme alone, by which they are reached.
    pub(super) servers: Vec<&'a str>,
}

/// Whether an answer of this status sends elsewhere.
pub(super) fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The target that a redirect leads to, for the next request to the same upstream.
///
/// # Errors
/// Why it is not followed; it may be shown to clients, so that no query stands in it.
pub(super) fn target(headers: &HeaderMap, from: &str, names: &Names) -> Result<String, String> {
    let Some(location) = headers.get(header::LOCATION) else {
        return Err("a redirect without Location".to_owned());
    };
    let location = location.to_str().map(str::trim).unwrap_or_default();
    let location = location.split('#').next().unwrap_or_default();
    if location.is_empty() || location.len() > TARGET_BYTES_MAX {
        return Err(format!(
            "a redirect whose Location is no URL: {} bytes; 1 to {TARGET_BYTES_MAX} were wanted",
            location.len()
        ));
    }
    let path = match split(location) {
        (None, None, path) => resolved(from, path),
        (scheme, Some(authority), path) => {
            elsewhere(scheme, authority, names)?;
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        }
        (Some(_), None, _) => return Err("a redirect to something that is no web address".to_owned()),
    };
    let path = without_dots(&path);
    match path.parse::<PathAndQuery>() {
        Ok(_) => Ok(path),
        Err(_) => Err("a redirect whose Location is no URL".to_owned()),
    }
}

/// Scheme, authority and the rest of a URL reference (RFC 3986 §4.1).
fn split(location: &str) -> (Option<&str>, Option<&str>, &str) {
    let end = location.find(['/', '?']).unwrap_or(location.len());
    let (scheme, rest) = match location[..end].find(':') {
        Some(at) => (Some(&location[..at]), &location[at + 1..]),
        None => (None, location),
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return (scheme, None, rest);
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    (scheme, Some(&rest[..end]), &rest[end..])
}

fn elsewhere(scheme: Option<&str>, authority: &str, names: &Names) -> Result<(), String> {
    let known = |scheme: &str| names.schemes.iter().any(|own| own.eq_ignore_ascii_case(scheme));
    if let Some(scheme) = scheme.filter(|scheme| !known(scheme)) {
        let wanted = names.schemes.first().copied().unwrap_or("http");
        return Err(format!("a redirect to {scheme:?}; this upstream is asked by {wanted}"));
    }
    let scheme = scheme.or(names.schemes.first().copied()).unwrap_or("http");
    let same = |own: &&str| place(own, scheme).is_some_and(|own| Some(own) == place(authority, scheme));
    let is_reached_so = names.schemes.first().is_none_or(|own| own.eq_ignore_ascii_case(scheme));
    if names.hosts.iter().any(same) || (is_reached_so && names.servers.iter().any(same)) {
        return Ok(());
    }
    Err("a redirect to another host; only those within the upstream are followed".to_owned())
}

/// Host and port of an authority, without a user, which would be a credential.
fn place(authority: &str, scheme: &str) -> Option<(String, u16)> {
    let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let authority = authority.parse::<Authority>().ok().filter(|it| !it.as_str().contains('@'))?;
    Some((authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(usual)))
}

/// A relative reference against the target it came for (RFC 3986 §5.2).
fn resolved(from: &str, reference: &str) -> String {
    let base = from.split('?').next().unwrap_or("/");
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    if reference.starts_with('?') {
        return format!("{base}{reference}");
    }
    let folder = base.rfind('/').map_or("/", |end| &base[..=end]);
    format!("{folder}{reference}")
}

/// Without `.` and `..` segments (RFC 3986 §5.2.4).
fn without_dots(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let last = at + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn follow(location: &str) -> Result<String, String> {
        let names = Names {
            hosts: vec!["api.test", "www.test:8443"],
            schemes: vec!["http", "https"],
            servers: vec!["10.0.0.7:3000", "[::1]:3001", "legacy.internal:80"],
        };
        let headers = [(header::LOCATION, HeaderValue::from_str(location).unwrap())].into_iter().collect();
        target(&headers, "/v1/prices/a?x=1", &names)
    }

    #[test]
    fn the_same_upstream_is_followed() {
        let table = [
            ("/b", "/b"),
            ("/b?c=d#e", "/b?c=d"),
            ("b", "/v1/prices/b"),
            ("./b", "/v1/prices/b"),
            ("../b/./c", "/v1/b/c"),
            ("../../../..", "/"),
            ("?y=2", "/v1/prices/a?y=2"),
            ("b:c/d", "scheme"),
            ("http://api.test/b", "/b"),
            ("http://API.test:80/b", "/b"),
            ("https://api.test:443", "/"),
            ("http://api.test?x", "/?x"),
            ("https://www.test:8443/b", "/b"),
            ("//api.test/b", "/b"),
            ("http://10.0.0.7:3000/b", "/b"),
            ("//10.0.0.7:3000/b", "/b"),
            ("http://[::1]:3001/b", "/b"),
            ("http://LEGACY.internal/b", "/b"),
        ];
        for (location, wanted) in table {
            let found = follow(location).unwrap_or_else(|_| "scheme".to_owned());
            assert_eq!(found, wanted, "{location}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for location in [
            "http://evil.test/b",
            "//evil.test/b",
            "http://api.test:81/b",
            "http://api.test@evil.test/b",
            "http://user:word@api.test/b",
            "ftp://api.test/b",
            "https:/b",
            "javascript:alert(1)",
            "http://api.test.evil.test/",
            "https://10.0.0.7:3000/b",
            "http://10.0.0.7/b",
            "http://10.0.0.7:3001/b",
            "https://legacy.internal/b",
            "http://10.0.0.7:3000@evil.test/b",
            "",
            "#a",
            "/b c",
        ] {
            assert!(follow(location).is_err(), "{location}: {:?}", follow(location));
        }
        let long = format!("/{}", "a".repeat(TARGET_BYTES_MAX));
        assert!(follow(&long).is_err());
        let names = Names { hosts: vec!["api.test"], schemes: vec!["http"], servers: Vec::new() };
        assert!(target(&HeaderMap::new(), "/", &names).is_err());
        let secret = follow("http://evil.test/?token=hunter2").unwrap_err();
        assert!(!secret.contains("hunter2"), "{secret}");
    }
}
