//! How long a request that passes through may wait: for the first byte of the upstream's answer
//! (`passthrough_first_byte_timeout`), from the last byte of the request on; and on HTTP/2 for the next piece of the client's
//! body (`limits.body_timeout`). What comes after the first byte of an answer may be as slow as it likes: it may be an event
//! stream.
//!
//! Pingora knows a limit for each read of an answer alone, those of bodies among them, and has it run while a request is
//! still sent; for the body of a request it has one on HTTP/1 alone. Here a connection to an upstream of HTTP/1 is
//! therefore shut down from outside when a time is over, and the request goes the way of all that do not get through. An
//! upgrade has the limit of its answer in its connection. On HTTP/2, where a connection is many requests', an answer has
//! Pingora's limit where that does no harm, and a request whose body does not come is given up as a whole.
//! Must not know: what an answer says.

use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use prometheus::IntCounter;
use socket2::SockRef;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::deadline_watch::{DeadlineWatch, Place, Wait};
use crate::front::request::transport_choice;
use crate::listener::http2;
use crate::metrics::{Metrics, RefusalReason};
use crate::upstream::{Client, began_no_answer};

/// The error of an answer that began when the time was over.
const LATE: ErrorType = ErrorType::Custom("late");

/// The waits of one request. They end when this is dropped.
pub(in crate::front) struct Deadlines {
    state: Arc<Mutex<State>>,
    /// `None` once nothing is awaited any more.
    place: Mutex<Option<Place>>,
}

/// The same, as it is looked at.
struct Waiting {
    state: Arc<Mutex<State>>,
    lever: Lever,
}

/// How far a request is.
struct State {
    /// When the last piece of the request came, and how long the answer may take from then on to begin. `None` if it may
    /// take as long as it likes, or has begun.
    sent: Instant,
    answer: Option<Duration>,
    /// From when on the next piece of the body is awaited, and how long. `None` if the body is over, or not bounded here.
    read: Instant,
    body: Option<Duration>,
    late: Option<Late>,
}

/// What did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Late {
    /// The first byte of the upstream's answer.
    Answer,
    /// A piece of the client's body.
    Body,
}

/// What ends a request.
enum Lever {
    /// Its connection to the upstream.
    Socket(OwnedFd),
    /// Its task, and what counts that it was given up.
    Task(Arc<Notify>, IntCounter),
}

impl State {
    /// When the next time is over, and which one. `None` if nothing is awaited any more.
    fn next(&self) -> Option<(Instant, Late)> {
        let answer = self.answer.map(|limit| (self.sent + limit, Late::Answer));
        let body = self.body.map(|limit| (self.read + limit, Late::Body));
        answer.into_iter().chain(body).min_by_key(|(at, _)| *at)
    }
}

impl Deadlines {
    /// Begins the waits of a request on the upstream connection with this descriptor. `body`: how long each piece of a body
    /// may take that Pingora does not bound. Returns `None` if nothing is to be bounded here.
    pub(in crate::front) fn begin(
        fd: RawFd,
        upstream: &Client,
        body: Option<Duration>,
        (watch, metrics): (&Arc<DeadlineWatch>, &Metrics),
    ) -> Option<Deadlines> {
        // The others have the limit of the answer themselves.
        let is_own = fd >= 0 && !upstream.config().http2;
        let answer = upstream.config().passthrough_first_byte_timeout.filter(|_| is_own);
        let lever = match (answer.or(body)?, is_own) {
            (_, true) => Lever::Socket(own(fd)?),
            (_, false) => Lever::Task(http2::giving_up()?, metrics.refusal(RefusalReason::BodyTimeout)),
        };
        let now = Instant::now();
        let state = State { sent: now, answer, read: now, body, late: None };
        let state = Arc::new(Mutex::new(state));
        let waiting = Waiting { state: state.clone(), lever };
        let place = Mutex::new(Some(watch.add(Box::new(waiting))));
        Some(Deadlines { state, place })
    }

