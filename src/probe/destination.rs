//! The route or upstream that the URL of a probe belongs to.
//!
//! Must not know: what is asked.

use std::sync::Arc;

use http::Uri;

use crate::config::{Config, Route, Upstream};
use crate::front::{Match, Routes};
use crate::resource::{CanonicalPath, canonical_path, canonical_query};

/// The route by which a URL is polled, and the parts of the URL.
#[derive(Debug)]
pub(super) struct Destination {
    /// The route, or what a route of this upstream would be by default.
    pub(super) route: Arc<Route>,
    /// Whether the route stands in the file.
    pub(super) is_route: bool,
    /// The path in its canonical form.
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// The authority of an absolute URL.
    pub(super) host: Option<String>,
    pub(super) proto: &'static str,
}

/// Finds the destination of a URL.
///
/// # Errors
/// The text is no URL, or no upstream serves it.
pub(super) fn destination(config: &Config, url: &str) -> Result<Destination, String> {
    let wanted = "a path (/prices/1) or an absolute URL (https://api.example.com/prices/1) is wanted";
    let uri: Uri = url.parse().map_err(|_| format!("--probe is no URL: {wanted}"))?;
    let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    if !uri.path().starts_with('/') || (uri.scheme().is_some() != authority.is_some()) {
        return Err(format!("--probe is no URL: {wanted}"));
    }
    if authority.as_ref().is_some_and(|authority| authority.contains('@')) {
        return Err("--probe: no credentials in the URL; use --header 'Authorization: …'".to_owned());
    }
    let https = uri.scheme_str() == Some("https");
    let named = authority.as_deref().and_then(|authority| upstream_of(config, authority, https));
    let routes = Routes::new(config).map_err(|error| error.to_string())?;
    let authority = authority.or_else(|| host_of_a_route(config, &routes, uri.path()));
    let (route, path) = match routes.find(authority.as_deref(), uri.path()) {
        // Another upstream's path of the same name is not this route's.
        Match::Covered { route, path } if named.is_none_or(|named| named.name == route.upstream.name) => {
            (Some(route), path)
        }
        Match::Covered { path, .. } => (None, path),
        Match::Uncovered | Match::Doubtful { .. } | Match::Ambiguous => match canonical_path(uri.path()) {
            CanonicalPath::Plain(path) => (None, path),
            CanonicalPath::Doubtful => {
                return Err(
                    "--probe: servers disagree on what this path means; no route covers such".to_owned()
                );
            }
        },
    };
    let is_route = route.is_some();
    let route = match route {
        Some(route) => route,
        None => Arc::new(by_default(named.cloned().or_else(|| fallback(config)).ok_or_else(|| {
            let names: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            let names = names.join(", ");
            format!("--probe: neither a route nor `passthrough` covers it, and none of the upstreams serves it ({names})")
        })?)),
    };
    let target = canonical_query(uri.query(), &route.query, &route.switches, false).map_err(|problem| {
        format!("--probe: the query parameter {:?} is not known on this route", problem.parameter)
    })?;
    // A server's own address is what is asked without any host.
    let host = authority.filter(|_| route.upstream.host.is_none());
    let proto = if https { "https" } else { "http" };
    Ok(Destination { route, is_route, path, query: target.query, host, proto })
}

/// The host by which a path alone has a route, if it has none without: the first one that a route names.
fn host_of_a_route(config: &Config, routes: &Routes, path: &str) -> Option<String> {
    let covers = |host: Option<&str>| matches!(routes.find(host, path), Match::Covered { .. });
    let mut hosts = config.routes.iter().flat_map(|route| route.hosts.iter());
    if covers(None) { None } else { hosts.find(|host| covers(Some(host))).cloned() }
}

fn upstream_of<'a>(config: &'a Config, authority: &str, https: bool) -> Option<&'a Arc<Upstream>> {
    let port = if https { 443 } else { 80 };
    let with_port = |address: &str| match address.rsplit_once(':') {
        Some((_, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            address.to_owned()
        }
        _ => format!("{address}:{port}"),
    };
    let wanted = with_port(authority);
    let is_it = |upstream: &&Arc<Upstream>| {
        let servers = upstream.servers.iter().map(|server| server.address.as_str());
        servers.chain(upstream.host.as_deref()).any(|one| with_port(&one.to_ascii_lowercase()) == wanted)
    };
    config.upstreams.iter().find(is_it)
}

fn fallback(config: &Config) -> Option<Arc<Upstream>> {
    match (&config.passthrough, config.upstreams.as_slice()) {
        (Some(passthrough), _) => Some(passthrough.clone()),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}

fn by_default(upstream: Arc<Upstream>) -> Route {
    let timeout = upstream.total_timeout;
    let mut route = Route::unsaid(upstream);
    route.poll.timeout = timeout;
    route
}
