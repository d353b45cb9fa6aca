//! Addresses of clients as text, for what is written with each request: header fields, lines of the access log.
//!
//! Must not know: whose address it is.

use std::io::Write;
use std::net::IpAddr;

/// The longest text of an address, in bytes: of IPv6 with an IPv4 address at its end.
pub const ADDRESS_TEXT_BYTES_MAX: usize = 45;

/// Appends an address as its `Display` writes it. That of IPv4 goes without the machinery of formatting.
pub fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        return write!(out, "{address}").expect("memory takes what is written");
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_displays() {
        let v4 = (0..=255_u8).map(|octet| IpAddr::from([octet, 0, 255 - octet, 9]));
        let v6 = ["::", "::1", "2001:db8::7", "::ffff:255.255.255.255", "1:2:3:4:5:6:7:8"];
        for address in v4.chain(v6.map(|text| text.parse().expect("an address"))) {
            let mut text = Vec::new();
            push_address(&mut text, address);
            assert_eq!(String::from_utf8(text).as_deref(), Ok(&*address.to_string()));
        }
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();
        assert_eq!(longest, ADDRESS_TEXT_BYTES_MAX);
    }
}
