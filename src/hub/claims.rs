//! The requests that caused a poll of a topic, each with the answer that was left to it (contract §3).
//!
//! Must not know: what makes an answer one client's, how it is given.

use parking_lot::Mutex;

use super::poll_number::PollNumber;
use super::view::Relayed;

/// The requests that caused a poll, each with the answer that was left to it.
#[derive(Debug, Default)]
pub(super) struct Claims(pub(super) Mutex<Vec<(PollNumber, Option<Relayed>)>>);

impl Claims {
    /// Leaves an answer to the request that caused the poll. The answer is dropped if no request has claimed it.
    pub(super) fn give(&self, poll: PollNumber, answer: Relayed) {
        if let Some((_, left)) = self.0.lock().iter_mut().find(|(number, _)| *number == poll) {
            *left = Some(answer);
        }
    }
}
