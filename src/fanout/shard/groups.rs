//! A topic's members on one shard, and how its news reaches them: slice by slice, so that other
//! topics have their turn in between.
//!
//! Must not know: sockets, what a delivery looks like.

use std::sync::Arc;

use super::{Follower, Group, SLICE_MEMBERS_MAX, Shard};
use crate::hub::{Topic, View};
use crate::transport::Transport;

impl Shard {
    pub(super) fn join(&mut self, slot: usize, topic: &Arc<Topic>) {
        let follower = Follower { slot: slot as u32, entry: u32::MAX };
        let (group, place) = self.enter(follower, topic);
        let member = &mut self.members[slot];
        member.group = group;
        member.place = place;
    }

    /// Adds a follower to a topic's group. Returns its place.
    pub(super) fn enter(&mut self, follower: Follower, topic: &Arc<Topic>) -> (u32, u32) {
        let group = *self.group_of.entry(topic.id()).or_insert_with(|| {
            let group = Group { topic: topic.clone(), members: Vec::new(), walk: None, again: false };
            self.groups.insert(group)
        });
        let members = &mut self.groups[group].members;
        members.push(follower);
        (group as u32, members.len() as u32 - 1)
    }

    /// Takes a member out of its group. Only members above the walk's index move down, and those
    /// have been served.
    pub(super) fn part(&mut self, slot: usize) {
        self.part_bundle(slot);
        let member = &mut self.members[slot];
        if member.group == u32::MAX {
            return;
        }
        let (group, place) = (member.group as usize, member.place as usize);
        member.group = u32::MAX;
        member.subscription = None;
        self.leave(group, place);
    }

    /// Takes a follower out of a group.
    pub(super) fn leave(&mut self, group: usize, place: usize) {
        let members = &mut self.groups[group].members;
        members.swap_remove(place);
        if let Some(moved) = members.get(place).copied() {
            let member = &mut self.members[moved.slot as usize];
            match &mut member.bundle {
                Some(bundle) => {
                    if let Some(entry) = bundle.get_mut(moved.entry as usize) {
                        entry.place = place as u32;
                    }
                }
                None => member.place = place as u32,
            }
        }
        let members = &self.groups[group].members;
        if members.is_empty() {
            let group = self.groups.remove(group);
            self.group_of.remove(&group.topic.id());
        }
    }

    pub(super) fn look(&mut self, topic: &Arc<Topic>) {
        topic.look(self.index);
        let Some(&index) = self.group_of.get(&topic.id()) else {
            return;
        };
        let group = &mut self.groups[index];
        if group.walk.is_some() {
            group.again = true;
            return;
        }
        group.walk = Some(group.members.len());
        self.walking.push_back(index);
    }

    /// Serves one slice of a topic's members, from the end of the list to its beginning.
    pub(super) fn walk(&mut self, index: usize) {
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        let Some(end) = group.walk else { return };
        let view = group.topic.view();
        let start = end.saturating_sub(SLICE_MEMBERS_MAX);
        // By transport: the tally, and how many deliveries.
        let mut delivered = [(0_u32, 0_u32); Transport::KINDS_COUNT];
        for place in (start..end).rev() {
            // Members may end while they are served; the list only shrinks above `place`.
            let Some(follower) = self.groups.get(index).and_then(|g| g.members.get(place)).copied() else {
                continue;
            };
            let slot = follower.slot as usize;
            let (kind, tally) = (self.members[slot].transport.kind(), self.members[slot].tally);
            let served = match follower.entry {
                u32::MAX => self.members[slot].is_free() && self.pump(slot, Some(&view)),
                entry => self.pump_entry(slot, entry as usize, Some(&view)),
            };
            if served {
                delivered[kind] = (tally, delivered[kind].1 + 1);
            }
            self.rest(slot);
        }
        if let Some(at) = view.changed_at {
            // The clock is read once a slice.
            let lag = at.elapsed().as_secs_f64();
            for (tally, count) in delivered.into_iter().filter(|(_, count)| *count > 0) {
                let histogram = self.tallies[tally as usize].metrics.lag.local();
                (0..count).for_each(|_| histogram.observe(lag));
                histogram.flush();
            }
        }
        self.walk_on(index, start);
    }

    pub(super) fn walk_on(&mut self, index: usize, start: usize) {
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        group.walk = match start {
            0 if std::mem::take(&mut group.again) => Some(group.members.len()),
            0 => None,
            start => Some(start.min(group.members.len())),
        };
        if group.walk.is_some() {
            self.walking.push_back(index);
        }
    }

    /// Gives a member what is new for it. Returns true if at least one change was delivered.
    pub(super) fn pump(&mut self, slot: usize, view: Option<&View>) -> bool {
        if self.members.get(slot).is_some_and(|member| member.bundle.is_some()) {
            return self.pump_bundle(slot);
        }
        let mut delivered = false;
        let mut fetched = None;
        while let Some(member) = self.members.get_mut(slot)
            && member.is_free()
            && let Some(subscription) = &mut member.subscription
        {
            let view = match view {
                Some(view) => view,
                None => &**fetched.get_or_insert_with(|| subscription.topic().view()),
            };
            let Some(delivery) = subscription.next(view) else {
                break;
            };
            let step = member.transport.deliver(&delivery, view, self.now);
            if delivery.is_content() {
                delivered = true;
                member.record.events += 1;
                self.tallies[member.tally as usize].events += 1;
            }
            self.apply(slot, step);
        }
        delivered
    }
}
