//! A node's part of a budget that several nodes use together (contract §13).
//!
//! Pure. Must not know: nodes, where the numbers come from.

use crate::config::Budget;

/// The least part of an upstream's own quota, against an equal one: a node that holds little still polls.
const QUOTA_PART_MIN: f64 = 0.25;

/// What a node has of what all of them have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Tokens come from what all nodes have in common. Else this node makes its own part of them.
    pub is_common: bool,
    /// Nodes that live, or lived when they were last heard of.
    pub nodes: u32,
    /// Resources of the upstream that this node polls.
    pub own: u64,
    /// Resources of the upstream that any node polls.
    pub all: u64,
}

impl Share {
    /// The part of a budget that this node makes turns of.
    pub(super) fn of(&self, budget: &Budget) -> Budget {
        let nodes = self.nodes.max(1);
        let max_concurrent = match self.all {
            0 => budget.max_concurrent / nodes as usize,
            all => (budget.max_concurrent as u64 * self.own.min(all) / all) as usize,
        };
        let max_concurrent = max_concurrent.max(1);
        match self.is_common {
            true => Budget { max_concurrent, ..*budget },
            false => Budget {
                rate: budget.rate / f64::from(nodes),
                burst: (budget.burst / nodes).max(1),
                max_concurrent,
                ..*budget
            },
        }
    }

    /// The part of what the upstream itself still answers.
    pub(super) fn part(&self) -> f64 {
        let equal = 1.0 / f64::from(self.nodes.max(1));
        match self.all {
            0 => equal,
            all => (self.own.min(all) as f64 / all as f64).max(equal * QUOTA_PART_MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BudgetScope;

    #[test]
    fn parts_follow_what_nodes_poll_and_are_never_nothing() {
        let budget = Budget { rate: 60.0, burst: 2, max_concurrent: 16, scope: BudgetScope::Cluster };
        for (is_common, nodes, own, all, wanted) in [
            (true, 3, 10, 30, (60.0, 2, 5)),
            (true, 3, 0, 30, (60.0, 2, 1)),
            (true, 3, 0, 0, (60.0, 2, 5)),
            (true, 3, 30, 30, (60.0, 2, 16)),
            (false, 3, 10, 30, (20.0, 1, 5)),
            (false, 1, 30, 30, (60.0, 2, 16)),
            (false, 0, 0, 0, (60.0, 2, 16)),
            (true, 100, 1, 1000, (60.0, 2, 1)),
        ] {
            let share = Share { is_common, nodes, own, all };
            let part = share.of(&budget);
            assert_eq!((part.rate, part.burst, part.max_concurrent), wanted, "{share:?}");
            assert!(share.part() > 0.0 && share.part() <= 1.0, "{share:?}");
        }
    }
}
