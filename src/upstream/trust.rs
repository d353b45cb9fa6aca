//! Which certificate authorities an upstream's servers are checked against: a file's, or the system's; and
//! what they are shown when they ask who pollcast is.
//! Must not know: connections, servers.

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::failure::NewError;
use crate::config;

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
        fs::read(path).map_err(|source| NewError::CaFile { upstream: name(), path: path.clone(), source })?;
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
    let read = |path: &Path| fs::read(path).map_err(|error| wrong(path, error.to_string()));
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
    PrivateKeyDer::try_from(key.as_slice()).map_err(|error| wrong(&files.key, error.to_owned()))?;
    Ok(Some((chain, key)))
}
