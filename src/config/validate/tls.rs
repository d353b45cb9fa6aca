//! Certificates, keys and authorities: the files are read and tried here.
//!
//! They are read again when the process starts; nothing that would stop it then gets past this.
//! Must not know: which section names the files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::problem::{Findings, Place};
use super::super::raw::{List, Text};
use super::super::upstream_tls::read_file;
use super::super::{CertificateFiles, Crl};
use super::value::Said;

type Section = (SectionKind, Vec<u8>);

/// The two files of a certificate, as absolute paths, if they fit together.
pub fn certificate_and_key(
    (cert_place, cert): Said<'_, Text>,
    (key_place, key): Said<'_, Text>,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<CertificateFiles> {
    let cert = cert.and_then(|cert| sections(&cert_place, &cert.0, base_dir, findings));
    let key = key.and_then(|key| sections(&key_place, &key.0, base_dir, findings));
    let cert = cert.and_then(|(path, sections)| {
        let chain = certificates(sections);
        if chain.is_empty() {
            findings.problem(&cert_place, "the file has no certificate (\"BEGIN CERTIFICATE\")");
        }
        (!chain.is_empty()).then_some((path, chain))
    });
    let key = key.and_then(|(path, sections)| {
        let key = sections.into_iter().find_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
        if key.is_none() {
            findings.problem(&key_place, "the file has no private key (\"BEGIN PRIVATE KEY\")");
        }
        key.map(|key| (path, key))
    });
    let ((cert, chain), (key, key_der)) = (cert?, key?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tried = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der));
    match tried {
        Ok(_) => Some(CertificateFiles { cert, key }),
        Err(error) => {
            findings.problem(&cert_place, format!("certificate and key cannot be used together: {error}"));
            None
        }
    }
}

/// The file of authorities of an upstream, as an absolute path, if all of them can be used.
pub fn authorities(said: Said<'_, Text>, base_dir: &Path, findings: &mut Findings) -> Option<PathBuf> {
    file_of_authorities(said, base_dir, findings, |certificate| {
        #[cfg(feature = "openssl")]
        return openssl::x509::X509::from_der(&certificate).map(drop).map_err(|error| error.to_string());
        #[cfg(not(feature = "openssl"))]
        return as_root(certificate);
    })
}

/// The file of authorities of clients; the same.
pub fn client_authorities(said: Said<'_, Text>, base_dir: &Path, findings: &mut Findings) -> Option<PathBuf> {
    file_of_authorities(said, base_dir, findings, as_root)
}

/// The files of revocation lists of clients' authorities, as absolute paths, if all of them can be used. `has_ca`:
/// `client_ca` is said; beside it stands its file if it can be used.
pub fn revocation_lists(
    (place, said): Said<'_, List<Text>>,
    (has_ca, ca): (bool, Option<&Path>),
    base_dir: &Path,
    findings: &mut Findings,
) -> Vec<PathBuf> {
    if said.is_some() && !has_ca {
        findings.problem(&place, "has no effect without client_ca");
    }
    let mut files = Vec::new();
    let read = |findings: &mut Findings, place: &Place, said: &str| {
        let lists = Crl::all_of(&file(place, said, base_dir, findings)?);
        let lists = match lists.and_then(|lists| fit_for_clients(&lists, ca).map(|()| lists)) {
            Ok(lists) => lists,
            Err(message) => {
                findings.bad(place, said, &message);
                return None;
            }
        };
        for list in lists.iter().filter(|list| list.is_out_of_date(SystemTime::now())) {
            let message = format!(
                "the list of {} is out of date: certificates of that authority are refused until there is a new one",
                list.issuer
            );
            findings.warning(place, message);
        }
        Some(base_dir.join(said))
    };
    findings.list((place, said), read, &mut files);
    files
}

/// Whether clients' certificates can be looked up in these lists.
fn fit_for_clients(lists: &[Crl], ca: Option<&Path>) -> Result<(), String> {
    let Some(Ok(pem)) = ca.map(read_file) else { return Ok(()) };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(lists.iter().map(|list| list.der.clone()))
        .build();
    verifier.map(drop).map_err(|error| format!("has a revocation list that cannot be used: {error}"))
}

fn as_root(certificate: CertificateDer<'static>) -> Result<(), String> {
    rustls::RootCertStore::empty().add(certificate).map_err(|error| error.to_string())
}

/// Whether a certificate and a key can be shown to servers.
///
/// # Errors
/// Says why not.
pub fn fit_together(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<(), String> {
    #[cfg(feature = "openssl")]
    {
        let said = |error: openssl::error::ErrorStack| error.to_string();
        let key = openssl::pkey::PKey::private_key_from_der(&key).map_err(said)?;
        let leaf = openssl::x509::X509::from_der(&chain[0]).map_err(said)?;
        // Short keys, too: OpenSSL may show them.
        if leaf.public_key().map_err(said)?.public_eq(&key) {
            Ok(())
        } else {
            Err("they do not fit".to_owned())
        }
    }
    #[cfg(not(feature = "openssl"))]
    {
        let key = PrivateKeyDer::try_from(key).map_err(str::to_owned)?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let provider = rustls::crypto::ring::default_provider();
        let tried = rustls::sign::CertifiedKey::from_der(chain, key, &provider);
        tried.map(drop).map_err(|error| error.to_string())
    }
}

fn file_of_authorities(
    (place, said): Said<'_, Text>,
    base_dir: &Path,
    findings: &mut Findings,
    tried: impl Fn(CertificateDer<'static>) -> Result<(), String>,
) -> Option<PathBuf> {
    let (path, sections) = sections(&place, &said?.0, base_dir, findings)?;
    let count = sections.len();
    let certificates = certificates(sections);
    if certificates.is_empty() {
        findings.problem(&place, "the file has no certificate (\"BEGIN CERTIFICATE\")");
        return None;
    }
    if certificates.len() < count {
        findings.problem(
            &place,
            "the file has other things than certificates; a file of authorities has nothing else",
        );
        return None;
    }
    for (index, certificate) in certificates.into_iter().enumerate() {
        if let Err(error) = tried(certificate) {
            findings
                .problem(&place, format!("certificate {} of the file cannot be used: {error}", index + 1));
            return None;
        }
    }
    Some(path)
}

fn certificates(sections: Vec<Section>) -> Vec<CertificateDer<'static>> {
    sections.into_iter().filter_map(|(kind, der)| CertificateDer::from_pem(kind, der)).collect()
}

/// Everything between BEGIN and END lines of a file, and its absolute path.
fn sections(
    place: &Place,
    said: &str,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<(PathBuf, Vec<Section>)> {
    let bytes = file(place, said, base_dir, findings)?;
    match Section::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(sections) => Some((base_dir.join(said), sections)),
        Err(_) => {
            findings.bad(place, said, "is not a whole PEM file");
            None
        }
    }
}

/// Reads a file of keys or certificates.
pub fn file(place: &Place, said: &str, base_dir: &Path, findings: &mut Findings) -> Option<Vec<u8>> {
    let path = base_dir.join(said);
    match read_file(&path) {
        Ok(bytes) => Some(bytes),
        // Ours, about the file as such.
        Err(error) if error.raw_os_error().is_none() => {
            findings.bad(place, said, &error.to_string());
            None
        }
        Err(error) => {
            let shown = findings.quote(place, &path.display().to_string());
            findings.problem(place, format!("{shown} cannot be read: {error}"));
            None
        }
    }
}
