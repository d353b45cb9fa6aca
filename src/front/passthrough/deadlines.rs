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

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
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
    waiting: Arc<Waiting>,
    _place: Place,
}

/// The same, as it is looked at.
struct Waiting {
    state: Mutex<State>,
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
    Connection(Connection),
    /// Its task, and what counts that it was given up.
    Task(Arc<Notify>, IntCounter),
}

/// A connection that Pingora holds. Its descriptor may be another one's by the time that it is needed; the number by which
/// the kernel knows the socket is no other's.
struct Connection {
    fd: RawFd,
    cookie: u64,
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
            (_, true) => Lever::Connection(Connection::of(fd)?),
            (_, false) => Lever::Task(http2::giving_up()?, metrics.refusal(RefusalReason::BodyTimeout)),
        };
        let now = Instant::now();
        let state = State { sent: now, answer, read: now, body, late: None };
        let waiting = Arc::new(Waiting { state: Mutex::new(state), lever });
        let place = watch.add(waiting.clone());
        Some(Deadlines { waiting, _place: place })
    }

    /// Notes that a piece of the request's body came. `is_last`: it was the last one.
    pub(in crate::front) fn read(&self, is_last: bool) {
        let mut state = self.waiting.state.lock();
        let now = Instant::now();
        (state.sent, state.read) = (now, now);
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
        let mut state = self.waiting.state.lock();
        if state.late.is_some() {
            return Error::e_explain(LATE, "the answer began when the time for it was over");
        }
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            state.answer = None;
        } else {
            state.sent = Instant::now();
        }
        Ok(())
    }

    fn late(&self) -> Option<Late> {
        self.waiting.state.lock().late
    }
}

impl Connection {
    /// The connection that Pingora has just taken. Returns `None` where the kernel has no number for it.
    fn of(fd: RawFd) -> Option<Connection> {
        // SAFETY: Pingora passes the descriptor of the connection that it has just taken for this request, and holds that
        // connection, and so keeps it open, at least until the call in which this is done has returned.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let cookie = SockRef::from(&borrowed).cookie();
        let cookie = cookie.inspect_err(|error| tracing::debug!("a request has no limits: {error}")).ok()?;
        Some(Connection { fd, cookie })
    }

    /// Gives a descriptor of our own for the connection, which stays the connection's whatever becomes of Pingora's. `None`
    /// if the connection is gone.
    ///
    /// # Errors
    /// There is no descriptor to be had now.
    fn own(&self) -> io::Result<Option<OwnedFd>> {
        // SAFETY: duplicating a number that may be no descriptor any more, or another one, touches no memory.
        let own = unsafe { libc::fcntl(self.fd, libc::F_DUPFD_CLOEXEC, 0) };
        if own < 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::EBADF) { Ok(None) } else { Err(error) };
        }
        // SAFETY: the kernel has just made this descriptor, and nothing else has it.
        let own = unsafe { OwnedFd::from_raw_fd(own) };
        let is_it = SockRef::from(&own).cookie().is_ok_and(|cookie| cookie == self.cookie);
        Ok(is_it.then_some(own))
    }
}

impl Wait for Waiting {
    fn until(&self) -> Option<Instant> {
        self.state.lock().next().map(|(at, _)| at)
    }

    /// Ends a request as something has not come in time.
    fn end(&self, now: Instant) {
        let mut state = self.state.lock();
        let Some((_, late)) = state.next().filter(|(at, _)| *at <= now) else { return };
        match &self.lever {
            // Under the lock: no later request can have the connection by then.
            Lever::Connection(connection) => match connection.own() {
                // Not the client is late: what it sent is not taken.
                Ok(Some(socket)) if late == Late::Body && has_unsent(&socket) => {
                    state.read = now;
                    return;
                }
                Ok(Some(socket)) => {
                    if let Err(error) = SockRef::from(&socket).shutdown(Shutdown::Both) {
                        tracing::debug!("a connection that came to a deadline is closed already: {error}");
                    }
                }
                // Pingora has ended the exchange itself.
                Ok(None) => {}
                Err(error) => {
                    // It is looked at again.
                    tracing::debug!("a connection that came to a deadline cannot be ended yet: {error}");
                    return;
                }
            },
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_that_is_another_sockets_by_now_is_left_alone() {
        let (one, _peer) = UnixStream::pair().unwrap();
        let connection = Connection::of(one.as_raw_fd()).unwrap();
        assert!(connection.own().unwrap().is_some());
        let (other, _other_peer) = UnixStream::pair().unwrap();
        // SAFETY: both are open, and the first one goes on as the other one's socket.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), one.as_raw_fd()) }, one.as_raw_fd());
        assert!(connection.own().unwrap().is_none());
        drop(one);
        assert!(connection.own().unwrap().is_none(), "closed, or a file of another test's");
    }
}
