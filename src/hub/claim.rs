//! What a poll took for a plain request and no other may share: left to that one request (contract §3, "What a poll
//! took, a client gets").
//!
//! An answer is held for a request that waits for it and no longer, so that there are never more of them than
//! requests that wait. Must not know: what makes an answer one client's, how it is given.

use std::sync::Arc;

use parking_lot::Mutex;

use super::publisher::PollNumber;
use super::topic::Topic;
use super::view::Relayed;

/// The requests that caused a poll, each with the answer that was left to it.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<Vec<(PollNumber, Option<Relayed>)>>);

impl Claims {
    /// Leaves an answer to the request that caused the poll. Without one it is dropped.
    pub(super) fn give(&self, poll: PollNumber, answer: Relayed) {
        if let Some((_, left)) = self.0.lock().iter_mut().find(|(number, _)| *number == poll) {
            *left = Some(answer);
        }
    }
}

/// A plain request that waits for a poll as the first one that wanted it. Dropped with the request.
pub struct Claim {
    topic: Arc<Topic>,
    number: PollNumber,
}

impl Topic {
    /// Claims the answer of a poll that is wanted. Returns `None` if another request has claimed it.
    pub fn claim(self: &Arc<Self>, number: PollNumber) -> Option<Claim> {
        let mut claims = self.claims.0.lock();
        if claims.iter().any(|(claimed, _)| *claimed == number) {
            return None;
        }
        claims.push((number, None));
        drop(claims);
        Some(Claim { topic: self.clone(), number })
    }
}

impl Claim {
    /// Takes what was left; there is something if the poll has ended with an answer that is this request's alone.
    pub fn take(self) -> Option<Relayed> {
        let mut claims = self.topic.claims.0.lock();
        claims.iter_mut().find(|(number, _)| *number == self.number)?.1.take()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.topic.claims.0.lock().retain(|(number, _)| *number != self.number);
    }
}
