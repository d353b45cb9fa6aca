//! What the failure of a request for several resources means for each: which parts of them are asked for again, and what
//! their polls are told (contract §10).
//!
//! Pure. Must not know: when requests are made, who waits for an item.

use http::StatusCode;

use crate::upstream::{Answer, Failure, FetchError};

/// Requests for parts of a batch that are made while no part was answered, as the upstream may be down.
const TRIALS_MAX: u8 = 4;

/// How polls are asked for instead of together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Half,
    /// Those that the upstream has answered before, and then the new ones.
    Known,
}

impl Part {
    /// The parts, the one that is asked for first last.
    pub(super) fn of<T>(self, mut polls: Vec<T>, is_known: impl Fn(&T) -> bool) -> [Vec<T>; 2] {
        match self {
            Part::Half => {
                let second = polls.split_off(polls.len() / 2);
                [second, polls]
            }
            Part::Known => {
                let (known, new) = polls.into_iter().partition(is_known);
                [new, known]
            }
        }
    }
}

/// Which parts of `count` polls that failed together are asked for, of which so many are `known`; `None` if the failure
/// is theirs. `is_up`: the upstream has answered another part.
pub(super) fn part(known: usize, count: usize, is_up: bool, trials: &mut u8) -> Option<Part> {
    match known {
        0 if count == 1 => None,
        0 if is_up => Some(Part::Half),
        0 => {
            *trials += 1;
            (*trials <= TRIALS_MAX).then_some(Part::Half)
        }
        known if known < count => Some(Part::Known),
        // Names that it has answered before are not why: it is down, and new ones need no trial.
        _ => {
            *trials = TRIALS_MAX;
            None
        }
    }
}

/// Whether a request may have failed for what it asks for: not one that was never made.
pub(super) fn may_be_about_names(failure: &Failure) -> bool {
    !matches!(failure, Failure::Quota { .. } | Failure::NoTurn { .. } | Failure::Open { .. })
}

/// Whether a refusal may be about some of the names: a refusal that is about the
/// client, which asks too often or may not ask at all, is not.
pub(super) fn is_about_names(answer: &Answer) -> bool {
    let is_about_asker = matches!(
        answer.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    );
    !is_about_asker
}

/// A failure as that of each poll. What is too large is the batch, not the resource; and what quotes the upstream may
/// name the others.
pub(super) fn shared(error: &FetchError, are_several: bool) -> FetchError {
    let unquoted = |reason: &str| Failure::Batch { class: error.class(), reason: reason.to_owned() };
    let failure = match &error.failure {
        Failure::Quota { wait } => Failure::Quota { wait: *wait },
        Failure::Redirect { .. } if are_several => unquoted("the upstream redirected a batch"),
        Failure::Framing { .. } if are_several => unquoted("the answer to a batch has no safe framing"),
        Failure::NoTurn { limit, waiting } => Failure::NoTurn { limit: *limit, waiting: *waiting },
        Failure::Open { wait } => Failure::Open { wait: *wait },
        Failure::TooLarge { .. } => Failure::Batch { class: "batch", reason: error.failure.to_string() },
        // Of these clients are told their kind alone.
        Failure::Tls { source } => Failure::Tls { source: source.to_string().into() },
        Failure::Unreached { reason } => Failure::Unreached { reason: reason.clone() },
        other => Failure::Batch { class: other.class(), reason: other.to_string() },
    };
    FetchError { upstream: error.upstream.clone(), server: error.server.clone(), failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_asked_for_first_and_new_ones_in_halves_while_one_is_answered() {
        let mut trials = 0;
        assert_eq!(part(2, 3, false, &mut trials), Some(Part::Known));
        assert_eq!(part(0, 1, true, &mut trials), None);
        assert_eq!(part(0, 9, true, &mut trials), Some(Part::Half));
        assert_eq!(trials, 0);
        let tried = (0..10).filter(|_| part(0, 9, false, &mut trials).is_some()).count();
        assert_eq!(tried, usize::from(TRIALS_MAX));
        let mut trials = 0;
        assert_eq!(part(3, 3, false, &mut trials), None, "the upstream is down");
        assert_eq!(part(0, 9, false, &mut trials), None, "new names are not tried then");
        let names = vec!["new", "old", "newer", "older"];
        assert_eq!(Part::Half.of(names.clone(), |_| false), [["newer", "older"], ["new", "old"]]);
        let parts = Part::Known.of(names, |name| name.starts_with("old"));
        assert_eq!(parts, [["new", "newer"], ["old", "older"]]);
    }
}
