//! Which certificate authorities an upstream's servers are checked against: a file's, or the system's; and
//! what they are shown when they ask who pollcast is.
//! Must not know: connections, servers.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::failure::NewError;
use crate::config;

/// Longest file, bytes: the system's whole bundle of authorities has a quarter of it.
const LONGEST: u64 = 1 << 20;

/// The DER certificates of the upstream's own CA bundle; none: it has no such bundle.
/// Every one of them parses as X.509.
///
/// # Errors
/// [`NewError::CaFile`] if the file cannot be read, [`NewError::CaContent`] if it holds anything but certificates.
pub(super) fn own_authorities(upstream: &config::Upstream) -> Result<Option<Vec<Vec<u8>>>, NewError> {
    let Some(path) = upstream.tls.as_ref().and_then(|tls| tls.ca.as_ref()) else {
        return Ok(None);
    };
    let name = || upstream.name.clone();
    let bundle =
        bytes(path).map_err(|source| NewError::CaFile { upstream: name(), path: path.clone(), source })?;
    let wrong = |found: String| NewError::CaContent { upstream: name(), path: path.clone(), found };
    let mut authorities = Vec::new();
    for (index, block) in Pem::iter_from_buffer(&bundle).enumerate() {
        let block = block.map_err(|error| wrong(format!("block {}: {error}", index + 1)))?;
        if block.label != "CERTIFICATE" {
            return Err(wrong(format!("block {} is a {:?}", index + 1, block.label)));
        }
        X509Certificate::from_der(&block.contents)
            .map_err(|error| wrong(format!("block {}: {error}", index + 1)))?;
        authorities.push(block.contents);
    }
    if authorities.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(Some(authorities))
}

/// What is in a file, if that is one: opening a pipe would wait for its other end.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(io::Error::other("is longer than 1MiB")),
        false => Ok(bytes),
    }
}

/// A certificate with its chain, and its key, DER.
pub(super) type Identity = (Vec<Vec<u8>>, Vec<u8>);

/// The certificate and key that servers are shown when they ask; none: there is none for them.
/// Each of its certificates parses as X.509, and the key as one of the forms that connections take.
///
/// # Errors
/// [`NewError::Identity`] if a file cannot be read, or is not what it should be.
pub(super) fn own_identity(upstream: &config::Upstream) -> Result<Option<Identity>, NewError> {
    let Some(files) = upstream.tls.as_ref().and_then(|tls| tls.identity.as_ref()) else {
        return Ok(None);
    };
    let wrong = |path: &Path, found: String| NewError::Identity {
        upstream: upstream.name.clone(),
        path: path.to_owned(),
        found,
    };
    let read = |path: &Path| bytes(path).map_err(|error| wrong(path, error.to_string()));
    let chain = CertificateDer::pem_slice_iter(&read(&files.cert)?)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&files.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(&files.cert, "no certificate in it".to_owned()));
    }
    for certificate in &chain {
        X509Certificate::from_der(certificate).map_err(|error| wrong(&files.cert, error.to_string()))?;
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|error| wrong(&files.key, error.to_string()))?;
    // Connections take the bare key, and tell its form from its bytes.
    let key = key.secret_der().to_vec();
    let tried = PrivateKeyDer::try_from(key.clone()).map_err(|error| wrong(&files.key, error.to_owned()))?;
    let ders = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    // Half of a new pair does not fit.
    CertifiedKey::from_der(ders, tried, &rustls::crypto::ring::default_provider())
        .map_err(|error| wrong(&files.cert, error.to_string()))?;
    Ok(Some((chain, key)))
}
