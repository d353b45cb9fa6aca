//! Certificates made on the spot, and TLS under a client or the legacy API.
//!
//! Must not know: HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    ClientConfig, DEFAULT_VERSIONS, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::wire::within;

/// A certificate authority that only this test trusts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM: what a configuration's `ca:` points to.
    pub pem: String,
}

/// A certificate and its key, PEM, as they stand in files.
#[derive(Clone)]
pub struct Identity {
    pub cert_pem: String,
    pub key_pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        // Authorities are told apart by their names.
        Authority::named(&format!("{:016x}", fastrand::u64(..)))
    }

    /// The same with this name.
    pub fn named(name: &str) -> Authority {
        let (key, params) = Authority::params(name);
        let pem = params.self_signed(&key).expect("a self-signed certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// An authority that this one vouches for, with any name.
    pub fn under_it(&self, name: &str) -> Authority {
        let (key, params) = Authority::params(name);
        let pem = params.signed_by(&key, &self.issuer).expect("a signed certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn params(name: &str) -> (KeyPair, CertificateParams) {
        let key = KeyPair::generate().expect("a key pair");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (key, params)
    }

    /// A certificate for these DNS names and IP addresses.
    pub fn certify(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        self.sign(CertificateParams::new(names).expect("names of a certificate"))
    }

    /// The same, but it was good years ago.
    pub fn certify_expired(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of a certificate");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    /// A certificate of a client: its subject is this common name.
    pub fn certify_client(&self, name: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key pair");
        let cert = params.signed_by(&key, &self.issuer).expect("a signed certificate");
        Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("our own PEM");
        roots.add(ca).expect("our own certificate");
        roots
    }

    /// Connects with TLS as `name`, trusting this authority alone; `alpn` may be empty.
    pub async fn connect(&self, address: SocketAddr, name: &str, alpn: &[&str]) -> TlsStream<TcpStream> {
        let tcp = within(format!("a connection to {address}"), TcpStream::connect(address));
        let tcp = tcp.await.unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
        self.secure(tcp, name, alpn).await
    }

    /// The client's side of TLS over an open connection.
    pub async fn secure(&self, tcp: TcpStream, name: &str, alpn: &[&str]) -> TlsStream<TcpStream> {
        self.try_secure(tcp, name, alpn, DEFAULT_VERSIONS, None)
            .await
            .unwrap_or_else(|e| panic!("TLS handshake with {name}: {e}"))
    }

    /// The same with these versions of TLS only, showing this certificate if asked for one; and the reason if it
    /// fails. A server of TLS 1.3 refuses a certificate after the client's handshake is over.
    pub async fn try_secure(
        &self,
        tcp: TcpStream,
        name: &str,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Identity>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring knows these versions")
            .with_root_certificates(self.roots());
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => config
                .with_client_auth_cert(shown.chain(), shown.der().1)
                .expect("our own key fits our own certificate"),
        };
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let server = ServerName::try_from(name.to_owned()).expect("a server name");
        let handshake = TlsConnector::from(Arc::new(config)).connect(server, tcp);
        within(format!("the TLS handshake with {name}"), handshake).await
    }
}

impl Identity {
    /// Certificate and key as they go over the wire and into libraries.
    pub fn der(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let cert = CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).expect("our own PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("our own PEM");
        (cert.into_owned(), key)
    }

    /// All certificates of `cert_pem`, its own first.
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes());
        chain.map(|cert| cert.expect("our own PEM").into_owned()).collect()
    }

    /// The server's side of TLS with this certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_asking(None)
    }

    /// The same; clients have to show a certificate of this authority.
    pub fn acceptor_asking(&self, of: Option<&Authority>) -> TlsAcceptor {
        let (cert, key) = self.der();
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions");
        let config = match of {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                config.with_client_cert_verifier(verifier.expect("an authority to check against"))
            }
        };
        let config = config.with_single_cert(vec![cert], key).expect("our own key fits our own certificate");
        TlsAcceptor::from(Arc::new(config))
    }

    /// The server's side of TLS that speaks HTTP/2 alone.
    pub fn acceptor_of_http2(&self) -> TlsAcceptor {
        let mut config = ServerConfig::clone(self.acceptor().config());
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}
