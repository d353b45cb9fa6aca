//! Certificate revocation lists (RFC 5280 §5) as files hold them: PEM, several of them in one file, or DER.
//!
//! Must not know: which certificates are looked up in them.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// One list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// The list as it was signed.
    pub der: CertificateRevocationListDer<'static>,
    /// The authority that it is of.
    pub issuer: String,
    /// When its authority will have made the next one. `None` if it does not say.
    pub next_update: Option<SystemTime>,
}

impl Crl {
    /// Reads all lists of a file.
    ///
    /// # Errors
    /// Says why the file has none, or one that is none.
    pub fn all_of(bytes: &[u8]) -> Result<Vec<Crl>, String> {
        // DER begins with a sequence, PEM with text.
        let lists = match bytes.first() {
            Some(0x30) => vec![CertificateRevocationListDer::from(bytes.to_vec())],
            _ => CertificateRevocationListDer::pem_slice_iter(bytes)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| format!("is not a whole PEM file: {error}"))?,
        };
        if lists.is_empty() {
            return Err("has no revocation list (\"BEGIN X509 CRL\")".to_owned());
        }
        lists.into_iter().map(Crl::read).collect()
    }

    fn read(der: CertificateRevocationListDer<'static>) -> Result<Crl, String> {
        let parsed = CertificateRevocationList::from_der(&der);
        let (rest, list) = parsed.map_err(|error| format!("has a revocation list that is none: {error}"))?;
        if !rest.is_empty() {
            return Err("has bytes behind a revocation list".to_owned());
        }
        let seconds = list.next_update().and_then(|at| u64::try_from(at.timestamp()).ok());
        let next_update = seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let issuer = list.issuer().to_string();
        Ok(Crl { der, issuer, next_update })
    }

    /// Whether the next list should be there by now: this one says nothing any more.
    pub fn is_out_of_date(&self, now: SystemTime) -> bool {
        self.next_update.is_some_and(|next| next < now)
    }
}
