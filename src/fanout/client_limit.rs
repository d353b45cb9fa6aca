//! How many clients there may be: in all, of one route, of one address.
//!
//! Must not know: what a refused client is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use super::grant::{Hold, Pass};

/// All seats taken.
#[derive(Debug, Default)]
pub(super) struct Seats {
    all: AtomicUsize,
    /// Only for what has a limit of its own.
    owners: DashMap<Owner, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Route(usize),
    Address(IpAddr),
    /// A number that stands for a name.
    Subject(u64),
}

/// One client's seat; free again when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    /// Boxed: limits of a route's or an address's own, and passes, are seldom there.
    own: Option<Box<Own>>,
}

/// What is one seat's own.
#[derive(Debug, Default)]
struct Own {
    owners: [Option<Owner>; 3],
    pass: Option<Arc<Pass>>,
}

impl Seats {
    pub(super) fn taken(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }

    pub(super) fn take(
        self: &Arc<Self>,
        limit: usize,
        of_route: Option<(usize, usize)>,
        of_address: Option<(usize, IpAddr)>,
        of_subject: Option<(usize, u64)>,
    ) -> Option<Seat> {
        if self.all.fetch_add(1, Ordering::SeqCst) >= limit {
            self.all.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let mut seat = Seat { seats: self.clone(), own: None };
        let route = of_route.map(|(limit, route)| (limit, Owner::Route(route)));
        let address = of_address.map(|(limit, address)| (limit, Owner::Address(address)));
        let subject = of_subject.map(|(limit, subject)| (limit, Owner::Subject(subject)));
        for (place, (limit, owner)) in
            [route, address, subject].into_iter().enumerate().filter_map(|(n, o)| Some((n, o?)))
        {
            if !self.take_of(owner, limit) {
                return None;
            }
            seat.own.get_or_insert_default().owners[place] = Some(owner);
        }
        Some(seat)
    }

    fn take_of(&self, owner: Owner, limit: usize) -> bool {
        let mut taken = self.owners.entry(owner).or_insert(0);
        let free = *taken < limit;
        *taken += usize::from(free);
        free
    }
}

/// What one client takes of one subject's, beside its seat; free again when dropped.
#[derive(Debug)]
pub struct Claim {
    seats: Arc<Seats>,
    owner: Owner,
}

impl Seats {
    /// Of a subject that was not known when its client took its seat. None: it has as many clients as `limit`.
    pub(super) fn claim(self: &Arc<Self>, limit: usize, subject: u64) -> Option<Claim> {
        let owner = Owner::Subject(subject);
        self.take_of(owner, limit).then(|| Claim { seats: self.clone(), owner })
    }

    fn leave(&self, owner: &Owner) {
        if let Some(mut taken) = self.owners.get_mut(owner) {
            *taken -= 1;
        }
        self.owners.remove_if(owner, |_, taken| *taken == 0);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.seats.leave(&self.owner);
    }
}

impl Seat {
    /// The same seat for a client that stays by a pass.
    #[must_use]
    pub fn with_pass(mut self, pass: Arc<Pass>) -> Seat {
        self.own.get_or_insert_default().pass = Some(pass);
        self
    }

    /// The same seat for a client that stays by one thing more.
    #[must_use]
    pub fn held_by(self, hold: Arc<Hold>) -> Seat {
        match self.pass() {
            Some(pass) => {
                pass.add(None, Some(hold));
                self
            }
            None => self.with_pass(Pass::new(None, vec![hold])),
        }
    }

    /// What the client stays by; `None` if that cannot end.
    pub fn pass(&self) -> Option<&Arc<Pass>> {
        self.own.as_ref()?.pass.as_ref()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.all.fetch_sub(1, Ordering::SeqCst);
        self.pass().into_iter().for_each(|pass| pass.leave());
        for owner in self.own.iter().flat_map(|own| own.owners.iter().flatten()) {
            self.seats.leave(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_counts_everywhere_until_it_is_free() {
        let seats: Arc<Seats> = Arc::default();
        let address = "1.2.3.4".parse().unwrap();
        let take = || seats.take(3, Some((2, 7)), Some((1, address)), None);
        let first = take().unwrap();
        assert!(take().is_none(), "the address has its one");
        let second = seats.take(3, Some((2, 7)), None, Some((1, 9))).unwrap();
        assert!(seats.take(3, None, None, Some((1, 9))).is_none(), "the subject has its one");
        assert!(seats.take(3, Some((2, 7)), None, None).is_none(), "the route has its two");
        let _third = seats.take(3, None, None, None).unwrap();
        assert!(seats.take(3, None, None, None).is_none(), "all three are taken");
        drop((first, second));
        assert_eq!(seats.taken(), 1);
        assert!(seats.owners.is_empty(), "nothing is left behind");
        assert!(take().is_some());
    }
}
