//! `upstreams`: the servers behind pollcast and how they are reached.
//!
//! Must not know: listeners and routes.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;

use super::super::problem::{Findings, Place};
use super::super::{Connections, Forwarded, HealthCheck, Proxy, SecretForm, Server, Upstream, raw};
use super::authority::authority;
use super::listeners::unix_socket;
use super::units::{DAY, HOUR, MILLISECOND, MINUTE, SECOND};
use super::upstream_tls::upstream_tls;
use super::value::{Said, at};
use super::{auth, budget, paths};

/// Reads `upstreams`, by their names.
pub fn upstreams(file: &raw::File, base_dir: &Path, findings: &mut Findings) -> Vec<Arc<Upstream>> {
    let (place, Some(said)) = at!(Place::root(), file.upstreams) else {
        return Vec::new();
    };
    if said.is_empty() {
        findings.problem(&place, "is empty; at least one upstream is needed");
    }
    let mut upstreams = Vec::with_capacity(said.len());
    for (name, raw) in said {
        let place = place.key(name);
        let plain = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            findings.problem(&place, "the name of an upstream is 1 to 64 letters, digits, \"-\" and \"_\"");
        }
        upstreams.push(Arc::new(upstream(name, &place, raw, base_dir, findings)));
    }
    upstreams
}

fn upstream(
    name: &str,
    place: &Place,
    raw: &raw::Upstream,
    base_dir: &Path,
    findings: &mut Findings,
) -> Upstream {
    let mut upstream = Upstream::unsaid(name);
    upstream.servers = servers(at!(place, raw.servers), base_dir, findings);
    upstream.host = host(at!(place, raw.host), findings);
    if upstream.host.is_none() && upstream.servers.iter().any(|server| server.address.starts_with(UNIX)) {
        // A server without a name knows nothing of the name by which clients call pollcast.
        upstream.host = Some("localhost".to_owned());
    }
    upstream.tls = raw.tls.as_ref().map(|raw| upstream_tls(&place.key("tls"), raw, base_dir, findings));
    upstream.proxy = proxy(at!(place, raw.proxy), &upstream.servers, base_dir, findings);
    findings.flag(at!(place, raw.http2), &mut upstream.http2);
    findings.time(at!(place, raw.connect_timeout), 10 * MILLISECOND..=MINUTE, &mut upstream.connect_timeout);
    findings.time(
        at!(place, raw.first_byte_timeout),
        10 * MILLISECOND..=HOUR,
        &mut upstream.first_byte_timeout,
    );
    findings.time_or_off(
        at!(place, raw.passthrough_first_byte_timeout),
        10 * MILLISECOND..=DAY,
        &mut upstream.passthrough_first_byte_timeout,
    );
    findings.time(at!(place, raw.total_timeout), 10 * MILLISECOND..=HOUR, &mut upstream.total_timeout);
    findings.time(at!(place, raw.keepalive), Duration::ZERO..=HOUR, &mut upstream.keepalive);
    findings.time(at!(place, raw.resolve_interval), SECOND..=DAY, &mut upstream.resolve_interval);
    upstream.health_check = health_check(at!(place, raw.health_check), findings);
    upstream.forwarded = forwarded(at!(place, raw.forwarded), findings);
    upstream.budget = budget::budget(at!(place, raw.budget), &mut upstream.quota_is_shared, findings);
    budget::breaker(at!(place, raw.breaker), &mut upstream.breaker, findings);
    findings.count_or_off(at!(place, raw.max_requests), 1..=1_000_000, &mut upstream.max_requests);
    findings.list(at!(place, raw.connection_auth), scheme, &mut upstream.connection_auth);
    let choices = [("shared", Connections::Shared), ("class", Connections::Class)];
    findings.choice(at!(place, raw.connections), &choices, &mut upstream.connections);
    upstream
}

/// An authentication scheme (RFC 9110 §11.1), in lower case.
fn scheme(findings: &mut Findings, place: &Place, said: &str) -> Option<String> {
    // The names of schemes and of headers are both tokens.
    if said.parse::<http::HeaderName>().is_err() {
        findings.bad(place, said, "is not an authentication scheme; write its name alone, as NTLM");
        return None;
    }
    Some(said.to_ascii_lowercase())
}

/// How the address of a server begins that is a Unix socket.
const UNIX: &str = "unix:";

