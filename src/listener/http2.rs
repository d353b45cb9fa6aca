//! One HTTP/2 connection: its requests, each in a task of Pingora's proxy, and the event streams that have left
//! those tasks. They live in the connection's own: a change costs it one wake-up and one write whatever the number
//! of its streams, and none of them keeps what a request needs.
//!
//! Must not know: what a stream is about.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::Connection;
use pingora::Result;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora::protocols::{Digest, Stream};
use pingora::proxy::Session;
use pingora::server::ShutdownWatch;
use prometheus::IntCounterVec;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::http2_windows::Windows;
use super::http2_writes::Writes;
use super::takeover;
use super::turns::own_turn;
use crate::config::Limits;
use crate::fanout::{Http2Stream, Http2Streams};

/// Requests of one connection that may be malformed in ways HTTP/1 could not say: one more ends it. Pingora's own
/// loop has nearly the same limit, and no metric.
const MALFORMED_REQUESTS_MAX: usize = 32;

/// Streams on their way into their connection's task; more wait in their own.
const BOARDING_STREAMS_MAX: usize = 8;

/// A request that was taken alone and is not over by then counts as one that goes on, unless it is blocked, too.
const PROBATION_TIME: Duration = Duration::from_secs(1);

/// A stream that may send next to nothing from its start waits for this part of `limits.send_timeout`.
const SEND_TIMEOUT_PART: u32 = 10;

tokio::task_local! {
    /// The way from a request's task into its connection's.
    static BOARDING: mpsc::Sender<Box<Http2Stream>>;
    /// The windows of a request's connection.
    static WINDOWS: Arc<Windows>;
    /// What has a request's task end.
    static GIVING_UP: Arc<Notify>;
}

/// Returns what gives this request up when it is told: its stream is reset, and its exchange with the upstream ends. `None` if
/// it is none of HTTP/2.
pub(crate) fn giving_up() -> Option<Arc<Notify>> {
    GIVING_UP.try_with(Arc::clone).ok()
}

/// How long a write of this request's answer may make no progress.
pub(crate) fn send_timeout(limits: &Limits) -> Duration {
    let begins_closed = WINDOWS.try_with(|windows| windows.begin_closed()).unwrap_or(false);
    if begins_closed { limits.send_timeout / SEND_TIMEOUT_PART } else { limits.send_timeout }
}

/// The request that was taken last while too many streams were blocked.
struct Alone {
    task: AbortHandle,
    since: Instant,
    /// Streams that were blocked then.
    blocked: usize,
}

impl Alone {
    /// Whether another one may be taken.
    fn is_over(&self, windows: &Windows) -> bool {
        self.task.is_finished()
            || (self.since.elapsed() >= PROBATION_TIME && windows.blocked() <= self.blocked)
    }
}

/// What a connection brought.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Came {
    Accepted(Option<H2Accept>),
    /// A request may be taken again.
    Room,
}

/// Takes the stream of a request out of Pingora, and lets it live on in its connection's task. The head of its
/// answer is written, or waits with it.
///
/// # Errors
/// The request is none of HTTP/2.
pub(crate) async fn board(
    session: &mut Session,
    stream: impl FnOnce(HttpSession) -> Option<Box<Http2Stream>>,
) -> Result<()> {
    let stream = stream(takeover::take_http2(session).await?);
    // The connection is there as long as the task of any of its requests.
    if let (Some(stream), Ok(boarding)) = (stream, BOARDING.try_with(mpsc::Sender::clone)) {
        let _ = boarding.send(stream).await;
    }
    Ok(())
}

/// Serves a connection until it ends. `idle`: how long it may be without a request.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    proxy: Arc<A>,
    (stream, windows, writes): (Stream, Arc<Windows>, Arc<Writes>),
    idle: Duration,
    mut shutdown: ShutdownWatch,
    refusals: IntCounterVec,
) {
    let digest = Arc::new(digest(&stream));
    // Boxed: what a handshake needs is not kept for as long as its connection.
    let begun = Box::pin(handshake(stream, proxy.h2_options())).await;
    let begun = begun.inspect_err(|error| tracing::debug!("an HTTP/2 connection did not begin: {error}"));
    let Ok(mut connection) = begun else { return };
    let (boarding, mut boarded) = mpsc::channel::<Box<Http2Stream>>(BOARDING_STREAMS_MAX);
    let (mut streams, mut is_closing, waker) = (Http2Streams::default(), false, Waker::from(writes.clone()));
    let mut requests = Requests {
        proxy,
        shutdown: shutdown.clone(),
        boarding,
        windows: windows.clone(),
        refusals,
        tasks: JoinSet::new(),
        alone: None,
        malformed: 0,
    };
    loop {
        let is_idle = requests.tasks.is_empty() && streams.is_empty();
        let room = requests.room();
        let takes = room.takes;
        windows.take_one_more(takes);
        let next = |context: &mut Context<'_>| match takes {
            true => poll_request(&mut connection, &digest, context),
            // Its streams go on, and what is asked for waits (`http2_parked`).
            false => match connection.poll_closed(context) {
                Poll::Ready(_) => Poll::Ready(Ok(Came::Accepted(None))),
                Poll::Pending if !windows.are_used_up() => Poll::Ready(Ok(Came::Room)),
                Poll::Pending => Poll::Pending,
            },
        };
        tokio::select! {
            // Requests come last: accepting them is also what sends what the streams have just written.
            biased;
            _ = shutdown.changed(), if !is_closing => {
                connection.graceful_shutdown();
                is_closing = true;
            }
            Some(stream) = boarded.recv() => streams.add(stream),
            () = streams.serve(Some(&waker), || writes.begin(), |streams, waits| writes.come_from(streams, waits)) => {}
            Some(_) = requests.tasks.join_next() => {}
            came = writes.serve(&waker, next) => if !requests.go_on(came, &room) { break },
            () = sleep(PROBATION_TIME), if !takes => {}
            () = sleep(idle), if is_idle => break,
        }
    }
    // Each of them notices, and accounts for its end.
    let Requests { boarding, tasks, .. } = requests;
    drop((connection, boarding));
    until_all_end(tasks, streams, boarded).await;
}

