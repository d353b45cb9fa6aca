//! The address of the client that a request comes from (`client_address` of a listener, contract §12).
//!
//! Must not know: what the address is used for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;

use crate::config::{ClientAddress, Listener};
use crate::listener::trusted_proxies::is_trusted;

/// The client's address: the peer (the one that a PROXY header named, where there is one), or behind trusted
/// proxies the right-most entry of X-Forwarded-For that is none of them (contract §12).
pub(in crate::front) fn client_address(
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    listener: &Listener,
) -> Option<IpAddr> {
    let peer = peer?.ip().to_canonical();
    let trusted = &listener.trusted_proxies;
    if listener.client_address != ClientAddress::Forwarded || !is_trusted(peer, trusted) {
        return Some(peer);
    }
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    // Bytes: a line left out because of one letter would bring what a client wrote before it to the right.
    for entry in lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        match std::str::from_utf8(entry).ok().and_then(|entry| address(entry.trim())) {
            Some(address) if is_trusted(address, trusted) => {}
            Some(address) => return Some(address),
            None => return Some(peer),
        }
    }
    Some(peer)
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]:80`.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim_matches('"');
    entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|a| a.ip()))
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address| address.to_canonical())
}

/// Bits of an IPv6 address that its holder chooses: a client that has one has a whole /64.
pub(in crate::front) const OWN_BITS: u32 = 64;

/// What counts as one address where limits are by address: all that one client can have for the asking.
pub(in crate::front) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> OWN_BITS << OWN_BITS).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn listener(said: &str) -> Listener {
        let text = format!(
            "listeners: [{{address: '127.0.0.1:0', {said}}}]\nupstreams: {{a: {{servers: ['127.0.0.1:1']}}}}\n\
             passthrough: a\n"
        );
        let config = crate::config::load_str(&text, "test.yaml", std::path::Path::new(".")).unwrap();
        config.listeners[0].clone()
    }

    fn seen(listener: &Listener, peer: &str, lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line).unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 1234);
        client_address(Some(peer), &headers, listener).unwrap().to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let listener = listener("trusted_proxies: [10.0.0.0/8]");
        let lines: [&[u8]; 2] = [b"6.6.6.6, 1.2.3.4", b"10.0.0.9"];
        assert_eq!(seen(&listener, "10.1.1.1", &lines), "1.2.3.4");
        assert_eq!(seen(&listener, "::ffff:10.1.1.1", &lines), "1.2.3.4");
        assert_eq!(seen(&listener, "9.9.9.9", &lines), "9.9.9.9");
    }

    #[test]
    fn the_right_most_entry_that_is_no_proxy_counts_or_none() {
        let listener = listener("trusted_proxies: [10.0.0.0/8, '2001:db8::/32'], client_address: forwarded");
        for (lines, wanted) in [
            (&[&b"1.2.3.4"[..]][..], "1.2.3.4"),
            (&[b"1.2.3.4:5678"], "1.2.3.4"),
            (&[b"[2001:db9::1]:5678"], "2001:db9::1"),
            (&[b"[2001:db9::1]"], "2001:db9::1"),
            (&[b"\"1.2.3.4\""], "1.2.3.4"),
            (&[b"::ffff:1.2.3.4"], "1.2.3.4"),
            (&[b"6.6.6.6 ,\t1.2.3.4\t, 2001:db8::7"], "1.2.3.4"),
            (&[b"10.0.0.8, 10.0.0.9"], "10.1.1.1"),
            (&[], "10.1.1.1"),
            (&[b""], "10.1.1.1"),
            // What cannot be read was not written by a proxy that is trusted: nothing left of it counts.
            (&[b"1.2.3.4, unknown"], "10.1.1.1"),
            (&[b"1.2.3.4, _hidden"], "10.1.1.1"),
            (&[b"1.2.3.4,"], "10.1.1.1"),
            (&[b"1.2.3.4 5.6.7.8"], "10.1.1.1"),
            (&[b"1.2.3"], "10.1.1.1"),
            (&[b"01.2.3.4"], "10.1.1.1"),
            (&[b"1.2.3.4%eth0"], "10.1.1.1"),
            (&[b"6.6.6.6, \xff, 1.2.3.4"], "1.2.3.4"),
            (&[b"6.6.6.6", b"\xff, 1.2.3.4"], "1.2.3.4"),
            (&[b"6.6.6.6", b"\xff"], "10.1.1.1"),
        ] {
            assert_eq!(seen(&listener, "10.1.1.1", lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_listener_may_take_the_connection_s_word_alone() {
        let peer = listener("trusted_proxies: [10.0.0.0/8], client_address: peer");
        assert_eq!(seen(&peer, "10.1.1.1", &[b"1.2.3.4"]), "10.1.1.1");
        let header = listener("trusted_proxies: [10.0.0.0/8], proxy_protocol: true");
        assert_eq!(header.client_address, ClientAddress::ProxyProtocol);
        assert_eq!(seen(&header, "10.1.1.1", &[b"1.2.3.4"]), "10.1.1.1");
    }
}