    /// Notes that a piece of the request's body came. `is_last`: it was the last one.
    pub(in crate::front) fn read(&self, is_last: bool) {
        let mut state = self.state.lock();
        (state.sent, state.read) = (Instant::now(), Instant::now());
        if is_last {
            state.body = None;
        }
    }

    /// Notes that an answer with this status has begun: from now on it may take its time. One that is none yet (1xx) has the
    /// wait begin anew.
    ///
    /// # Errors
    /// The time is over, and the connection with it.
    pub(in crate::front) fn came(&self, status: StatusCode) -> Result<()> {
        let mut state = self.state.lock();
        if state.late.is_some() {
            return Error::e_explain(LATE, "the answer began when the time for it was over");
        }
        state.sent = Instant::now();
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            state.answer = None;
            let is_over = state.body.is_none();
            drop(state);
            if is_over {
                // The descriptor of an answer that takes its time is given back.
                *self.place.lock() = None;
            }
        }
        Ok(())
    }

    fn late(&self) -> Option<Late> {
        self.state.lock().late
    }
}

/// A descriptor of our own for the connection that Pingora has just taken: it stays that connection's whatever becomes of
/// Pingora's. Returns `None` where descriptors are short.
fn own(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: Pingora passes the descriptor of the connection that it has just taken for this request, and holds that
    // connection, and so keeps it open, at least until the call in which this is done has returned.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let own = borrowed.try_clone_to_owned();
    own.inspect_err(|error| tracing::debug!("a request that passes through has no limits: {error}")).ok()
}

impl Wait for Waiting {
    fn until(&self) -> Option<Instant> {
        self.state.lock().next().map(|(at, _)| at)
    }

    /// Ends a request as something has not come in time.
    fn end(&mut self, now: Instant) {
        let mut state = self.state.lock();
        let Some((_, late)) = state.next().filter(|(at, _)| *at <= now) else { return };
        match &self.lever {
            // Not the client is late: what it sent is not taken.
            Lever::Socket(socket) if late == Late::Body && has_unsent(socket) => {
                state.read = now;
                return;
            }
            Lever::Socket(socket) => {
                // Under the lock: no later request can have the connection by then.
                if let Err(error) = SockRef::from(socket).shutdown(Shutdown::Both) {
                    tracing::debug!("a connection that came to a deadline is closed already: {error}");
                }
            }
            Lever::Task(task, given_up) => {
                tracing::debug!("a request is given up: its body did not come (limits.body_timeout)");
                // Nothing is left that would count it.
                given_up.inc();
                task.notify_one();
            }
        }
        state.late = Some(late);
        (state.answer, state.body) = (None, None);
    }
}

/// Whether bytes wait in a socket that its peer has not taken.
fn has_unsent(socket: &OwnedFd) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and TIOCOUTQ writes one int to where `bytes` lives.
    let told = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    told == 0 && bytes > 0
}

/// What a request did not get through for, if that is a deadline. `head_sent`: an answer has begun.
pub(in crate::front) fn late(error: &Error, deadlines: Option<&Deadlines>, head_sent: bool) -> Option<Late> {
    let of_http2 = *error.etype() == ErrorType::ReadTimedout && *error.esource() == ErrorSource::Upstream;
    let is_late = (of_http2 && !head_sent) || began_no_answer(error);
    deadlines.and_then(Deadlines::late).or(is_late.then_some(Late::Answer))
}

/// Has Pingora bound the wait for an answer where a connection is of HTTP/2. Its limit is one for each read, and it runs
/// while a request is sent: what has a body, or asks for an event stream, goes without.
pub(super) fn bound_http2(headers: &HeaderMap, has_body: bool, upstream: &Client, peer: &mut HttpPeer) {
    if !upstream.config().http2 || has_body {
        return;
    }
    let asks_for_stream = |said: &HeaderValue| {
        said.to_str().is_ok_and(|said| said.to_ascii_lowercase().contains("text/event-stream"))
    };
    let lasts = transport_choice::is_websocket(headers)
        || headers.get_all(header::ACCEPT).iter().any(asks_for_stream);
    if !lasts {
        peer.options.read_timeout = upstream.config().passthrough_first_byte_timeout;
    }
}
