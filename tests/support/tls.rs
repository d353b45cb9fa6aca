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
        let key = KeyPair::generate().expect("a key pair");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a self-signed certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these DNS names and IP addresses.
    pub fn certify(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().expect("a key pair");
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let params = CertificateParams::new(names).expect("names of a certificate");
        let cert = params.signed_by(&key, &self.issuer).expect("a signed certificate");
        Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }

    /// Connects with TLS as `name`, trusting this authority alone; `alpn` may be empty.
    pub async fn connect(&self, address: SocketAddr, name: &str, alpn: &[&str]) -> TlsStream<TcpStream> {
        let tcp = within(format!("a connection to {address}"), TcpStream::connect(address));
        let tcp = tcp.await.unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
        self.secure(tcp, name, alpn).await
    }

    /// The client's side of TLS over an open connection.
    pub async fn secure(&self, tcp: TcpStream, name: &str, alpn: &[&str]) -> TlsStream<TcpStream> {
        self.try_secure(tcp, name, alpn, DEFAULT_VERSIONS)
            .await
            .unwrap_or_else(|e| panic!("TLS handshake with {name}: {e}"))
    }

    /// The same with these versions of TLS only, and the reason if it fails.
    pub async fn try_secure(
        &self,
        tcp: TcpStream,
        name: &str,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("our own PEM");
        roots.add(ca).expect("our own certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring knows these versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let server = ServerName::try_from(name.to_owned()).expect("a server name");
        let handshake = TlsConnector::from(Arc::new(config)).connect(server, tcp);
        within(format!("the TLS handshake with {name}"), handshake).await
    }
}

impl Identity {
    /// The server's side of TLS with this certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        let cert = CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).expect("our own PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("our own PEM");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.into_owned()], key)
            .expect("our own key fits our own certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}