fn proxy(
    (place, said): Said<'_, raw::ProxySetting>,
    servers: &[Server],
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<Arc<Proxy>> {
    let (url_place, url, parts) = match said? {
        raw::ProxySetting::Url(url) => (place.clone(), &url.0, None),
        raw::ProxySetting::Parts(parts) => (place.key("url"), &parts.url.as_ref()?.0, Some(parts)),
    };
    // An empty one is what `${NAME:-}` gives when nothing is set.
    if url.is_empty() {
        return None;
    }
    if servers.iter().any(|server| server.address.starts_with(UNIX)) {
        findings.problem(&place, "goes with no server that is a Unix socket: those are on this machine");
    }
    let mut proxy = match Proxy::parse(url) {
        Ok(proxy) => proxy,
        Err(message) => {
            // The value is not quoted: there may be a password in it.
            findings.problem(&url_place, message);
            return None;
        }
    };
    if let Some(parts) = parts {
        let said = (parts.password.as_ref(), parts.password_file.as_ref());
        let (password, file) =
            auth::password(&place, said, SecretForm::Password, base_dir, findings)?.parts();
        if let Err(message) = proxy.take_password(password, file) {
            findings.problem(&place, message);
        }
    }
    Some(Arc::new(proxy))
}

fn servers(
    (place, said): Said<'_, raw::List<raw::Server>>,
    base_dir: &Path,
    findings: &mut Findings,
) -> Vec<Server> {
    let Some(said) = said else { return Vec::new() };
    if said.is_empty() {
        findings.problem(&place, "is empty; at least one server is needed");
    }
    let mut servers: Vec<Server> = Vec::with_capacity(said.len());
    for (index, raw) in said.iter().enumerate() {
        let place = place.index(index);
        let mut weight = 1;
        let (place, address) = match raw {
            None => continue,
            Some(raw::Server::Address(address)) => (place, Some(address)),
            Some(raw::Server::Weighted(raw)) => {
                findings.count(at!(place, raw.weight), 1..=1000, &mut weight);
                at!(place, raw.address)
            }
        };
        let Some(said) = address else { continue };
        let mut address = said.0.clone();
        if let Some(path) = said.0.strip_prefix(UNIX) {
            let Some(path) = unix_socket(&place, path, "/run/app.sock", base_dir, findings) else { continue };
            address = format!("{UNIX}{}", path.display());
        } else if let Some(message) = unreachable_address(&said.0) {
            findings.bad(&place, &said.0, message);
        }
        if servers.iter().any(|other| other.address == address) {
            findings.bad(&place, &said.0, "is there twice; give one of them a weight");
        }
        servers.push(Server { address, weight });
    }
    servers
}

/// Returns why this is no `host:port`. `None` if it is one.
pub(super) fn unreachable_address(address: &str) -> Option<&'static str> {
    if address.contains("://") {
        return Some("is a URL; write only host:port, and \"tls: {}\" beside it for https");
    }
    let authority = authority(address);
    match authority.as_ref().map(Authority::port_u16) {
        None => Some("is not host:port; write it like api.internal:3000 or [::1]:3000"),
        Some(None | Some(0)) => Some("has no port; write host:port, as api.internal:3000"),
        Some(Some(_)) => None,
    }
}

fn host((place, said): Said<'_, raw::Text>, findings: &mut Findings) -> Option<String> {
    let said = said?.0.as_str();
    if authority(said).is_none() {
        findings.bad(&place, said, "is not a host, with or without a port");
    }
    Some(said.to_owned())
}

fn health_check((place, said): Said<'_, raw::HealthCheck>, findings: &mut Findings) -> Option<HealthCheck> {
    let raw = said?;
    let mut interval = HealthCheck::INTERVAL;
    findings.time(at!(place, raw.interval), 100 * MILLISECOND..=HOUR, &mut interval);
    let (place, said) = at!(place, raw.path);
    let path = said?.0.clone();
    // A query is fine here, unlike in a route.
    let (before_query, query) = path.split_once('?').unwrap_or((&path, ""));
    if let Err(message) = paths::plain(before_query) {
        findings.bad(&place, &path, message);
    } else if path.parse::<http::uri::PathAndQuery>().is_err() || query.contains('#') {
        findings.bad(&place, &path, "is not a path and query");
    }
    Some(HealthCheck { path, interval })
}

fn forwarded((place, said): Said<'_, raw::Forwarded>, findings: &mut Findings) -> Option<Forwarded> {
    let raw = said?;
    let mut proto = None;
    findings.choice(at!(place, raw.proto), &[("http", Some("http")), ("https", Some("https"))], &mut proto);
    let address = raw.address.as_ref().map(|said| said.0.clone());
    if let Some(said) = address.as_ref().filter(|said| *said != "unknown" && said.parse::<IpAddr>().is_err())
    {
        findings.bad(&place.key("for"), said, "is neither an address nor \"unknown\"");
    }
    Some(Forwarded { address, proto: proto.map(str::to_owned), host: host(at!(place, raw.host), findings) })
}
