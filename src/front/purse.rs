//! Who pays for the resources that a request asks for first, and how many that may be.
//!
//! Must not know: resources.

use std::net::{IpAddr, Ipv6Addr};

use super::Shared;
use crate::hub::{Payer, Purse};

/// Bits of an IPv6 address that its holder chooses: whoever has one has a whole /64.
const OWN_BITS: u32 = 64;

/// Whom a request is from, as far as its limits go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asker {
    pub(super) address: Option<IpAddr>,
    /// A number for its subject or class.
    pub(super) subject: Option<u64>,
}

/// Who is known pays for itself, wherever it comes from. None: nobody is charged.
pub(super) fn purse(shared: &Shared, asker: Asker) -> Option<Purse> {
    let limits = &shared.config.limits;
    if let Some((subject, most)) = asker.subject.zip(limits.resources_per_subject) {
        return Some(Purse { payer: Payer::Subject(subject), most });
    }
    let most = limits.resources_per_address?;
    Some(Purse { payer: Payer::Address(household(asker.address?)), most })
}

/// What counts as one address where limits are by address: all that one client can have for the asking.
pub(super) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> OWN_BITS << OWN_BITS).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| household(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
