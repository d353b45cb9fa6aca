//! One connection of a shard: what is written to it, what is left to write, how it ends.
//!
//! Must not know: other members, topics' lists, timers.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::bundle::Bundle;
use super::client_permit::ClientPermit;
use super::entitlement::Entitlement;
use super::messages::Messages;
use super::record::Record;
use super::timers::Tick;
use super::wire::Wire;
use crate::hub::{Subscription, View};
use crate::transport::{End, Moment, Output, Repeat, Step, Transport};

/// How long a client has to close after it was told that nothing more comes.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// Most bytes read and dropped from a client that has nothing to say.
const NOISE_BYTES_MAX: u32 = 64 * 1024;

/// What happens once everything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stay,
    Finish(&'static str),
    GiveBack(&'static str),
}

/// The unwritten rest of at most one output, and what follows it.
#[derive(Debug)]
pub(super) struct Pending {
    first: Bytes,
    second: Bytes,
    then: Then,
    /// An end that came while the output was stuck.
    last: Option<(Output, Then)>,
    /// When the socket last took a byte.
    moved: Instant,
}

pub(super) struct Member {
    pub(super) wire: Wire,
    pub(super) transport: Transport,
    pub(super) subscription: Option<Subscription>,
    /// The resources of a member that follows many.
    pub(super) bundle: Option<Box<Bundle>>,
    /// Place in the shard's lists: group, and index among its members.
    pub(super) group: u32,
    pub(super) place: u32,
    pub(super) serial: u32,
    /// The bucket of the timer wheel that counts.
    pub(super) timer: Tick,
    /// When it has lasted for `max_age`; 0 stands for never. An `Option<Instant>` would take four times as much.
    pub(super) retires: Tick,
    /// Index of the shard's tallies.
    pub(super) tally: u32,
    noise: u32,
    pending: Option<Box<Pending>>,
    /// Until when the client may close, once nothing more is written.
    closing: Option<Moment>,
    pub(super) record: Record,
    pub(super) messages: Option<Messages>,
    /// Whether it got its answer, and may ask again.
    pub(super) idle: bool,
    permit: Option<ClientPermit>,
}

/// How a write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it is written, and this comes now.
    All(Then),
    /// The socket is full: the rest is pending.
    Blocked,
}

/// A member as it arrives.
pub(super) struct Party {
    pub(super) transport: Transport,
    pub(super) subscription: Option<Subscription>,
    pub(super) bundle: Option<Box<Bundle>>,
    pub(super) record: Record,
    pub(super) permit: Option<ClientPermit>,
    pub(super) messages: Option<Messages>,
}

