//! A listener's service: a bound socket, TLS, and the proxy behind it.
//!
//! Must not know: what requests mean.

use std::fmt;
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::listeners::{ALPN, L4BufferSettings, ListenerConfig};
use pingora::protocols::Stream;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service as _;
use pingora::services::listening;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::attended::Attended;
use super::certificates::BadFile;
use super::greeting::{self, Protocol};
use super::home::{self, FrontDoor};
use super::http2;
use super::patience::{Awaited, Terms};
use super::preamble::Preamble;
use super::tls::Tls;
use super::windows::Windows;
use super::{Front, Shared, refuse};
use crate::config::{Limits, Listener};
use crate::metrics::Metrics;

/// Streams of an HTTP/2 connection that its client may open and reset before they were looked at:
/// more are an attack (CVE-2023-44487), and end the connection.
const RESETS: usize = 20;

/// Bytes of one HTTP/2 stream that wait for its connection to take them.
const HTTP2_BUFFER: usize = 64 * 1024;

/// Why a listener cannot be served.
#[derive(Debug)]
pub enum ListenError {
    Socket(std::io::Error),
    Certificate(BadFile),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Socket(error) => write!(f, "the listening socket: {error}"),
            ListenError::Certificate(bad) => bad.fmt(f),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ListenError::Socket(error) => Some(error),
            ListenError::Certificate(bad) => Some(bad),
        }
    }
}

/// What a listener watches; each turns true.
#[derive(Clone)]
pub struct Watches {
    /// It is to close; requests on its connections are answered, and answers end them.
    pub close: ShutdownWatch,
    /// Then its connections that have no request are to close, too.
    pub close_idle: ShutdownWatch,
    /// Changes whenever the files of certificates are to be looked at.
    pub look: watch::Receiver<()>,
}

/// A listener ready to run.
pub struct Service {
    service: listening::Service<Door>,
    fds: ListenFds,
    close: ShutdownWatch,
    tls: Option<Arc<Tls>>,
    look: watch::Receiver<()>,
    metrics: Metrics,
}

/// Pingora's entrance: hands every connection to the proxy.
///
/// Pingora's accept loop survives EMFILE: it logs, and sleeps for a second. What it does not do is
/// leave any descriptor to the upstreams' connections; this does.
struct Door {
    proxy: Arc<HttpProxy<Front>>,
    shared: Arc<Shared>,
    preamble: Preamble,
    /// HTTP/1 and HTTP/2, without TLS to tell which.
    speaks_both: bool,
    close_idle: ShutdownWatch,
    terms: Arc<Terms>,
}

impl Door {
    async fn http1(&self, stream: Stream, read: BytesMut, shutdown: &ShutdownWatch) -> Option<Stream> {
        let stream = Attended::http1(stream, self.terms.clone(), Awaited::FirstByte);
        home::serve(self.proxy.clone(), stream, read, None, shutdown).await;
        None
    }

    /// In a task of its own: Pingora's keeps what accepting and handshakes need.
    fn http2(&self, stream: Stream, counted: Counted, shutdown: &ShutdownWatch) -> Option<Stream> {
        let windows = Arc::new(Windows::new());
        let stream = Box::new(Attended::http2(stream, self.terms.clone(), windows.clone()));
        let (proxy, idle) = (self.proxy.clone(), self.shared.config.limits.idle_timeout);
        let serving =
            http2::serve(proxy, (stream, windows), idle, shutdown.clone(), self.shared.metrics.clone());
        tokio::spawn(async move {
            let _counted = counted;
            serving.await;
        });
        None
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        if !self.shared.descriptors.admit(stream.id()) {
            refuse::unheard(&self.shared);
            return None;
        }
        let counted = Counted::new(&self.shared);
        // Boxed: what a handshake needs is not kept for as long as its connection.
        let stream = Box::pin(self.preamble.pass(stream, &self.shared.metrics)).await?;
        if stream.selected_alpn_proto() == Some(ALPN::H2) {
            return self.http2(stream, counted, shutdown);
        }
        if !self.speaks_both {
            return self.http1(stream, BytesMut::new(), shutdown).await;
        }
        match timeout(self.terms.first_byte, greeting::protocol(stream)).await {
            Ok(Ok(Some(Protocol::Http2(stream)))) => self.http2(stream, counted, shutdown),
            Ok(Ok(Some(Protocol::Http1(stream, read)))) => self.http1(stream, read, shutdown).await,
            Ok(Ok(None) | Err(_)) => None,
            Err(_) => {
                self.shared.metrics.refusals.with_label_values(&["first-byte"]).inc();
                None
            }
        }
    }

