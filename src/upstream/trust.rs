//! Which certificate authorities an upstream's servers are checked against: a file's, or the system's.
//! Must not know: connections, servers.

use std::fs;

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
