//! The members that asked to be told who else follows (`presence` events): they alone are looked at when that changes,
//! slice by slice, so that others have their turn in between.
//!
//! Must not know: who follows, how an event is written.

use std::sync::Arc;

use super::super::member_id::MemberId;
use super::Shard;
use crate::hub::{Delivery, Presence, Subscription};

impl Shard {
    /// Tells a member from now on, if it asked for that. `entry`: which of its many resources; `u32::MAX` if it follows
    /// one alone.
    pub(super) fn tell_presence(&mut self, slot: usize, entry: u32) {
        let Some(subscription) = self.subscription_of(slot, entry) else { return };
        let Some(presence) = subscription.watched_presence().map(|presence| presence.id()) else { return };
        let member = MemberId { slot: slot as u32, serial: self.members[slot].serial };
        self.presence_members.add(presence, (member, entry));
        self.pump_presence(slot, entry);
    }

    /// Begins to tell the members of a presence that it has changed.
    pub(super) fn presence_changed(&mut self, presence: &Presence) {
        self.presence_members.begin(presence.id());
    }

    /// Tells one slice of a presence's members. Those that have gone leave the list.
    pub(super) fn walk_presence(&mut self) {
        let Some((presence, mut slice)) = self.presence_members.take_slice() else { return };
        for (member, entry) in slice.members() {
            let is_told = |subscription: &mut Subscription| {
                subscription.watched_presence().is_some_and(|watched| watched.id() == presence)
            };
            match self.slot_of(member).filter(|slot| self.subscription_of(*slot, entry).is_some_and(is_told))
            {
                Some(slot) => {
                    self.pump_presence(slot, entry);
                    self.rest(slot);
                }
                None => slice.has_gone((member, entry)),
            }
        }
        self.presence_members.put_back(presence, slice);
    }

    /// Tells a member that was blocked what it missed.
    pub(super) fn catch_up_presence(&mut self, slot: usize) {
        if self.presence_members.is_empty() {
            return;
        }
        let numbers = self.members.get(slot).and_then(|member| member.bundle.as_ref()).map(|b| b.numbers());
        match numbers {
            Some(numbers) => {
                numbers.into_iter().for_each(|number| self.pump_presence(slot, number as u32));
            }
            None => self.pump_presence(slot, u32::MAX),
        }
    }

    /// Gives a member what is new of one presence, if its socket takes it.
    fn pump_presence(&mut self, slot: usize, entry: u32) {
        if !self.members.get(slot).is_some_and(|member| member.is_free()) {
            return;
        }
        let Some(subscription) = self.subscription_of(slot, entry) else { return };
        let Some(event) = subscription.next_presence() else { return };
        self.deliver_presence(slot, entry, &event);
    }

    fn deliver_presence(&mut self, slot: usize, entry: u32, event: &Delivery) {
        let now = self.now;
        let Some(member) = self.members.get_mut(slot) else { return };
        let step = match &mut member.bundle {
            Some(bundle) => {
                let Some(followed) = bundle.get_mut(entry as usize) else { return };
                let (name, index): (Arc<str>, usize) = (followed.name.clone(), followed.index);
                let seen = followed.subscription.seen();
                member.transport.deliver_of((&name, index), seen, event, now)
            }
            None => {
                let Some(view) = member.subscription.as_ref().map(|one| one.topic().view()) else { return };
                member.transport.deliver(event, &view, now)
            }
        };
        self.apply(slot, step);
    }

    fn subscription_of(&mut self, slot: usize, entry: u32) -> Option<&mut Subscription> {
        let member = self.members.get_mut(slot)?;
        match &mut member.bundle {
            Some(bundle) => bundle.get_mut(entry as usize).map(|followed| &mut followed.subscription),
            None => member.subscription.as_mut(),
        }
    }
}