/// The next request of a connection. What waits for it keeps nothing from one call to the next, and so it is made for each.
fn poll_request(
    connection: &mut Connection<Stream, Bytes>,
    digest: &Arc<Digest>,
    context: &mut Context<'_>,
) -> Poll<Result<Came>> {
    pin!(HttpSession::from_h2_conn(connection, digest.clone())).poll(context).map_ok(Came::Accepted)
}

/// The requests of a connection.
struct Requests<A> {
    proxy: Arc<A>,
    shutdown: ShutdownWatch,
    boarding: mpsc::Sender<Box<Http2Stream>>,
    windows: Arc<Windows>,
    refusals: IntCounterVec,
    tasks: JoinSet<()>,
    alone: Option<Alone>,
    /// Requests that could not be read.
    malformed: usize,
}

/// Whether a connection may bring one more request.
struct Room {
    takes: bool,
    /// Too many streams are blocked for more than one request at a time.
    is_narrow: bool,
    /// Streams that are blocked, without the request that may come now: its stream may be blocked from its start.
    blocked: usize,
}

impl<A: HttpServerApp + Send + Sync + 'static> Requests<A> {
    fn room(&self) -> Room {
        let blocked = self.windows.blocked();
        let blocked_max = self.windows.blocked_max();
        let is_narrow = self.tasks.len() >= blocked_max && blocked >= blocked_max;
        let takes = !is_narrow || self.alone.as_ref().is_none_or(|alone| alone.is_over(&self.windows));
        Room { takes, is_narrow, blocked }
    }

    /// Begins the request that a connection brought. Returns whether the connection goes on.
    fn go_on(&mut self, came: Result<Came>, room: &Room) -> bool {
        match came {
            Ok(Came::Room) => true,
            Ok(Came::Accepted(Some(H2Accept::Session(session)))) => {
                let (proxy, shutdown) = (self.proxy.clone(), self.shutdown.clone());
                let giving_up = Arc::new(Notify::new());
                let given_up = giving_up.clone();
                let request = async move {
                    own_turn().await;
                    let session = ServerSession::new_http2(session);
                    tokio::select! {
                        biased;
                        _ = proxy.process_new_http(session, &shutdown) => {}
                        () = given_up.notified() => {}
                    }
                };
                let request = GIVING_UP.scope(giving_up, request);
                let request = WINDOWS.scope(self.windows.clone(), request);
                let task = self.tasks.spawn(BOARDING.scope(self.boarding.clone(), request));
                let (since, blocked) = (Instant::now(), room.blocked);
                self.alone = room.is_narrow.then(|| Alone { task, since, blocked });
                true
            }
            Ok(Came::Accepted(Some(H2Accept::Rejected))) if self.malformed < MALFORMED_REQUESTS_MAX => {
                self.malformed += 1;
                true
            }
            Ok(Came::Accepted(Some(H2Accept::Rejected))) => {
                self.refusals.with_label_values(&["http2-malformed"]).inc();
                false
            }
            Ok(Came::Accepted(None)) => false,
            Err(error) => {
                tracing::debug!("an HTTP/2 connection ended: {error}");
                false
            }
        }
    }
}

/// Waits for the ends of all that a connection has begun.
async fn until_all_end(
    mut requests: JoinSet<()>,
    mut streams: Http2Streams,
    mut boarded: mpsc::Receiver<Box<Http2Stream>>,
) {
    loop {
        tokio::select! {
            Some(stream) = boarded.recv() => streams.add(stream),
            () = streams.serve(None, || {}, |_, _| false), if !streams.is_empty() => {}
            Some(_) = requests.join_next() => {}
            else => break,
        }
    }
}

/// What is known of a connection from its socket on.
fn digest(stream: &Stream) -> Digest {
    Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    }
}
