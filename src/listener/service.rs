//! A listener's service: a bound socket, and the way of its connections to the proxy behind it.
//!
//! Must not know: what requests mean.

use std::fmt;
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::listeners::{ALPN, L4BufferSettings, ListenerConfig};
use pingora::protocols::Stream;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service as _;
use pingora::services::listening;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::certificates::BadFile;
use super::connections::Counted;
use super::control::Control;
use super::deadlines::{Awaited, Terms};
use super::descriptors::{self, Descriptors};
use super::give_back::FrontDoor;
use super::guarded_stream::Attended;
use super::http1::{self, Ends, Known};
use super::http2;
use super::http2_windows::Windows;
use super::http2_writes::Writes;
use super::preamble::Preamble;
use super::protocol::{self, Protocol};
use super::tls::Tls;
use crate::config::{Limits, Listener};
use crate::fanout::Home;
use crate::metrics::Metrics;

/// Why a listener cannot be served.
#[derive(Debug)]
pub enum ListenError {
    /// The socket cannot be listened on.
    Socket(std::io::Error),
    /// A certificate or key of the listener cannot be used.
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
pub struct Service<A> {
    service: listening::Service<Door<A>>,
    address: String,
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
struct Door<A> {
    proxy: Arc<A>,
    descriptors: Descriptors,
    connections: Arc<AtomicUsize>,
    preamble: Arc<Preamble>,
    /// HTTP/1 and HTTP/2, without TLS to tell which.
    speaks_both: bool,
    ends: Ends,
    terms: Arc<ArcSwap<Terms>>,
    metrics: Metrics,
}

impl<A: HttpServerApp + Send + Sync + 'static> Door<A> {
    /// In a task of its own: Pingora's keeps what accepting and handshakes need.
    fn http1(&self, stream: Stream, read: BytesMut, counted: Counted) -> Option<Stream> {
        let stream = Box::new(Attended::http1(stream, self.terms.load_full(), Awaited::FirstByte));
        let serving = http1::serve(self.proxy.clone(), stream, read, None, self.ends.clone());
        tokio::spawn(async move {
            let _counted = counted;
            serving.await;
        });
        None
    }

    /// In a task of its own, too.
    fn http2(&self, stream: Stream, counted: Counted, shutdown: &ShutdownWatch) -> Option<Stream> {
        let (windows, writes) = (Arc::new(Windows::new()), Arc::new(Writes::default()));
        let terms = self.terms.load_full();
        let (proxy, idle) = (self.proxy.clone(), terms.idle);
        let (shutdown, refusals) = (shutdown.clone(), terms.refusals.clone());
        let stream = Box::new(Attended::http2(stream, terms, windows.clone(), writes.clone()));
        tokio::spawn(async move {
            let _counted = counted;
            // Made here: one that was moved in would take its memory twice.
            http2::serve(proxy, (stream, windows, writes), idle, shutdown, refusals).await;
        });
        None
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for Door<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        if !self.descriptors.admit(stream.id()) {
            descriptors::count_refused(&self.metrics);
            return None;
        }
        let counted = Counted::new(&self.connections);
        // Boxed: what a handshake needs is not kept for as long as its connection.
        let stream = Box::pin(self.preamble.pass(stream, &self.metrics)).await?;
        if stream.selected_alpn_proto() == Some(ALPN::H2) {
            return self.http2(stream, counted, shutdown);
        }
        if !self.speaks_both {
            return self.http1(stream, BytesMut::new(), counted);
        }
        match timeout(self.terms.load().first_byte, protocol::protocol(stream)).await {
            Ok(Ok(Some(Protocol::Http2(stream)))) => self.http2(stream, counted, shutdown),
            Ok(Ok(Some(Protocol::Http1(stream, read)))) => self.http1(stream, read, counted),
            Ok(Ok(None) | Err(_)) => None,
            Err(_) => {
                self.metrics.refusals.with_label_values(&["first-byte"]).inc();
                None
            }
        }
    }

    /// Pingora calls it when the listener is closed, and takes what is idle then for done.
    async fn cleanup(&self) {
        // Its end says the same.
        let _ = self.ends.close_idle.clone().wait_for(|close| *close).await;
        self.proxy.http_cleanup().await;
    }
}

/// What a listener hands its connections to, and what all listeners of the process have in common.
pub(crate) struct Behind<A> {
    pub(crate) proxy: Arc<A>,
    pub(crate) runtime: Handle,
    /// Says what is known of a connection that was taken over and comes back.
    pub(crate) known: fn() -> Known,
    pub(crate) descriptors: Descriptors,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) metrics: Metrics,
}

/// A listener: its service, the way back for connections that were taken over, and what a reload reaches it by.
pub(crate) struct Served<A> {
    pub(crate) service: Service<A>,
    pub(crate) home: Arc<dyn Home>,
    pub(crate) control: Control,
}

/// Makes the service of a bound listener, the way back for connections that were taken over, and what a reload reaches it
/// by.
///
/// # Errors
/// The socket cannot be made non-blocking, or a certificate cannot be used.
pub(crate) fn service<A: HttpServerApp + Send + Sync + 'static>(
    behind: Behind<A>,
    (listener, limits): (&Listener, &Limits),
    socket: TcpListener,
    watches: Watches,
) -> Result<Served<A>, ListenError> {
    let Behind { proxy, runtime, known, descriptors, connections, metrics } = behind;
    let Watches { close, close_idle, look } = watches;
    let terms = Arc::new(ArcSwap::from_pointee(Terms::of(limits, &metrics)));
    let ends = Ends { close: close.clone(), close_idle };
    let home = Arc::new(FrontDoor {
        proxy: Arc::downgrade(&proxy),
        connections: connections.clone(),
        known,
        runtime,
        ends: ends.clone(),
        terms: terms.clone(),
    });

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
    let preamble = Arc::new(Preamble::new(listener, tls.clone(), limits.first_byte_timeout));
    let control = Control {
        terms: terms.clone(),
        preamble: preamble.clone(),
        tls: tls.clone(),
        metrics: metrics.clone(),
    };
    let entrance = Door {
        proxy,
        descriptors,
        connections,
        preamble,
        speaks_both: listener.http2 && listener.tls.is_none(),
        ends,
        terms,
        metrics: metrics.clone(),
    };
    let mut service = listening::Service::new(format!("front {address}"), entrance);
    service.add_listener(config);
    let fds: ListenFds = Arc::new(parking_lot::Mutex::new(Fds::new()));
    fds.lock().add(address.clone(), socket.into_raw_fd());
    let service = Service { service, address, fds, close, tls, look, metrics };
    Ok(Served { service, home, control })
}

impl<A: HttpServerApp + Send + Sync + 'static> Service<A> {
    /// Accepts until it is to close.
    pub async fn run(mut self) {
        let serving = self.service.start_service(Some(self.fds), self.close, 1);
        let Some(tls) = self.tls else { return serving.await };
        tokio::select! {
            () = serving => {}
            () = tls.keep(self.address, self.look, self.metrics) => {}
        }
    }
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
