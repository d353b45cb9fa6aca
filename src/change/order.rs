//! The order of a list where the file does not say it, found from the upstream's answers (contract §8).
//!
//! Pure. Must not know: what is done with items.

use crate::config::Order;

/// When a count of new items reaches this number, older counts are halved.
const COUNTED_MAX: u16 = 64;

/// How many times as many new items at one end as elsewhere show an order: a late item does not disprove it.
const DOMINANCE_FACTOR: u16 = 4;

/// What the answers so far say about the order of a list.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The order of names that are numbers and rise or fall through all of the last answer with several items.
    numbers: Option<Order>,
    /// New items that stood before all known ones.
    before: u16,
    /// New items that stood behind all known ones.
    behind: u16,
    /// New items that stood between known ones.
    between: u16,
}

impl Evidence {
    /// The order that shows, if one does.
    pub(super) fn order(&self) -> Option<Order> {
        let dominates = |one: u16, others: u16| one > 0 && one >= DOMINANCE_FACTOR.saturating_mul(others);
        self.numbers.or_else(|| {
            if dominates(self.before, self.behind + self.between) {
                Some(Order::NewestFirst)
            } else if dominates(self.behind, self.before + self.between) {
                Some(Order::OldestFirst)
            } else {
                None
            }
        })
    }

    /// What another node found out from the answers before.
    pub(super) fn told(&mut self, order: Order) {
        match order {
            Order::NewestFirst => self.before = 1,
            Order::OldestFirst => self.behind = 1,
            Order::Unordered => {}
        }
    }

    /// Whether the names rise or fall as numbers.
    pub(super) fn is_numbered(&self) -> bool {
        self.numbers.is_some()
    }

    /// Learns from the names of an answer, in the list's order.
    pub(super) fn names<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) {
        if names.len() < 2 {
            return;
        }
        let numbers: Option<Vec<u128>> = names.map(|name| name.parse().ok()).collect();
        let numbers = numbers.unwrap_or_default();
        let pairs = || numbers.windows(2);
        self.numbers = if numbers.is_empty() {
            None
        } else if pairs().all(|pair| pair[0] < pair[1]) {
            Some(Order::OldestFirst)
        } else if pairs().all(|pair| pair[0] > pair[1]) {
            Some(Order::NewestFirst)
        } else {
            None
        };
    }

    /// Learns from the places of the new items of an answer. `is_new` says it of each item, in the list's order.
    pub(super) fn places(&mut self, is_new: &[bool]) {
        let known = |is_new: &bool| !is_new;
        let (Some(first), Some(last)) = (is_new.iter().position(known), is_new.iter().rposition(known))
        else {
            return;
        };
        let new_in =
            |part: &[bool]| u16::try_from(part.iter().filter(|new| **new).count()).unwrap_or(u16::MAX);
        self.before = self.before.saturating_add(new_in(&is_new[..first])).min(COUNTED_MAX * 2);
        self.behind = self.behind.saturating_add(new_in(&is_new[last..])).min(COUNTED_MAX * 2);
        self.between = self.between.saturating_add(new_in(&is_new[first..last])).min(COUNTED_MAX * 2);
        if self.before + self.behind + self.between > COUNTED_MAX {
            self.before /= 2;
            self.behind /= 2;
            self.between /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_rise_or_fall_show_an_order() {
        for (names, wanted) in [
            (vec!["9", "10", "11"], Some(Order::OldestFirst)),
            (vec!["11", "10", "9"], Some(Order::NewestFirst)),
            (vec!["11", "9", "10"], None),
            (vec!["1", "1"], None),
            (vec!["1", "b"], None),
            (vec!["1"], None),
            (vec![], None),
        ] {
            let mut evidence = Evidence::default();
            evidence.names(names.iter().copied());
            assert_eq!(evidence.order(), wanted, "{names:?}");
        }
        let mut evidence = Evidence::default();
        evidence.names(["2", "1"].into_iter());
        evidence.names(["3"].into_iter());
        assert_eq!(evidence.order(), Some(Order::NewestFirst), "one item says nothing against it");
        evidence.names(["3", "1", "2"].into_iter());
        assert_eq!(evidence.order(), None);
    }

    #[test]
    fn new_items_at_one_end_show_an_order_until_others_stand_elsewhere() {
        let mut evidence = Evidence::default();
        evidence.places(&[true, true]);
        assert_eq!(evidence.order(), None, "nothing is known there");
        evidence.places(&[false, false, true]);
        assert_eq!(evidence.order(), Some(Order::OldestFirst));
        evidence.places(&[true, false, false]);
        assert_eq!(evidence.order(), None);
        let mut evidence = Evidence::default();
        for _ in 0..100 {
            evidence.places(&[true, false, false]);
        }
        evidence.places(&[false, true, false]);
        assert_eq!(evidence.order(), Some(Order::NewestFirst), "one that was late");
        for _ in 0..100 {
            evidence.places(&[false, true, false, true, false]);
        }
        assert_eq!(evidence.order(), None);
    }
}
