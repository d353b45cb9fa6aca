//! The counts of clients: in all, of one route, of one address, of one subject. `client_permit` holds them against their
//! limits.
//!
//! Must not know: what a refused client is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

/// How many clients there are.
#[derive(Debug, Default)]
pub(super) struct ClientCounts {
    pub(super) all: AtomicUsize,
    /// Clients by owner, for owners that have a limit.
    owners: DashMap<Owner, usize>,
}

/// What a client counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The number of a route.
    Route(usize),
    /// The client's address.
    Address(IpAddr),
    /// A number that stands for a name.
    Subject(u64),
}

impl ClientCounts {
    pub(super) fn taken(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }

    /// Whether a client would find a place. None is taken.
    pub(super) fn has_room(&self, limit: usize, of: impl IntoIterator<Item = (usize, Owner)>) -> bool {
        let has_place = |(limit, owner)| self.owners.get(&owner).is_none_or(|taken| *taken < limit);
        self.taken() < limit && of.into_iter().all(has_place)
    }

    pub(super) fn take_of(&self, owner: Owner, limit: usize) -> bool {
        let mut taken = self.owners.entry(owner).or_insert(0);
        let free = *taken < limit;
        *taken += usize::from(free);
        free
    }
}

/// One place of a route or subject that a client takes beside its permit. It is free again when this is dropped.
#[derive(Debug)]
pub struct Claim {
    counts: Arc<ClientCounts>,
    owner: Owner,
}

impl ClientCounts {
    /// Takes a place of a route or subject that was not known when its client took its permit. Returns `None` if it has as
    /// many clients as `limit`.
    pub(super) fn claim(self: &Arc<Self>, limit: usize, owner: Owner) -> Option<Claim> {
        self.take_of(owner, limit).then(|| Claim { counts: self.clone(), owner })
    }

    pub(super) fn leave(&self, owner: &Owner) {
        if let Some(mut taken) = self.owners.get_mut(owner) {
            *taken -= 1;
        }
        self.owners.remove_if(owner, |_, taken| *taken == 0);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.counts.leave(&self.owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_counts_everywhere_until_it_is_free() {
        let counts: Arc<ClientCounts> = Arc::default();
        let address = "1.2.3.4".parse().unwrap();
        let take = || counts.take(3, Some((2, 7)), Some((1, address)), None);
        let first = take().unwrap();
        assert!(take().is_none(), "the address has its one");
        let second = counts.take(3, Some((2, 7)), None, Some((1, 9))).unwrap();
        assert!(counts.take(3, None, None, Some((1, 9))).is_none(), "the subject has its one");
        assert!(counts.take(3, Some((2, 7)), None, None).is_none(), "the route has its two");
        let _third = counts.take(3, None, None, None).unwrap();
        assert!(counts.take(3, None, None, None).is_none(), "all three are taken");
        drop((first, second));
        assert_eq!(counts.taken(), 1);
        assert!(counts.owners.is_empty(), "nothing is left behind");
        assert!(take().is_some());
    }
}
