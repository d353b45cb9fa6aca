//! How the last polls of a resource ended, for operators: three bits each, in one word.
//!
//! Must not know: why a poll ended so.

use std::sync::atomic::{AtomicU64, Ordering};

/// Polls that are remembered.
pub const REMEMBERED_POLLS_MAX: usize = 21;

const BITS: u32 = 3;
const CODE_MAX: u64 = (1 << BITS) - 1;
const CODES_MAX: u64 = (1 << (BITS * REMEMBERED_POLLS_MAX as u32)) - 1;

/// The outcomes by their code; 0 stands for no poll. They are the values of `outcome` of `pollcast_polls_total`.
const WORDS: [&str; 6] = ["", "changed", "unchanged", "not_modified", "relayed", "failed"];

/// The outcomes of the last polls.
#[derive(Debug, Default)]
pub struct Outcomes(AtomicU64);

impl Outcomes {
    /// Notes how a poll ended. Words that are no outcome are not noted. Only the poll loop calls it.
    pub fn push(&self, outcome: &str) {
        if let Some(code) = WORDS.iter().position(|word| *word == outcome).filter(|code| *code > 0) {
            let before = self.0.load(Ordering::Relaxed);
            self.0.store(((before << BITS) | code as u64) & CODES_MAX, Ordering::Relaxed);
        }
    }

    /// Returns the outcomes, oldest first; as many as there were, at most [`REMEMBERED_POLLS_MAX`].
    pub fn list(&self) -> Vec<&'static str> {
        let all = self.0.load(Ordering::Relaxed);
        let codes = (0..REMEMBERED_POLLS_MAX as u32).rev().map(|place| (all >> (place * BITS)) & CODE_MAX);
        codes.filter(|code| *code > 0).filter_map(|code| WORDS.get(code as usize).copied()).collect()
    }

    /// Returns how many of the remembered polls brought a change, and how many there are.
    pub fn changed(&self) -> (usize, usize) {
        let all = self.0.load(Ordering::Relaxed);
        let codes = (0..REMEMBERED_POLLS_MAX as u32).map(|place| (all >> (place * BITS)) & CODE_MAX);
        codes.fold((0, 0), |(changed, polls), code| {
            (changed + usize::from(code == 1), polls + usize::from(code > 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_polls_are_remembered_oldest_first() {
        let outcomes = Outcomes::default();
        assert_eq!((outcomes.list(), outcomes.changed()), (Vec::new(), (0, 0)));
        for outcome in ["changed", "failed", "something else", "unchanged"] {
            outcomes.push(outcome);
        }
        assert_eq!(outcomes.list(), ["changed", "failed", "unchanged"]);
        assert_eq!(outcomes.changed(), (1, 3));
        (0..100).for_each(|_| outcomes.push("changed"));
        assert_eq!(outcomes.list(), ["changed"; REMEMBERED_POLLS_MAX]);
        assert_eq!(outcomes.changed(), (REMEMBERED_POLLS_MAX, REMEMBERED_POLLS_MAX));
    }
}
