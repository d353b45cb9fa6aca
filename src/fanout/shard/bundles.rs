//! Members that follow many resources: how they join and leave, and what each of them gets.
//!
//! Must not know: sockets, how a delivery is written.

use std::sync::Arc;

use super::{Follower, Shard};
use crate::hub::{Delivery, Subscription, View};

impl Shard {
    /// One more resource for a member of many.
    pub(super) fn follow(&mut self, slot: usize, name: Arc<str>, index: usize, subscription: Subscription) {
        let topic = subscription.topic().clone();
        let Some(member) = self.members.get_mut(slot).filter(|member| !member.is_ending()) else {
            return;
        };
        let Some(bundle) = &mut member.bundle else { return };
        // If it follows the name already, the first one stays; the connection's task counts them.
        let Some(number) = bundle.add(name, index, subscription) else { return };
        let follower = Follower { slot: slot as u32, entry: number as u32 };
        let (group, place) = self.enter(follower, &topic);
        if let Some(entry) = self.members[slot].bundle.as_mut().and_then(|bundle| bundle.get_mut(number)) {
            entry.group = group;
            entry.place = place;
        }
        self.metrics.bundled.inc();
        self.retire_after(slot, topic.route().max_age);
        self.pump_entry(slot, number, None);
        self.tell_presence(slot, number as u32);
    }

    /// A member follows a resource no longer.
    pub(super) fn unfollow(&mut self, slot: usize, name: &str) {
        let bundle = self.members.get(slot).and_then(|member| member.bundle.as_ref());
        if let Some(number) = bundle.and_then(|bundle| bundle.number_of(name)) {
            self.part_entry(slot, number);
        }
    }

    fn part_entry(&mut self, slot: usize, number: usize) {
        let bundle = self.members.get_mut(slot).and_then(|member| member.bundle.as_mut());
        let Some(entry) = bundle.and_then(|bundle| bundle.remove(number)) else { return };
        self.metrics.bundled.dec();
        if entry.group != u32::MAX {
            self.leave(entry.group as usize, entry.place as usize);
        }
    }

    /// Takes a member that ends out of the groups of all its resources.
    pub(super) fn part_bundle(&mut self, slot: usize) {
        let numbers = self.members[slot].bundle.as_ref().map(|bundle| bundle.numbers());
        for number in numbers.into_iter().flatten() {
            self.part_entry(slot, number);
        }
    }

    /// Gives a member what is new of all its resources, for as long as its socket takes it.
    pub(super) fn pump_bundle(&mut self, slot: usize) -> bool {
        let numbers = self.members[slot].bundle.as_ref().map(|bundle| bundle.numbers());
        let mut delivered = false;
        for number in numbers.into_iter().flatten() {
            delivered |= self.pump_entry(slot, number, None);
        }
        delivered
    }

    /// Gives a member what is new of one of its resources. Returns true if at least one change was delivered.
    pub(super) fn pump_entry(&mut self, slot: usize, number: usize, view: Option<&View>) -> bool {
        let mut delivered = false;
        let mut fetched = None;
        while let Some(member) = self.members.get_mut(slot)
            && member.is_free()
            && let Some(entry) = member.bundle.as_mut().and_then(|bundle| bundle.get_mut(number))
        {
            let view = match view {
                Some(view) => view,
                None => &**fetched.get_or_insert_with(|| entry.subscription.topic().view()),
            };
            let Some(delivery) = entry.subscription.next(view) else {
                break;
            };
            let (name, index, seen) = (entry.name.clone(), entry.index, entry.subscription.seen());
            let step = member.transport.deliver_of((&name, index), seen, &delivery, self.now);
            if delivery.is_content() {
                delivered = true;
                member.record.events += 1;
                self.tallies[member.tally as usize].events += 1;
            }
            self.apply(slot, step);
            if let Delivery::Closing(_) = delivery {
                // One resource ends; the connection and the others go on.
                self.part_entry(slot, number);
                break;
            }
        }
        delivered
    }
}
