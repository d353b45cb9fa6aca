//! Servers that are named by a URL: of tokens, of keys, of questions about clients. Each is an upstream of its own,
//! reached as the URL says, or as one of `upstreams` is.
//!
//! Must not know: what they are asked.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use http::uri::Authority;

use super::super::problem::{Findings, Place};
use super::super::{Proxy, Server, Upstream, UpstreamTls, raw};
use super::authority;
use super::context::{Context, upstream_named};
use super::tls;
use super::value::at;

/// The settings of such a server.
pub struct Said<'a> {
    /// The mapping that these keys are in.
    pub place: &'a Place,
    /// The key of the URL.
    pub key: &'a str,
    /// The URL.
    pub url: Option<&'a raw::Text>,
    /// The file of authorities that its certificate is checked against.
    pub ca: Option<&'a raw::Text>,
    /// The upstream whose servers, `tls` and `proxy` lead to it.
    pub upstream: Option<&'a raw::Text>,
    /// The risk of asking it without TLS, for the warning.
    pub risk: &'a str,
}

/// The server as an upstream, and the path and query of the URL.
pub fn server(said: &Said<'_>, context: &Context<'_>, findings: &mut Findings) -> Option<(Upstream, String)> {
    let place = said.place.key(said.key);
    let ca = tls::authorities((said.place.key("ca"), said.ca), context.base_dir, findings);
    let (secure, authority, path) = url(&place, &said.url?.0, findings)?;
    let mut server = match said.upstream {
        Some(_) => as_upstream(said, secure, context, findings)?,
        None => by_url(said, secure, &authority, ca, findings),
    };
    server.host = Some(authority.as_str().to_owned());
    // The way may end on this machine though the name does not say so: then nothing goes over a network.
    let is_here = |host: &str| {
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        ip.map_or(host == "localhost", |ip| ip.is_loopback())
    };
    let is_local = match said.upstream {
        Some(_) => server.servers.iter().all(|server| {
            let host = server.address.rsplit_once(':').map_or("", |(host, _)| host);
            server.address.starts_with("unix:") || is_here(host)
        }),
        None => is_here(authority.host()),
    };
    if !secure && !is_local {
        findings.warning(&place, said.risk);
    }
    Some((server, path))
}

/// Scheme, authority, path and query.
fn url(place: &Place, said: &str, findings: &mut Findings) -> Option<(bool, Authority, String)> {
    let uri = said.parse::<Uri>().ok().filter(|_| !said.contains('#'));
    let parts = uri.as_ref().and_then(|uri| {
        // The port of `host:99999` would be left out without a word.
        let authority = authority::authority(uri.authority()?.as_str())?;
        let authority = Some(authority).filter(|authority| authority.port_u16() != Some(0))?;
        Some((uri.scheme_str()?, authority, uri.path_and_query()?))
    });
    match parts {
        Some((scheme @ ("http" | "https"), authority, path)) => {
            return Some((scheme == "https", authority, path.as_str().to_owned()));
        }
        // The value is not quoted: the part before the sign may be a password.
        _ if said.contains('@') => {
            findings.problem(place, "is not a URL without a user; client_id and client_secret say who asks");
        }
        // Nor is a query, which may hold a key.
        _ => findings.bad(
            place,
            said.split('?').next().unwrap_or_default(),
            "is not a URL; write it like https://auth.example.com/token",
        ),
    }
    None
}

fn by_url(
    said: &Said<'_>,
    secure: bool,
    authority: &Authority,
    ca: Option<PathBuf>,
    findings: &mut Findings,
) -> Upstream {
    if said.ca.is_some() && !secure {
        let message = format!("has no effect: {} is not https", said.key);
        findings.problem(&said.place.key("ca"), message);
    }
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let scheme = if secure { "https" } else { "http" };
    // Upstreams that reach the same server the same way share its connections.
    let by = ca.as_ref().map_or(String::new(), |ca| format!(" by {}", ca.display()));
    let mut server = Upstream::unsaid(&format!("{scheme}://{}:{port}{by}", authority.host()));
    server.servers = vec![Server { address: format!("{}:{port}", authority.host()), weight: 1 }];
    server.tls = secure.then(|| UpstreamTls { ca, ..UpstreamTls::unsaid() });
    server
}

/// Returns the server as it is reached through one of `upstreams`, without the budget and the health checks of that.
fn as_upstream(
    said: &Said<'_>,
    secure: bool,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Upstream> {
    let (place, name) = at!(said.place, said.upstream);
    let like = upstream_named(&place, &name?.0, context.upstreams, findings)?;
    context.used.borrow_mut().push(like.name.clone());
    if said.ca.is_some() {
        let message = "is beside upstream, whose tls says what is believed; remove one of them";
        findings.problem(&said.place.key("ca"), message);
    }
    if secure != like.tls.is_some() {
        let (is, has) = if secure { ("https", "has no tls") } else { ("http", "has tls") };
        let message = format!("is {is}, and upstreams.{} {has}", like.name);
        findings.problem(&said.place.key(said.key), message);
    }
    let mut server = Upstream::unsaid(&format!("{}, for {}", like.name, said.key));
    server.servers.clone_from(&like.servers);
    server.tls.clone_from(&like.tls);
    server.proxy.clone_from(&like.proxy);
    server.http2 = like.http2;
    server.connect_timeout = like.connect_timeout;
    server.first_byte_timeout = like.first_byte_timeout;
    server.total_timeout = like.total_timeout;
    server.keepalive = like.keepalive;
    server.resolve_interval = like.resolve_interval;
    Some(server)
}

/// Returns the same server behind a proxy.
pub fn through(server: &Upstream, proxy: &Arc<Proxy>) -> Upstream {
    let mut hasher = DefaultHasher::new();
    // Connections are shared by name: each password has its own, and is not told by it.
    proxy.credentials.as_ref().map(|(user, password)| (user, &password.0)).hash(&mut hasher);
    let key = hasher.finish();
    let name = format!("{} through {} #{key:016x}", server.name, proxy.authority());
    Upstream { name, proxy: Some(proxy.clone()), ..server.clone() }
}
