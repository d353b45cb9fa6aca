//! How many clients there may be: in all, of one route, of one address.
//!
//! Must not know: what a refused client is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

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
}

/// One client's seat; free again when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    /// Boxed: limits of a route's or an address's own are seldom there.
    owners: Option<Box<[Option<Owner>; 2]>>,
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
    ) -> Option<Seat> {
        if self.all.fetch_add(1, Ordering::SeqCst) >= limit {
            self.all.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let mut seat = Seat { seats: self.clone(), owners: None };
        let route = of_route.map(|(limit, route)| (limit, Owner::Route(route)));
        let address = of_address.map(|(limit, address)| (limit, Owner::Address(address)));
        for (place, (limit, owner)) in
            [route, address].into_iter().enumerate().filter_map(|(n, o)| Some((n, o?)))
        {
            if !self.take_of(owner, limit) {
                return None;
            }
            seat.owners.get_or_insert_default()[place] = Some(owner);
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

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.all.fetch_sub(1, Ordering::SeqCst);
        for owner in self.owners.iter().flat_map(|owners| owners.iter().flatten()) {
            if let Some(mut taken) = self.seats.owners.get_mut(owner) {
                *taken -= 1;
            }
            self.seats.owners.remove_if(owner, |_, taken| *taken == 0);
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
        let take = || seats.take(3, Some((2, 7)), Some((1, address)));
        let first = take().unwrap();
        assert!(take().is_none(), "the address has its one");
        let second = seats.take(3, Some((2, 7)), None).unwrap();
        assert!(seats.take(3, Some((2, 7)), None).is_none(), "the route has its two");
        let _third = seats.take(3, None, None).unwrap();
        assert!(seats.take(3, None, None).is_none(), "all three are taken");
        drop((first, second));
        assert_eq!(seats.taken(), 1);
        assert!(seats.owners.is_empty(), "nothing is left behind");
        assert!(take().is_some());
    }
}
