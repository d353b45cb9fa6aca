//! Members that stay after their answer: the next request is served here if it repeats the last one, and
//! by Pingora in every other case.
//!
//! Must not know: how a request is recognized, what its answer says.

use std::sync::atomic::Ordering;

use bytes::BytesMut;

use super::super::member_id::MemberId;
use super::Shard;
use crate::fanout::member::Then;
use crate::transport::{Next, Repeat, Transport};

/// Most requests of one connection that are served before others have their turn.
const TURN_REQUESTS_MAX: usize = 16;

/// What became of a request.
enum Served {
    Here,
    /// The front has to look at it.
    NotHere,
}

impl Shard {
    /// Keeps a member after its answer if the front's decision still counts. Returns false if it goes back to the
    /// listener.
    pub(super) fn stays(&mut self, slot: usize) -> bool {
        let counts = self.members[slot].transport.repeat().is_some_and(|repeat| self.counts(repeat));
        if !counts || self.draining.is_some() {
            return false;
        }
        let member = &mut self.members[slot];
        member.idle = true;
        if member.wire.has_kept() {
            let id = MemberId { slot: slot as u32, serial: member.serial };
            self.repeats.push(id);
        }
        true
    }

    /// Whether the front's decision still counts: it is young, and of the configuration that holds now.
    fn counts(&self, repeat: &Repeat) -> bool {
        self.now < repeat.until() && repeat.generation() == self.generation.load(Ordering::SeqCst)
    }

    /// Serves the clients that had sent their next request before they got their answer.
    pub(super) fn serve_repeats(&mut self) {
        for id in std::mem::take(&mut self.repeats) {
            if let Some(slot) = self.slot_of(id) {
                self.asked(slot, &[]);
                self.rest(slot);
            }
        }
    }

    /// Takes what a member between two requests has sent. `fresh` is what was just read.
    pub(super) fn asked(&mut self, slot: usize, fresh: &[u8]) {
        let mut kept = self.members[slot].wire.take_kept();
        let mut bytes = fresh;
        if !kept.is_empty() {
            kept.extend_from_slice(fresh);
            bytes = &kept;
        }
        for _ in 0..TURN_REQUESTS_MAX {
            let Some(member) = self.members.get(slot) else { return };
            if !member.idle || bytes.is_empty() {
                break;
            }
            let Some(repeat) = member.transport.repeat().copied() else { break };
            let served = match repeat.next(bytes) {
                Next::Partial => break,
                Next::Other => Served::NotHere,
                Next::Again { .. } if self.draining.is_some() || !self.counts(&repeat) => Served::NotHere,
                Next::Again { length, condition } => {
                    // The rest is taken before the answer is written, as writing may end the member.
                    let rest = &bytes[length..];
                    let served = self.serve(slot, condition);
                    if let Served::Here = served {
                        bytes = rest;
                    }
                    served
                }
            };
            if let Served::NotHere = served {
                self.go_home(slot, bytes);
                return;
            }
        }
        self.keep(slot, bytes);
    }

    /// Keeps the bytes that were not looked at yet.
    fn keep(&mut self, slot: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let Some(member) = self.members.get_mut(slot) else { return };
        let is_partial = member.transport.repeat().is_some_and(|repeat| repeat.next(bytes) == Next::Partial);
        if member.wire.keep(bytes, self.rules.pipelined_bytes) == Some(false) {
            self.remove(slot, "client-noise");
        } else if member.idle && !is_partial {
            self.repeats.push(MemberId { slot: slot as u32, serial: member.serial });
        }
    }

    fn serve(&mut self, slot: usize, condition: Option<&[u8]>) -> Served {
        let chance = self.rng.f64();
        let member = &mut self.members[slot];
        let tally = &self.tallies[member.tally as usize];
        match &mut member.transport {
            Transport::Plain(plain) => {
                let Some(answered) = plain.answer(condition, self.now, &mut self.heads) else {
                    return Served::NotHere;
                };
                let requests = &tally.metrics;
                (if answered.label == "hit" { &requests.hits } else { &requests.not_modified }).inc();
                member.record.write_answer(&answered, plain.topic());
                member.idle = false;
                self.write(slot, answered.output, Then::GiveBack("answered"));
            }
            Transport::LongPoll(long_poll) => {
                let Some(subscription) = &mut member.subscription else { return Served::NotHere };
                let view = subscription.topic().view();
                if subscription.topic().is_aged(&view) {
                    return Served::NotHere;
                }
                let Some(have) = long_poll.has_again(condition, &view) else { return Served::NotHere };
                if !subscription.resume_from(have) {
                    return Served::NotHere;
                }
                let current = view.frame.as_ref().filter(|frame| frame.version() == have);
                let coded =
                    long_poll.takes_gzip() && current.is_some_and(|frame| frame.gzip_made().is_some());
                long_poll.hold_again(have, long_poll.deadline_from(self.now, chance), coded);
                tally.metrics.subscribers.inc();
                member.record.begin(self.now);
                member.idle = false;
                self.pump(slot, Some(&view));
            }
            _ => return Served::NotHere,
        }
        Served::Here
    }

    /// Hands a member over to Pingora, with what it has sent.
    pub(super) fn go_home(&mut self, slot: usize, bytes: &[u8]) {
        self.part(slot);
        let member = self.members.remove(slot);
        if let Transport::Plain(_) = member.transport {
            self.tallies[member.tally as usize].metrics.subscribers.dec();
        }
        let last_poll = member.transport.repeat().map(Repeat::number);
        let mut wire = member.wire;
        if let Some(socket) = wire.socket() {
            // The connection lives on elsewhere. An error would mean that it was never registered.
            let _ = self.poll.registry().deregister(socket);
        }
        wire.give_back(&self.homes, BytesMut::from(bytes), last_poll);
    }
}
