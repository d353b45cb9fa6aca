//! The peers whose word about a client is believed (`trusted_proxies` of a listener, contract §12).
//!
//! Must not know: what is said.

use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}
