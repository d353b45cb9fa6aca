//! The certificates of a listener: read from their files, chosen by the name that a client asks for; and
//! the authorities that may certify its clients.
//!
//! Must not know: connections, when the files are read.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientCertVerifierBuilder, ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::client_certificate::{self, Anchor};
use crate::config::{CertificateFiles, ClientCertificates, Crl, ListenerTls, TlsVersion};

/// Longest file, bytes: the system's whole bundle of authorities has a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl BadFile {
    pub(super) fn new(file: &Path, reason: impl fmt::Display) -> BadFile {
        BadFile { file: file.to_owned(), reason: reason.to_string() }
    }
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for BadFile {}

/// What the files of a listener hold, read at one time.
pub(super) struct Material {
    /// Chain and key of each certificate, PEM.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    authorities: Option<Vec<u8>>,
    /// The files of revocation lists.
    crls: Vec<Vec<u8>>,
}

impl Material {
    /// # Errors
    /// A file cannot be read, or is longer than 1 MiB.
    pub(super) fn read(tls: &ListenerTls) -> Result<Material, BadFile> {
        let pair = |files: &CertificateFiles| Ok((bytes(&files.cert)?, bytes(&files.key)?));
        let pairs = tls.certificates.iter().map(pair).collect::<Result<_, _>>()?;
        let authorities = tls.client_ca.as_deref().map(bytes).transpose()?;
        let crls = tls.client_crl.iter().map(|file| bytes(file)).collect::<Result<_, _>>()?;
        Ok(Material { pairs, authorities, crls })
    }

    /// Differs whenever a file does.
    pub(super) fn fingerprint(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let pairs = self.pairs.iter().flat_map(|(cert, key)| [cert, key]);
        for file in pairs.chain(&self.authorities).chain(&self.crls) {
            hasher.update(&(file.len() as u64).to_le_bytes());
            hasher.update(file);
        }
        hasher.finalize()
    }

