//! Why a server is not trusted or not understood, in words that an administrator knows, with the line of the
//! configuration that would change it.
//!
//! Must not know: connections, what becomes of the request.
#![cfg_attr(not(feature = "openssl"), allow(dead_code, reason = "OpenSSL alone refuses with a reason"))]

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

#[cfg(feature = "openssl")]
use super::rejected_certificate::VERDICT_OF_PINS;
use crate::config::Pin;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Most names of a certificate that are listed; one of a content network has hundreds.
const NAMES_TOLD_MAX: usize = 8;

/// Why there is no connection.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    words: String,
    /// Whether a diagnosis of the server would not say more.
    is_certain: bool,
    /// The settings that would change it.
    workarounds: Vec<Workaround>,
}

/// A key of `tls` that would make a refused server usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workaround {
    /// `tls` itself.
    Tls,
    /// No `tls`.
    NoTls,
    /// `tls.legacy`.
    Legacy,
    /// `tls.pin` with this value.
    Pin(Pin),
    /// `tls.sni` with this name.
    Sni(String),
}

impl Refusal {
    fn certain(words: impl Into<String>) -> Refusal {
        Refusal { words: words.into(), is_certain: true, workarounds: Vec::new() }
    }

    fn uncertain(words: impl Into<String>) -> Refusal {
        Refusal { is_certain: false, ..Refusal::certain(words) }
    }

    fn with(self, workaround: Workaround) -> Refusal {
        Refusal { workarounds: vec![workaround], ..self }
    }

    pub(super) fn workarounds(&self) -> &[Workaround] {
        &self.workarounds
    }

    pub(super) fn is_certain(&self) -> bool {
        self.is_certain
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Refusal {}

/// Returns the pins of a certificate: that of its key, and its own.
#[cfg(feature = "openssl")]
pub(super) fn pins_of(der: &[u8]) -> Option<[Pin; 2]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let key = openssl::sha::sha256(certificate.public_key().raw);
    Some([Pin::Key(key), Pin::Certificate(openssl::sha::sha256(der))])
}

/// None of `tls.pin` is the server's.
#[cfg(feature = "openssl")]
pub(super) fn not_pinned(der: Option<&[u8]>) -> Refusal {
    match der.and_then(pins_of) {
        // There is no workaround: the pins are there to keep such a server out.
        Some([key, _]) => Refusal::certain(format!("the certificate's key is none of tls.pin: it is {key}")),
        None => Refusal::certain("the certificate is none of tls.pin"),
    }
}

/// The content of a certificate, as far as it can be read.
struct Described {
    names: Vec<String>,
    issuer: String,
    is_self_signed: bool,
    not_before: String,
    not_after: String,
}

impl Described {
    fn of(der: &[u8]) -> Option<Described> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let common = |name: &x509_parser::x509::X509Name<'_>| {
            name.iter_common_name().filter_map(|name| name.as_str().ok().map(str::to_owned)).collect()
        };
        let mut names: Vec<String> = Vec::new();
        if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
            names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => address(bytes),
                _ => None,
            }));
        }
        if names.is_empty() {
            names = common(certificate.subject());
        }
        let issuers: Vec<String> = common(certificate.issuer());
        let issuer = issuers.into_iter().next().unwrap_or_else(|| certificate.issuer().to_string());
        let validity = certificate.validity();
        Some(Described {
            names,
            issuer,
            is_self_signed: certificate.subject() == certificate.issuer(),
            not_before: validity.not_before.to_string(),
            not_after: validity.not_after.to_string(),
        })
    }

    fn names(&self) -> String {
        let told: Vec<&str> = self.names.iter().take(NAMES_TOLD_MAX).map(String::as_str).collect();
        match self.names.len() - told.len() {
            _ if told.is_empty() => "no name".to_owned(),
            0 => told.join(", "),
            more => format!("{} and {more} more", told.join(", ")),
        }
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string())
}

