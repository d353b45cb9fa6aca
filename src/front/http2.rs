//! One HTTP/2 connection: its requests, each in a task of Pingora's proxy, and the event streams that have left
//! those tasks. They live in the connection's own: a change costs it one wake-up and one write whatever the number
//! of its streams, and none of them keeps what a request needs.
//!
//! Must not know: what a stream is about.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pingora::Result;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora::protocols::{Digest, Stream};
use pingora::proxy::{HttpProxy, Session};
use pingora::server::ShutdownWatch;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Front, takeover};
use crate::metrics::Metrics;

/// Requests of one connection that may be malformed in ways HTTP/1 could not say: one more ends it. Pingora's own
/// loop has nearly the same limit, and no metric.
const MALFORMED: usize = 32;

/// Streams on their way into their connection's task; more wait in their own.
const BOARDING_AT_ONCE: usize = 8;

/// A stream until its end.
type Living = BoxFuture<'static, ()>;

tokio::task_local! {
    /// The way from a request's task into its connection's.
    static BOARDING: mpsc::Sender<Living>;
}

/// Takes the stream of a request out of Pingora, and lets it live on in its connection's task. The head of its
/// answer is written.
///
/// # Errors
/// The request is none of HTTP/2.
pub(super) async fn board<F>(session: &mut Session, live: impl FnOnce(Box<ServerSession>) -> F) -> Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let stream = takeover::take_http2(session).await?;
    let living: Living = Box::pin(live(stream));
    // The connection is there as long as the task of any of its requests.
    if let Ok(boarding) = BOARDING.try_with(mpsc::Sender::clone) {
        let _ = boarding.send(living).await;
    }
    Ok(())
}

/// Serves a connection until it ends. `idle`: how long it may be without a request.
pub(super) async fn serve(
    proxy: Arc<HttpProxy<Front>>,
    stream: Stream,
    idle: Duration,
    mut shutdown: ShutdownWatch,
    metrics: Metrics,
) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let mut connection = match handshake(stream, proxy.h2_options()).await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!("an HTTP/2 connection did not begin: {error}");
            return;
        }
    };
    let (boarding, mut boarded) = mpsc::channel::<Living>(BOARDING_AT_ONCE);
    let (mut requests, mut streams) = (JoinSet::new(), FuturesUnordered::new());
    let (mut malformed, mut is_closing) = (0, false);
    loop {
        let is_idle = requests.is_empty() && streams.is_empty();
        tokio::select! {
            // Requests come last: accepting them is also what sends what the streams have just written.
            biased;
            _ = shutdown.changed(), if !is_closing => {
                connection.graceful_shutdown();
                is_closing = true;
            }
            Some(stream) = boarded.recv() => streams.push(stream),
            Some(()) = streams.next() => {}
            Some(_) = requests.join_next() => {}
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
                    let request = async move {
                        proxy.process_new_http(ServerSession::new_http2(session), &shutdown).await;
                    };
                    requests.spawn(BOARDING.scope(boarding.clone(), request));
                }
                Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED => malformed += 1,
                Ok(Some(H2Accept::Rejected)) => {
                    metrics.refusals.with_label_values(&["http2-malformed"]).inc();
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!("an HTTP/2 connection ended: {error}");
                    break;
                }
            },
            () = sleep(idle), if is_idle => break,
        }
    }
    // Each of them notices, and accounts for its end.
    drop((connection, boarding));
    loop {
        tokio::select! {
            Some(stream) = boarded.recv() => streams.push(stream),
            Some(()) = streams.next() => {}
            Some(_) = requests.join_next() => {}
            else => break,
        }
    }
}