    /// How handshakes are done with these.
    ///
    /// # Errors
    /// A file is not what it should be, or a key is not its certificate's.
    pub(super) fn server_config(&self, tls: &ListenerTls) -> Result<ServerConfig, BadFile> {
        let named = || tls.certificates.first().map_or(Path::new(""), |files| &files.cert);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: &[_] = match tls.min_version {
            TlsVersion::Tls12 => &[&TLS12, &TLS13],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| BadFile::new(named(), error))?;
        let builder = match self.authorities.as_ref().zip(tls.client_ca.as_ref()) {
            None => builder.with_no_client_auth(),
            Some((pem, file)) => {
                let verifier = self.verifier(roots(pem, file)?, tls)?;
                let verifier = match tls.client_certificates {
                    ClientCertificates::Required => verifier,
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| BadFile::new(file, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut certificates = Vec::with_capacity(self.pairs.len());
        for ((cert, key), files) in self.pairs.iter().zip(&tls.certificates) {
            certificates.push(certified(cert, key, files, &provider)?);
        }
        let certificates =
            Certificates::new(certificates).ok_or_else(|| BadFile::new(named(), "no certificate"))?;
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if self.authorities.is_some() {
            // A resumed session would bring its certificate unverified: expired by now, or of an authority
            // that is trusted no more.
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(config)
    }
}

impl Material {
    /// Returns the authorities of clients' certificates, each alone.
    ///
    /// # Errors
    /// The file is not what it should be.
    pub(super) fn anchors(&self, tls: &ListenerTls) -> Result<Vec<Anchor>, BadFile> {
        let Some((pem, file)) = self.authorities.as_ref().zip(tls.client_ca.as_ref()) else {
            return Ok(Vec::new());
        };
        let anchor = |certificate: CertificateDer<'static>| {
            let name = client_certificate::authority_name(&certificate);
            let mut roots = RootCertStore::empty();
            roots.add(certificate).map_err(|error| BadFile::new(file, error))?;
            let verifier = self.verifier(roots, tls)?.build();
            Ok(Anchor { name, verifier: verifier.map_err(|error| BadFile::new(file, error))? })
        };
        chain(pem, file)?.into_iter().map(anchor).collect()
    }
}

impl Material {
    /// What verifies that a certificate leads to these authorities, and that none on the way has revoked what it certified.
    /// Where there are lists, an authority without one that is up to date counts as one that has revoked everything.
    fn verifier(
        &self,
        roots: RootCertStore,
        tls: &ListenerTls,
    ) -> Result<ClientCertVerifierBuilder, BadFile> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if self.crls.is_empty() {
            return Ok(builder);
        }
        let lists = self.revocation_lists(tls)?;
        Ok(builder.with_crls(lists.into_iter().map(|list| list.der)).enforce_revocation_expiration())
    }

    /// When the first of each kind runs out, in seconds since 1970, by the label of its kind. Of a listener's certificate
    /// the chain does not count: clients choose the way to an authority that they believe. What cannot be read has no end
    /// here: it is told of where it is used.
    pub(super) fn ends(&self, lists: &[Crl]) -> Vec<(&'static str, i64)> {
        let end = |der: CertificateDer<'_>| {
            Some(X509Certificate::from_der(&der).ok()?.1.validity.not_after.timestamp())
        };
        let all =
            |pem: &Vec<u8>| CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect::<Vec<_>>();
        let own = self.pairs.iter().filter_map(|(cert, _)| all(cert).into_iter().next());
        let authorities = self.authorities.iter().flat_map(all);
        let seconds = |at: SystemTime| i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok();
        let ends = [
            ("certificate", own.filter_map(end).min()),
            ("client_ca", authorities.filter_map(end).min()),
            ("client_crl", lists.iter().filter_map(|list| seconds(list.next_update?)).min()),
        ];
        ends.into_iter().filter_map(|(kind, end)| Some((kind, end?))).collect()
    }

    /// # Errors
    /// A file has no revocation list, or one that is none.
    pub(super) fn revocation_lists(&self, tls: &ListenerTls) -> Result<Vec<Crl>, BadFile> {
        let mut lists = Vec::new();
        for (bytes, file) in self.crls.iter().zip(&tls.client_crl) {
            lists.extend(Crl::all_of(bytes).map_err(|reason| BadFile::new(file, reason))?);
        }
        Ok(lists)
    }
}

fn bytes(file: &Path) -> Result<Vec<u8>, BadFile> {
    let bad = |error: std::io::Error| BadFile::new(file, format!("cannot be read: {error}"));
    // Opening a pipe would wait for its other end.
    if !file.metadata().map_err(bad)?.is_file() {
        return Err(BadFile::new(file, "is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(bad)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(BadFile::new(file, "is longer than 1MiB")),
        false => Ok(bytes),
    }
}

fn chain(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(BadFile::new(file, "the file has no certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(BadFile::new(file, error)),
    }
}

fn roots(pem: &[u8], file: &Path) -> Result<RootCertStore, BadFile> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem, file)? {
        roots.add(certificate).map_err(|error| BadFile::new(file, error))?;
    }
    Ok(roots)
}

/// A certificate that can be shown, and the names it is for.
struct Certified {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

fn certified(
    cert: &[u8],
    key: &[u8],
    files: &CertificateFiles,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<Certified, BadFile> {
    let chain = chain(cert, &files.cert)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| BadFile::new(&files.key, error))?;
    let names = chain.first().map(|leaf| names(leaf)).unwrap_or_default();
    let key =
        CertifiedKey::from_der(chain, key, provider).map_err(|error| BadFile::new(&files.cert, error))?;
    Ok(Certified { key: Arc::new(key), names })
}

/// The DNS names that a certificate is for, in small letters.
fn names(leaf: &[u8]) -> Vec<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}

/// The certificates of a listener by the names they are for, as `shop.example` and `*.shop.example`.
#[derive(Debug)]
struct Certificates {
    first: Arc<CertifiedKey>,
    /// More than one of a name: keys of different kinds.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// `None` if there is no certificate.
    fn new(certificates: Vec<Certified>) -> Option<Certificates> {
        let first = certificates.first()?.key.clone();
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for Certified { key, names } in certificates {
            for name in names {
                by_name.entry(name).or_default().push(key.clone());
            }
        }
        Some(Certificates { first, by_name })
    }

    /// The certificates for a name; its own before those for all names beside it.
    fn of(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let beside = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        self.by_name.get(&name).or_else(beside).map_or(&[], Vec::as_slice)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = hello.server_name().map_or(&[][..], |name| self.of(name));
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let chosen = candidates.iter().find(fits).or(candidates.first());
        Some(chosen.unwrap_or(&self.first).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(of: &[&str]) -> Certified {
        let of: Vec<String> = of.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(of).unwrap();
        let files = CertificateFiles { cert: "cert.pem".into(), key: "key.pem".into() };
        let provider = rustls::crypto::ring::default_provider();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        certified(cert.as_bytes(), key.as_bytes(), &files, &provider).unwrap()
    }

    #[test]
    fn the_names_of_a_certificate_are_its_dns_names() {
        assert_eq!(
            certificate(&["Shop.Example", "*.shop.example", "127.0.0.1"]).names,
            ["shop.example", "*.shop.example"]
        );
        assert!(names(b"no certificate").is_empty());
    }

    #[test]
    fn a_name_has_its_own_certificate_before_one_for_its_neighbours() {
        let (first, wild, exact) = (
            certificate(&["first.example"]),
            certificate(&["*.shop.example"]),
            certificate(&["a.shop.example"]),
        );
        let (wild_key, exact_key) = (wild.key.clone(), exact.key.clone());
        let certificates = Certificates::new(vec![first, wild, exact]).unwrap();
        for (name, wanted) in [
            ("a.shop.example", Some(&exact_key)),
            ("A.Shop.Example.", Some(&exact_key)),
            ("b.shop.example", Some(&wild_key)),
            // A star is for one label.
            ("c.b.shop.example", None),
            ("shop.example", None),
            ("other", None),
            ("", None),
        ] {
            let found = certificates.of(name).first();
            assert_eq!(found.map(Arc::as_ptr), wanted.map(Arc::as_ptr), "{name:?}");
        }
    }
}
