//! The listeners, validated: addresses, TLS, and the proxies that are trusted.
//!
//! Must not know: how the file says it, what is in the files of certificates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// One entry of `listeners`: an address that clients connect to, and what holds for connections there.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The address, resolved at load. With port 0 the system chooses one.
    pub address: SocketAddr,
    /// Whether other processes of the same user may listen on the address, too (`SO_REUSEPORT`, default: false). The
    /// system gives each connection to one of them.
    pub reuse_port: bool,
    /// Whether cleartext HTTP/2 is served by prior knowledge beside HTTP/1.1 (default: false). With TLS, ALPN decides.
    pub http2: bool,
    /// The certificates and versions of TLS. `None` if connections are cleartext (default).
    pub tls: Option<ListenerTls>,
    /// Whether connections begin with a PROXY header: those of `trusted_proxies`, or all if there are none (default:
    /// false).
    pub proxy_protocol: bool,
    /// Networks whose `X-Forwarded-For` is believed. `X-Forwarded-*`, `X-Real-IP` and `Forwarded` of other peers are
    /// removed.
    pub trusted_proxies: Vec<IpNet>,
    /// The hosts that are served, as [`host_name`] makes them. If it is empty, all are (default).
    pub hosts: Vec<String>,
    /// Where a client's address is found. The default is the last of the three ways that the listener can know.
    pub client_address: ClientAddress,
}

impl Listener {
    /// Whether a connection is a bare socket: its bytes come from the socket's own peer, in cleartext.
    pub fn is_bare(&self) -> bool {
        self.tls.is_none() && !self.proxy_protocol
    }
}

/// Returns a Host in the form in which hosts are compared: in lower case, without a port and the dot of the root.
pub fn host_name(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// TLS on a listener: its certificates, and what it asks of clients.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerTls {
    /// The certificates, at least one. The first is for clients that ask for no name, or for one that none has.
    pub certificates: Vec<CertificateFiles>,
    /// The lowest version that is spoken (default: 1.2).
    pub min_version: TlsVersion,
    /// Absolute path of a PEM bundle: the authorities that may certify clients. `None` if clients are not asked.
    pub client_ca: Option<PathBuf>,
    /// Absolute paths of files with revocation lists of these authorities. If it is empty, none is looked at (default). Else
    /// each authority on a certificate's way needs one that is up to date.
    pub client_crl: Vec<PathBuf>,
    /// Whether clients must show a certificate, where `client_ca` is set (default: they need not).
    pub client_certificates: ClientCertificates,
    /// How often the files are read again. `None` if only SIGHUP has them read (default: 30 s).
    pub reload: Option<Duration>,
}

/// Certificate chain and key, PEM, absolute paths; both were read and parsed at load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// The lowest version of TLS that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) and 1.3.
    Tls12,
    /// TLS 1.3 (RFC 8446) alone.
    Tls13,
}

/// Whether a client may come without a certificate. One that it shows has to be good either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A client may come without one.
    Optional,
    /// A connection without one is refused.
    Required,
}

/// Where a client's address is found, for limits and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// The address of the TCP connection.
    Peer,
    /// The right-most untrusted entry of X-Forwarded-For.
    Forwarded,
    /// The one in the PROXY header.
    ProxyProtocol,
}
