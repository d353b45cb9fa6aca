//! How members come: their place, their first words, what they sent early.
//!
//! Must not know: what they follow.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use mio::{Interest, Token};

use super::super::member_id::MemberId;
use super::Shard;
use crate::fanout::inbox::{Arrival, Following, SlotWaker};
use crate::fanout::member::{Member, Party, Then};
use crate::fanout::wire::Wire;
use crate::transport::{End, Output, Step, Transport};

impl Shard {
    pub(super) fn add(&mut self, arrival: Arrival) {
        let Arrival { taken, read, greeting, transport, following, record, permit, messages } = arrival;
        self.next_serial = self.next_serial.wrapping_add(1);
        let slot = self.members.vacant_key();
        let id = MemberId { slot: slot as u32, serial: self.next_serial };
        let (subscription, many) = match following {
            Following::Nothing | Following::OnDemand => (None, None),
            Following::One(subscription) => (Some(subscription), None),
            Following::Many(many) => (None, Some(many)),
        };
        let then = match (&subscription, &many, &transport) {
            (_, _, Transport::Plain(_)) => Then::GiveBack("answered"),
            (None, None, _) => Then::Finish("refused"),
            _ => Then::Stay,
        };
        let bundle = many.is_some().then(Box::default);
        let topic = subscription.as_ref().map(|s| s.topic().clone());
        let asked = match &transport {
            Transport::Plain(plain) => Some(&**plain.topic()),
            _ => topic.as_deref(),
        };
        let tally = self.tally(asked, transport.name());
        let inbox = &self.inbox;
        let wire = Wire::new(taken, &mut self.homes, || {
            Waker::from(Arc::new(SlotWaker { inbox: inbox.clone(), member: id }))
        });
        let party = Party { transport, subscription, bundle, record, permit, messages };
        let member = Member::new(wire, party, id.serial, tally);
        let slot = self.members.insert(member);
        self.tallies[tally as usize].metrics.subscribers.inc();
        if let Some(topic) = topic {
            self.retire_after(slot, topic.route().max_age);
            self.join(slot, &topic);
        }
        self.note_pass(slot);
        if let Some(socket) = self.members[slot].wire.socket()
            && let Err(error) =
                self.poll.registry().register(socket, Token(slot), Interest::READABLE | Interest::WRITABLE)
        {
            tracing::warn!("a connection cannot be watched: {error}");
            self.remove(slot, "internal");
            return;
        }
        let greeting = self.with_first_words(slot, greeting);
        if !self.members.contains(slot) {
            return;
        }
        self.write(slot, greeting, then);
        if self.leave_if_over(slot) {
            return;
        }
        for (name, index, subscription) in many.into_iter().flatten() {
            self.follow(slot, name, index, subscription);
        }
        self.greet(slot, &read);
        self.tell_presence(slot, u32::MAX);
        self.rest(slot);
    }

    /// The greeting and what the member is to be told at once, so that both are one write.
    fn with_first_words(&mut self, slot: usize, greeting: Bytes) -> Output {
        let member = &mut self.members[slot];
        let Some(subscription) = member.subscription.as_mut().filter(|_| self.draining.is_none()) else {
            return Output::one(greeting);
        };
        let view = subscription.topic().view();
        let is_stream = matches!(member.transport, Transport::Sse(_) | Transport::WebSocket(_));
        // Only content goes with the greeting: an end is told after it.
        let has_content = is_stream && view.closing.is_none();
        match has_content.then(|| subscription.next(&view)).flatten() {
            Some(delivery) => match member.transport.deliver(&delivery, &view, self.now) {
                Step::Write(Output { first, second }) if second.is_empty() => {
                    member.record.events += u32::from(delivery.is_content());
                    self.tallies[member.tally as usize].events += u64::from(delivery.is_content());
                    Output::two(greeting, first)
                }
                // The delivery ends the member, or this protocol has no words for it: it is handled as one that came a
                // moment later.
                step => {
                    self.write(slot, Output::one(greeting), Then::Stay);
                    self.apply(slot, step);
                    Output::default()
                }
            },
            None => Output::one(greeting),
        }
    }

    fn greet(&mut self, slot: usize, early: &[u8]) {
        if let Some(retry) = self.draining.as_ref().map(|draining| draining.retry)
            && self.members.contains(slot)
        {
            let retry = self.between(retry);
            self.end(slot, End::Drain { retry });
        }
        if !early.is_empty() && self.members.contains(slot) {
            self.receive(slot, early);
            if self.members.contains(slot) && self.members[slot].messages.is_some() {
                self.read(slot, true);
            }
        }
        self.pump(slot, None);
        // Arms the stream's waker, and sees what came in the meantime.
        if self.members.get(slot).is_some_and(|member| matches!(member.wire, Wire::Stream(_))) {
            self.read(slot, true);
        }
        self.rest(slot);
    }
}
