//! Claims: a plain request that caused a poll gets the answer, even one that no other request may share (contract §3,
//! "What a poll took, a client gets").
//!
//! An answer is held for a request that waits for it and no longer, so that there are never more of them than
//! requests that wait. Must not know: what makes an answer one client's, how it is given.

use std::sync::Arc;

use super::poll_number::PollNumber;
use super::topic::Topic;
use super::view::{Relayed, View};

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

    /// Wants a poll as [`Topic::want_poll_after`] does, for a plain request, which claims what that poll takes if it may not
    /// be shared. The claim stands before the poll is asked for.
    pub fn want_poll_for(self: &Arc<Self>, view: &View) -> (u64, Option<Claim>) {
        let number = self.next_poll(view);
        let claim = self.claim(number);
        self.want(number);
        (number, claim)
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
