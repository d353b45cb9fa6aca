//! `upstreams.<name>.tls`: the names that the servers have to prove, and the certificate that they are shown.
//!
//! Must not know: the servers.

use std::path::Path;

use rustls::pki_types::ServerName;

use super::super::problem::{Findings, Place};
use super::super::raw;
use super::super::upstream_tls::{BadFile, NEEDS_OPENSSL};
use super::super::{ClientCertificate, ListenerTls, Pin, Secret, UpstreamTls};
use super::tls;
use super::units::{DAY, SECOND};
use super::value::at;

/// Reads `tls` of an upstream, with the files that it names.
pub fn upstream_tls(
    place: &Place,
    raw: &raw::UpstreamTls,
    base_dir: &Path,
    findings: &mut Findings,
) -> UpstreamTls {
    let mut verify = true;
    findings.flag(at!(place, raw.verify), &mut verify);
    if !verify {
        findings.warning(&place.key("verify"), "anybody on the way can pose as this upstream");
    }
    let (sni_place, sni) = at!(place, raw.sni);
    let sni = sni.map(|said| said.0.clone());
    if let Some(said) =
        sni.as_ref().filter(|sni| !matches!(ServerName::try_from(sni.as_str()), Ok(ServerName::DnsName(_))))
    {
        findings.bad(&sni_place, said, "is not a DNS name");
    }
    let ca = tls::authorities(at!(place, raw.ca), base_dir, findings);
    let pin = pins(place, raw, verify, findings);
    let mut legacy = false;
    findings.flag(at!(place, raw.legacy), &mut legacy);
    if legacy {
        findings.warning(
            &place.key("legacy"),
            "TLS 1.0 and 1.1, RSA key exchange, CBC and short keys: who is on the way may read and change what is \
             said to this upstream; for servers that speak nothing better",
        );
        needs_openssl(&place.key("legacy"), findings);
    }
    let identity = client_certificate(place, raw, base_dir, findings);
    let mut reload = Some(ListenerTls::RELOAD_INTERVAL);
    findings.time_or_off(at!(place, raw.reload), SECOND..=DAY, &mut reload);
    UpstreamTls { sni, ca, verify, pin, legacy, identity, reload }
}

fn needs_openssl(place: &Place, findings: &mut Findings) {
    if !cfg!(feature = "openssl") {
        findings.problem(place, NEEDS_OPENSSL);
    }
}

/// The pins; they decide alone, so what else would decide is told.
fn pins(place: &Place, raw: &raw::UpstreamTls, verify: bool, findings: &mut Findings) -> Vec<Pin> {
    let (pin_place, said) = at!(place, raw.pin);
    let Some(list) = said else { return Vec::new() };
    if list.is_empty() {
        findings.problem(&pin_place, "is empty; at least one pin is needed");
    }
    let mut pins = Vec::new();
    let read = |findings: &mut Findings, place: &Place, said: &str| {
        let pin = Pin::parse(said);
        if pin.is_none() {
            findings.bad(
                place,
                said,
                "is not a pin; write sha256/ and the base64 of the SHA-256 digest of the public key, or cert:sha256/ \
                 and that of the certificate (`check --probe` shows them)",
            );
        }
        pin
    };
    findings.list((pin_place.clone(), said), read, &mut pins);
    needs_openssl(&pin_place, findings);
    if raw.ca.is_some() {
        findings.problem(
            &place.key("ca"),
            "goes with no pin: with one neither authority nor name nor date decide; remove one of them",
        );
    }
    if !verify {
        findings
            .problem(&place.key("verify"), "goes with no pin, which is what is verified; remove one of them");
    }
    pins
}

/// The files of pollcast's own certificate, as absolute paths, if they can be used.
fn client_certificate(
    place: &Place,
    raw: &raw::UpstreamTls,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<ClientCertificate> {
    let Some(cert) = &raw.cert else {
        for (key, said) in [("key", raw.key.is_some()), ("password", raw.password.is_some())] {
            if said {
                findings.problem(&place.key(key), "has no effect without cert");
            }
        }
        return None;
    };
    let absolute = |said: &raw::Text| base_dir.join(&said.0);
    // An empty one is what `${NAME:-}` gives when nothing is set.
    let password = raw.password.as_ref().map(|said| said.0.clone()).filter(|said| !said.is_empty());
    let certificate = ClientCertificate {
        cert: absolute(cert),
        key: raw.key.as_ref().map(absolute),
        password: password.map(Secret),
    };
    let (place, found) = match certificate.read() {
        Ok((chain, key)) => match tls::fit_together(chain, key) {
            Ok(()) => return Some(certificate),
            Err(error) => {
                (place.key("cert"), format!("certificate and key cannot be used together: {error}"))
            }
        },
        Err(BadFile::Cert(found)) => {
            (place.key("cert"), format!("{}: {found}", findings.quote(&place.key("cert"), &cert.0)))
        }
        Err(BadFile::Key(found)) => {
            let said = raw.key.as_ref().map_or("", |key| key.0.as_str());
            (place.key("key"), format!("{}: {found}", findings.quote(&place.key("key"), said)))
        }
    };
    findings.problem(&place, found);
    None
}
