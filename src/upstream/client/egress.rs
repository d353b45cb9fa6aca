//! The way to a server: directly, over a Unix socket, or through a proxy. Polls, requests that pass through, health
//! checks and diagnoses all go this way.
//!
//! Must not know: TLS, pools, requests.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::RwLock;
use pingora::protocols::l4::stream::Stream;
use pingora::{Error, ErrorType, Result};
use prometheus::IntCounter;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{proxy, race};
use crate::config::{self, Proxy, ProxyProtocol};
use crate::upstream::WatchedSecret;
use crate::upstream::target::{Addresses, Site, Target};

/// TCP keepalive: a connection that is silent for so long is probed, and is dead after so many probes without an
/// answer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 5;

/// How the servers of one upstream are reached.
pub(super) struct Way {
    upstream: Arc<config::Upstream>,
    /// The proxy with its current password.
    proxy: Option<RwLock<Arc<Proxy>>>,
    /// The file with that password, if other programs may replace it.
    password: Option<Arc<WatchedSecret>>,
    /// The addresses of the proxy, as far as they are known.
    proxy_addresses: Addresses,
}

/// The parts of requests in absolute form, for an HTTP proxy (RFC 9112 §3.2.2).
#[derive(Debug, Clone)]
pub struct Absolute {
    /// Scheme and authority, to be put before a path.
    pub origin: String,
    /// The server's authority.
    pub place: String,
    /// The same as a Host header: a proxy takes no other one.
    pub host: HeaderValue,
    /// The credentials that pollcast shows to the proxy.
    pub authorization: Option<HeaderValue>,
}

impl Absolute {
    /// A request's target in absolute form.
    pub fn target(&self, path: &[u8]) -> Vec<u8> {
        // `*` is the only target that is no path (RFC 9112 §3.2.4).
        [self.origin.as_bytes(), if path == b"*" { b"" } else { path }].concat()
    }
}

/// A connection that leads to a server.
pub(super) enum Reached {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Why there is no connection, in words for operators. They may name what clients should not know.
#[derive(Debug)]
pub(super) struct Unreached(String);

impl Way {
    pub(super) fn new(upstream: Arc<config::Upstream>) -> Arc<Way> {
        let proxy = upstream.proxy.clone();
        let file = proxy.as_ref().and_then(|proxy| proxy.password_file.as_deref());
        let password = file.map(|file| WatchedSecret::new(file.clone()));
        let proxy = proxy.map(RwLock::new);
        Arc::new(Way { upstream, proxy, password, proxy_addresses: Addresses::default() })
    }

    /// Counts reads of the proxy's password file that give no password.
    pub(super) fn count_failures(&self, failures: &IntCounter) {
        self.password.iter().for_each(|password| password.count_failures(failures));
    }

    /// Reads the proxy's password from its file again, if there is such a file.
    pub(super) async fn freshen(&self) {
        let (Some(file), Some(proxy)) = (&self.password, &self.proxy) else { return };
        let password = file.password(false).await;
        let known = proxy.read().clone();
        if known.credentials.as_ref().is_some_and(|(_, known)| known.0 == password) {
            return;
        }
        match known.with_password(&password) {
            Some(renewed) => *proxy.write() = Arc::new(renewed),
            None => {
                tracing::warn!(upstream = %self.upstream.name, "the new password is none that a proxy can be told")
            }
        }
    }

    /// The proxy as it is now.
    fn proxy(&self) -> Option<Arc<Proxy>> {
        Some(self.proxy.as_ref()?.read().clone())
    }

    /// Whether Pingora cannot make the connection itself.
    pub(super) fn is_own(&self, target: &Target) -> bool {
        self.upstream.proxy.is_some() || !matches!(target.site, Site::Inet(_)) || target.addresses.is_some()
    }

    /// What requests say on the way to this server; `None` where it is reached without an HTTP proxy, or through a
    /// tunnel: for TLS and HTTP/2, for upgrades, and where the server has to see another `host` than its address.
    pub(super) fn absolute(&self, target: &Target, is_upgrade: bool) -> Option<Absolute> {
        let upstream = &self.upstream;
        let proxy = self.proxy().filter(|proxy| proxy.protocol == ProxyProtocol::Http)?;
        if is_upgrade || upstream.tls.is_some() || upstream.http2 {
            return None;
        }
        let authority = target.authority();
        let short = authority.strip_suffix(":80").unwrap_or(&authority);
        let fits = |host: &str| [short, &authority].iter().any(|one| one.eq_ignore_ascii_case(host));
        if !upstream.host.as_deref().is_none_or(fits) {
            return None;
        }
        let (origin, host) = (format!("http://{short}"), HeaderValue::from_str(short).ok()?);
        let (place, authorization) = (authority.clone(), proxy::authorization(&proxy));
        Some(Absolute { origin, place, host, authorization })
    }

