//! Where a taken-over connection goes for its next request: back to Pingora.
//!
//! Must not know: what it was away for.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream, l4};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::runtime::Handle;

use super::attended::Attended;
use super::listen::Counted;
use super::patience::{Awaited, Terms};
use super::remembered::Remembered;
use super::{Front, Shared};
use crate::fanout::{Home, Returned};

/// A listener's proxy, as a home for its connections.
pub(super) struct FrontDoor {
    pub(super) proxy: std::sync::Weak<HttpProxy<Front>>,
    pub(super) shared: std::sync::Weak<Shared>,
    pub(super) runtime: Handle,
    pub(super) shutdown: ShutdownWatch,
    pub(super) terms: Arc<Terms>,
}

impl Home for FrontDoor {
    fn give_back(&self, connection: Returned, read: BytesMut) {
        // Without the proxy the listener is gone: the connection is closed.
        let (Some(proxy), Some(shared)) = (self.proxy.upgrade(), self.shared.upgrade()) else { return };
        let (shutdown, terms) = (self.shutdown.clone(), self.terms.clone());
        let counted = Counted::new(&shared);
        self.runtime.spawn(async move {
            let _counted = counted;
            match stream(connection) {
                // A client that was held here is no newcomer.
                Ok(stream) => {
                    let stream = Attended::http1(stream, terms, Awaited::NextRequest);
                    let known = Remembered { let_in: true, bond: None };
                    serve(proxy, stream, read, Some(known), &shutdown).await;
                }
                Err(error) => tracing::debug!("a connection could not be given back: {error}"),
            }
        });
    }
}

/// Pingora's stream around a connection. Inside the runtime whose reactor it will use.
fn stream(connection: Returned) -> io::Result<Stream> {
    let socket = match connection {
        Returned::Stream(stream) => return Ok(stream),
        Returned::Socket(socket) => tokio::net::TcpStream::from_std(socket)?,
    };
    // Without a digest of its own the next request would have no client address.
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let mut stream = l4::stream::Stream::from(socket);
    stream.set_socket_digest(digest);
    Ok(Box::new(stream))
}

/// What Pingora does for an HTTP/1 connection of its own, from the next request on; `read` is the
/// beginning of that.
pub(super) async fn serve(
    proxy: Arc<HttpProxy<Front>>,
    mut stream: Attended,
    read: BytesMut,
    known: Option<Remembered>,
    shutdown: &ShutdownWatch,
) {
    let read = stream.read_before(read);
    let mut session = ServerSession::new_http1(Box::new(stream));
    // Without an end: what is attended to ends by itself.
    session.set_keepalive((!*shutdown.borrow()).then_some(0));
    session.set_pipelining_enabled(true);
    if let Some(known) = known {
        session.set_connection_user_context(Some(Box::new(known)));
    }
    if !read.is_empty() {
        session.set_pipelined_prefix(read);
    }
    let mut reused = proxy.process_new_http(session, shutdown).await;
    while let Some((stream, settings)) = reused.map(|reused| reused.consume()) {
        let mut session = ServerSession::new_http1(Attended::expect_next(stream));
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        reused = proxy.process_new_http(session, shutdown).await;
    }
}
