//! Which numbers of one session's messages were heard: what is said once more counts for nothing.
//!
//! A node says its messages from several tasks, so that they come a little out of order. Must not know: messages.

/// Numbers of one word.
const WORD_BITS: u64 = u64::BITS as u64;
const WORD_COUNT: usize = 16;
/// How far behind the newest message one may come.
const LATE_MAX: u64 = WORD_BITS * (WORD_COUNT as u64 - 1);

/// The newest number, and which of the ones before it were heard (as in RFC 6479).
#[derive(Debug, Default)]
pub(super) struct Replay {
    newest: u64,
    /// A ring of bits.
    heard: [u64; WORD_COUNT],
}

impl Replay {
    /// Notes a message. Returns whether it is heard for the first time.
    pub(super) fn is_new(&mut self, number: u64) -> bool {
        if number > self.newest {
            let (before, now) = (self.newest / WORD_BITS, number / WORD_BITS);
            // What the ring held of numbers that are a whole turn older.
            (before..now).take(WORD_COUNT).for_each(|word| *self.word(word + 1) = 0);
            if now - before > WORD_COUNT as u64 {
                self.heard = [0; WORD_COUNT];
            }
            self.newest = number;
        } else if self.newest - number >= LATE_MAX {
            return false;
        }
        let bit = 1 << (number % WORD_BITS);
        let word = self.word(number / WORD_BITS);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn word(&mut self, word: u64) -> &mut u64 {
        &mut self.heard[(word % WORD_COUNT as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_number_counts_once_and_those_that_come_too_late_never(
            steps in prop::collection::vec((0..3000u64, any::<bool>()), 1..300),
        ) {
            let (mut replay, mut heard, mut newest) = (Replay::default(), BTreeSet::new(), 0);
            for (step, is_back) in steps {
                let number = if is_back { u64::saturating_sub(newest, step) } else { newest + step % 70 };
                let is_in_time = number > newest || newest - number < LATE_MAX;
                prop_assert_eq!(replay.is_new(number), is_in_time && heard.insert(number), "{}", number);
                newest = newest.max(number);
            }
        }
    }

    #[test]
    fn a_jump_over_all_that_is_remembered_forgets_it() {
        let mut replay = Replay::default();
        assert!(replay.is_new(1) && !replay.is_new(1));
        let far = 1 + 1_000_000 * WORD_BITS * WORD_COUNT as u64;
        assert!(replay.is_new(far) && replay.is_new(far - 1) && !replay.is_new(far - LATE_MAX));
        assert!(!replay.is_new(1));
    }
}