    /// Pingora calls it when the listener is closed, and takes what is idle then for done.
    async fn cleanup(&self) {
        // Its end says the same.
        let _ = self.close_idle.clone().wait_for(|close| *close).await;
        self.proxy.http_cleanup().await;
    }
}

/// A connection that Pingora has, counted until it is dropped.
pub(super) struct Counted(Arc<Shared>);

impl Counted {
    pub(super) fn new(shared: &Arc<Shared>) -> Counted {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        Counted(shared.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes the service of a bound listener.
///
/// # Errors
/// The socket cannot be made non-blocking, or a certificate cannot be used.
pub fn service(
    shared: Arc<Shared>,
    listener: &Listener,
    socket: TcpListener,
    runtime: Handle,
    watches: Watches,
) -> Result<Service, ListenError> {
    let home = Arc::new(OnceLock::new());
    let front = Front { shared: shared.clone(), listener: listener.clone(), home: home.clone() };
    let conf = ServerConf { threads: shared.config.threads.front, max_retries: 4, ..ServerConf::default() };
    // Without Pingora's modules: its own compression would be made, and asked, for each request.
    let mut proxy = HttpProxy::new(front, Arc::new(conf));
    let speaks_both = listener.http2 && listener.tls.is_none();
    proxy.h2_options = Some(http2_options(&shared.config.limits));
    let proxy = Arc::new(proxy);
    let Watches { close, close_idle, look } = watches;
    let (way_in, shutdown) = (Arc::downgrade(&proxy), close.clone());
    let terms = Arc::new(Terms::of(&shared));
    let door =
        FrontDoor { proxy: way_in, shared: Arc::downgrade(&shared), runtime, shutdown, terms: terms.clone() };
    // Set once: the lock was made above.
    let _ = home.set(Arc::new(door));

    // A blocking socket would hold a worker in accept() for ever.
    socket.set_nonblocking(true).map_err(ListenError::Socket)?;
    keep_alive(&socket).map_err(ListenError::Socket)?;
    let address = socket.local_addr().map_err(ListenError::Socket)?.to_string();
    // In the clear: a PROXY header comes before TLS, and certificates change while the listener goes on.
    let config = ListenerConfig::tcp(address.clone())
        // Unbuffered: a buffer for reading would cost 64 KiB a connection and lose bytes at takeover, and
        // one for writing would hold the head of a slow answer back.
        .l4_buffer(L4BufferSettings::new(0, 0));
    let tls =
        listener.tls.as_ref().map(Tls::new).transpose().map_err(ListenError::Certificate)?.map(Arc::new);
    let preamble = Preamble::new(listener, tls.clone(), shared.config.limits.first_byte_timeout);
    let metrics = shared.metrics.clone();
    let entrance = Door { proxy, shared, preamble, speaks_both, close_idle, terms };
    let mut service = listening::Service::new(format!("front {address}"), entrance);
    service.add_listener(config);
    let fds: ListenFds = Arc::new(parking_lot::Mutex::new(Fds::new()));
    fds.lock().add(address, socket.into_raw_fd());
    Ok(Service { service, fds, close, tls, look, metrics })
}

impl Service {
    /// Accepts until it is to close.
    pub async fn run(mut self) {
        let serving = self.service.start_service(Some(self.fds), self.close, 1);
        let Some(tls) = self.tls else { return serving.await };
        tokio::select! {
            () = serving => {}
            () = tls.keep(self.look, self.metrics) => {}
        }
    }
}

/// Bounds of one HTTP/2 connection; what one client can make the process do and hold follows from them.
fn http2_options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(limits.http2_streams)
        .max_pending_accept_reset_streams(RESETS)
        .max_send_buffer_size(HTTP2_BUFFER)
        // At most 1 MiB.
        .max_header_list_size(limits.header_bytes as u32);
    options
}

/// Dead peers are found within a minute or two even on connections that wait for nothing. Set on the
/// listening socket, whose connections inherit it: four system calls less for each of them.
fn keep_alive(socket: &TcpListener) -> std::io::Result<()> {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_nodelay(true)
}
