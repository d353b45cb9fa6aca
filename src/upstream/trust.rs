//! Which certificate authorities an upstream's servers are checked against: a file's, or the system's; and the
//! certificate that they are shown when they ask for one. Must not know: connections, servers.

use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::new_error::NewError;
use crate::config;
use crate::config::upstream_tls::{BadFile, Identity, read_file};

/// The DER certificates of the upstream's own CA bundle; `None` if it has no such bundle.
/// Every one of them parses as X.509.
///
/// # Errors
/// [`NewError::CaFile`] if the file cannot be read, [`NewError::CaContent`] if it holds anything but certificates.
pub(super) fn own_authorities(upstream: &config::Upstream) -> Result<Option<Vec<Vec<u8>>>, NewError> {
    let Some(path) = upstream.tls.as_ref().and_then(|tls| tls.ca.as_ref()) else {
        return Ok(None);
    };
    let name = || upstream.name.clone();
    let bundle = read_file(path).map_err(|source| NewError::CaFile {
        upstream: name(),
        path: path.clone(),
        source,
    })?;
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

/// The certificate and key that servers are shown when they ask; `None` if there is none for them.
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
    let (chain, key) = files.read().map_err(|bad| match bad {
        BadFile::Cert(found) => wrong(&files.cert, found),
        BadFile::Key(found) => wrong(files.key.as_ref().unwrap_or(&files.cert), found),
    })?;
    for certificate in &chain {
        X509Certificate::from_der(certificate).map_err(|error| wrong(&files.cert, error.to_string()))?;
    }
    if upstream.tls.as_ref().is_some_and(config::UpstreamTls::uses_openssl) {
        // It tries them itself, and takes more.
        return Ok(Some((chain, key)));
    }
    let tried = PrivateKeyDer::try_from(key.clone()).map_err(|error| wrong(&files.cert, error.to_owned()))?;
    let ders = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    // Half of a new pair does not fit.
    CertifiedKey::from_der(ders, tried, &rustls::crypto::ring::default_provider())
        .map_err(|error| wrong(&files.cert, error.to_string()))?;
    Ok(Some((chain, key)))
}
