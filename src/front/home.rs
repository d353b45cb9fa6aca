//! Where a taken-over connection goes for its next request: back to Pingora.
//!
//! Must not know: what it was away for.

use std::sync::Arc;

use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::runtime::Handle;

use super::Front;
use crate::fanout::Home;

/// How long Pingora waits for the next request, seconds.
const KEEPALIVE: u64 = 60;

/// A listener's proxy, as a home for its connections.
pub(super) struct FrontDoor {
    pub(super) proxy: std::sync::Weak<HttpProxy<Front>>,
    pub(super) runtime: Handle,
    pub(super) shutdown: ShutdownWatch,
}

impl Home for FrontDoor {
    fn give_back(&self, stream: Stream, read: BytesMut) {
        // Without the proxy the listener is gone: the connection is closed.
        let Some(proxy) = self.proxy.upgrade() else { return };
        let shutdown = self.shutdown.clone();
        self.runtime.spawn(serve(proxy, stream, read, shutdown));
    }
}

/// What Pingora does for a connection of its own, from the next request on.
async fn serve(proxy: Arc<HttpProxy<Front>>, stream: Stream, read: BytesMut, shutdown: ShutdownWatch) {
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(Some(KEEPALIVE));
    session.set_pipelining_enabled(true);
    if !read.is_empty() {
        session.set_pipelined_prefix(read);
    }
    let mut reused = proxy.process_new_http(session, &shutdown).await;
    while let Some((stream, settings)) = reused.map(|reused| reused.consume()) {
        let mut session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        reused = proxy.process_new_http(session, &shutdown).await;
    }
}
