//! The table of a shard's members, which becomes small again when they leave.
//!
//! Must not know: what a member is.

use std::ops::{Deref, DerefMut};

use slab::Slab;

/// A table with room for so many members stays as it is.
const ROOM_MIN: usize = 64;

/// Members by slot.
pub(super) struct Members<T> {
    slots: Slab<T>,
    /// With so many members left, room that is not needed any more is given back.
    shrink_at: usize,
}

impl<T> Members<T> {
    pub(super) fn new() -> Members<T> {
        Members { slots: Slab::new(), shrink_at: 0 }
    }

    /// Returns the member's slot.
    pub(super) fn insert(&mut self, member: T) -> usize {
        let room = self.slots.capacity();
        let slot = self.slots.insert(member);
        if self.slots.capacity() > room {
            self.shrink_at = self.shrink_mark();
        }
        slot
    }

    pub(super) fn remove(&mut self, slot: usize) -> T {
        let member = self.slots.remove(slot);
        // Members do not move: only the room behind the last of them can be given back. At each attempt there are half
        // as many members as at the one before, so that all attempts together look at each slot a few times.
        if self.slots.len() <= self.shrink_at && self.slots.capacity() > ROOM_MIN {
            self.slots.shrink_to_fit();
            self.shrink_at = self.shrink_mark().min(self.slots.len() / 2);
        }
        member
    }

    fn shrink_mark(&self) -> usize {
        self.slots.capacity() / 4
    }
}

impl<T> Deref for Members<T> {
    type Target = Slab<T>;

    fn deref(&self) -> &Slab<T> {
        &self.slots
    }
}

impl<T> DerefMut for Members<T> {
    fn deref_mut(&mut self) -> &mut Slab<T> {
        &mut self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(count: usize) -> Members<usize> {
        let mut members = Members::new();
        for n in 0..count {
            assert_eq!(members.insert(n), n);
        }
        members
    }

    #[test]
    fn a_table_that_all_leave_gives_its_room_back() {
        for is_backwards in [false, true] {
            let mut members = table(5_000);
            for n in 0..5_000 {
                let slot = if is_backwards { 4_999 - n } else { n };
                assert_eq!(members.remove(slot), slot);
            }
            assert!(members.is_empty() && members.capacity() <= ROOM_MIN, "{}", members.capacity());
            assert_eq!(members.insert(7), 0);
        }
    }

    #[test]
    fn those_that_stay_keep_their_slots() {
        let mut members = table(5_000);
        let stays = |slot: usize| slot.is_multiple_of(1_000);
        for slot in (0..5_000).filter(|slot| !stays(*slot)) {
            assert_eq!(members.remove(slot), slot);
        }
        for slot in (0..5_000).filter(|slot| stays(*slot)) {
            assert_eq!(members[slot], slot);
        }
        assert!((0..4_990).all(|n| members.insert(n) < 5_000), "free slots are used again");
    }

    #[test]
    fn coming_and_going_at_the_mark_does_not_shrink_and_grow_each_time() {
        let mut members = table(1_000);
        let mut rooms = std::collections::BTreeSet::new();
        for slot in (200..1_000).rev() {
            members.remove(slot);
        }
        for _ in 0..100 {
            let slot = members.insert(0);
            rooms.insert(members.capacity());
            members.remove(slot);
            rooms.insert(members.capacity());
        }
        assert!(rooms.len() <= 2, "{rooms:?}");
    }
}
