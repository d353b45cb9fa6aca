//! Which hosts a listener serves (contract §12): a client's word for the host must not lead anything of the
//! operator's elsewhere.
//!
//! Must not know: routes, what is asked.

use std::net::{IpAddr, SocketAddr};

use http::header;
use pingora::http::RequestHeader;

use crate::config::{Listener, host_name};

/// The host of a request as its client said it.
pub(in crate::front) fn host(request: &RequestHeader) -> Option<&str> {
    let said = request.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    said.or(request.uri.authority().map(|authority| authority.as_str()))
}

/// Whether requests for a host are served here. A request that names no host is. `own` looks the listener's own address
/// up, which takes a system call.
pub(in crate::front) fn is_served(
    listener: &Listener,
    host: Option<&str>,
    own: impl FnOnce() -> Option<SocketAddr>,
) -> bool {
    let Some(host) = host else { return true };
    listener.hosts.is_empty()
        || listener.hosts.contains(&host_name(host))
        || own().is_some_and(|own| is_address(host, own))
}

/// The authority that polls say for a client that named this one. The listener's first host stands in for one that
/// is not listed: a helper answers any host, and every listener its own address and clients that name none.
pub(in crate::front) fn polled(listener: &Listener, authority: Option<String>) -> Option<String> {
    let is_listed = |host: &String| listener.hosts.contains(&host_name(host));
    match listener.hosts.first() {
        Some(first) => authority.filter(is_listed).or_else(|| Some(first.clone())),
        None => authority,
    }
}

/// The host by which the route of a request is found: the one that its polls say, so that no route that names its
/// hosts is missed under another name of the listener.
pub(in crate::front) fn routed<'a>(listener: &'a Listener, host: Option<&'a str>) -> Option<&'a str> {
    match listener.hosts.first() {
        Some(first) => host.filter(|host| listener.hosts.contains(&host_name(host))).or(Some(first)),
        None => host,
    }
}

/// Whether a host is this address, as health checks say it.
fn is_address(host: &str, own: SocketAddr) -> bool {
    let name = host_name(host);
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let has_port = host.len() > name.len();
    address.is_ok_and(|address| address.to_canonical() == own.ip().to_canonical())
        && (!has_port || port == Some(own.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(hosts: &[&str]) -> Listener {
        let config = crate::config::load_str(
            "listeners: [{address: '127.0.0.1:0'}]\nupstreams: {a: {servers: ['127.0.0.1:1']}}\npassthrough: a\n",
            "test.yaml",
            std::path::Path::new("."),
        );
        let listener = config.expect("a good file").listeners[0].clone();
        Listener { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), ..listener }
    }

    #[test]
    fn a_listener_serves_its_hosts_and_its_own_address() {
        let (own, listener) = (|| "10.0.0.5:8080".parse().ok(), listener(&["api.example.com", "[::1]"]));
        for good in [
            "api.example.com",
            "API.example.com:443",
            "api.example.com.",
            "10.0.0.5",
            "10.0.0.5:8080",
            "[::1]:80",
        ] {
            assert!(is_served(&listener, Some(good), own), "{good}");
        }
        for bad in ["example.com", "x.api.example.com", "10.0.0.6:8080", "10.0.0.5:80", "localhost", "[::2]"]
        {
            assert!(!is_served(&listener, Some(bad), own), "{bad}");
        }
        assert!(is_served(&listener, None, own));
    }

    #[test]
    fn polls_never_say_a_host_that_is_not_served() {
        let evil = || Some("evil.example".to_owned());
        let (api, listed) = (|| Some("api.example.com".to_owned()), listener(&["api.example.com"]));
        for host in ["evil.example", "127.0.0.1:8080"] {
            assert_eq!(polled(&listed, Some(host.to_owned())), api(), "{host}");
        }
        assert_eq!(polled(&listed, None), api());
        assert_eq!(
            polled(&listed, Some("api.example.com:81".to_owned())).as_deref(),
            Some("api.example.com:81")
        );
        assert_eq!(polled(&listener(&[]), evil()), evil());
        for host in [None, Some("api.example.com"), Some("127.0.0.1:8080"), Some("evil.example")] {
            let polled = polled(&listed, host.map(str::to_owned));
            assert_eq!(routed(&listed, host), polled.as_deref(), "{host:?}");
        }
        assert_eq!(routed(&listener(&[]), Some("evil.example")), Some("evil.example"));
    }
}
