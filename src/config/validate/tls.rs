//! Certificates, keys and authorities: the files are read and tried here.
//!
//! They are read again when the process starts; nothing that would stop it then gets past this.
//! Must not know: which section names the files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::CertificateFiles;
use super::super::problem::{Findings, Place};
use super::super::raw::Text;
use super::Said;

/// Longest PEM file, bytes: the system's whole bundle has a quarter of it.
const LONGEST: u64 = 1 << 20;

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

/// The file of authorities, as an absolute path, if all of them can be used.
pub fn authorities(
    (place, said): Said<'_, Text>,
    base_dir: &Path,
    findings: &mut Findings,
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
    let mut roots = rustls::RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        if let Err(error) = roots.add(certificate) {
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

/// What is in a file of keys or certificates.
pub fn file(place: &Place, said: &str, base_dir: &Path, findings: &mut Findings) -> Option<Vec<u8>> {
    let path = base_dir.join(said);
    let mut bytes = Vec::new();
    // `is_file` first: opening a pipe would wait for its other end.
    let read = match path.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            findings.bad(place, said, "is not a file");
            return None;
        }
        Ok(_) => File::open(&path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)),
        Err(error) => Err(error),
    };
    if let Err(error) = read {
        let shown = findings.quote(place, &path.display().to_string());
        findings.problem(place, format!("{shown} cannot be read: {error}"));
        return None;
    }
    if bytes.len() as u64 > LONGEST {
        findings.bad(place, said, "is longer than 1MiB");
        return None;
    }
    Some(bytes)
}
