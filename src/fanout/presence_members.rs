//! The members of a shard that asked to be told who else follows, by presence, and how far a walk over them has come.
//!
//! Must not know: what they are told.

use std::collections::{HashMap, VecDeque};

use super::member_id::MemberId;

/// Most members that are told before others have their turn.
const SLICE_MEMBERS_MAX: usize = 256;

/// A member, and which of its many resources it is; `u32::MAX` if it follows one alone.
pub(super) type Told = (MemberId, u32);

/// The members that are told of presences.
#[derive(Default)]
pub(super) struct PresenceMembers {
    /// By the number of the presence.
    of: HashMap<u64, Members>,
    /// Presences with a walk on.
    walking: VecDeque<u64>,
}

/// The members that are told of one presence.
#[derive(Default)]
struct Members {
    all: Vec<Told>,
    /// Members below this index are still to be told; `None` if no walk is on.
    walk: Option<usize>,
    /// Whether something newer came during the walk.
    again: bool,
}

/// Members that have their turn.
pub(super) struct Slice {
    members: Vec<Told>,
    /// Those that have gone.
    gone: Vec<Told>,
    start: usize,
}

impl Slice {
    /// The members whose turn it is.
    pub(super) fn members(&self) -> Vec<Told> {
        self.members.clone()
    }

    /// Notes that a member is told no longer.
    pub(super) fn has_gone(&mut self, member: Told) {
        self.gone.push(member);
    }
}

impl PresenceMembers {
    /// Whether no member is told of anything.
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether a walk is on.
    pub(super) fn is_walking(&self) -> bool {
        !self.walking.is_empty()
    }

    /// One more member that is told of a presence.
    pub(super) fn add(&mut self, presence: u64, member: Told) {
        self.of.entry(presence).or_default().all.push(member);
    }

    /// Begins a walk over the members that are told of a presence.
    pub(super) fn begin(&mut self, presence: u64) {
        let Some(members) = self.of.get_mut(&presence) else { return };
        if members.walk.is_some() {
            members.again = true;
            return;
        }
        members.walk = Some(members.all.len());
        self.walking.push_back(presence);
    }

    /// The next members that have their turn, from the end of a list to its beginning. Members that come meanwhile stand
    /// behind them.
    pub(super) fn take_slice(&mut self) -> Option<(u64, Slice)> {
        let presence = self.walking.pop_front()?;
        let members = self.of.get_mut(&presence)?;
        let end = members.walk.unwrap_or(0).min(members.all.len());
        let start = end.saturating_sub(SLICE_MEMBERS_MAX);
        Some((presence, Slice { members: members.all[start..end].to_vec(), gone: Vec::new(), start }))
    }

    /// Takes those out of the list that have gone, and goes on with the walk.
    pub(super) fn put_back(&mut self, presence: u64, slice: Slice) {
        let Some(members) = self.of.get_mut(&presence) else { return };
        for (index, member) in slice.members.iter().enumerate().rev() {
            if slice.gone.contains(member) {
                // Only members behind this slice move down, and those have been told.
                members.all.swap_remove(slice.start + index);
            }
        }
        members.walk = match slice.start {
            0 if std::mem::take(&mut members.again) => Some(members.all.len()),
            0 => None,
            start => Some(start),
        };
        if members.walk.is_some() {
            self.walking.push_back(presence);
        } else if members.all.is_empty() {
            self.of.remove(&presence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(slot: u32) -> Told {
        (MemberId { slot, serial: 1 }, u32::MAX)
    }

    #[test]
    fn each_member_has_its_turn_once_and_those_that_have_gone_leave() {
        let mut members = PresenceMembers::default();
        let count = 2 * SLICE_MEMBERS_MAX as u32 + 10;
        (0..count).for_each(|slot| members.add(7, member(slot)));
        members.begin(8);
        assert!(!members.is_walking(), "no member is told of that one");
        for (gone, left) in [(3, 2), (2, 1), (1, 0)] {
            members.begin(7);
            let mut told = Vec::new();
            while let Some((presence, mut slice)) = members.take_slice() {
                assert!(slice.members().len() <= SLICE_MEMBERS_MAX);
                for one in slice.members() {
                    told.push(one.0.slot);
                    if one.0.slot % 3 == gone - 1 {
                        slice.has_gone(one);
                    }
                }
                members.put_back(presence, slice);
            }
            told.sort_unstable();
            let wanted: Vec<u32> = (0..count).filter(|slot| slot % 3 < gone).collect();
            assert_eq!(told, wanted);
            assert_eq!(members.is_empty(), left == 0);
        }
    }

    #[test]
    fn what_changes_during_a_walk_is_told_by_another_one() {
        let mut members = PresenceMembers::default();
        members.add(7, member(1));
        members.begin(7);
        let (presence, slice) = members.take_slice().expect("a slice");
        members.begin(7);
        members.put_back(presence, slice);
        assert!(members.is_walking());
        let (presence, slice) = members.take_slice().expect("another one");
        members.put_back(presence, slice);
        assert!(!members.is_walking() && !members.is_empty());
    }
}