    /// A connection to the server over which nothing was said to it yet; `is_tunnel`: through an HTTP proxy as well,
    /// which is else only connected to.
    ///
    /// # Errors
    /// Says what is not there or does not let through.
    pub(super) async fn reach(&self, target: &Target, is_tunnel: bool) -> Result<Reached> {
        if self.proxy.is_some() {
            self.freshen().await;
        }
        if let Some(proxy) = self.proxy() {
            return self.through(&proxy, target, is_tunnel).await.map(Reached::Tcp);
        }
        match &target.site {
            Site::Inet(address) => {
                let connected = self.connect(*address, target.addresses.as_deref()).await;
                connected.map(Reached::Tcp).map_err(|error| {
                    let place = target.authority();
                    Error::because(kind_of(&error), format!("connecting to {place}"), error)
                })
            }
            Site::Unix(path) => match UnixStream::connect(path).await {
                Ok(connection) => Ok(Reached::Unix(connection)),
                Err(error) => Err(unreached(kind_of(&error), of_socket(path, &error))),
            },
            Site::Named(_) => Err(unreached(ErrorType::InternalError, "a name without a proxy".to_owned())),
        }
    }

    async fn connect(&self, address: SocketAddr, addresses: Option<&Addresses>) -> io::Result<TcpStream> {
        let connection = match addresses {
            Some(addresses) => race::connect(address, addresses, self.upstream.connect_timeout).await?,
            None => TcpStream::connect(address).await?,
        };
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        // A connection without keepalive is good, too.
        let _ = SockRef::from(&connection).set_tcp_keepalive(&keepalive);
        let _ = connection.set_nodelay(true);
        Ok(connection)
    }

    /// Returns a little less than the time that is left, so that the reason is told rather than a timeout.
    fn patience(&self) -> Duration {
        self.upstream.connect_timeout.mul_f64(0.95)
    }

    async fn through(&self, proxy: &Proxy, target: &Target, is_tunnel: bool) -> Result<TcpStream> {
        let name = proxy.authority();
        let late = |_| unreached(ErrorType::ConnectTimedout, format!("the proxy {name} does not answer"));
        timeout(self.patience(), async {
            let mut connection = self.connect_to(proxy).await.map_err(|error| {
                unreached(kind_of(&error), format!("the proxy {name} cannot be connected to: {error}"))
            })?;
            let refused = |found: String| unreached(ErrorType::ConnectProxyFailure, found);
            match proxy.protocol {
                ProxyProtocol::Socks5 => {
                    proxy::socks5(&mut connection, proxy, target).await.map_err(refused)?
                }
                ProxyProtocol::Http if is_tunnel => {
                    proxy::connect(&mut connection, proxy, target).await.map_err(refused)?;
                }
                ProxyProtocol::Http => {}
            }
            Ok(connection)
        })
        .await
        .unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    /// Connects to the proxy. Its name is looked up each time; the last addresses count if that fails.
    async fn connect_to(&self, proxy: &Proxy) -> io::Result<TcpStream> {
        match tokio::net::lookup_host((proxy.host.as_str(), proxy.port)).await {
            Ok(found) => self.proxy_addresses.set(&found.collect::<Vec<_>>()),
            Err(error) if self.proxy_addresses.best().is_none() => return Err(error),
            Err(_) => {}
        }
        let best = self.proxy_addresses.best();
        let best = best.ok_or_else(|| io::Error::other("its name has no address"))?;
        self.connect(best, Some(&self.proxy_addresses)).await
    }
}

/// Why the socket of a server cannot be used.
fn of_socket(path: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nothing listens on it, or it is no socket".to_owned(),
        io::ErrorKind::PermissionDenied => "pollcast's user may not use it (permission denied)".to_owned(),
        _ => error.to_string(),
    };
    format!("the socket {}: {why}", path.display())
}

fn kind_of(error: &io::Error) -> ErrorType {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    }
}

fn unreached(kind: ErrorType, words: String) -> Box<Error> {
    Error::because(kind, "on the way to a server", Unreached(words))
}

impl Unreached {
    /// A proxy answered a request itself that was meant for a server.
    pub(super) fn of(words: String) -> Unreached {
        Unreached(words)
    }

    /// Returns the words if an error comes from this.
    pub(super) fn found_in(error: &Error) -> Option<String> {
        error.root_cause().downcast_ref::<Unreached>().map(ToString::to_string)
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreached {}

impl From<Reached> for Stream {
    fn from(reached: Reached) -> Stream {
        match reached {
            Reached::Tcp(connection) => connection.into(),
            Reached::Unix(connection) => connection.into(),
        }
    }
}

impl AsyncRead for Reached {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Reached::Tcp(connection) => Pin::new(connection).poll_read(context, buffer),
            Reached::Unix(connection) => Pin::new(connection).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Reached {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Reached::Tcp(connection) => Pin::new(connection).poll_write(context, bytes),
            Reached::Unix(connection) => Pin::new(connection).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Reached::Tcp(connection) => Pin::new(connection).poll_flush(context),
            Reached::Unix(connection) => Pin::new(connection).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Reached::Tcp(connection) => Pin::new(connection).poll_shutdown(context),
            Reached::Unix(connection) => Pin::new(connection).poll_shutdown(context),
        }
    }
}
