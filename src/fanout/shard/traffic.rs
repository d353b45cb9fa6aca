//! Bytes of one member: what a step writes, what its socket takes and gives.
//!
//! Must not know: topics, deadlines.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::Waker;

use super::super::member_id::MemberId;
use super::{READS_MAX, Shard};
use crate::fanout::inbox::{Command, SlotWaker};
use crate::fanout::member::{Member, Then, Written};
use crate::transport::{End, Output, Step};

impl Shard {
    pub(super) fn apply(&mut self, slot: usize, step: Step) {
        match step {
            Step::Wait => {}
            Step::Write(output) => self.write(slot, output, Then::Stay),
            Step::Finish(output, reason) => self.write(slot, output, Then::Finish(reason)),
            // The listener is closing, and would reset a connection that went back now.
            Step::GiveBack(output, reason) if self.draining.is_some() => {
                self.write(slot, output.closing(), Then::Finish(reason));
            }
            Step::GiveBack(output, reason) => self.write(slot, output, Then::GiveBack(reason)),
            Step::Forward(message) => {
                let member = &self.members[slot];
                let id = MemberId { slot: slot as u32, serial: member.serial };
                if let Some(messages) = &member.messages {
                    messages.push(id, message);
                }
            }
        }
    }

    pub(super) fn write(&mut self, slot: usize, output: Output, then: Then) {
        let member = &mut self.members[slot];
        let (before, was_blocked) = (member.record.bytes, member.is_blocked());
        let written = member.write(output, then, self.now);
        let tally = &mut self.tallies[member.tally as usize];
        tally.bytes += member.record.bytes - before;
        if !was_blocked && member.is_blocked() {
            tally.metrics.stalls.inc();
        }
        self.written(slot, written);
    }

    pub(super) fn written(&mut self, slot: usize, written: io::Result<Written>) {
        match written {
            Ok(Written::All(Then::Stay) | Written::Blocked) => {}
            Ok(Written::All(Then::Finish(reason))) => {
                self.account_end(slot, reason);
                self.part(slot);
                self.members[slot].finish(self.now);
            }
            Ok(Written::All(Then::GiveBack(reason))) => {
                self.account_answer(slot, reason);
                if !self.stays(slot) {
                    let kept = self.members[slot].wire.take_kept();
                    self.go_home(slot, &kept);
                }
            }
            Err(_) => self.remove(slot, "client-gone"),
        }
    }

    pub(super) fn end(&mut self, slot: usize, end: End) {
        if self.members[slot].idle {
            // The client has not asked for anything.
            return self.written(slot, Ok(Written::All(Then::Finish(end.reason()))));
        }
        let step = self.members[slot].end(end);
        self.apply(slot, step);
    }

    // --- Sockets ---

    /// `may_end`: the end of what the client sends may be there, or it is not known.
    pub(super) fn ready(&mut self, slot: usize, readable: bool, may_end: bool) {
        if !self.members.contains(slot) {
            return;
        }
        if self.members[slot].is_blocked() {
            let member = &mut self.members[slot];
            let before = member.record.bytes;
            let resumed = member.resume(self.now);
            self.tallies[member.tally as usize].bytes += member.record.bytes - before;
            match resumed {
                Ok(Some(written)) => self.written(slot, Ok(written)),
                Ok(None) => {}
                Err(error) => self.written(slot, Err(error)),
            }
            self.pump(slot, None);
            self.catch_up_presence(slot);
        }
        if self.members.get(slot).is_some_and(|member| member.is_closing()) {
            // TLS may not have taken its close_notify at once.
            self.members[slot].finish(self.now);
        }
        if readable && self.members.contains(slot) {
            self.read(slot, may_end);
        }
        self.rest(slot);
    }

    /// Whether the member is not read for now, since its messages have no room. It is woken when they have.
    fn pauses(&self, slot: usize) -> bool {
        let Some(member) = self.members.get(slot) else { return false };
        let Some(messages) = &member.messages else { return false };
        let id = MemberId { slot: slot as u32, serial: member.serial };
        let waits =
            messages.waits(|| Waker::from(Arc::new(SlotWaker { inbox: self.inbox.clone(), member: id })));
        if waits {
            self.metrics.message_pauses.with_label_values(&[member.transport.name()]).inc();
        }
        waits
    }

    /// Goes on with the bytes that were read before the messages' room was full. Returns false if it is full again.
    fn catches_up(&mut self, slot: usize) -> bool {
        while self.members.get(slot).is_some_and(|member| member.messages.is_some()) {
            if self.pauses(slot) {
                return false;
            }
            if !self.receive(slot, &[]) {
                break;
            }
        }
        true
    }

    /// Reads until nothing is left. `may_end`: as in `ready`.
    pub(super) fn read(&mut self, slot: usize, may_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for turn in 0.. {
            if !self.catches_up(slot) {
                break;
            }
            let Some(member) = self.members.get_mut(slot) else {
                break;
            };
            match member.wire.read(&mut buffer) {
                Ok(0) => {
                    self.remove(slot, "client-gone");
                    break;
                }
                Ok(_) if member.is_closing() => {}
                Ok(length) => {
                    let is_all = !may_end && length < buffer.len() && member.wire.tells_of_news();
                    self.receive(slot, &buffer[..length]);
                    if is_all {
                        // What had no room among the messages is taken up now, or when there is room.
                        self.catches_up(slot);
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.remove(slot, "client-gone");
                    break;
                }
            }
            if turn >= READS_MAX {
                // More may be there, and no event will say so: the member is read again after the others.
                if let Some(member) = self.members.get(slot) {
                    let id = MemberId { slot: slot as u32, serial: member.serial };
                    self.inbox.send(Command::Woken(id));
                }
                break;
            }
        }
        self.buffer = buffer;
    }

    /// Returns true if a part is left for want of room for messages.
    pub(super) fn receive(&mut self, slot: usize, bytes: &[u8]) -> bool {
        let member = &mut self.members[slot];
        if member.is_ending() {
            // Bytes that come after its end was decided mean nothing, and are dropped.
            return false;
        }
        if member.idle {
            self.asked(slot, bytes);
            return false;
        }
        if member.transport.is_silent() && !member.ignore(bytes, self.rules.pipelined_bytes) {
            self.remove(slot, "client-noise");
            return false;
        }
        let mut rest = bytes;
        while let Some(member) = self.members.get_mut(slot)
            && !member.is_ending()
        {
            let step = member.transport.receive(rest, self.now);
            rest = &[];
            if step == Step::Wait {
                break;
            }
            self.apply(slot, step);
            if self.members.get(slot).is_some_and(Member::is_unread) {
                // The rest stays where it is, half read.
                return true;
            }
        }
        false
    }
}
