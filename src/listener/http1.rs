//! One HTTP/1 connection: its requests, one after the other, each given to Pingora's proxy when it comes.
//!
//! Must not know: what is remembered of a connection.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;

use super::guarded_stream::Attended;
use super::turns::own_turn;

/// What the application behind a listener remembers of a connection.
pub(super) type Known = Box<dyn Any + Send + Sync>;

/// What ends the connections of a listener; each turns true.
#[derive(Clone)]
pub(super) struct Ends {
    /// Answers end connections.
    pub(super) close: ShutdownWatch,
    /// Connections without a request end.
    pub(super) close_idle: ShutdownWatch,
}

/// A request in Pingora's hands.
type Serving<'a> = Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>>;

/// What Pingora does for an HTTP/1 connection of its own, from the next request on; `read` is the
/// beginning of that, and `known` what is remembered of the connection.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    proxy: Arc<A>,
    mut stream: Box<Attended>,
    read: BytesMut,
    known: Option<Known>,
    mut ends: Ends,
) {
    let read = stream.read_before(read);
    let Ends { close, close_idle } = &mut ends;
    // One for all requests: each would have to enter and to leave the list of all who are told.
    let mut closes = pin!(close_idle.wait_for(|close| *close));
    if read.is_empty() && !comes(&mut stream, closes.as_mut()).await {
        return;
    }
    own_turn().await;
    let mut reused = first(&proxy, stream, read, known, close).await;
    while let Some((stream, settings)) = reused.map(ReusedHttpStream::consume) {
        let stream: Stream = match Attended::expect_next(stream) {
            Ok(mut stream) => match comes(&mut stream, closes.as_mut()).await {
                true => stream,
                false => return,
            },
            Err(stream) => stream,
        };
        reused = next(&proxy, stream, settings, close).await;
    }
}

/// Waits for a request. Returns false if the connection ends before one comes. `closes`: the end of connections without a
/// request.
async fn comes(stream: &mut Attended, mut closes: Pin<&mut impl Future>) -> bool {
    poll_fn(|context| {
        if let Poll::Ready(comes) = stream.poll_next(context) {
            return Poll::Ready(comes);
        }
        closes.as_mut().poll(context).map(|_| false)
    })
    .await
}

// Sessions are large: they are made outside of the connection's own future, which would keep room for them.

fn first<'a, A: HttpServerApp + Send + Sync + 'static>(
    proxy: &'a Arc<A>,
    stream: Stream,
    read: BytesMut,
    known: Option<Known>,
    close: &'a ShutdownWatch,
) -> Serving<'a> {
    let mut session = ServerSession::new_http1(stream);
    // Without an end: what is attended to ends by itself.
    session.set_keepalive((!*close.borrow()).then_some(0));
    session.set_pipelining_enabled(true);
    if let Some(known) = known {
        session.set_connection_user_context(Some(known));
    }
    if !read.is_empty() {
        session.set_pipelined_prefix(read);
    }
    proxy.process_new_http(session, close)
}

fn next<'a, A: HttpServerApp + Send + Sync + 'static>(
    proxy: &'a Arc<A>,
    stream: Stream,
    settings: Option<HttpPersistentSettings>,
    close: &'a ShutdownWatch,
) -> Serving<'a> {
    let mut session = ServerSession::new_http1(stream);
    if let Some(settings) = settings {
        settings.apply_to_session(&mut session);
    }
    proxy.process_new_http(session, close)
}
