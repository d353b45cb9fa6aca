//! One HTTP/1 connection: its requests, one after the other, each given to Pingora's proxy.
//!
//! Must not know: what is remembered of a connection.

use std::any::Any;
use std::sync::Arc;

use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;

use super::guarded_stream::Attended;

/// What the application behind a listener remembers of a connection.
pub(super) type Known = Box<dyn Any + Send + Sync>;

/// What Pingora does for an HTTP/1 connection of its own, from the next request on; `read` is the
/// beginning of that, and `known` what is remembered of the connection.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    proxy: Arc<A>,
    mut stream: Attended,
    read: BytesMut,
    known: Option<Known>,
    shutdown: &ShutdownWatch,
) {
    let read = stream.read_before(read);
    let mut session = ServerSession::new_http1(Box::new(stream));
    // Without an end: what is attended to ends by itself.
    session.set_keepalive((!*shutdown.borrow()).then_some(0));
    session.set_pipelining_enabled(true);
    if let Some(known) = known {
        session.set_connection_user_context(Some(known));
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
