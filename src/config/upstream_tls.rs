//! TLS to an upstream: the name that its servers have to prove, the protocols, and pollcast's own certificate.
//!
//! The files of its own certificate are read here, by the check of the configuration and by the connections alike.
//! Must not know: connections.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Secret;

/// Longest file of certificates or keys, bytes: the system's whole bundle of authorities has a quarter of it.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The message of a build without OpenSSL for a key that needs it.
pub const NEEDS_OPENSSL: &str =
    "needs OpenSSL, which this build of pollcast does not have (cargo feature \"openssl\")";

/// How a connection to an upstream is secured (`tls`).
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamTls {
    /// Name asked for and verified; `None` for the server's host name.
    pub sni: Option<String>,
    /// Absolute path of a PEM bundle; `None` for the system's roots.
    pub ca: Option<PathBuf>,
    /// Whether the server has to prove its name (default: true). Without, any machine on the way can pose as it.
    pub verify: bool,
    /// If there are any, one of them is the server's, and neither authority nor name nor date decide.
    pub pin: Vec<Pin>,
    /// TLS 1.0 and 1.1, RSA key exchange, CBC, short keys.
    pub legacy: bool,
    /// The certificate that is shown to servers that ask for one; read and tried at load.
    pub identity: Option<ClientCertificate>,
    /// How often the files are read again. `None` if only SIGHUP has them read (default: 30 s).
    pub reload: Option<Duration>,
}

impl UpstreamTls {
    /// `tls: {}`.
    pub fn unsaid() -> UpstreamTls {
        UpstreamTls {
            sni: None,
            ca: None,
            verify: true,
            pin: Vec::new(),
            legacy: false,
            identity: None,
            reload: Some(super::ListenerTls::RELOAD_INTERVAL),
        }
    }

    /// Whether OpenSSL makes the connections: rustls can do none of these, nor believe the certificates of intranets.
    pub fn uses_openssl(&self) -> bool {
        let is_asked_for = self.legacy || !self.pin.is_empty() || (self.ca.is_some() && self.verify);
        cfg!(feature = "openssl") && is_asked_for
    }
}

/// The one that a server has to be (RFC 7469 §2.4): a digest, SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// The digest of the public key, with its algorithm (SubjectPublicKeyInfo).
    Key([u8; 32]),
    /// The digest of the whole certificate.
    Certificate([u8; 32]),
}

impl Pin {
    /// `sha256/BASE64` or `cert:sha256/BASE64`; two slashes are curl's way.
    pub fn parse(text: &str) -> Option<Pin> {
        let (make, text): (fn([u8; 32]) -> Pin, _) = match text.strip_prefix("cert:") {
            Some(text) => (Pin::Certificate, text),
            None => (Pin::Key, text),
        };
        let digest = text.strip_prefix("sha256/")?;
        let digest = digest.strip_prefix('/').filter(|digest| digest.len() == 44).unwrap_or(digest);
        Some(make(STANDARD.decode(digest).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pin::Key(digest) => write!(f, "sha256/{}", STANDARD.encode(digest)),
            Pin::Certificate(digest) => write!(f, "cert:sha256/{}", STANDARD.encode(digest)),
        }
    }
}

/// The files of pollcast's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM, or PKCS#12 with the key in it.
    pub cert: PathBuf,
    /// PEM; `None` if `cert` is PKCS#12.
    pub key: Option<PathBuf>,
    /// The password of the key or of the PKCS#12 file.
    pub password: Option<Secret>,
}

/// A certificate with its chain, and its key, DER.
pub type Identity = (Vec<Vec<u8>>, Vec<u8>);

/// Which of the files cannot be used, and why.
#[derive(Debug, PartialEq, Eq)]
pub enum BadFile {
    /// `cert`, and why.
    Cert(String),
    /// `key`, and why.
    Key(String),
}

impl ClientCertificate {
    /// The certificate and its key. Whether they fit together is not looked at.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub fn read(&self) -> Result<Identity, BadFile> {
        let cert = |found: String| BadFile::Cert(found);
        let bytes = read_file(&self.cert).map_err(|error| cert(error.to_string()))?;
        let Some(key) = &self.key else {
            if memchr::memmem::find(&bytes, b"-----BEGIN ").is_some() {
                return Err(cert("is PEM, which needs `key` beside it".to_owned()));
            }
            return pkcs12(&bytes, self.password()).map_err(cert);
        };
        let chain = CertificateDer::pem_slice_iter(&bytes)
            .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| cert(error.to_string()))?;
        if chain.is_empty() {
            return Err(cert("the file has no certificate (\"BEGIN CERTIFICATE\")".to_owned()));
        }
        let pem = read_file(key).map_err(|error| BadFile::Key(error.to_string()))?;
        let key = match is_encrypted(&pem) {
            true => encrypted_key(&pem, self.password()),
            false => PrivateKeyDer::from_pem_slice(&pem)
                .map(|key| key.secret_der().to_vec())
                .map_err(|_| "the file has no private key (\"BEGIN PRIVATE KEY\")".to_owned()),
        };
        Ok((chain, key.map_err(BadFile::Key)?))
    }

    fn password(&self) -> Option<&str> {
        self.password.as_ref().map(|password| password.0.as_str())
    }
}

