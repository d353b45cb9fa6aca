//! TLS to an engine, with rustls and ring: the system's authorities or those of `cluster.tls.ca`.
//!
//! The files are read for each connection, so that new ones count from the next one on.
//! Must not know: what is said over the connection.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
#[cfg(feature = "redis")]
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(feature = "redis")]
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::config::UpstreamTls;
use crate::config::upstream_tls::{BadFile, read_file};

/// Secures a stream; the client of NATS does so by itself. `host` is a name or an address, in brackets or not.
///
/// # Errors
/// A file cannot be used, or the server is not the one it has to be.
#[cfg(feature = "redis")]
pub(super) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    settings: UpstreamTls,
    host: &str,
    stream: S,
) -> Result<TlsStream<S>, String> {
    let name = settings.sni.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(client(settings).await?));
    connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

/// How a client speaks TLS with these settings.
///
/// # Errors
/// A file cannot be used.
pub(super) async fn client(settings: UpstreamTls) -> Result<ClientConfig, String> {
    let config = tokio::task::spawn_blocking(move || config(&settings));
    config.await.map_err(|error| error.to_string())?
}

fn config(settings: &UpstreamTls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match settings.verify {
        true => builder.with_root_certificates(authorities(settings)?),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
    };
    let Some(identity) = &settings.identity else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = identity.read().map_err(|bad| match bad {
        BadFile::Cert(found) => format!("cluster.tls.cert: {found}"),
        BadFile::Key(found) => format!("cluster.tls.key: {found}"),
    })?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::try_from(key).map_err(|error| format!("cluster.tls.key: {error}"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("cluster.tls.cert: {error}"))
}

fn authorities(settings: &UpstreamTls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &settings.ca else {
        let system = rustls_native_certs::load_native_certs();
        let system = system.map_err(|error| format!("the system's authorities: {error}"))?;
        // One that is not understood is one that nothing is believed from.
        roots.add_parsable_certificates(system);
        return Ok(roots);
    };
    let wrong = |found: String| format!("cluster.tls.ca: {}: {found}", path.display());
    let bytes = read_file(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// `verify: false`: any certificate will do, if the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