impl Member {
    /// Notes that time has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Step {
        let view = self.view_at_end();
        self.transport.expired(now, view.as_deref())
    }

    /// Ends the connection.
    pub(super) fn end(&mut self, end: End) -> Step {
        let view = self.view_at_end();
        self.transport.end(end, view.as_deref())
    }

    fn view_at_end(&self) -> Option<Arc<View>> {
        let subscription = self.subscription.as_ref().filter(|_| self.transport.ends_with_view())?;
        Some(subscription.topic().view())
    }

    /// `serial`, `tally`: see the fields.
    pub(super) fn new(wire: Wire, party: Party, serial: u32, tally: u32) -> Member {
        let Party { transport, subscription, bundle, record, permit, messages } = party;
        Member {
            wire,
            transport,
            subscription,
            bundle,
            group: u32::MAX,
            place: 0,
            serial,
            timer: 0,
            retires: 0,
            tally,
            noise: 0,
            pending: None,
            closing: None,
            record,
            messages,
            idle: false,
            permit,
        }
    }

    /// Returns what the client stays by.
    pub(super) fn entitlement(&self) -> Option<&Arc<Entitlement>> {
        self.permit.as_ref()?.entitlement()
    }

    /// Whether it is ready for the next delivery.
    pub(super) fn is_free(&self) -> bool {
        self.pending.is_none() && self.closing.is_none() && !self.idle
    }

    /// Whether nothing more is written to it.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether it is not read, as its messages have no room: then its silence does not count against it.
    pub(super) fn is_unread(&self) -> bool {
        self.messages.as_ref().is_some_and(Messages::is_full)
    }

    /// Whether its end is decided: what is pending is written, and then it ends. A long-poll that goes back to the
    /// listener does not end: what it sends is its next request.
    pub(super) fn is_ending(&self) -> bool {
        let finishes = |then: Then| matches!(then, Then::Finish(_));
        self.is_closing()
            || self.pending.as_ref().is_some_and(|pending| {
                finishes(pending.then) || pending.last.as_ref().is_some_and(|(_, then)| finishes(*then))
            })
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.pending.is_some()
    }

    /// Writes an output. While an earlier one is stuck, an end is kept for later and anything
    /// else is dropped: heartbeats and pongs of a blocked client mean nothing.
    pub(super) fn write(&mut self, output: Output, then: Then, now: Instant) -> io::Result<Written> {
        if self.closing.is_some() {
            return Ok(Written::All(Then::Stay));
        }
        if let Some(pending) = &mut self.pending {
            if then != Then::Stay && pending.last.is_none() && pending.then == Then::Stay {
                pending.last = Some((output, then));
            }
            return Ok(Written::Blocked);
        }
        self.push(output.first, output.second, then, now)
    }

    /// Goes on with what is pending. Returns `None` if nothing is.
    pub(super) fn resume(&mut self, now: Instant) -> io::Result<Option<Written>> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(None);
        };
        let before = pending.first.len() + pending.second.len();
        let last = pending.last.take();
        let written = self.push(pending.first, pending.second, pending.then, now)?;
        match (written, &mut self.pending) {
            (Written::Blocked, Some(still)) => {
                if still.first.len() + still.second.len() == before {
                    still.moved = pending.moved;
                }
                still.last = last;
                Ok(Some(Written::Blocked))
            }
            _ => match last {
                Some((output, then)) => self.push(output.first, output.second, then, now).map(Some),
                None => Ok(Some(written)),
            },
        }
    }

    fn push(&mut self, mut first: Bytes, mut second: Bytes, then: Then, now: Instant) -> io::Result<Written> {
        loop {
            if first.is_empty() && second.is_empty() {
                match self.wire.flush() {
                    Ok(()) => return Ok(Written::All(then)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            match self.wire.write(&first, &second) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.record.bytes += written as u64;
                    let of_first = written.min(first.len());
                    first.advance(of_first);
                    second.advance(written - of_first);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.pending = Some(Box::new(Pending { first, second, then, last: None, moved: now }));
        Ok(Written::Blocked)
    }

    /// Tells the client that nothing more comes, and gives it a moment to close.
    pub(super) fn finish(&mut self, now: Instant) {
        self.closing.get_or_insert((now + LINGER_TIME_MAX).into());
        // An error means that the client is gone already, which the next read says.
        let _ = self.wire.finish();
    }

    /// Drops the bytes of a client that has nothing to send. Returns false if it sent too many.
    pub(super) fn ignore(&mut self, bytes: &[u8], pipelined_bytes: usize) -> bool {
        if let Some(kept) = self.wire.keep(bytes, pipelined_bytes) {
            return kept;
        }
        self.noise = self.noise.saturating_add(bytes.len() as u32);
        self.noise <= NOISE_BYTES_MAX
    }

    /// When it has to be looked at again.
    pub(super) fn deadline(&self, stall_timeout: Duration) -> Option<Instant> {
        match (&self.closing, &self.pending) {
            (Some(until), _) => Some(Instant::from(*until)),
            (None, Some(pending)) => Some(pending.moved + stall_timeout),
            (None, None) if self.idle => self.transport.repeat().map(Repeat::until),
            (None, None) => self.transport.deadline(),
        }
    }

    /// Whether a blocked client took nothing for `stall_timeout`.
    pub(super) fn is_stalled(&self, now: Instant, stall_timeout: Duration) -> bool {
        self.pending.as_ref().is_some_and(|pending| now >= pending.moved + stall_timeout)
    }
}
