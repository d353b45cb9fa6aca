//! The last plain poll of a connection of HTTP/1: whether the next one asks the same again.
//!
//! Must not know: how repeats are answered.

use std::sync::atomic::{AtomicU64, Ordering};

use pingora::proxy::Session;

use super::Attended;

/// The number of a connection's last plain poll; 0 without one.
#[derive(Debug, Default)]
pub(super) struct LastPoll(AtomicU64);

impl Attended {
    /// Remembers the number of a plain poll. Returns whether the one before it on this connection has the same.
    pub(crate) fn repeats_poll(session: &Session, number: u64) -> bool {
        let stream = session.downstream_session.stream();
        let attended = stream.and_then(|stream| (**stream).as_any().downcast_ref::<Attended>());
        attended.is_some_and(|attended| attended.last_poll.0.swap(number, Ordering::Relaxed) == number)
    }

    /// The connection repeated this plain poll before it came here.
    pub(in crate::listener) fn came_from_repeating(&mut self, last_poll: Option<u64>) {
        self.last_poll = LastPoll(AtomicU64::new(last_poll.unwrap_or_default()));
    }
}
