//! What is remembered of a failing resource when its topic ends (contract §10).
//!
//! Must not know: poll loops.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use crate::hub::{Failure, Outcome, Relayed};
use crate::upstream::schedule::Failing;

/// Longest body of a failure that outlives its topic, bytes: there may be `limits.resources` of them.
const REMEMBERED_BODY_BYTES_MAX: usize = 4 * 1024;

/// What is remembered of a failing resource when its topic ends, so that leaving and coming back
/// is no way around the backoff (contract §10).
pub(super) struct Remembered {
    pub(super) failing: Failing,
    /// Nothing is asked before then.
    pub(super) due: Instant,
    /// It had a snapshot: its slowness is the API's trouble, not its kind (contract §1).
    pub(super) document: bool,
    /// How the last poll failed; `None` if the upstream answered and may be asked again at once.
    pub(super) last: Option<Last>,
}

/// A poll that failed, by itself or by its answer.
pub(super) enum Last {
    Failure(Arc<Failure>),
    Answer(Arc<Relayed>),
}

impl Last {
    /// What is remembered of an outcome.
    pub(super) fn of(outcome: &Outcome) -> Option<Last> {
        match outcome {
            Outcome::Failed(failure) => Some(Last::Failure(failure.clone())),
            Outcome::Relay(relayed) => {
                let failure = relayed.failure.as_ref()?;
                Some(match relayed.body.len() <= REMEMBERED_BODY_BYTES_MAX {
                    true => Last::Answer(relayed.clone()),
                    false => Last::Failure(Arc::new(failure.clone())),
                })
            }
            Outcome::Cold | Outcome::Data => None,
        }
    }

    /// Its status and reason, for followers.
    pub(super) fn told(&self) -> (Option<StatusCode>, &str) {
        match self {
            Last::Failure(failure) => (failure.status, &failure.reason),
            Last::Answer(relayed) => {
                (Some(relayed.status), relayed.failure.as_ref().map_or("", |failure| &failure.reason))
            }
        }
    }
}
