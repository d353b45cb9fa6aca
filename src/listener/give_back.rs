//! Gives a connection that was taken over back to Pingora, for its next request.
//!
//! Must not know: what it was away for.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream, l4};
use tokio::runtime::Handle;

use super::connections::Counted;
use super::deadlines::Terms;
use super::guarded_stream::Attended;
use super::http1::{self, Ends, Known};
use crate::fanout::{Home, Returned};

/// A listener's proxy, as a home for its connections.
pub(super) struct FrontDoor<A> {
    pub(super) proxy: Weak<A>,
    pub(super) connections: Arc<AtomicUsize>,
    /// Says what is known of a connection that comes back.
    pub(super) known: fn() -> Known,
    pub(super) runtime: Handle,
    pub(super) ends: Ends,
    pub(super) terms: Arc<ArcSwap<Terms>>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Home for FrontDoor<A> {
    fn give_back(&self, connection: Returned, read: BytesMut, last_poll: Option<u64>) {
        // Without the proxy the listener is gone: the connection is closed.
        let Some(proxy) = self.proxy.upgrade() else { return };
        let (ends, terms) = (self.ends.clone(), self.terms.load_full());
        let (counted, known) = (Counted::new(&self.connections), self.known);
        self.runtime.spawn(async move {
            let _counted = counted;
            match stream(connection) {
                Ok(stream) => {
                    let stream = Box::new(Attended::back(stream, terms, last_poll));
                    http1::serve(proxy, stream, read, Some(known()), ends).await;
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