/// The numbers of OpenSSL's verdicts on certificates (`X509_V_ERR_…`, `x509_vfy.h`).
#[cfg(feature = "openssl")]
mod verdict {
    /// `UNABLE_TO_GET_ISSUER_CERT`: an authority on the chain is not known.
    pub const NO_ISSUER: i32 = 2;
    /// `CERT_NOT_YET_VALID`.
    pub const NOT_YET_VALID: i32 = 9;
    /// `CERT_HAS_EXPIRED`.
    pub const EXPIRED: i32 = 10;
    /// `DEPTH_ZERO_SELF_SIGNED_CERT`: the server's own certificate signs itself.
    pub const SELF_SIGNED: i32 = 18;
    /// `SELF_SIGNED_CERT_IN_CHAIN`: the chain ends in an authority that is not trusted.
    pub const SELF_SIGNED_IN_CHAIN: i32 = 19;
    /// `UNABLE_TO_GET_ISSUER_CERT_LOCALLY`: the authority is not among the trusted ones.
    pub const NO_ISSUER_LOCALLY: i32 = 20;
    /// `UNABLE_TO_VERIFY_LEAF_SIGNATURE`: the server sent no chain, and no trusted authority signed its certificate.
    pub const NO_ISSUER_AT_ALL: i32 = 21;
    /// `INVALID_PURPOSE`: the certificate is not for servers.
    pub const WRONG_PURPOSE: i32 = 26;
    /// `HOSTNAME_MISMATCH`.
    pub const HOSTNAME_MISMATCH: i32 = 62;
    /// `IP_ADDRESS_MISMATCH`.
    pub const IP_ADDRESS_MISMATCH: i32 = 64;
    /// `EE_KEY_TOO_SMALL`: the server's key is shorter than the security level allows.
    pub const KEY_TOO_SMALL: i32 = 66;
    /// `CA_KEY_TOO_SMALL`: an authority's key is.
    pub const AUTHORITYS_KEY_TOO_SMALL: i32 = 67;
    /// `CA_MD_TOO_WEAK`: an authority signed with a digest that the security level forbids.
    pub const DIGEST_TOO_WEAK: i32 = 68;
}
#[cfg(feature = "openssl")]
pub(super) use verdict::IP_ADDRESS_MISMATCH;

/// OpenSSL could not even begin.
#[cfg(feature = "openssl")]
pub(super) fn unusable(error: openssl::error::ErrorStack) -> Refusal {
    Refusal::uncertain(format!("OpenSSL: {error}"))
}

#[cfg(feature = "openssl")]
pub(super) fn no_http2() -> Refusal {
    Refusal::certain("the server does not speak HTTP/2")
}

/// A certificate was not believed for a server that has to be `name`.
#[cfg(feature = "openssl")]
pub(super) fn of_certificate(seen: &super::rejected_certificate::Seen, name: &str) -> Refusal {
    use verdict::{
        AUTHORITYS_KEY_TOO_SMALL, DIGEST_TOO_WEAK, EXPIRED, HOSTNAME_MISMATCH, KEY_TOO_SMALL, NO_ISSUER,
        NO_ISSUER_AT_ALL, NO_ISSUER_LOCALLY, NOT_YET_VALID, SELF_SIGNED, SELF_SIGNED_IN_CHAIN, WRONG_PURPOSE,
    };
    if seen.result == VERDICT_OF_PINS {
        return not_pinned(Some(&seen.leaf));
    }
    let or_pin = pins_of(&seen.leaf).map(|[key, _]| format!(" or pin it: pin: [{key}]")).unwrap_or_default();
    let Some(leaf) = Described::of(&seen.leaf) else {
        return Refusal::certain(format!("the certificate cannot be read: {}", seen.result));
    };
    let whose = if seen.leaf == seen.at_fault { "the certificate" } else { "a certificate of its chain" };
    let at_fault = Described::of(&seen.at_fault);
    let told = |of: fn(&Described) -> &String| at_fault.as_ref().map_or("", |it| of(it).as_str());
    let refusal = Refusal::certain(match seen.result.as_raw() {
        SELF_SIGNED => format!("the certificate is self-signed and not in tls.ca: add it there{or_pin}"),
        NO_ISSUER | NO_ISSUER_LOCALLY | NO_ISSUER_AT_ALL if leaf.is_self_signed => {
            format!("the certificate is self-signed and not in tls.ca: add it there{or_pin}")
        }
        SELF_SIGNED_IN_CHAIN | NO_ISSUER | NO_ISSUER_LOCALLY | NO_ISSUER_AT_ALL => {
            format!("the certificate's issuer {:?} is not in tls.ca: add it there{or_pin}", leaf.issuer)
        }
        HOSTNAME_MISMATCH | IP_ADDRESS_MISMATCH => {
            format!("the certificate is for {}, not {name}: set tls.sni", leaf.names())
        }
        EXPIRED => format!("{whose} expired on {}", told(|it| &it.not_after)),
        NOT_YET_VALID => format!("{whose} is not valid before {}", told(|it| &it.not_before)),
        KEY_TOO_SMALL => "the certificate's key is too short to be safe: legacy: true".to_owned(),
        AUTHORITYS_KEY_TOO_SMALL => {
            "the key of its authority is too short to be safe: legacy: true".to_owned()
        }
        DIGEST_TOO_WEAK => {
            "a certificate is signed in a way that is not safe (SHA-1 or MD5): legacy: true".to_owned()
        }
        WRONG_PURPOSE => "the certificate is not for servers".to_owned(),
        _ => format!("{whose} is not believed: {}", seen.result),
    });
    match (seen.result.as_raw(), pins_of(&seen.leaf), leaf.names.first()) {
        (HOSTNAME_MISMATCH | IP_ADDRESS_MISMATCH, _, Some(name)) if is_dns_name(name) => {
            refusal.with(Workaround::Sni(name.clone()))
        }
        (
            SELF_SIGNED | SELF_SIGNED_IN_CHAIN | NO_ISSUER | NO_ISSUER_LOCALLY | NO_ISSUER_AT_ALL
            | HOSTNAME_MISMATCH | IP_ADDRESS_MISMATCH,
            Some([key, _]),
            _,
        ) => refusal.with(Workaround::Pin(key)),
        (KEY_TOO_SMALL | AUTHORITYS_KEY_TOO_SMALL | DIGEST_TOO_WEAK, ..) => refusal.with(Workaround::Legacy),
        _ => refusal,
    }
}

