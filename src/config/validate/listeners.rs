//! `listeners` and `admin`: the addresses pollcast listens on.
//!
//! Must not know: upstreams and routes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::super::problem::{Findings, Place};
use super::super::{
    Admin, AdminAddress, ClientAddress, ClientCertificates, Listener, ListenerTls, Secret, TlsVersion,
    host_name, raw,
};
use super::tls;
use super::units::{DAY, SECOND};
use super::value::{Said, at};

/// Reads `listeners`, with the files of their certificates.
pub fn listeners(file: &raw::File, base_dir: &Path, findings: &mut Findings) -> Vec<Listener> {
    let (place, Some(said)) = at!(Place::root(), file.listeners) else {
        return Vec::new();
    };
    if said.is_empty() {
        findings.problem(&place, "is empty; at least one listener is needed");
    }
    let mut listeners: Vec<Listener> = Vec::with_capacity(said.len());
    for (index, raw) in said.iter().enumerate() {
        let (place, Some(raw)) = (place.index(index), raw) else {
            continue;
        };
        let Some(listener) = listener(&place, raw, base_dir, findings) else {
            continue;
        };
        if listeners.iter().any(|other| clash(other.address, listener.address)) {
            findings.problem(&place.key("address"), "another listener has this address");
        }
        listeners.push(listener);
    }
    listeners
}

/// Index of the first listener that leaves `client_address` to its default.
pub fn without_client_address(file: &raw::File) -> Option<usize> {
    let said = |listener: &raw::Listener| listener.client_address.is_some();
    file.listeners.iter().flatten().position(|listener| !listener.as_ref().is_some_and(said))
}

/// Returns `None` only if its address was reported as wrong.
fn listener(
    place: &Place,
    raw: &raw::Listener,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<Listener> {
    let mut reuse_port = false;
    findings.flag(at!(place, raw.reuse_port), &mut reuse_port);
    let mut http2 = false;
    findings.flag(at!(place, raw.http2), &mut http2);
    let mut proxy_protocol = false;
    findings.flag(at!(place, raw.proxy_protocol), &mut proxy_protocol);
    let mut trusted_proxies = Vec::new();
    findings.list(at!(place, raw.trusted_proxies), network, &mut trusted_proxies);
    let mut hosts = Vec::new();
    self::hosts(at!(place, raw.hosts), &mut hosts, findings);
    let said = at!(place, raw.client_address);
    let client_address = client_address(said, proxy_protocol, &trusted_proxies, findings);
    let tls = raw.tls.as_ref().and_then(|raw| listener_tls(&place.key("tls"), raw, base_dir, findings));
    let address = address(at!(place, raw.address), findings)?;
    Some(Listener { address, reuse_port, http2, tls, proxy_protocol, trusted_proxies, hosts, client_address })
}

/// Unsaid: the most that is known.
fn client_address(
    (place, said): Said<'_, raw::Text>,
    proxy_protocol: bool,
    trusted: &[IpNet],
    findings: &mut Findings,
) -> ClientAddress {
    let mut client_address = match (proxy_protocol, trusted) {
        (true, _) => ClientAddress::ProxyProtocol,
        (false, []) => ClientAddress::Peer,
        (false, _) => ClientAddress::Forwarded,
    };
    let choices = [
        ("peer", ClientAddress::Peer),
        ("forwarded", ClientAddress::Forwarded),
        ("proxy_protocol", ClientAddress::ProxyProtocol),
    ];
    findings.choice((place.clone(), said), &choices, &mut client_address);
    match (client_address, proxy_protocol) {
        (ClientAddress::Peer, true) => {
            let message = "\"peer\" would be the load balancer's with proxy_protocol: true; \
                           write proxy_protocol or forwarded";
            findings.problem(&place, message);
        }
        (ClientAddress::ProxyProtocol, false) => {
            findings.problem(&place, "\"proxy_protocol\" needs proxy_protocol: true on this listener");
        }
        (ClientAddress::Forwarded, _) if trusted.is_empty() => {
            findings.warning(&place, "without trusted_proxies, the connection's address is used");
        }
        _ => {}
    }
    client_address
}

/// `hosts`: names as Host says them. An empty list would be no host at all.
pub fn hosts((place, said): Said<'_, raw::List<raw::Text>>, to: &mut Vec<String>, findings: &mut Findings) {
    if said.is_some_and(Vec::is_empty) {
        findings.problem(&place, "is empty; leave it out for any host");
    }
    findings.list((place, said), host, to);
}

fn host(findings: &mut Findings, place: &Place, said: &str) -> Option<String> {
    let name = host_name(said);
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    let address = said.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(said),
    };
    if !is_host {
        findings.bad(place, said, "is not a host; write a name or an address, without scheme and port");
        return None;
    }
    Some(name)
}

fn network(findings: &mut Findings, place: &Place, said: &str) -> Option<IpNet> {
    let network = said.parse().or_else(|_| said.parse().map(|ip: std::net::IpAddr| ip.into())).ok();
    if network.is_none() {
        findings.bad(
            place,
            said,
            "is neither an address nor a network; write it like 10.0.0.0/8 or fd00::/8",
        );
    }
    network
}

