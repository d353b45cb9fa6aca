//! The authority of a URL or an address: a host with or without a port.
//!
//! Must not know: whose it is.

use http::uri::Authority;

/// A host with or without a port, and nothing else.
pub fn authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let whole = !authority.as_str().contains('@') && !authority.host().is_empty();
    // `host:99999` and `host:` parse, their ports do not.
    let port_reads = authority.port_u16().is_some() || authority.host().len() == authority.as_str().len();
    (whole && port_reads).then_some(authority)
}
