//! How long an upstream may take to begin the answer of a request that passes through
//! (`passthrough_first_byte_timeout`), from the last byte of the request on. What comes after its first byte may be as
//! slow as it likes: it may be an event stream.
//!
//! Pingora knows a limit for each read alone, those of bodies among them, and has it run while a request is still sent.
//! On HTTP/1 the connection's descriptor is therefore shut down from outside when the time is over; an upgrade has the
//! limit in its connection, and HTTP/2, where a connection is many requests', Pingora's own where that does no harm.
//! Must not know: what an answer says.

use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use socket2::SockRef;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::front::request::transport_choice;
use crate::upstream::{Client, began_no_answer};

/// The error of an answer whose first byte came when the wait for it was over.
const LATE: ErrorType = ErrorType::Custom("late-first-byte");

/// The wait of one request on a connection of HTTP/1. It ends when this is dropped.
pub(in crate::front) struct FirstByte {
    state: Arc<Mutex<State>>,
    timer: AbortHandle,
}

/// How far a wait is.
struct State {
    /// When the last piece of the request was sent.
    sent: Instant,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waits,
    /// The answer has begun.
    Came,
    /// The time was over first.
    Over,
}

impl Drop for FirstByte {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl FirstByte {
    /// Begins the wait for an answer on the upstream connection with this descriptor. Returns `None` if the answer may begin
    /// as late as it likes, or the connection has the limit itself.
    pub(in crate::front) fn begin(fd: RawFd, upstream: &Client) -> Option<FirstByte> {
        let limit = upstream.config().passthrough_first_byte_timeout?;
        if fd < 0 || upstream.config().http2 {
            return None;
        }
        // SAFETY: Pingora passes the descriptor of the connection that it has just taken for this request, and holds that
        // connection, and so keeps it open, at least until the call in which this is done has returned.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        // A descriptor of our own stays that connection's whatever becomes of Pingora's.
        let own = borrowed.try_clone_to_owned();
        let unbounded = |error: &_| tracing::debug!("the first byte of an answer has no limit: {error}");
        let socket = own.inspect_err(unbounded).ok()?;
        let state = Arc::new(Mutex::new(State { sent: Instant::now(), phase: Phase::Waits }));
        let timer = tokio::spawn(watch(socket, limit, state.clone())).abort_handle();
        Some(FirstByte { state, timer })
    }

    /// Notes that a piece of the request went on: the wait begins anew.
    pub(in crate::front) fn sent(&self) {
        self.state.lock().sent = Instant::now();
    }

    /// Notes that an answer with this status has begun: from now on it may take its time. One that is none yet (1xx) has the
    /// wait begin anew.
    ///
    /// # Errors
    /// The wait is over, and the connection with it.
    pub(in crate::front) fn came(&self, status: StatusCode) -> Result<()> {
        let mut state = self.state.lock();
        if state.phase == Phase::Over {
            return Error::e_explain(LATE, "the answer began when the time for it was over");
        }
        state.sent = Instant::now();
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            state.phase = Phase::Came;
            self.timer.abort();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.state.lock().phase == Phase::Over
    }
}

/// Shuts a connection down once its request was sent for so long without an answer.
async fn watch(socket: OwnedFd, limit: Duration, state: Arc<Mutex<State>>) {
    loop {
        let until = state.lock().sent + limit;
        sleep_until(until).await;
        let mut state = state.lock();
        if state.phase != Phase::Waits {
            return;
        }
        if state.sent + limit <= Instant::now() {
            state.phase = Phase::Over;
            // Under the lock: no later request can have the connection by then.
            if let Err(error) = SockRef::from(&socket).shutdown(Shutdown::Both) {
                tracing::debug!("a connection on which no answer began is closed already: {error}");
            }
            return;
        }
    }
}

/// Whether a request did not get through since no answer to it began in time. `head_sent`: an answer has begun.
pub(in crate::front) fn is_over(error: &Error, first_byte: Option<&FirstByte>, head_sent: bool) -> bool {
    let of_http2 = *error.etype() == ErrorType::ReadTimedout && *error.esource() == ErrorSource::Upstream;
    first_byte.is_some_and(FirstByte::is_over) || (of_http2 && !head_sent) || began_no_answer(error)
}

/// Has Pingora bound the wait where a connection is of HTTP/2. Its limit is one for each read, and it runs while a request
/// is sent: what has a body, or asks for an event stream, goes without.
pub(super) fn bound_http2(headers: &HeaderMap, has_body: bool, upstream: &Client, peer: &mut HttpPeer) {
    let asks_for_stream = |said: &HeaderValue| {
        said.to_str().is_ok_and(|said| said.to_ascii_lowercase().contains("text/event-stream"))
    };
    let lasts = transport_choice::is_websocket(headers)
        || headers.get_all(header::ACCEPT).iter().any(asks_for_stream);
    if upstream.config().http2 && !has_body && !lasts {
        peer.options.read_timeout = upstream.config().passthrough_first_byte_timeout;
    }
}