/// Reads a file. A pipe is refused, as opening it would wait for its other end.
///
/// # Errors
/// It cannot be read, or is longer than [`FILE_BYTES_MAX`].
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other("is longer than 1MiB")),
        false => Ok(bytes),
    }
}

/// PKCS#8's form says it in its label, the older one in a line below.
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |text: &[u8]| memchr::memmem::find(pem, text).is_some();
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

#[cfg(not(feature = "openssl"))]
fn pkcs12(_: &[u8], _: Option<&str>) -> Result<Identity, String> {
    Err(format!("PKCS#12 {NEEDS_OPENSSL}"))
}

#[cfg(not(feature = "openssl"))]
fn encrypted_key(_: &[u8], _: Option<&str>) -> Result<Vec<u8>, String> {
    Err(format!("an encrypted key {NEEDS_OPENSSL}"))
}

#[cfg(feature = "openssl")]
use with_openssl::{encrypted_key, pkcs12};

#[cfg(feature = "openssl")]
mod with_openssl {
    use std::sync::OnceLock;

    use openssl::error::ErrorStack;
    use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
    use openssl::pkey::PKey;
    use openssl::provider::Provider;
    use openssl::x509::{X509, X509Ref, X509VerifyResult};

    use crate::config::upstream_tls::Identity;

    /// The certificate, those that issued it, and the key of a PKCS#12 file.
    pub(super) fn pkcs12(bytes: &[u8], password: Option<&str>) -> Result<Identity, String> {
        let file = Pkcs12::from_der(bytes).map_err(|_| "is neither PKCS#12 nor PEM".to_owned())?;
        // OpenSSL takes it for the end of the password.
        let password = password.unwrap_or_default();
        if password.contains('\0') {
            return Err("the password has a zero byte in it".to_owned());
        }
        let parsed = file.parse2(password).or_else(|error| {
            // Files of old programs are encrypted in ways that need the library's legacy algorithms.
            if is_wrong_password(&error) || !has_legacy_algorithms() {
                Err(error)
            } else {
                file.parse2(password)
            }
        });
        let ParsedPkcs12_2 { pkey, cert, ca } = parsed.map_err(|error| match is_wrong_password(&error) {
            true => "the password is wrong".to_owned(),
            false => format!("cannot be opened: {error}"),
        })?;
        let leaf = cert.ok_or("the file has no certificate with a key")?;
        let key = pkey.ok_or("the file has no private key")?;
        let others: Vec<X509> = ca.into_iter().flatten().collect();
        let chain = in_order(leaf, others).map_err(|error| error.to_string())?;
        Ok((chain, key.private_key_to_pkcs8().map_err(|error| error.to_string())?))
    }

    /// Each certificate before the one that issued it.
    fn in_order(leaf: X509, mut others: Vec<X509>) -> Result<Vec<Vec<u8>>, ErrorStack> {
        let mut chain = vec![leaf.to_der()?];
        let mut last = leaf;
        let issued = |issuer: &X509Ref, subject: &X509Ref| issuer.issued(subject) == X509VerifyResult::OK;
        while !issued(&last, &last)
            && let Some(at) = others.iter().position(|other| issued(other, &last))
        {
            last = others.swap_remove(at);
            chain.push(last.to_der()?);
        }
        Ok(chain)
    }

    pub(super) fn encrypted_key(pem: &[u8], password: Option<&str>) -> Result<Vec<u8>, String> {
        let password = password.ok_or("the key is encrypted: set `password` beside it")?;
        let read = || PKey::private_key_from_pem_passphrase(pem, password.as_bytes());
        let key = read().or_else(|error| if has_legacy_algorithms() { read() } else { Err(error) });
        let key = key.map_err(|_| "the key cannot be decrypted: the password is wrong".to_owned())?;
        key.private_key_to_pkcs8().map_err(|error| error.to_string())
    }

    /// Keys without a password are asked for with an empty one.
    fn is_wrong_password(error: &ErrorStack) -> bool {
        // PKCS12_R_MAC_VERIFY_FAILURE
        const WRONG: i32 = 113;
        error.errors().iter().any(|error| error.reason_code() == WRONG)
    }

    /// Loads them once. The system may not have them.
    fn has_legacy_algorithms() -> bool {
        static LEGACY: OnceLock<Option<Provider>> = OnceLock::new();
        LEGACY.get_or_init(|| Provider::try_load(None, "legacy", true).ok()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_as_they_are_shown() {
        let digest = STANDARD.encode([7; 32]);
        for (text, pin) in [
            (format!("sha256/{digest}"), Some(Pin::Key([7; 32]))),
            (format!("sha256//{digest}"), Some(Pin::Key([7; 32]))),
            (format!("cert:sha256/{digest}"), Some(Pin::Certificate([7; 32]))),
            (format!("sha1/{digest}"), None),
            (digest.clone(), None),
            (format!("sha256/{}", &digest[..40]), None),
            (format!("sha256/{digest}{digest}"), None),
            ("sha256/".to_owned(), None),
        ] {
            assert_eq!(Pin::parse(&text), pin, "{text}");
        }
        // A digest may begin with a slash of its own.
        let slashed = Pin::Key([0xff; 32]);
        assert_eq!(Pin::parse(&slashed.to_string()), Some(slashed));
        let pin = Pin::Certificate([9; 32]);
        assert_eq!(Pin::parse(&pin.to_string()), Some(pin));
    }
}
