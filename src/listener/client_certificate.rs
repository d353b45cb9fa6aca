//! The identity of a client by its certificate: its subject and the authority that vouches for it, read when the
//! handshake has verified it and kept with the connection, wherever that goes.
//!
//! Must not know: which certificates are accepted, what a subject may do.

use std::any::Any;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::protocols::tls::TlsRef;
use pingora::proxy::Session;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::identity::CertificateName;

/// Names of attributes that RFC 4514 knows; others are told as numbers.
const SHORT: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// Returns whom the certificate names that the client of this connection has shown and that was verified. The subject
/// is the distinguished name as RFC 4514 writes it (`CN=robot,O=Shop`), or if that is empty the first alternative name,
/// as `DNS:robot.example`, `URI:spiffe://shop/robot`, `EMAIL:robot@shop.example` or `IP:10.0.0.1`.
/// Returns `None` without a certificate, and for one without a name.
pub(crate) fn name(session: &Session) -> Option<Arc<CertificateName>> {
    let digest = session.downstream_session.digest()?;
    digest.ssl_digest.as_ref()?.extension.get::<Arc<CertificateName>>().cloned()
}

/// An authority of `client_ca`: its name, and what verifies that a certificate leads to it alone.
pub(super) struct Anchor {
    pub(super) name: String,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

impl Anchor {
    /// Returns whether a chain, the client's certificate first, leads to this authority.
    fn vouches_for(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((client, intermediates)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(client, intermediates, UnixTime::now()).is_ok()
    }
}

/// Keeps whom verified certificates name. The issuer is the authority of `client_ca` that a certificate leads to: the
/// name of what signed it is chosen by the owner of an intermediate authority of any of them.
pub(super) struct Keep(pub(super) Vec<Anchor>);

impl Keep {
    fn name_of(&self, chain: &[CertificateDer<'_>]) -> Option<CertificateName> {
        let subject = subject_of(chain.first()?)?;
        let issuer = match &self.0[..] {
            // The handshake has verified it.
            [only] => only,
            several => several.iter().find(|anchor| anchor.vouches_for(chain))?,
        };
        Some(CertificateName { subject, issuer: issuer.name.clone() })
    }
}

#[async_trait]
impl TlsAccept for Keep {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Arc::new(self.name_of(tls.peer_cert_chain_der()?)?)))
    }
}

/// Returns the name of an authority as RFC 4514 writes it; of one without a name the digest of its certificate.
pub(super) fn authority_name(certificate: &[u8]) -> String {
    let parsed = X509Certificate::from_der(certificate).ok();
    let name = parsed.map(|(_, certificate)| distinguished(certificate.subject()));
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("blake3:{}", blake3::hash(certificate).to_hex()))
}

fn subject_of(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = distinguished(certificate.subject());
    if !name.is_empty() {
        return Some(name);
    }
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(alternative)
}

/// Alternative names with control characters are no names: a program may write them into a log.
fn alternative(name: &GeneralName<'_>) -> Option<String> {
    let plain = |kind: &str, name: &str| {
        (!name.is_empty() && !name.chars().any(char::is_control)).then(|| format!("{kind}:{name}"))
    };
    match name {
        GeneralName::DNSName(name) => plain("DNS", name),
        GeneralName::URI(name) => plain("URI", name),
        GeneralName::RFC822Name(name) => plain("EMAIL", name),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            let sixteen = || <[u8; 16]>::try_from(*bytes).map(|bytes| Ipv6Addr::from(bytes).to_string());
            four.or_else(|_| sixteen()).ok().map(|address| format!("IP:{address}"))
        }
        _ => None,
    }
}

/// A name as RFC 4514 writes it: the last part first.
fn distinguished(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            attribute_into(&mut text, attribute);
        }
    }
    text
}

fn attribute_into(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let number = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(known, _)| *known == number).map(|(_, short)| *short);
    match (short, attribute.as_str()) {
        (Some(short), Ok(value)) => {
            text.push_str(short);
            text.push('=');
            escaped_into(text, value);
        }
        // Its encoding, which no other value has.
        _ => {
            text.push_str(short.unwrap_or(&number));
            let value = attribute.attr_value();
            let _ = write!(text, "=#{:02x}", value.tag().0);
            attribute.as_slice().iter().for_each(|byte| {
                let _ = write!(text, "{byte:02x}");
            });
        }
    }
}

/// RFC 4514 §2.4, and control characters as numbers.
fn escaped_into(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, letter) in value.chars().enumerate() {
        match letter {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', letter]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            letter if letter.is_control() => {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn subject(parts: &[(DnType, &str)], names: Vec<SanType>) -> Option<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        subject_of(made.der())
    }

    #[test]
    fn a_subject_is_its_distinguished_name_last_part_first() {
        let parts = [
            (DnType::CountryName, "CH"),
            (DnType::OrganizationName, "Shop"),
            (DnType::CommonName, "robot 7"),
        ];
        assert_eq!(subject(&parts, vec![]).as_deref(), Some("CN=robot 7,O=Shop,C=CH"));
    }

    #[test]
    fn a_value_cannot_pose_as_another_part() {
        for (value, wanted) in [
            ("eve,O=Shop", "CN=eve\\,O=Shop"),
            ("eve+UID=1", "CN=eve\\+UID=1"),
            ("\"eve\\\"", "CN=\\\"eve\\\\\\\""),
            (" eve ", "CN=\\ eve\\ "),
            ("#eve", "CN=\\#eve"),
            ("e\nve\u{85}", "CN=e\\0Ave\\C2\\85"),
            ("\u{e8}ve", "CN=\u{e8}ve"),
        ] {
            assert_eq!(subject(&[(DnType::CommonName, value)], vec![]).as_deref(), Some(wanted));
        }
        let unknown = [(DnType::CustomDnType(vec![1, 2, 3, 4]), "ab")];
        assert_eq!(subject(&unknown, vec![]).as_deref(), Some("1.2.3.4=#0c6162"));
    }

    #[test]
    fn without_a_distinguished_name_it_is_the_first_other_one() {
        let uri = SanType::URI("spiffe://shop/robot".try_into().unwrap());
        let dns = SanType::DnsName("robot.example".try_into().unwrap());
        let ip = SanType::IpAddress("10.0.0.1".parse().unwrap());
        for (names, wanted) in [
            (vec![uri.clone(), dns.clone()], Some("URI:spiffe://shop/robot")),
            (vec![dns, uri], Some("DNS:robot.example")),
            (vec![ip], Some("IP:10.0.0.1")),
            (vec![], None),
        ] {
            assert_eq!(subject(&[], names).as_deref(), wanted);
        }
        assert_eq!(subject_of(b"no certificate"), None);
    }
}