fn listener_tls(
    place: &Place,
    raw: &raw::ListenerTls,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<ListenerTls> {
    let mut min_version = TlsVersion::Tls12;
    let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
    findings.choice(at!(place, raw.min_version), &versions, &mut min_version);
    let client_ca = tls::client_authorities(at!(place, raw.client_ca), base_dir, findings);
    let client_crl = tls::revocation_lists(
        at!(place, raw.client_crl),
        (raw.client_ca.is_some(), client_ca.as_deref()),
        base_dir,
        findings,
    );
    let mut client_certificates = ClientCertificates::Optional;
    let (certificates_place, said) = at!(place, raw.client_certificates);
    if said.is_some() && raw.client_ca.is_none() {
        findings.problem(&certificates_place, "has no effect without client_ca");
    }
    let choices = [("optional", ClientCertificates::Optional), ("required", ClientCertificates::Required)];
    findings.choice((certificates_place, said), &choices, &mut client_certificates);
    let mut reload = Some(ListenerTls::RELOAD_INTERVAL);
    findings.time_or_off(at!(place, raw.reload), SECOND..=DAY, &mut reload);
    let (place, Some(said)) = at!(place, raw.certificates) else {
        return None;
    };
    if said.is_empty() {
        findings.problem(&place, "is empty; at least one certificate is needed");
    }
    let mut certificates = Vec::with_capacity(said.len());
    for (index, pair) in said.iter().enumerate() {
        let (place, Some(pair)) = (place.index(index), pair) else { continue };
        let (cert, key) = (at!(place, pair.cert), at!(place, pair.key));
        certificates.extend(tls::certificate_and_key(cert, key, base_dir, findings));
    }
    Some(ListenerTls { certificates, min_version, client_ca, client_crl, client_certificates, reload })
}

/// Reads `admin`. Returns `None` if there is none, or if it says no usable address.
pub fn admin(
    file: &raw::File,
    base_dir: &Path,
    listeners: &[Listener],
    findings: &mut Findings,
) -> Option<Admin> {
    let (place, Some(raw)) = at!(Place::root(), file.admin) else {
        return None;
    };
    // An empty token is what `${NAME:-}` gives when nothing is set.
    let token = raw.token.as_ref().map(|token| token.0.clone()).filter(|token| !token.is_empty());
    if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        findings.problem(&place.key("token"), "must be visible ASCII without spaces");
    }
    let token = token.map(Secret);
    let mut hosts = Vec::new();
    self::hosts(at!(place, raw.hosts), &mut hosts, findings);
    if !hosts.is_empty() && token.is_some() {
        findings.warning(&place.key("hosts"), "has no effect: with admin.token any Host is answered");
    }
    let (place, said) = at!(place, raw.address);
    if let Some(path) = said.and_then(|said| said.0.strip_prefix("unix:")) {
        let path = unix_socket(&place, path, "/run/pollcast/admin.sock", base_dir, findings)?;
        return Some(Admin { address: AdminAddress::Unix(path), token, hosts });
    }
    let address = address((place.clone(), said), findings)?;
    if listeners.iter().any(|listener| shares_a_port(listener.address, address)) {
        findings.problem(&place, "is also a listener's; the admin surface needs an address of its own");
    }
    if token.is_none() && !address.ip().is_loopback() {
        findings.warning(&place, "others than this machine may reach it, and no token protects it");
    }
    Some(Admin { address: AdminAddress::Tcp(address), token, hosts })
}

/// Longest path of a Unix socket, bytes (`sun_path`, without its NUL).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// The path of a socket behind `unix:`; a relative one begins at the file.
pub fn unix_socket(
    place: &Place,
    said: &str,
    example: &str,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<PathBuf> {
    if said.is_empty() || said.ends_with('/') {
        findings.problem(place, format!("names no socket; write it like unix:{example}"));
        return None;
    }
    let path = base_dir.join(said);
    if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
        findings.problem(place, "is too long for a Unix socket: at most 107 bytes");
        return None;
    }
    Some(path)
}

/// Whether a connection to the one may reach the other: `[::]` takes IPv4 as well on most systems.
fn shares_a_port(listener: SocketAddr, admin: SocketAddr) -> bool {
    let takes_all = |address: SocketAddr| address.is_ipv6() && address.ip().is_unspecified();
    let same_port = admin.port() != 0 && listener.port() == admin.port();
    clash(listener, admin) || (same_port && (takes_all(listener) || takes_all(admin)))
}

fn address((place, said): Said<'_, raw::Text>, findings: &mut Findings) -> Option<SocketAddr> {
    let said = said?.0.as_str();
    let address = said.parse().ok();
    if address.is_none() {
        let port = said.strip_prefix(':').or(said.strip_prefix("localhost:")).unwrap_or(said);
        let host = if said.starts_with("localhost") { "127.0.0.1" } else { "0.0.0.0" };
        let message = match port.parse::<u16>() {
            Ok(port) => format!("is not ip:port; did you mean {:?}?", format!("{host}:{port}")),
            Err(_) => "is not ip:port; write it like 0.0.0.0:8080 or [::]:8080".to_owned(),
        };
        findings.bad(&place, said, &message);
    }
    address
}

/// Whether the two cannot both be listened on. Port 0 never clashes: the system finds a free one.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    let same_family = one.is_ipv4() == other.is_ipv4();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || (any && same_family))
}
