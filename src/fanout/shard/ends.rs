//! How members end: one by one, by the drain's clock, or all at once; each end is counted once.
//!
//! Must not know: why.

use std::time::Duration;

use super::super::member_id::MemberId;
use super::Shard;
use crate::fanout::timers::{TICK, lifetime};
use crate::hub::Subscription;
use crate::transport::{End, Transport};

impl Shard {
    /// Counts and logs a member that ends now, once.
    pub(super) fn account_end(&mut self, slot: usize, reason: &str) {
        let member = &self.members[slot];
        let is_plain = matches!(member.transport, Transport::Plain(_));
        // A client between two requests ended with its answer; a connection of ordinary polls counts as one client all
        // the time.
        if member.is_closing() || (member.idle && !is_plain) {
            return;
        }
        let tally = &self.tallies[member.tally as usize];
        tally.metrics.subscribers.dec();
        if is_plain {
            return;
        }
        tally.metrics.ended(reason);
        let topic = member.subscription.as_ref().map(Subscription::topic);
        member.record.write(member.transport.name(), topic.map(|topic| &**topic), reason);
    }

    /// Counts and logs an answer after which the connection lives on.
    pub(super) fn account_answer(&mut self, slot: usize, reason: &str) {
        // Ordinary polls were counted when they were answered.
        if !matches!(self.members[slot].transport, Transport::Plain(_)) {
            self.account_end(slot, reason);
        }
    }

    pub(super) fn remove(&mut self, slot: usize, reason: &str) {
        self.account_end(slot, reason);
        self.part(slot);
        self.members.remove(slot);
    }

    pub(super) fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let spread = most.saturating_sub(least);
        least + spread.mul_f64(self.rng.f64())
    }

    /// Has a stream end after `max_age`, a fifth less or more. The first of many resources whose route has a `max_age`
    /// counts for all of them.
    pub(super) fn retire_after(&mut self, slot: usize, max_age: Option<Duration>) {
        let Some(max_age) = max_age else { return };
        let member = &mut self.members[slot];
        if let Transport::LongPoll(_) = member.transport {
            return;
        }
        let tick = self.wheel.tick_at(self.now + lifetime(max_age, self.rng.f64()));
        if member.retires == 0 || tick < member.retires {
            member.retires = tick;
        }
    }

    /// Has a client leave when its proof runs out.
    pub(super) fn note_pass(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        if let Some(until) = member.entitlement().and_then(|entitlement| entitlement.until()) {
            let tick = self.wheel.tick_at(until);
            if member.retires == 0 || tick < member.retires {
                member.retires = tick;
            }
        }
    }

    /// Notes that its proof runs out at another time: its stay is counted anew.
    pub(super) fn renewed(&mut self, slot: usize) {
        self.members[slot].retires = 0;
        let topic = self.members[slot].subscription.as_ref().map(|s| s.topic().clone());
        self.retire_after(slot, topic.and_then(|topic| topic.route().max_age));
        self.note_pass(slot);
        self.rest(slot);
    }

    /// Ends a stream that has lasted long enough. A blocked stream ends when it has caught up, unless it may not stay.
    pub(super) fn retire(&mut self, slot: usize) -> bool {
        let member = &self.members[slot];
        if member.retires == 0 || self.now < self.wheel.time_of(member.retires) {
            return false;
        }
        if self.leave_if_over(slot) {
            return true;
        }
        let retires = self.members[slot].is_free();
        if retires {
            self.end(slot, End::MaxAge);
        }
        retires
    }

    /// Ends a client if it may not stay any longer. Returns whether it did.
    pub(super) fn leave_if_over(&mut self, slot: usize) -> bool {
        let Some(member) = self.members.get(slot).filter(|member| !member.is_ending()) else {
            return false;
        };
        let Some(why) = member.entitlement().and_then(|entitlement| entitlement.is_over(self.now)) else {
            return false;
        };
        self.end(slot, End::Expelled(why));
        self.rest(slot);
        true
    }

    /// Ends all members that may not stay any longer.
    pub(super) fn expel(&mut self) {
        let with_entitlement = self.members.iter().filter(|(_, member)| member.entitlement().is_some());
        let slots: Vec<usize> = with_entitlement.map(|(slot, _)| slot).collect();
        for slot in slots {
            self.leave_if_over(slot);
        }
    }

    /// Ends as many members as the drain's clock asks for.
    pub(super) fn drain(&mut self) {
        let Some(draining) = &mut self.draining else { return };
        let elapsed = self.now.duration_since(draining.began).as_secs_f64() + TICK.as_secs_f64();
        let share = (elapsed / draining.window.as_secs_f64().max(0.001)).min(1.0);
        let due = (share * draining.members.len() as f64).ceil() as usize;
        let (ended, retry) = (draining.ended, draining.retry);
        let mut batch: Vec<MemberId> = draining.members[ended..due.max(ended)].to_vec();
        draining.ended = due.max(ended);
        if let Some(idle) = &mut draining.idle {
            if share < 1.0 {
                let is_idle = |id: &mut MemberId| {
                    let member = self.members.get(id.slot as usize);
                    member.is_some_and(|member| member.serial == id.serial && member.idle)
                };
                idle.extend(batch.extract_if(.., is_idle));
            } else {
                batch.append(idle);
            }
        }
        for id in batch {
            let retry = self.between(retry);
            if let Some(slot) = self.slot_of(id) {
                self.end(slot, End::Drain { retry });
                self.rest(slot);
            }
        }
    }

    /// Ends all members at once.
    pub(super) fn stop(&mut self) {
        let slots: Vec<usize> = self.members.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.end(slot, End::Drain { retry: Duration::from_secs(2) });
        }
        self.settle();
    }
}
