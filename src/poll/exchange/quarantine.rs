//! Names that an upstream refuses: they go alone for a while, so that their refusal is no other name's.
//!
//! Bounded in number and time. Must not know: requests, answers.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::resource::ResourceKey;

/// How long a name that was refused alone goes alone.
const QUARANTINE_TIME: Duration = Duration::from_secs(600);

/// Names that are remembered, over all routes: of more the one that is nearest to its end is forgotten.
const NAMES_MAX: usize = 4096;

/// The names that go alone, each with the group that it would go with, and until when.
#[derive(Default)]
pub(super) struct Quarantine(Mutex<HashMap<(ResourceKey, String), Instant>>);

impl Quarantine {
    pub(super) fn holds(&self, group: &ResourceKey, name: &str, now: Instant) -> bool {
        let names = self.0.lock();
        !names.is_empty() && names.get(&(group.clone(), name.to_owned())).is_some_and(|until| *until > now)
    }

    pub(super) fn put(&self, group: &ResourceKey, name: &str, now: Instant) {
        let mut names = self.0.lock();
        if names.len() >= NAMES_MAX {
            names.retain(|_, until| *until > now);
        }
        if names.len() >= NAMES_MAX {
            let first = names.iter().min_by_key(|(_, until)| **until).map(|(name, _)| name.clone());
            if let Some(first) = first {
                names.remove(&first);
            }
        }
        names.insert((group.clone(), name.to_owned()), now + QUARANTINE_TIME);
    }

    /// The upstream answers for it again.
    pub(super) fn release(&self, group: &ResourceKey, name: &str) {
        let mut names = self.0.lock();
        if !names.is_empty() {
            names.remove(&(group.clone(), name.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::route::key;

    #[tokio::test]
    async fn a_name_goes_alone_for_a_while_and_within_its_group() {
        let (quarantine, now) = (Quarantine::default(), Instant::now());
        quarantine.put(&key("/items"), "bad", now);
        assert!(quarantine.holds(&key("/items"), "bad", now));
        assert!(!quarantine.holds(&key("/items"), "good", now));
        assert!(!quarantine.holds(&key("/others"), "bad", now));
        assert!(!quarantine.holds(&key("/items"), "bad", now + QUARANTINE_TIME));
        quarantine.release(&key("/items"), "bad");
        assert!(!quarantine.holds(&key("/items"), "bad", now));
    }

    #[tokio::test]
    async fn a_flood_of_bad_names_is_bounded_and_the_last_ones_count() {
        let (quarantine, now) = (Quarantine::default(), Instant::now());
        for n in 0..NAMES_MAX as u64 + 10 {
            quarantine.put(&key("/items"), &n.to_string(), now + Duration::from_millis(n));
        }
        assert_eq!(quarantine.0.lock().len(), NAMES_MAX);
        assert!(!quarantine.holds(&key("/items"), "0", now));
        assert!(quarantine.holds(&key("/items"), &(NAMES_MAX + 9).to_string(), now));
    }
}
