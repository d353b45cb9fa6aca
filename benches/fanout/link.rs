//! A connection with or without TLS, of either side, on non-blocking sockets; and the one
//! certificate of a run. Must not know: what is said over it.

use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::wire::{HOST, Wire};

/// A connection.
pub enum Link {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

pub struct Tls {
    stream: TcpStream,
    session: Connection,
}

impl Link {
    /// The client's side.
    pub fn client(stream: TcpStream, config: Option<&Arc<ClientConfig>>) -> Result<Self, String> {
        let Some(config) = config else { return Ok(Self::Plain(stream)) };
        let name = ServerName::try_from(HOST).map_err(|e| format!("{HOST}: {e}"))?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(|e| format!("TLS: {e}"))?;
        Ok(Self::Tls(Box::new(Tls { stream, session: session.into() })))
    }

    /// The server's side.
    pub fn server(stream: TcpStream, config: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        let Some(config) = config else { return Ok(Self::Plain(stream)) };
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(Tls { stream, session: session.into() })))
    }

    pub fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &mut tls.stream,
        }
    }

    /// Reads what is there; goes on with the handshake by the way.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let tls = match self {
            Self::Plain(stream) => return stream.read(buffer),
            Self::Tls(tls) => tls,
        };
        loop {
            match tls.session.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            if tls.session.read_tls(&mut tls.stream)? == 0 {
                return Ok(0);
            }
            tls.session.process_new_packets().map_err(io::Error::other)?;
            tls.flush()?;
        }
    }

    /// Writes some of it; what TLS has taken and the socket has not is written with `flush`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) => {
                let taken = tls.session.writer().write(bytes)?;
                tls.flush()?;
                Ok(taken)
            }
        }
    }

    /// Writes what TLS holds, as far as the socket takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl Tls {
    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Where the certificate of the runs is, and its key: made anew by each run.
pub fn certificate_files() -> (PathBuf, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    (folder.join("fanout-cert.pem"), folder.join("fanout-key.pem"))
}

/// Makes the certificate.
pub fn make_certificate() -> Result<(), String> {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).map_err(|e| e.to_string())?;
    let (cert, key) = certificate_files();
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
    };
    write(&cert, made.cert.pem())?;
    write(&key, made.signing_key.serialize_pem())
}

/// How clients speak TLS; `None` if they do not.
pub fn client_config(wire: Wire) -> Result<Option<Arc<ClientConfig>>, String> {
    if !wire.is_tls() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    let (cert, _) = certificate_files();
    let found = CertificateDer::from_pem_file(&cert).map_err(|e| format!("{}: {e}", cert.display()))?;
    roots.add(found).map_err(|e| format!("{}: {e}", cert.display()))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol(wire)];
    // Every connection is a client of its own.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Some(Arc::new(config)))
}

/// How the floor speaks TLS; `None` if it does not.
pub fn server_config(wire: Wire) -> Result<Option<Arc<ServerConfig>>, String> {
    if !wire.is_tls() {
        return Ok(None);
    }
    let (cert, key) = certificate_files();
    let chain = CertificateDer::from_pem_file(&cert).map_err(|e| format!("{}: {e}", cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|e| format!("{}: {e}", key.display()))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config =
        builder.with_no_client_auth().with_single_cert(vec![chain], key).map_err(|e| e.to_string())?;
    config.alpn_protocols = vec![protocol(wire)];
    Ok(Some(Arc::new(config)))
}

fn protocol(wire: Wire) -> Vec<u8> {
    if wire == Wire::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }
}