/// Whether a certificate's name is one that `sni` can be.
#[cfg(feature = "openssl")]
fn is_dns_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    name.parse::<std::net::IpAddr>().is_err() && name.bytes().all(is_letter) && !name.is_empty()
}

/// The upstream has no `tls`, and its server speaks it.
#[cfg(feature = "openssl")]
pub(super) fn speaks_tls() -> Refusal {
    Refusal::certain("this port speaks TLS: add tls: {}").with(Workaround::Tls)
}

/// Returns the refusal of a server that speaks only what `tls.legacy` allows.
#[cfg(feature = "openssl")]
pub(super) fn of_protocol(version: &str, cipher: &str) -> Option<Refusal> {
    match version {
        "TLSv1.3" => None,
        // In OpenSSL's names RSA's key exchange has no ECDHE, and CBC has no mode.
        "TLSv1.2"
            if cipher.starts_with("ECDHE-") && (cipher.contains("GCM") || cipher.contains("CHACHA20")) =>
        {
            None
        }
        "TLSv1.2" => {
            let words = format!("no common cipher: the server wants {cipher}, which is weak: legacy: true");
            Some(Refusal::certain(words).with(Workaround::Legacy))
        }
        older => {
            let number = older.trim_start_matches("TLSv");
            let number = if number == "1" { "1.0" } else { number };
            let words = format!("no common protocol: the server speaks TLS {number} at most: legacy: true");
            Some(Refusal::certain(words).with(Workaround::Legacy))
        }
    }
}

/// Joins two refusals, where there are both.
#[cfg(feature = "openssl")]
pub(super) fn together(one: Option<Refusal>, other: Option<Refusal>) -> Option<Refusal> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Refusal {
            workarounds: [one.workarounds(), other.workarounds()].concat(),
            ..Refusal::certain(format!("{one}; and {other}"))
        }),
        (one, other) => one.or(other),
    }
}

/// Returns why there was no handshake, for another reason than a certificate.
#[cfg(feature = "openssl")]
pub(super) fn of_handshake(error: &openssl::ssl::Error) -> Refusal {
    // The library's last error is the cause (`SSL_R_…`, `sslerr.h`).
    const HTTP_REQUEST: i32 = 156;
    const TOO_LONG: i32 = 198;
    const WRONG_VERSION: i32 = 267;
    const UNEXPECTED_END: i32 = 294;
    const ENDED: &str = "the server ended the connection in the handshake";
    if let Some(refusal) = of_our_certificate(error) {
        return refusal;
    }
    let last = error.ssl_error().and_then(|stack| stack.errors().last());
    if let Some(HTTP_REQUEST | TOO_LONG | WRONG_VERSION) = last.map(openssl::error::Error::reason_code) {
        return Refusal::certain("this port does not speak TLS").with(Workaround::NoTls);
    }
    Refusal::uncertain(match (last, error.io_error()) {
        (Some(last), _) if last.reason_code() == UNEXPECTED_END => ENDED.to_owned(),
        (Some(last), _) => last.reason().unwrap_or("the handshake failed").to_owned(),
        (None, Some(error)) => error.to_string(),
        (None, None) => ENDED.to_owned(),
    })
}

/// Returns that the server refuses pollcast's certificate; `None` if the connection broke in another way.
#[cfg(feature = "openssl")]
pub(super) fn of_our_certificate(error: &openssl::ssl::Error) -> Option<Refusal> {
    // Alerts (RFC 8446 §6.2), as OpenSSL counts them.
    const ALERT: i32 = 1000;
    const NO_CERTIFICATE: i32 = ALERT + 41;
    const ACCESS_DENIED: i32 = ALERT + 49;
    const DECRYPT_ERROR: i32 = ALERT + 51;
    const CERTIFICATE_REQUIRED: i32 = ALERT + 116;
    let last = error.ssl_error().and_then(|stack| stack.errors().last())?;
    match last.reason_code() {
        NO_CERTIFICATE | CERTIFICATE_REQUIRED => {
            Some(Refusal::certain("the server wants a certificate of pollcast's: set tls.cert and tls.key"))
        }
        NO_CERTIFICATE..=ACCESS_DENIED | DECRYPT_ERROR => {
            let said = last.reason().unwrap_or("an alert");
            Some(Refusal::certain(format!(
                "the server refuses pollcast's certificate ({said}): see tls.cert"
            )))
        }
        _ => None,
    }
}
